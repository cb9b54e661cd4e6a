//! The [`Ramp`] that all workers share: who may write now, and who waits for a turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, time::Instant};

use super::{
    batching::Limits,
    drain::Closing,
    ramp::{Failure, Ramp},
};

/// How much the workers may try, as the destination has answered so far.
#[derive(Debug, Default)]
pub(super) struct SlowStart {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ramp: Ramp,
    /// How many attempts are under way.
    writing: usize,
}

/// The right to one attempt; over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    slow_start: &'a SlowStart,
    begun: Instant,
}

impl SlowStart {
    /// Waits for a turn. While the destination works there always is one, and while the agent closes: then each worker
    /// has one more chance, and nobody waits for another's.
    pub(super) async fn turn(&self, closing: &Closing) -> Turn<'_> {
        loop {
            // Before it is looked, so that no change is missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if state.writing < state.ramp.workers() || closing.has_begun() {
                    state.writing += 1;
                    return Turn { slow_start: self, begun: Instant::now() };
                }
            }
            tokio::select! {
                () = changed => {}
                () = closing.begun() => {}
            }
        }
    }

    /// What a batch may have now.
    pub(super) fn limits(&self, limits: Limits) -> Limits {
        self.state().ramp.limits(limits)
    }

    /// Whether less than everything may be tried.
    pub(super) fn is_on(&self) -> bool {
        self.state().ramp.divisor() > 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// By how much requests are divided now.
    pub(super) fn divisor(&self) -> usize {
        self.slow_start.state().ramp.divisor()
    }

    /// The destination took something.
    pub(super) fn succeeded(self) {
        self.slow_start.state().ramp.succeeded(self.begun.elapsed());
    }

    /// It did not.
    pub(super) fn failed(self, failure: Failure) {
        self.slow_start.state().ramp.failed(failure);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.slow_start.state().writing -= 1;
        self.slow_start.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task, time::Duration};

    use super::*;

    fn now<F: Future>(future: F) -> Option<F::Output> {
        let mut context = task::Context::from_waker(task::Waker::noop());
        match pin!(future).poll(&mut context) {
            task::Poll::Ready(output) => Some(output),
            task::Poll::Pending => None,
        }
    }

    fn after_an_outage() -> SlowStart {
        let slow_start = SlowStart::default();
        for _ in 0..2 {
            now(slow_start.turn(&Closing::default())).unwrap().failed(Failure::Retry);
        }
        slow_start
    }

    #[test]
    fn while_the_destination_works_nobody_waits() {
        let (slow_start, closing) = (SlowStart::default(), Closing::default());
        let turns: Vec<_> = (0..64).filter_map(|_| now(slow_start.turn(&closing))).collect();
        assert_eq!(turns.len(), 64);
    }

    #[test]
    fn after_an_outage_one_worker_probes_and_its_success_lets_two_go_on() {
        let (slow_start, closing) = (after_an_outage(), Closing::default());
        let first = now(slow_start.turn(&closing)).unwrap();
        assert!(now(slow_start.turn(&closing)).is_none());
        first.succeeded();
        let two = (now(slow_start.turn(&closing)).unwrap(), now(slow_start.turn(&closing)).unwrap());
        assert!(now(slow_start.turn(&closing)).is_none());
        drop(two);
    }

    #[actix_rt::test]
    async fn an_answer_is_prompt_or_late_by_the_time_since_its_turn_began() {
        tokio::time::pause();
        let (slow_start, closing) = (after_an_outage(), Closing::default());
        let turn = slow_start.turn(&closing).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        turn.succeeded();
        assert_eq!(slow_start.turn(&closing).await.divisor(), 64);
        slow_start.turn(&closing).await.succeeded();
        assert_eq!(slow_start.turn(&closing).await.divisor(), 32);
    }

    #[actix_rt::test]
    async fn who_waits_goes_on_when_a_turn_is_over_however_it_ends() {
        for end in [|turn: Turn<'_>| drop(turn), |turn: Turn<'_>| turn.failed(Failure::Hold), |turn: Turn<'_>| turn.succeeded()] {
            let (slow_start, closing) = (after_an_outage(), Closing::default());
            let turn = slow_start.turn(&closing).await;
            let mut next = pin!(slow_start.turn(&closing));
            assert!(now(next.as_mut()).is_none());
            end(turn);
            assert!(now(next.as_mut()).is_some());
        }
    }

    #[test]
    fn when_the_agent_closes_nobody_waits_for_a_turn() {
        let (slow_start, closing) = (after_an_outage(), Closing::default());
        let held = now(slow_start.turn(&closing)).unwrap();
        let mut next = pin!(slow_start.turn(&closing));
        assert!(now(next.as_mut()).is_none());
        closing.begin();
        assert!(now(next.as_mut()).is_some());
        drop(held);
    }
}
