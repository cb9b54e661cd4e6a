//! The end of the work: every child learns at once that the end has begun, so that none pauses for better times; then [`Drain`]
//! travels behind the data, from turn to turn.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::prelude::*;
use tokio::sync::watch;

/// To finish what is there, take nothing more, and [say so](super::Life::say_drained). Sent to a child when no other sends it data any more.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Whether the end has begun: then each pause ends, and so it does when what has failed is worth an attempt at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing {
    told: watch::Sender<Told>,
    /// What ends with this, and may end before.
    parts: Arc<Mutex<Vec<Closing>>>,
}

/// What ends a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    closing: bool,
    /// How often it was said that another attempt is worth it.
    attempts: u64,
}

impl Closing {
    /// The end of a part: begins with this one, or before by itself.
    pub(crate) fn part(&self) -> Self {
        let mut parts = self.parts();
        let part = Self { told: watch::Sender::new(*self.told.borrow()), parts: Arc::default() };
        // Those that have begun have ended, and hear of nothing any more.
        parts.retain(|part| !part.has_begun());
        parts.push(part.clone());
        part
    }

    /// Begins.
    pub(crate) fn begin(&self) {
        self.tell(|told| told.closing = true);
    }

    /// Ends every pause that has begun: what was refused may be taken now.
    pub(crate) fn try_again(&self) {
        self.tell(|told| told.attempts += 1);
    }

    fn tell(&self, change: fn(&mut Told)) {
        let parts = self.parts();
        self.told.send_modify(change);
        parts.iter().for_each(|part| part.tell(change));
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Self>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.told.borrow().closing
    }

    /// Completes when it has begun.
    pub(crate) async fn begun(&self) {
        // The sender is in `self`, so the channel cannot close under this.
        drop(self.told.subscribe().wait_for(|told| told.closing).await);
    }

    /// Pauses for so long, until it begins, or until [`Closing::try_again`]; says whether it has begun.
    pub(crate) async fn begun_within(&self, pause: Duration) -> bool {
        let mut told = self.told.subscribe();
        let attempts = told.borrow().attempts;
        // Whichever ends it, what counts is how it stands then.
        drop(tokio::time::timeout(pause, told.wait_for(|told| told.closing || told.attempts != attempts)).await);
        self.has_begun()
    }
}
