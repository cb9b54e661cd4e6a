//! How work comes to a thread: everything that waits is taken at once.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Work for one thread.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    work: Vec<T>,
    closed: bool,
    /// The thread waits, so it must be woken: a system call, which is spared as long as it is at work.
    idle: bool,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(Waiting { work: Vec::new(), closed: false, idle: false }), changed: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts work in. When the inbox is closed the work is dropped, and with it whatever waits for its answer is told.
    pub(super) fn put(&self, work: T) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.work.push(work);
            if mem::take(&mut waiting.idle) {
                self.changed.notify_one();
            }
        }
    }

    /// Waits for work and takes all of it; `None` when there is none and there will be none.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        let mut waiting = self.waiting();
        while waiting.work.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.idle = true;
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        Some(mem::take(&mut waiting.work))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting().work.is_empty()
    }

    /// What is in it is still to be done, more does not come in.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_all();
    }
}
