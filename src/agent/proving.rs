//! Whether a destination would take something, found out before there is anything to write: readiness does not wait for the first
//! message, and what has to be mended is known before it comes.

use std::sync::Arc;

use super::publisher::Params;
use crate::{backoff::Backoff, failpoint::failing, publisher::Outcome, status::conditions::Condition};

/// Asks until there is proof, by an answer or by a batch that was written; while a batch is in flight that says how it is. An agent
/// whose status nobody can see has no use for it.
pub(super) async fn prove(params: Arc<Params>) {
    let mut destination = params.destination.make();
    let settings = &params.settings.publisher;
    let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
    let waits = || params.permits.in_flight().0 == 0 && !params.counters.is_proven();
    while !params.counters.is_proven() && !params.closing.has_begun() {
        if waits() {
            let outcome = failing("publisher.probe.error", destination.probe()).await;
            match outcome {
                _ if !waits() => {}
                Outcome::Written { .. } | Outcome::Progressed => {
                    params.counters.proven();
                    params.conditions.end(Condition::Publisher);
                    return;
                }
                Outcome::Retry { why, .. } => params.is_away(&why),
                Outcome::Hold { code, what, mend } => params.is_held(code, &what, &mend),
            }
        }
        params.closing.begun_within(backoff.next_pause()).await;
    }
}
