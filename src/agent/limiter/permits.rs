//! The [`Limiter`] that all publishers of a pipeline share: how many batches are in flight, and which attempt may begin.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Failure, LIMIT_AT_FIRST, Limiter, Wrote};
use crate::{agent::batching::Limits, backoff::Backoff, supervision::Closing};

/// What is in flight, and what may be.
#[derive(Debug)]
pub(in crate::agent) struct Permits {
    state: Mutex<State>,
    /// Held by the one attempt that shows whether an outage is over.
    probe: tokio::sync::Mutex<()>,
    /// Notified when no batch may be in flight any more.
    held_back: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// How many batches are in flight, and how many bytes of messages they have.
    in_flight: usize,
    bytes: usize,
    /// How many bytes may be, where it is more than [`LIMIT_AT_FIRST`] batches.
    max_bytes: usize,
    /// No batch may be in flight, since its messages are better off in the channel, where another agent can have them.
    away: Option<Away>,
    /// One may be even so.
    trial: bool,
    /// The pauses of the last time that the destination was away, until something was written.
    pauses: Option<Backoff>,
}

/// A batch in flight, until this is dropped.
#[derive(Debug)]
pub(in crate::agent) struct Permit {
    permits: Arc<Permits>,
    bytes: usize,
}

/// The destination is away, until it has answered a question or something was written.
#[derive(Debug)]
struct Away {
    /// When it is asked.
    ask_at: Instant,
    /// The pauses after that.
    backoff: Backoff,
    /// How often it was.
    asked: usize,
}

