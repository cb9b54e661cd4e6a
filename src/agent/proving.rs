//! Whether a destination would take something, found out without anything to write: at the beginning, so that readiness does not wait
//! for the first message and what has to be mended is known before it comes; while the destination is away; and where something could
//! not be written that this agent does not have any more, so that it is known when that is over.

use std::time::Duration;

use tokio::time::Instant;

use super::publisher::Params;
use crate::{
    backoff::Backoff,
    failpoint::failing,
    publisher::{Outcome, Publisher},
    status::conditions::Condition,
};

/// How long a batch that waits has to be written, which says more than an answer without one.
const FIRST: Duration = Duration::from_secs(1);

/// Whether it should be asked.
pub(super) fn is_due(params: &Params) -> bool {
    !params.closing.has_begun() && (params.permits.is_away() || is_in_doubt(params))
}

/// Asks until a destination that was away is back, or a batch may be tried; until one that is in doubt has answered; or until either is no
/// more. Then something may be done that could not be before.
pub(super) async fn ask(params: &Params) {
    let mut destination = params.destination.make();
    if params.permits.is_away() {
        see_it_back(params, destination.as_mut()).await;
    } else {
        prove(params, destination.as_mut()).await;
    }
}

/// While a batch is in flight that says how it is, and an agent whose status nobody can see has no use for the proof.
fn is_in_doubt(params: &Params) -> bool {
    let is_unproven = params.is_seen && !params.counters.is_proven();
    let is_idle = params.permits.in_flight().0 == 0 && !params.permits.is_away();
    is_idle && (is_unproven || params.conditions.is_active(Condition::Publisher))
}

async fn prove(params: &Params, destination: &mut dyn Publisher) {
    let settings = &params.settings.publisher;
    let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
    let mut pause = if params.counters.is_proven() { FIRST } else { Duration::ZERO };
    while !params.closing.begun_within(pause).await && is_in_doubt(params) {
        let answer = question(destination).await;
        if !is_in_doubt(params) {
            return;
        }
        match note(answer, params) {
            None => {
                params.conditions.end(Condition::Publisher);
                return;
            }
            // Behind what the server asked for, since it asks the same of every agent.
            Some(alone) => pause = alone + backoff.next_pause(),
        }
    }
}

/// That it works is said once something was written, or by [`prove`]: it may answer and still take nothing.
async fn see_it_back(params: &Params, destination: &mut dyn Publisher) {
    let permits = &params.permits;
    while let Some(ask_at) = permits.ask_at() {
        if params.closing.begun_within(ask_at.saturating_duration_since(Instant::now())).await {
            return;
        }
        if permits.ask_at() != Some(ask_at) {
            continue;
        }
        let answer = question(destination).await;
        if !permits.is_away() {
            return;
        }
        match note(answer, params) {
            None => permits.is_back(),
            Some(alone) if permits.was_asked(alone) => return,
            Some(_) => {}
        }
    }
}

/// Asks without anything to write.
pub(super) async fn question(destination: &mut dyn Publisher) -> Outcome {
    failing("publisher.probe.error", destination.probe()).await
}

/// Notes an answer. Returns for how long the destination wants to be left alone, unless it works.
fn note(answer: Outcome, params: &Params) -> Option<Duration> {
    match answer {
        Outcome::Written { .. } | Outcome::Progressed => {
            params.counters.proven();
            None
        }
        Outcome::Retry { after, why } => {
            params.is_away(&why);
            Some(after.unwrap_or_default())
        }
        Outcome::Hold { code, what, mend } => {
            params.is_held(code, &what, &mend);
            Some(Duration::ZERO)
        }
    }
}
