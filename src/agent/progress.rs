//! Whether a child makes progress: what it says of itself, and when that counts as hung.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A sign of life, please.
#[derive(Clone, Copy, actix::Message)]
#[rtype(result = "()")]
pub(super) struct Ping;

/// What a child is at, shared between the child and the supervisor.
///
/// A child says what it begins and how long that may take; waiting for demand, for messages or in a back-off is
/// work that may take as long as it is meant to. Besides, it must answer pings.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    work: Option<Begun>,
    pinged: Option<Instant>,
}

/// Work that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    what: &'static str,
    at: Instant,
    until: Instant,
}

/// What a child is stuck at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) at: &'static str,
    pub(super) since: Instant,
}

/// Work that has begun; over when this is dropped.
#[derive(Debug)]
pub(super) struct Work<'a>(&'a Progress);

impl Progress {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins work that must be over, or be followed by other work, within `allowed`.
    pub(super) fn begin(&self, what: &'static str, allowed: Duration) -> Work<'_> {
        let at = Instant::now();
        self.state().work = Some(Begun { what, at, until: at + allowed });
        Work(self)
    }

    /// The child's mailbox is about to be asked for a sign of life, unless an answer is still due.
    pub(super) fn ping(&self, now: Instant) -> bool {
        let mut state = self.state();
        let first = state.pinged.is_none();
        state.pinged.get_or_insert(now);
        first
    }

    /// The sign of life.
    pub(super) fn pong(&self) {
        self.state().pinged = None;
    }

    /// What the child is stuck at, if it is.
    pub(super) fn stuck(&self, now: Instant, hang_timeout: Duration) -> Option<Stuck> {
        let state = self.state();
        let work = state.work.filter(|work| now > work.until).map(|work| Stuck { at: work.what, since: work.at });
        let pinged = state.pinged.filter(|at| now.saturating_duration_since(*at) > hang_timeout);
        work.or_else(|| pinged.map(|since| Stuck { at: "answering a ping", since }))
    }

    /// So much time did not count: the whole process stood still.
    pub(super) fn postpone(&self, by: Duration) {
        let mut state = self.state();
        if let Some(work) = &mut state.work {
            work.until += by;
        }
        if let Some(pinged) = &mut state.pinged {
            *pinged += by;
        }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.state().work = None;
    }
}

/// A child's handler of pings: it has a `progress`.
macro_rules! answers_pings {
    ($child:ty) => {
        impl actix::Handler<$crate::agent::progress::Ping> for $child {
            type Result = ();

            fn handle(&mut self, _: $crate::agent::progress::Ping, _: &mut Self::Context) {
                $crate::agent::failpoint::fail_point!("child.ping");
                self.progress.pong();
            }
        }
    };
}

pub(super) use answers_pings;

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Duration = Duration::from_secs(30);

    fn stuck_at(progress: &Progress, now: Instant) -> Option<&'static str> {
        progress.stuck(now, HANG).map(|stuck| stuck.at)
    }

    #[test]
    fn idle_is_not_stuck() {
        assert_eq!(Progress::default().stuck(Instant::now() + HANG * 100, HANG), None);
    }

    #[test]
    fn work_past_its_time_is_stuck_and_named() {
        let progress = Progress::default();
        let work = progress.begin("writing a batch", HANG);
        assert_eq!(progress.stuck(Instant::now(), HANG), None);
        assert_eq!(stuck_at(&progress, Instant::now() + HANG + HANG), Some("writing a batch"));
        progress.postpone(HANG * 10);
        assert_eq!(stuck_at(&progress, Instant::now() + HANG + HANG), None);
        drop(work);
        assert_eq!(progress.stuck(Instant::now() + HANG + HANG, HANG), None);
    }

    #[test]
    fn an_unanswered_ping_is_stuck() {
        let progress = Progress::default();
        let now = Instant::now();
        assert!(progress.ping(now));
        assert!(!progress.ping(now + HANG), "one ping at a time");
        assert_eq!(progress.stuck(now + HANG, HANG), None);
        assert!(progress.stuck(now + HANG + Duration::from_millis(1), HANG).is_some());
        progress.pong();
        assert_eq!(progress.stuck(now + HANG * 2, HANG), None);
    }
}
