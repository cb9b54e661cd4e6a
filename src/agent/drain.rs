//! The end of the work: everybody learns at once that the agent is closing, so that nobody waits for better times;
//! then `Drain` travels behind the data, from child to child.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use super::supervisor::ChildId;

/// Finish what you have, take nothing more, and say [`Drained`]. Sent to a child when nobody sends it data any more.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct Drain;

/// A child has finished.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct Drained(pub(super) ChildId);

/// Whether the agent is closing: a pause ends, and what cannot be published at the next attempt is given back. A pause also
/// ends where what has failed is worth an attempt at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing(watch::Sender<Told>);

/// What everybody who pauses is told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    closing: bool,
    /// How often it was said that another attempt is worth it.
    attempts: u64,
}

impl Closing {
    /// Begins.
    pub(super) fn begin(&self) {
        self.0.send_modify(|told| told.closing = true);
    }

    /// Ends every pause that has begun: what was refused may be taken now.
    pub(super) fn try_again(&self) {
        self.0.send_modify(|told| told.attempts += 1);
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.0.borrow().closing
    }

    /// Completes when it has begun.
    pub(super) async fn begun(&self) {
        // The sender is in `self`, so the channel cannot close under this.
        drop(self.0.subscribe().wait_for(|told| told.closing).await);
    }

    /// Pauses for so long, until it begins, or until [`Closing::try_again`]; says whether it has begun.
    pub(super) async fn begun_within(&self, pause: Duration) -> bool {
        let mut told = self.0.subscribe();
        let attempts = told.borrow().attempts;
        // Whichever ends it, what counts is how it stands then.
        drop(tokio::time::timeout(pause, told.wait_for(|told| told.closing || told.attempts != attempts)).await);
        self.has_begun()
    }
}
