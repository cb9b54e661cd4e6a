//! Watching the channel: what threatens waiting messages becomes a lasting condition.

use std::sync::Arc;

use super::{
    environment::Environment,
    failpoint::{failing, stall_point},
    progress::Progress,
};
use crate::{
    channel::{Pressure, Threat},
    status::conditions::Condition,
};

/// What the channel would not tell so far, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Untold(Vec<String>);

/// Looks once: warnings begin, last or end. Returns what the channel would not tell; nothing when it cannot be asked,
/// since whoever needs it says that.
pub(super) async fn look(environment: Arc<Environment>, progress: Arc<Progress>) -> Vec<String> {
    let _work = progress.begin("looking how the channel stands", environment.hang_timeout);
    let conditions = &environment.conditions;
    stall_point!("nanny.looking");
    match failing("nanny.look.error", environment.channel.pressure(&environment.patience)).await {
        Ok(Pressure { warnings, unknown, .. }) => {
            for threat in Threat::ALL {
                match warnings.iter().find(|warning| warning.threat == threat) {
                    Some(warning) => conditions.warn(warning),
                    None => conditions.end(Condition::Threat(threat)),
                }
            }
            unknown
        }
        Err(error) => {
            slog::debug!(environment.log, "cannot tell how the channel stands"; "error" => %error);
            Vec::new()
        }
    }
}

impl Untold {
    /// Says what is new.
    pub(super) fn say(&mut self, unknown: Vec<String>, log: &slog::Logger) {
        for what in unknown {
            if !self.0.contains(&what) {
                slog::debug!(log, "not everything is known of how the channel stands"; "why" => &what);
                self.0.push(what);
            }
        }
    }
}
