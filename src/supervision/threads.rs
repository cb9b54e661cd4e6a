//! The threads that children live on.

use std::{collections::HashMap, io, sync::mpsc, thread, time::Duration};

use actix_rt::{Arbiter, ArbiterHandle};

/// How long to wait at the end for the threads. Longer in a test, where that waits for some thousand threads on a busy machine.
const JOIN_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 2 });

/// On which thread a child lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thread {
    /// The supervisor's: for a child that only waits for answers.
    Supervisors,
    /// One that it shares with every child that gives the same name.
    Named(String),
}

/// The threads that have been started.
#[derive(Default)]
pub(super) struct Threads(HashMap<String, Arbiter>);

impl Threads {
    /// Starts it unless it runs.
    pub(super) fn get(&mut self, thread: &Thread) -> io::Result<ArbiterHandle> {
        let name = match thread {
            Thread::Supervisors => return Ok(Arbiter::current()),
            Thread::Named(name) => name,
        };
        if let Some(running) = self.0.get(name) {
            return Ok(running.handle());
        }
        // An arbiter panics where there can be no thread for it.
        drop(thread::Builder::new().spawn(|| ())?.join());
        Ok(self.0.entry(name.clone()).or_insert_with(Arbiter::new).handle())
    }

    /// Ends a thread on which there is no child any more.
    pub(super) fn end(&mut self, thread: &Thread) {
        if let Thread::Named(name) = thread
            && let Some(arbiter) = self.0.remove(name)
        {
            arbiter.stop();
        }
    }

    /// It is gone; the next child that needs it has a new one.
    pub(super) fn forget(&mut self, thread: &Thread) {
        if let Thread::Named(name) = thread {
            self.0.remove(name);
        }
    }

    /// Ends the threads and waits for them, so that what their actors hold is dropped. Returns whether all have ended.
    pub(super) fn join(self) -> bool {
        let (joined, all) = mpsc::channel();
        for arbiter in self.0.values() {
            arbiter.stop();
        }
        // A hung thread would hang the join; then the wait for it ends first, and the process with it. Where there can be no thread
        // for that, there is nothing to wait for.
        let joins = thread::Builder::new().spawn(move || {
            for arbiter in self.0.into_values() {
                let _ = arbiter.join();
            }
            let _ = joined.send(());
        });
        joins.is_ok() && all.recv_timeout(JOIN_WITHIN).is_ok()
    }
}
