//! Whether a destination would take something, found out without anything to write: at the beginning, so that readiness does not wait
//! for the first message and what has to be mended is known before it comes, and while the destination is away.

use std::{sync::Arc, time::Duration};

use super::{limiter::permits::Away, publisher::Params};
use crate::{backoff::Backoff, failpoint::failing, publisher::Outcome, status::conditions::Condition};

/// How often a destination that is away is asked before a batch is tried once: it may be nothing but the question that it refuses.
const TRIAL: usize = 8;

/// Asks until there is proof, by an answer or by a batch that was written; while a batch is in flight that says how it is. An agent
/// whose status nobody can see has no use for it.
pub(super) async fn prove(params: Arc<Params>) {
    let settings = &params.settings.publisher;
    let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
    let waits = || params.permits.in_flight().0 == 0 && !params.permits.is_away();
    let mut at_once = Duration::ZERO;
    ask(&params, (&mut at_once, &mut backoff), usize::MAX, waits, || params.counters.is_proven()).await;
}

/// Asks until a destination that was away is back, or something was written. Returns it when it is still away, and a batch may be tried
/// meanwhile.
pub(super) async fn see_it_back(params: Arc<Params>, mut away: Away) -> Option<Away> {
    let pauses = (&mut away.pause, &mut away.backoff);
    let over = ask(&params, pauses, TRIAL, || true, || !params.permits.is_away()).await;
    if over {
        return None;
    }
    away.try_one();
    Some(away)
}

/// Asks after a pause, and again and again while it `waits` for an answer, until it is one by which the destination works, it `is_over`,
/// or there were so many at `most`. Returns whether it is over.
async fn ask(
    params: &Params,
    (pause, backoff): (&mut Duration, &mut Backoff),
    most: usize,
    waits: impl Fn() -> bool,
    is_over: impl Fn() -> bool,
) -> bool {
    let mut destination = params.destination.make();
    let mut asked = 0;
    while asked < most {
        if params.closing.begun_within(*pause).await || is_over() {
            return true;
        }
        *pause = backoff.next_pause();
        if !waits() {
            continue;
        }
        asked += 1;
        params.counters.attempt();
        let outcome = failing("publisher.probe.error", destination.probe()).await;
        match outcome {
            _ if is_over() || !waits() => {}
            Outcome::Written { .. } | Outcome::Progressed => {
                params.counters.proven();
                params.conditions.end(Condition::Publisher);
                return true;
            }
            Outcome::Retry { after, why } => {
                params.is_away(&why);
                // Behind what the server asked for, since it asks the same of every agent.
                *pause += after.unwrap_or_default();
            }
            Outcome::Hold { code, what, mend } => params.is_held(code, &what, &mend),
        }
    }
    false
}
