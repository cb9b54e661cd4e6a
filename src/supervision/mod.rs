//! Keeps actors at work: restarts those that fail, drains them in order, and gives up when restarts do not help. Knows no actor by
//! name, and nothing of channels, publishers or systemd.
//!
//! [`Supervision::start`] takes [`Children`]: each is one entry, with a name, the [`Thread`] that it lives on, its turn to drain, and how
//! a new [`Life`] of it is made; and which of them sends messages to which, so that both are [introduced](Children::introduce) anew
//! whenever one of them has come up.
//!
//! ```text
//!     ┌──────────── Down, within the budget of restarts ────────────┐
//!     v                                                              │
//!  Waiting ──> Starting ──> Up ── makes no progress ──> Hung         │
//!                 │         │ │                          │           │
//!                 └─────────│─┴──────────────────────────┴───────────┤
//!                           └─ Drained ──> Finished <────────────────┘ Down, out of budget or at the end
//! ```
//!
//! | promise | where |
//! |---|---|
//! | a child that panics, stops or loses its thread is noticed | [`life`] |
//! | a failed child is restarted after growing pauses, and only so often in the time that it works | [`restart`] |
//! | a child that makes no progress is ended and restarted; a thread that does not answer is given up | [`progress`], [`supervisor`] |
//! | so is the thread that the supervisor lives on | [`heartbeat`] |
//! | children that the others can do without are ended together and tried again, and neither they nor a thread of theirs that hangs ends the process | [`groups`] |
//! | children drain in their turns, within a time, and no pause outlasts the beginning of the end | [`drain`], [`ending`] |
//! | a group is built anew while all others go on, and no child of it works beside the one that it takes the place of | [`rebuild`] |
//! | how each child is can be read at any time | [`reports`] |
//! | every thread is joined, so that whatever an actor held is dropped | [`threads`] |

mod children;
mod drain;
mod ending;
mod error;
mod groups;
mod heartbeat;
mod life;
mod progress;
mod rebuild;
mod reports;
mod restart;
mod supervisor;
mod threads;

use actix::prelude::*;
use tokio::sync::oneshot;

use self::{
    heartbeat::{Heartbeat, Watch},
    supervisor::{ABORT_GRACE, End, Supervisor},
    threads::Threads,
};

pub use self::error::Error;
#[cfg(test)]
pub(crate) use self::supervisor::Nobody;
pub(crate) use self::{
    children::{Children, Held, Neighbour},
    drain::{Closing, Drain},
    life::Life,
    progress::{Ping, Progress, answers_pings},
    rebuild::Rebuild,
    reports::{ChildEvent, ChildEventKind, ChildPhase, Report as ChildReport, Reports},
    supervisor::{Observer, Rules, Stop},
    threads::Thread,
};

/// A supervisor at work, and its children.
pub(crate) struct Supervision {
    supervisor: Addr<Supervisor>,
    end: oneshot::Receiver<End>,
    watch: Watch,
}

impl Supervision {
    /// Starts the children. Should the thread hang on which this is called, a thread of its own calls `hung`, and ends the process
    /// with the exit code that it gives.
    pub(crate) fn start(children: Children, rules: Rules, hung: impl FnOnce() -> u8 + Send + 'static) -> Self {
        let (ended, end) = oneshot::channel();
        let heartbeat = Heartbeat::default();
        let watch = heartbeat.watch(rules.restarts.hang_timeout + ABORT_GRACE, &rules.log, hung);
        let supervisor = Supervisor::new(children, rules, heartbeat, ended).start();
        Self { supervisor, end, watch }
    }

    /// Where to send the order to stop: the children drain, in their turns.
    pub(crate) fn stop(&self) -> Recipient<Stop> {
        self.supervisor.clone().recipient()
    }

    /// Where to send the order to build a group anew.
    pub(crate) fn rebuild(&self) -> Recipient<Rebuild> {
        self.supervisor.clone().recipient()
    }

    /// Has a child fail.
    #[cfg(test)]
    pub(crate) fn fail(&self, child: &'static str) {
        self.supervisor.do_send(supervisor::Fail(child));
    }

    /// Completes when it is over, with the reason, where the end was not asked for or took too long; and with whether every thread
    /// has ended, and with it whatever its actors held.
    pub(crate) async fn ended(self) -> (Result<(), Error>, bool) {
        let (end, threads) = self.end.await.unwrap_or_else(|_| (Err(Error::SupervisorFailed), Threads::default()));
        drop(self.watch);
        (end, threads.join())
    }
}
