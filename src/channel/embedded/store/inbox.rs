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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    /// Far longer than anything here takes: a wake that was lost never comes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_that_waits_is_woken_for_each_work_that_comes_alone() {
        let inbox = Inbox::new();
        let (done, heard) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(work) = inbox.take() {
                    work.into_iter().for_each(|work| done.send(work).unwrap());
                }
            });
            let heard: Vec<_> = (0..10_000)
                .map_while(|work| {
                    inbox.put(work);
                    heard.recv_timeout(PATIENCE).ok()
                })
                .collect();
            inbox.close();
            assert!(heard.into_iter().eq(0..10_000), "work that nobody was woken for");
        });
    }

    #[test]
    fn who_is_at_work_is_not_woken_and_takes_all_that_came_meanwhile() {
        let inbox = Inbox::new();
        inbox.put(1);
        assert_eq!(inbox.take(), Some(vec![1]));
        inbox.put(2);
        inbox.put(3);
        assert!(!inbox.waiting().idle);
        assert_eq!(inbox.take(), Some(vec![2, 3]));
        inbox.close();
        inbox.put(4);
        assert_eq!(inbox.take(), None);
    }
}
