//! One life of a child: begun on its thread, watched until its end, whatever ends it.
//!
//! `actix::Supervisor` does not restart an actor that panicked, so this does not use it: the child's context is run
//! as a task of its own, whose end a second task awaits and reports.

use std::{any::Any, fmt, panic::AssertUnwindSafe, sync::Arc};

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use tokio::task::{AbortHandle, JoinError};

use super::{
    drain::Drain,
    progress::{Ping, Progress},
};
use crate::{limits::THREADS, panics};

/// Which life of which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LifeId {
    /// The index of its entry.
    pub(super) child: usize,
    /// From 1.
    pub(super) number: u64,
}

/// What a child is given for one life: how it speaks to its supervisor.
pub(crate) struct Life {
    pub(super) id: LifeId,
    /// Where the child says what it works at.
    pub(crate) progress: Arc<Progress>,
    pub(super) supervisor: Recipient<Report>,
}

/// Why a child is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// One of its handlers or futures panicked.
    Panicked(String),
    /// It ended unasked.
    Stopped,
    /// It made no progress at this and was ended.
    Hung(&'static str),
    /// Its thread is gone.
    ThreadGone,
    /// There can be no thread for it, for this reason.
    NoThread(String),
}

/// What the supervisor is told of a life.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Report {
    pub(super) id: LifeId,
    pub(super) event: Event,
}

/// What has happened to a child.
pub(super) enum Event {
    /// It lives.
    Up { addr: Box<dyn Address>, abort: AbortHandle },
    /// It says that it has nothing left, takes nothing more, and can be ended.
    Drained,
    /// It is down.
    Down(Cause),
}

/// The address of a child, whichever actor it is.
pub(super) trait Address: Any + Send {
    fn ping(&self);
    fn drain(&self);
}

/// An actor that can be a child.
pub(crate) trait Supervised: Actor<Context = Context<Self>> + Handler<Ping> + Handler<Drain> {}

impl<A: Actor<Context = Context<A>> + Handler<Ping> + Handler<Drain>> Supervised for A {}

impl Life {
    /// The child has drained: it has nothing left, takes nothing more, and can be ended.
    pub(crate) fn say_drained(&self) {
        self.supervisor.do_send(Report { id: self.id, event: Event::Drained });
    }
}

/// Starts a life on an arbiter. Its supervisor is told when it is up and when it is down.
pub(super) fn start<A: Supervised>(arbiter: &ArbiterHandle, life: Life, make: impl FnOnce(Life) -> A + Send + 'static) {
    let (id, supervisor) = (life.id, life.supervisor.clone());
    let watcher = Watcher { id, supervisor: supervisor.clone(), cause: Cause::ThreadGone };
    // A dead arbiter drops the closure, and with it the watcher, which reports that.
    let _ = arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            // Making an actor may panic like anything else it does.
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| make(life)));
            let cause = match made {
                Err(payload) => Cause::Panicked(panics::words(payload.as_ref())),
                Ok(actor) => {
                    let context = Context::new();
                    let addr = Box::new(context.address());
                    let task = actix_rt::spawn(context.into_future(actor));
                    supervisor.do_send(Report { id, event: Event::Up { addr, abort: task.abort_handle() } });
                    match task.await {
                        Ok(()) => Cause::Stopped,
                        Err(error) => cause_of(error),
                    }
                }
            };
            watcher.report(cause);
        });
    });
}

fn cause_of(error: JoinError) -> Cause {
    match error.try_into_panic() {
        Ok(payload) => Cause::Panicked(panics::words(payload.as_ref())),
        Err(_) => Cause::Stopped,
    }
}

/// Reports a child's end when it is dropped, whatever drops it.
struct Watcher {
    id: LifeId,
    supervisor: Recipient<Report>,
    cause: Cause,
}

impl Watcher {
    fn report(mut self, cause: Cause) {
        self.cause = cause;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.supervisor.do_send(Report { id: self.id, event: Event::Down(self.cause.clone()) });
    }
}

impl<A: Supervised> Address for Addr<A> {
    fn ping(&self) {
        self.do_send(Ping);
    }

    fn drain(&self) {
        self.do_send(Drain);
    }
}

impl Cause {
    /// The causes as words, for labels.
    pub(super) const LABELS: [&'static str; 5] = ["panicked", "stopped", "hung", "thread-gone", "no-thread"];

    /// The place of its label among them.
    pub(super) fn place(&self) -> usize {
        match self {
            Self::Panicked(_) => 0,
            Self::Stopped => 1,
            Self::Hung(_) => 2,
            Self::ThreadGone => 3,
            Self::NoThread(_) => 4,
        }
    }

    pub(super) fn label(&self) -> &'static str {
        Self::LABELS.get(self.place()).copied().unwrap_or_default()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Stopped => f.write_str("stopped though nobody asked it to"),
            Self::Hung(at) => write!(f, "made no progress at {at}"),
            Self::ThreadGone => f.write_str("lost its thread"),
            Self::NoThread(why) => write!(f, "could have no thread: {why}; {THREADS}"),
        }
    }
}
