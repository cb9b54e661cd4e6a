//! How long an agent pauses after it was woken for a message that another one has taken.
//!
//! Redis wakes all that wait at a queue for each message, since none of them takes it off by waiting. One gets it; to the others, and to
//! Redis, which answers each of them, the message is a cost for nothing. So each time an agent comes too late it waits a while before it
//! waits at the queue again, twice as long as the time before, and half as long each time it gets something: among many agents each
//! message soon wakes some two or three, however many there are. An agent that gets what it is woken for pauses never, and what is
//! pushed while all others pause is its own.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const SHORTEST_MS: u32 = 1;

/// After so long an agent takes over where the others have vanished or have their hands full.
const LONGEST_MS: u32 = 1000;

/// The pause of one agent after the next time for nothing: 1 ms to 1 s.
#[derive(Debug)]
pub struct Wakeups(AtomicU32);

impl Default for Wakeups {
    fn default() -> Self {
        Self(AtomicU32::new(SHORTEST_MS))
    }
}

impl Wakeups {
    /// There were messages.
    pub fn of_use(&self) {
        let pause = self.0.load(Ordering::Relaxed);
        if pause > SHORTEST_MS {
            self.0.store(pause / 2, Ordering::Relaxed);
        }
    }

    /// There were none any more. Says how long to pause: between half and all of what it has come to, so that agents do not come back
    /// together.
    pub fn for_nothing(&self, rng: &mut fastrand::Rng) -> Duration {
        let pause = self.0.load(Ordering::Relaxed);
        self.0.store((pause * 2).min(LONGEST_MS), Ordering::Relaxed);
        Duration::from_millis(pause.into()).mul_f64(rng.f64().midpoint(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_halve_down_to_the_shortest() {
        let wakeups = Wakeups::default();
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000] {
            let (pause, paused) = (Duration::from_millis(pause), wakeups.for_nothing(&mut fastrand::Rng::with_seed(pause)));
            assert!(pause / 2 <= paused && paused <= pause, "{paused:?} of {pause:?}");
        }
        for pause in [500, 250, 125, 62, 31, 15, 7, 3, 1, 1] {
            wakeups.of_use();
            assert_eq!(wakeups.0.load(Ordering::Relaxed), pause);
        }
    }

    /// Each message wakes all that do not pause, and the one that has waited longest gets it.
    #[test]
    fn among_many_agents_a_message_wakes_few() {
        const AGENTS: usize = 200;
        let agents: Vec<_> = (0..AGENTS).map(|_| Wakeups::default()).collect();
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut back_at, mut woken) = (vec![Duration::ZERO; AGENTS], 0);
        for message in 0..10_000_u32 {
            let now = Duration::from_millis(10) * message;
            let mut waiting: Vec<usize> = (0..AGENTS).filter(|agent| back_at[*agent] <= now).collect();
            waiting.sort_by_key(|agent| back_at[*agent]);
            let Some((first, others)) = waiting.split_first() else { continue };
            agents[*first].of_use();
            back_at[*first] = now;
            for agent in others {
                back_at[*agent] = now + agents[*agent].for_nothing(&mut rng);
            }
            // At first all are woken.
            woken += if message < 5_000 { 0 } else { waiting.len() };
        }
        let for_each = woken as f64 / 5_000.0;
        assert!((1.0..6.0).contains(&for_each), "{for_each} for each message");
    }
}
