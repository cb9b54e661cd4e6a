//! What every child is given.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{drain::Closing, heartbeat::Heartbeat, limiter::permits::Permits};
use crate::{
    channel::{Channel, ChannelError, Patience},
    observe::log::Output,
    publisher::Publishers,
    status::{
        conditions::{Condition, Conditions},
        dead_letters::DeadLetterSayings,
    },
};

/// What every child is given, whichever life it is in.
pub(super) struct Environment {
    /// Where messages come from and are settled.
    pub(super) channel: Arc<dyn Channel>,
    /// Makes a publisher on the thread that will use it.
    pub(super) publishers: Publishers,
    /// States that last, such as a server that cannot be reached.
    pub(super) conditions: Arc<Conditions>,
    /// What the channel refuses.
    pub(super) refused: Refused,
    /// Says that messages were set aside.
    pub(super) dead_letters: DeadLetterSayings,
    /// The log.
    pub(super) log: slog::Logger,
    /// What writes the log.
    pub(super) output: Option<Output>,
    /// Whether the agent is closing.
    pub(super) closing: Closing,
    /// The supervisor's signs of life.
    pub(super) heartbeat: Heartbeat,
    /// The limits of a batch.
    pub(super) limits: super::batching::Limits,
    /// How much of all that may be in flight to the destination now.
    pub(super) permits: Arc<Permits>,
    /// The pauses between attempts to publish.
    pub(super) retry: (Duration, Duration),
    /// How long a piece of work may take.
    pub(super) hang_timeout: Duration,
    /// How long a lease lasts.
    pub(super) lease: Duration,
    /// How often to look for leases that nobody holds.
    pub(super) recover_every: Duration,
    /// From when on a backlog is worth a warning.
    pub(super) patience: Patience,
    /// Where children live.
    pub(super) threads: Threads,
}

/// On which threads children live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// What may keep a thread busy has one of its own.
    Own,
    /// All on the supervisor's, so that one clock is everybody's: a test can stop and move it.
    #[cfg(test)]
    One,
}

/// What is done with the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Taking messages, and waiting for them.
    Receive,
    /// Completing what was published.
    Complete,
    /// Renewing leases and taking them back.
    Tend,
    /// Serving clients, where they push to this process.
    Serve,
}

/// The steps that the channel has refused and not done since. One that refuses one step may well do the others: a full
/// Redis is drained, and only does not let anybody wait.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Vec<Step>>);

impl Refused {
    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment {
    /// A step of the channel failed.
    pub(super) fn channel_failed(&self, step: Step, error: &ChannelError) {
        let mut refused = self.refused.steps();
        if matches!(error, ChannelError::Refused { .. }) && !refused.contains(&step) {
            refused.push(step);
        }
        say_channel_failed(&self.conditions, error);
    }

    /// A step of the channel went well. That it works again is said when all do that were refused; when it could not be
    /// reached, any step shows that it can be.
    pub(super) fn channel_works(&self, step: Step) {
        let mut refused = self.refused.steps();
        refused.retain(|other| *other != step);
        if refused.is_empty() {
            self.conditions.end(Condition::Channel);
        }
    }

    /// Whether this step was refused and not done since.
    pub(super) fn is_refused(&self, step: Step) -> bool {
        self.refused.steps().contains(&step)
    }
}

/// Says why the channel cannot be used, and what to do about it when waiting does not help.
pub(super) fn say_channel_failed(conditions: &Conditions, error: &ChannelError) {
    match error {
        ChannelError::Unreachable { .. } => conditions.begin(Condition::Channel, &error.to_string(), None),
        ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend } => {
            conditions.begin(Condition::Channel, what, Some(mend));
        }
    }
}
