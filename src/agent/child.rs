//! A child: a factory, a watcher and a budget.
//!
//! `actix::Supervisor` does not restart an actor that panicked, so this does not use it: the child's context is run
//! as a task of its own, whose end a second task awaits and reports.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use tokio::{
    task::{AbortHandle, JoinError},
    time::Instant,
};

use super::{
    batcher::Batcher,
    listener::Listener,
    nanny::Nanny,
    progress::{Progress, Stuck},
    publisher::Publisher,
    receiver::Receiver,
    restart::RestartPolicy,
    supervisor::Supervisor,
};
use crate::{limits::THREADS, panics};

/// Which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ChildId {
    Receiver,
    Batcher,
    /// The number of the worker, from 0.
    Publisher(usize),
    Nanny,
    Listener,
}

/// Why a child is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A handler or a future of it panicked.
    Panicked(String),
    /// It ended though nobody asked it to.
    Stopped,
    /// It made no progress at this and was ended.
    Hung(&'static str),
    /// Its thread is gone.
    ThreadGone,
    /// There can be no thread for it, for this reason.
    NoThread(String),
}

/// A child's address, by its kind.
#[derive(Clone)]
pub(super) enum ChildAddr {
    Receiver(Addr<Receiver>),
    Batcher(Addr<Batcher>),
    Publisher(Addr<Publisher>),
    Nanny(Addr<Nanny>),
    Listener(Addr<Listener>),
}

/// A child lives.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Up {
    pub(super) id: ChildId,
    pub(super) life: u64,
    pub(super) addr: ChildAddr,
    pub(super) abort: AbortHandle,
}

/// A child is down.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Down {
    pub(super) id: ChildId,
    pub(super) life: u64,
    pub(super) cause: Cause,
}

/// What the supervisor knows of a child.
pub(super) struct Child {
    /// What it says of its progress.
    pub(super) progress: Arc<Progress>,
    /// Its budget of restarts.
    pub(super) policy: RestartPolicy,
    /// Which life it is in; reports of an earlier one are stale.
    pub(super) life: u64,
    /// When this life began.
    pub(super) since: Instant,
    /// What it is at.
    pub(super) state: State,
}

/// What a child is at.
pub(super) enum State {
    /// Waiting for its restart.
    Down,
    /// Being started on its thread.
    Starting,
    /// At work.
    Up { addr: ChildAddr, abort: AbortHandle },
    /// Ended for making no progress; its thread has not said so yet.
    Hung { stuck: Stuck, since: Instant },
    /// It has finished, or it failed for good.
    Finished,
}

/// Starts one life of a child on an arbiter. `Up` and `Down` are sent to the supervisor.
pub(super) fn start<A>(
    arbiter: &ArbiterHandle,
    id: ChildId,
    life: u64,
    supervisor: Addr<Supervisor>,
    make: impl FnOnce() -> A + Send + 'static,
    address: fn(Addr<A>) -> ChildAddr,
) where
    A: Actor<Context = Context<A>>,
{
    let watcher = Watcher { id, life, supervisor: supervisor.clone(), cause: Cause::ThreadGone };
    // A dead arbiter drops the closure, and with it the watcher, which reports that.
    let _ = arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            // Making an actor may panic like anything else it does.
            let made = std::panic::catch_unwind(AssertUnwindSafe(make));
            let cause = match made {
                Err(payload) => Cause::Panicked(panics::words(payload.as_ref())),
                Ok(actor) => {
                    let context = Context::new();
                    let addr = address(context.address());
                    let task = actix_rt::spawn(context.into_future(actor));
                    supervisor.do_send(Up { id, life, addr, abort: task.abort_handle() });
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
    id: ChildId,
    life: u64,
    supervisor: Addr<Supervisor>,
    cause: Cause,
}

impl Watcher {
    fn report(mut self, cause: Cause) {
        self.cause = cause;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.supervisor.do_send(Down { id: self.id, life: self.life, cause: self.cause.clone() });
    }
}

impl ChildAddr {
    /// Sends a message that every child takes.
    pub(super) fn send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Receiver: Handler<M>,
        Batcher: Handler<M>,
        Publisher: Handler<M>,
        Nanny: Handler<M>,
        Listener: Handler<M>,
    {
        match self {
            Self::Receiver(addr) => addr.do_send(message),
            Self::Batcher(addr) => addr.do_send(message),
            Self::Publisher(addr) => addr.do_send(message),
            Self::Nanny(addr) => addr.do_send(message),
            Self::Listener(addr) => addr.do_send(message),
        }
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver => f.write_str("receiver"),
            Self::Batcher => f.write_str("batcher"),
            Self::Publisher(worker) => write!(f, "publisher {}", worker + 1),
            Self::Nanny => f.write_str("nanny"),
            Self::Listener => f.write_str("listener"),
        }
    }
}

impl Cause {
    /// The cause as a word, for labels.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Panicked(_) => "panicked",
            Self::Stopped => "stopped",
            Self::Hung(_) => "hung",
            Self::ThreadGone => "thread-gone",
            Self::NoThread(_) => "no-thread",
        }
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
