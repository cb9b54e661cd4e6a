//! The [`Limiter`] that all publishers of a pipeline share: how many batches are in flight, and which attempt may begin.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Failure, LIMIT_AT_FIRST, Limiter, Wrote};
use crate::{agent::batching::Limits, backoff::Backoff, supervision::Closing};

/// What is in flight, and what may be.
#[derive(Debug)]
pub(in crate::agent) struct Permits {
    state: Mutex<State>,
    /// Held by the one attempt that shows whether an outage is over.
    probe: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// How many batches are in flight, and how many bytes of messages they have.
    in_flight: usize,
    bytes: usize,
    /// How many bytes may be, where it is more than [`LIMIT_AT_FIRST`] batches.
    max_bytes: usize,
    /// Whether there is an [`Away`], and whether one batch may be tried even so.
    away: bool,
    trial: bool,
    /// The pauses of the last one, until something was written.
    pauses: Option<Backoff>,
}

/// A batch in flight, until this is dropped.
#[derive(Debug)]
pub(in crate::agent) struct Permit {
    permits: Arc<Permits>,
    bytes: usize,
}

/// The destination is away, until this is dropped or something was written: no batch may be in flight but for a trial, since its
/// messages are better off in the channel, where another agent can have them.
#[derive(Debug)]
pub(in crate::agent) struct Away {
    permits: Arc<Permits>,
    /// How long it should not be asked.
    pub(in crate::agent) pause: Duration,
    /// The pauses after that.
    pub(in crate::agent) backoff: Backoff,
}

/// An attempt to write, under way.
#[derive(Debug)]
pub(in crate::agent) struct Attempt<'a> {
    permits: &'a Permits,
    begun: Instant,
    _probe: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Permits {
    /// For up to so many batches of up to so many bytes of messages each.
    pub(in crate::agent) fn new(max: usize, max_bytes: usize) -> Self {
        let max = max.max(1);
        let limiter = Limiter::new(max, Instant::now());
        let max_bytes = max.saturating_mul(max_bytes);
        let state = State { limiter, in_flight: 0, bytes: 0, max_bytes, away: false, trial: false, pauses: None };
        Self { state: Mutex::new(state), probe: tokio::sync::Mutex::default() }
    }

    /// Whether another batch may be in flight now. Where messages are larger than a batch should be, there may be fewer, so that
    /// memory stays within its bound.
    pub(in crate::agent) fn is_one_free(&self) -> bool {
        let state = self.state();
        !state.holds_back()
            && state.in_flight < state.limiter.limit()
            && (state.in_flight < LIMIT_AT_FIRST || state.bytes < state.max_bytes)
    }

    /// Whether the destination is [`Away`].
    pub(in crate::agent) fn is_away(&self) -> bool {
        self.state().away
    }

    /// Whether it is, and nothing is to be tried.
    pub(in crate::agent) fn holds_back(&self) -> bool {
        self.state().holds_back()
    }

    /// The destination is away, from now on, and should not be asked for so long. `None` if it was before: then whoever found that out
    /// looks when it is back. One that was away, has answered and has taken nothing is left alone for longer than that.
    pub(in crate::agent) fn goes_away(self: &Arc<Self>, mut pause: Duration, mut backoff: Backoff) -> Option<Away> {
        let mut state = self.state();
        state.trial = false;
        if std::mem::replace(&mut state.away, true) {
            return None;
        }
        if let Some(before) = state.pauses.take() {
            backoff = before;
            pause += backoff.next_pause();
        }
        Some(Away { permits: Arc::clone(self), pause, backoff })
    }

    /// Whether it is not known that the destination takes anything: the last attempts have failed.
    pub(in crate::agent) fn is_probing(&self) -> bool {
        self.state().limiter.is_probing()
    }

    /// How many batches are in flight, and may be.
    pub(in crate::agent) fn in_flight(&self) -> (u64, u64) {
        let state = self.state();
        (state.in_flight as u64, state.limiter.limit() as u64)
    }

    /// Takes a permit for so many bytes of messages, also beyond the limit: a batch that is there must go on.
    pub(in crate::agent) fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        let mut state = self.state();
        state.in_flight += 1;
        state.trial = false;
        state.bytes = state.bytes.saturating_add(bytes);
        Permit { permits: Arc::clone(self), bytes }
    }

    /// What a batch may have now.
    pub(in crate::agent) fn limits(&self, limits: Limits) -> Limits {
        self.state().limiter.limits(limits)
    }

    /// Begins an attempt. It waits only for another one that shows whether an outage is over, and not while the agent closes: then
    /// each batch has one more chance.
    pub(in crate::agent) async fn attempt(&self, closing: &Closing) -> Attempt<'_> {
        let probe = if self.is_probing() {
            tokio::select! {
                probe = self.probe.lock() => Some(probe),
                () = closing.begun() => None,
            }
        } else {
            None
        };
        Attempt { permits: self, begun: Instant::now(), _probe: probe }
    }

    /// Learns from a batch that was written. Returns the limit if that has changed it.
    pub(in crate::agent) fn wrote(&self, wrote: Wrote) -> Option<usize> {
        let limiter = &mut self.state().limiter;
        let before = limiter.limit();
        limiter.wrote(wrote);
        Some(limiter.limit()).filter(|limit| *limit != before)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// By how much requests are divided now.
    pub(in crate::agent) fn divisor(&self) -> usize {
        self.permits.state().limiter.divisor()
    }

    /// The destination took something.
    pub(in crate::agent) fn succeeded(self) {
        let mut state = self.permits.state();
        state.limiter.answered(self.begun, Instant::now());
        (state.away, state.pauses) = (false, None);
    }

    /// The destination took nothing. Returns whether more batches wait for it than should: then the one of this attempt is better off in
    /// the channel, where another agent can have it.
    pub(in crate::agent) fn failed(self, failure: Failure) -> bool {
        let mut state = self.permits.state();
        state.limiter.failed(failure, Instant::now());
        state.limiter.divisor() > 1 && state.in_flight > state.limiter.limit()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.state();
        state.in_flight -= 1;
        state.bytes -= self.bytes;
    }
}

