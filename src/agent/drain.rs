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

/// Whether the agent is closing: a pause ends, and what cannot be published at the next attempt is given back.
#[derive(Clone, Debug)]
pub(super) struct Closing(watch::Sender<bool>);

impl Default for Closing {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Closing {
    /// Begins.
    pub(super) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when it has begun.
    pub(super) async fn begun(&self) {
        // The sender is in `self`, so the channel cannot close under this.
        drop(self.0.subscribe().wait_for(|begun| *begun).await);
    }

    /// Pauses for so long, or until it begins; says whether it has.
    pub(super) async fn begun_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.begun()).await.is_ok()
    }
}