/// How often a destination that is away is asked before a batch is tried once: it may be nothing but the question that it refuses.
const TRIAL: usize = 8;

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
        let state = State { limiter, in_flight: 0, bytes: 0, max_bytes, away: None, trial: false, pauses: None };
        Self { state: Mutex::new(state), probe: tokio::sync::Mutex::default(), held_back: Notify::new() }
    }

    /// Whether another batch may be in flight now. Where messages are larger than a batch should be, there may be fewer, so that
    /// memory stays within its bound.
    pub(in crate::agent) fn is_one_free(&self) -> bool {
        let state = self.state();
        !state.holds_back()
            && state.in_flight < state.limiter.limit()
            && (state.in_flight < LIMIT_AT_FIRST || state.bytes < state.max_bytes)
    }

    /// Whether the destination is away.
    pub(in crate::agent) fn is_away(&self) -> bool {
        self.state().away.is_some()
    }

    /// Whether it is, and nothing is to be tried.
    pub(in crate::agent) fn holds_back(&self) -> bool {
        self.state().holds_back()
    }

    /// Waits until that is so.
    pub(in crate::agent) async fn held_back(&self) {
        loop {
            let held_back = self.held_back.notified();
            if self.holds_back() {
                return;
            }
            held_back.await;
        }
    }

    /// The destination is away, from now on, and should not be asked for so long. One that was away, has answered and has taken nothing is
    /// left alone for longer than that.
    pub(in crate::agent) fn goes_away(&self, mut pause: Duration, mut backoff: Backoff) {
        let (mut state, now) = (self.state(), Instant::now());
        state.trial = false;
        if let Some(away) = &mut state.away {
            away.ask_at = away.ask_at.max(now + pause);
        } else {
            if let Some(before) = state.pauses.take() {
                backoff = before;
                pause += backoff.next_pause();
            }
            state.away = Some(Away { ask_at: now + pause, backoff, asked: 0 });
        }
        drop(state);
        self.held_back.notify_waiters();
    }

    /// When the destination is to be asked whether it is back, if it is away.
    pub(in crate::agent) fn ask_at(&self) -> Option<Instant> {
        self.state().away.as_ref().map(|away| away.ask_at)
    }

    /// It was asked, is away still, and wants to be left alone for so long. Returns whether one batch may be tried now.
    pub(in crate::agent) fn was_asked(&self, alone: Duration) -> bool {
        let mut state = self.state();
        let Some(away) = &mut state.away else { return false };
        // Behind what the server asked for, since it asks the same of every agent.
        away.ask_at = Instant::now() + alone + away.backoff.next_pause();
        away.asked += 1;
        let is_due = away.asked % TRIAL == 0;
        state.trial |= is_due;
        is_due
    }

    /// It was asked, and would take something.
    pub(in crate::agent) fn is_back(&self) {
        let mut state = self.state();
        if let Some(away) = state.away.take() {
            state.pauses = Some(away.backoff);
        }
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

    /// Takes a permit for so many bytes of messages, also beyond the limit: a batch that is there must go on. One of which the destination
    /// gets nothing shows nothing of it, and is no trial.
    pub(in crate::agent) fn take(self: &Arc<Self>, bytes: usize, is_written: bool) -> Permit {
        let mut state = self.state();
        state.in_flight += 1;
        state.bytes = state.bytes.saturating_add(bytes);
        if is_written && std::mem::take(&mut state.trial) {
            self.held_back.notify_waiters();
        }
        drop(state);
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
        (state.away, state.pauses) = (None, None);
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
        self.away.is_some() && !self.trial
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
        let (one, two) = (permits.take(100, true), permits.take(100, true));
        assert!(!permits.is_one_free());
        drop(one);
        assert!(permits.is_one_free());
        let three = permits.take(100, true);
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
        let _one = permits.take(400, true);
        assert!(permits.is_one_free());
        let two = permits.take(400, true);
        assert!(!permits.is_one_free(), "more bytes than six batches should have");
        drop(two);
        let _small: Vec<_> = (0..2).map(|_| permits.take(100, true)).collect();
        assert!(!permits.is_one_free());
    }

    #[test]
    fn after_an_outage_what_waits_beyond_two_batches_is_given_back() {
        let permits = Arc::new(after_an_outage());
        let mut held: Vec<_> = (0..6).map(|_| permits.take(100, true)).collect();
        let failed = || now(permits.attempt(&Closing::default())).unwrap().failed(Failure::Retry);
        while held.len() > LIMIT_AT_FIRST {
            assert!(failed());
            held.pop();
        }
        assert!(!failed());
        assert!(!permits.is_one_free());
    }

    fn away() -> Arc<Permits> {
        let permits = Arc::new(Permits::new(2, 100));
        permits.goes_away(Duration::ZERO, Backoff::new(Duration::ZERO, Duration::ZERO));
        permits
    }

    #[test]
    fn while_the_destination_is_away_no_batch_may_be_in_flight_until_it_is_back() {
        let ends: [fn(&Permits); 2] =
            [Permits::is_back, |permits| now(permits.attempt(&Closing::default())).unwrap().succeeded()];
        for end in ends {
            let permits = away();
            assert!(permits.is_away() && permits.holds_back() && !permits.is_one_free());
            assert!(now(permits.held_back()).is_some());
            end(&permits);
            assert!(!permits.is_away() && permits.is_one_free() && permits.ask_at().is_none());
            assert!(now(permits.held_back()).is_none());
        }
    }

    #[test]
    fn with_every_eighth_question_one_batch_may_be_in_flight_of_which_the_destination_gets_something() {
        let permits = away();
        let questions = || (1..=8).map(|_| permits.was_asked(Duration::ZERO)).collect::<Vec<_>>();
        for _ in 0..2 {
            assert_eq!(questions(), [[false; 7].as_slice(), &[true]].concat());
            assert!(permits.is_away() && !permits.holds_back() && permits.is_one_free());
            drop(permits.take(100, false));
            assert!(!permits.holds_back(), "it shows nothing that there was nothing to write");
            let mut held_back = pin!(permits.held_back());
            assert!(now(held_back.as_mut()).is_none());
            let trial = permits.take(100, true);
            assert!(now(held_back).is_some() && permits.holds_back() && !permits.is_one_free());
            drop(trial);
            assert!(permits.holds_back());
        }
    }

    #[actix_rt::test]
    async fn a_destination_that_is_away_is_left_alone_for_as_long_as_it_wants_and_for_longer_where_it_takes_nothing() {
        tokio::time::pause();
        let (permits, second) = (Permits::new(2, 100), Duration::from_secs(1));
        let backoff = || Backoff::new(second, 64 * second);
        let pause = || permits.ask_at().unwrap() - Instant::now();
        permits.goes_away(second, backoff());
        assert_eq!(pause(), second);
        permits.goes_away(60 * second, backoff());
        permits.goes_away(second, backoff());
        assert_eq!(pause(), 60 * second, "as long as any answer wants");
        permits.was_asked(30 * second);
        assert!((30 * second..=32 * second).contains(&pause()), "{:?}", pause());
        assert!((0..5).all(|_| !permits.was_asked(Duration::ZERO)));
        permits.is_back();
        permits.goes_away(second, backoff());
        let longest = (0..20).map(|_| permits.was_asked(Duration::ZERO)).map(|_| pause()).max();
        assert!(longest > Some(32 * second), "the pauses go on to grow: {longest:?}");
    }

    #[test]
    fn a_batch_that_fails_once_is_not_given_back() {
        let permits = Arc::new(Permits::new(1, 100));
        let _held: Vec<_> = (0..2).map(|_| permits.take(100, true)).collect();
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