impl State {
    fn holds_back(&self) -> bool {
        self.away && !self.trial
    }
}

impl Away {
    /// One batch may be tried.
    pub(in crate::agent) fn try_one(&self) {
        self.permits.state().trial = true;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let mut state = self.permits.state();
        if std::mem::take(&mut state.away) {
            state.pauses = Some(self.backoff.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task};

    use super::*;

    fn now<F: Future>(future: F) -> Option<F::Output> {
        let mut context = task::Context::from_waker(task::Waker::noop());
        match pin!(future).poll(&mut context) {
            task::Poll::Ready(output) => Some(output),
            task::Poll::Pending => None,
        }
    }

    fn after_an_outage() -> Permits {
        let permits = Permits::new(6, 100);
        for _ in 0..2 {
            now(permits.attempt(&Closing::default())).unwrap().failed(Failure::Retry);
        }
        permits
    }

    #[test]
    fn a_permit_is_free_again_when_its_batch_is_done_with_or_lost() {
        let permits = Arc::new(Permits::new(2, 100));
        let (one, two) = (permits.take(100), permits.take(100));
        assert!(!permits.is_one_free());
        drop(one);
        assert!(permits.is_one_free());
        let three = permits.take(100);
        let panicked = std::thread::spawn(move || {
            let _permit = three;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.join().is_err());
        assert!(permits.is_one_free());
        drop(two);
    }

    #[test]
    fn large_messages_take_the_permits_of_several_batches_but_two_always_go() {
        let permits = Arc::new(Permits::new(6, 100));
        // A backlog, and a destination that takes more at once.
        let mut batch = 0;
        while permits.state().limiter.limit() < 6 {
            batch += 1;
            let begun = Instant::now() + Duration::from_millis(100 * batch);
            permits.wrote(Wrote { points: 100 << batch, full: true, begun, done: begun + Duration::from_millis(10) });
        }
        let _one = permits.take(400);
        assert!(permits.is_one_free());
        let two = permits.take(400);
        assert!(!permits.is_one_free(), "more bytes than six batches should have");
        drop(two);
        let _small: Vec<_> = (0..2).map(|_| permits.take(100)).collect();
        assert!(!permits.is_one_free());
    }

    #[test]
    fn after_an_outage_what_waits_beyond_two_batches_is_given_back() {
        let permits = Arc::new(after_an_outage());
        let mut held: Vec<_> = (0..6).map(|_| permits.take(100)).collect();
        let failed = || now(permits.attempt(&Closing::default())).unwrap().failed(Failure::Retry);
        while held.len() > LIMIT_AT_FIRST {
            assert!(failed());
            held.pop();
        }
        assert!(!failed());
        assert!(!permits.is_one_free());
    }

    #[test]
    fn while_the_destination_is_away_no_batch_may_be_in_flight_until_somebody_has_seen_it_back_or_has_died() {
        let ends: [fn(&Permits, Away); 2] =
            [|_, away| drop(away), |permits, _away| now(permits.attempt(&Closing::default())).unwrap().succeeded()];
        for end in ends {
            let permits = Arc::new(Permits::new(2, 100));
            let goes_away = || permits.goes_away(Duration::ZERO, Backoff::new(Duration::ZERO, Duration::ZERO));
            let away = goes_away().unwrap();
            assert!(permits.is_away() && !permits.is_one_free());
            assert!(goes_away().is_none(), "somebody looks already");
            away.try_one();
            assert!(permits.is_away() && !permits.holds_back() && permits.is_one_free());
            let trial = permits.take(100);
            assert!(permits.holds_back() && !permits.is_one_free());
            drop(trial);
            assert!(permits.holds_back() && !permits.is_one_free());
            end(&permits, away);
            assert!(!permits.is_away() && permits.is_one_free());
        }
    }

    #[test]
    fn a_batch_that_fails_once_is_not_given_back() {
        let permits = Arc::new(Permits::new(1, 100));
        let _held: Vec<_> = (0..2).map(|_| permits.take(100)).collect();
        assert!(!now(permits.attempt(&Closing::default())).unwrap().failed(Failure::Retry));
    }

    #[test]
    fn while_the_destination_works_no_attempt_waits() {
        let (permits, closing) = (Permits::new(6, 100), Closing::default());
        let attempts: Vec<_> = (0..64).filter_map(|_| now(permits.attempt(&closing))).collect();
        assert_eq!(attempts.len(), 64);
    }

    #[actix_rt::test]
    async fn after_an_outage_one_attempt_probes_and_the_next_goes_on_when_it_is_over_however_it_ends() {
        let ends: [fn(Attempt<'_>); 3] =
            [|attempt| drop(attempt), |attempt| _ = attempt.failed(Failure::Hold), |attempt| attempt.succeeded()];
        for end in ends {
            let (permits, closing) = (after_an_outage(), Closing::default());
            let attempt = permits.attempt(&closing).await;
            let mut next = pin!(permits.attempt(&closing));
            assert!(now(next.as_mut()).is_none());
            end(attempt);
            assert!(now(next.as_mut()).is_some());
        }
    }

    #[test]
    fn an_answer_to_the_probe_lets_all_go_on() {
        let (permits, closing) = (after_an_outage(), Closing::default());
        now(permits.attempt(&closing)).unwrap().succeeded();
        let both = (now(permits.attempt(&closing)).unwrap(), now(permits.attempt(&closing)).unwrap());
        assert_eq!(both.0.divisor(), 32);
    }

    #[actix_rt::test]
    async fn an_answer_is_prompt_or_late_by_the_time_since_its_attempt_began() {
        tokio::time::pause();
        let (permits, closing) = (after_an_outage(), Closing::default());
        let attempt = permits.attempt(&closing).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        attempt.succeeded();
        assert_eq!(permits.attempt(&closing).await.divisor(), 64);
        permits.attempt(&closing).await.succeeded();
        assert_eq!(permits.attempt(&closing).await.divisor(), 32);
    }

    #[test]
    fn when_the_agent_closes_no_attempt_waits() {
        let (permits, closing) = (after_an_outage(), Closing::default());
        let held = now(permits.attempt(&closing)).unwrap();
        let mut next = pin!(permits.attempt(&closing));
        assert!(now(next.as_mut()).is_none());
        closing.begin();
        assert!(now(next.as_mut()).is_some());
        drop(held);
    }
}
