//! Whether a destination would take something, found out before there is anything to write: readiness does not wait for the first
//! message, and what has to be mended is known before it comes.

use std::sync::Arc;

use super::publisher::Params;
use crate::{
    backoff::Backoff,
    failpoint::failing,
    publisher::Outcome,
    status::{conditions::Condition, counters::Retry},
};

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
            let told = |sentence: &str| params.settings.said(sentence);
            match outcome {
                _ if !waits() => {}
                Outcome::Written { .. } | Outcome::Progressed => {
                    params.counters.proven();
                    params.conditions.end(Condition::Publisher);
                    return;
                }
                Outcome::Retry { why, .. } => {
                    params.counters.failed(Retry::Away, &told(&why));
                    params.conditions.begin(Condition::Publisher, &told(&why), None);
                }
                Outcome::Hold { code, what, mend } => {
                    params.counters.failed(Retry::Hold, &told(&what));
                    params.conditions.begin_with(Condition::Publisher, code, &told(&what), Some(&told(&mend)));
                }
            }
        }
        params.closing.begun_within(backoff.next_pause()).await;
    }
}
