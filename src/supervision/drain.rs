//! The end of the work: every child learns at once that the end has begun, so that none pauses for better times; then [`Drain`]
//! travels behind the data, from turn to turn.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

/// To finish what is there, take nothing more, and [say so](super::Life::say_drained). Sent to a child when no other sends it data any more.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Whether the end has begun: then each pause ends, and so it does when what has failed is worth an attempt at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing(watch::Sender<Told>);

/// What ends a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    closing: bool,
    /// How often it was said that another attempt is worth it.
    attempts: u64,
}

impl Closing {
    /// Begins.
    pub(crate) fn begin(&self) {
        self.0.send_modify(|told| told.closing = true);
    }

    /// Ends every pause that has begun: what was refused may be taken now.
    pub(crate) fn try_again(&self) {
        self.0.send_modify(|told| told.attempts += 1);
    }

    /// Whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.borrow().closing
    }

    /// Completes when it has begun.
    pub(crate) async fn begun(&self) {
        // The sender is in `self`, so the channel cannot close under this.
        drop(self.0.subscribe().wait_for(|told| told.closing).await);
    }

    /// Pauses for so long, until it begins, or until [`Closing::try_again`]; says whether it has begun.
    pub(crate) async fn begun_within(&self, pause: Duration) -> bool {
        let mut told = self.0.subscribe();
        let attempts = told.borrow().attempts;
        // Whichever ends it, what counts is how it stands then.
        drop(tokio::time::timeout(pause, told.wait_for(|told| told.closing || told.attempts != attempts)).await);
        self.has_begun()
    }
}
