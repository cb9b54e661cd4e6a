//! Whether the channel does what the actors ask of it, and what threatens the messages that wait in it: lasting conditions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::Logger;

use crate::{
    channel::{ChannelError, Completed, Pressure, Threat},
    codes::Code,
    status::conditions::{Condition, Conditions},
};

/// What an actor asks the channel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To take messages, and to wait for them.
    Receive,
    /// To complete what was published.
    Complete,
    /// To renew leases and to take them back.
    Tend,
    /// To serve clients, where they push to this process.
    Serve,
}

/// Says that messages were written whose leases are not ours any more.
pub(super) fn say_lost(completed: Completed, log: &Logger) {
    if completed.lost > 0 {
        slog::warn!(log, "leases had expired, or a failover had undone them, before they were completed; their messages are another agent's or wait again, and writing them again changes nothing";
            "code" => Code::Stolen.name(), "messages" => completed.lost);
    }
}

/// The health of one channel, as all who use it have found it.
#[derive(Debug)]
pub(super) struct ChannelHealth {
    conditions: Arc<Conditions>,
    /// The uses that the channel has refused and not allowed since. A channel that refuses one may well allow the others: a full
    /// Redis is drained, and only allows no waiting.
    refused: Mutex<Vec<Use>>,
}

impl ChannelHealth {
    /// Healthy until an actor finds otherwise.
    pub(super) fn new(conditions: Arc<Conditions>) -> Self {
        Self { conditions, refused: Mutex::default() }
    }

    fn refused(&self) -> MutexGuard<'_, Vec<Use>> {
        // Every change is whole before anything that could panic.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel is open.
    pub(super) fn is_open(&self) {
        self.conditions.end(Condition::Channel);
    }

    /// The channel failed.
    pub(super) fn failed(&self, at: Use, error: &ChannelError) {
        let mut refused = self.refused();
        if matches!(error, ChannelError::Refused { .. }) && !refused.contains(&at) {
            refused.push(at);
        }
        self.say_failed(error);
    }

    /// Says why the channel cannot be used, and what to do about it when waiting does not help.
    pub(super) fn say_failed(&self, error: &ChannelError) {
        match error {
            ChannelError::Unreachable { .. } => self.conditions.begin(Condition::Channel, &error.to_string(), None),
            ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend } => {
                self.conditions.begin(Condition::Channel, what, Some(mend));
            }
        }
    }

    /// The channel works. That it does again is said when all uses that were refused are allowed; when it could not be reached, any
    /// use shows that it can be.
    pub(super) fn works(&self, at: Use) {
        let mut refused = self.refused();
        refused.retain(|other| *other != at);
        if refused.is_empty() {
            self.conditions.end(Condition::Channel);
        }
    }

    /// Whether this use was refused and not allowed since.
    pub(super) fn is_refused(&self, at: Use) -> bool {
        self.refused().contains(&at)
    }

    /// Warnings about what waits in the channel begin, last or end.
    pub(super) fn note(&self, pressure: &Pressure) {
        for threat in Threat::ALL {
            match pressure.warnings.iter().find(|warning| warning.threat == threat) {
                Some(warning) => self.conditions.warn(warning),
                None => self.conditions.end(Condition::Threat(threat)),
            }
        }
    }
}

/// What the channel could not tell of itself so far, so that it is reported once.
#[derive(Debug, Default)]
pub(super) struct Reported(Vec<String>);

impl Reported {
    /// Reports what is new.
    pub(super) fn report(&mut self, unknown: Vec<String>, log: &slog::Logger) {
        for what in unknown {
            if !self.0.contains(&what) {
                slog::debug!(log, "not everything is known of how the channel stands"; "why" => &what);
                self.0.push(what);
            }
        }
    }
}
