//! Whether a child makes progress: what it says of itself, and when that counts as hung.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many pings a child gets in the time after which it counts as hung, so that one that hangs idly is noticed a third later.
const PINGS: u32 = 3;

/// Asks for a sign of life.
#[derive(Clone, Copy, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Ping;

/// What a child works at, shared between the child and the supervisor.
///
/// A child says what it begins, and where that may take longer than anything else; waiting for demand or in a back-off is no
/// work. Besides, it must answer pings.
#[derive(Debug)]
pub(crate) struct Progress {
    /// How long a piece of work, or the answer to a ping, may take.
    hang_timeout: Duration,
    signs: Mutex<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    work: Option<Begun>,
    /// Since when the answer to a ping is due.
    pinged: Option<Instant>,
    /// When it is to be pinged again.
    next_ping: Option<Instant>,
    /// When it last began work or answered a ping.
    last: Option<Instant>,
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
pub(crate) struct Work<'a>(&'a Progress);

impl Progress {
    pub(crate) fn new(hang_timeout: Duration) -> Self {
        Self { hang_timeout, signs: Mutex::default() }
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins work that must be over, or be followed by other work, before it counts as hung.
    pub(crate) fn begin(&self, what: &'static str) -> Work<'_> {
        self.begin_waiting(what, Duration::ZERO)
    }

    /// Begins work that is meant to wait so long before it must be over.
    pub(crate) fn begin_waiting(&self, what: &'static str, wait: Duration) -> Work<'_> {
        let at = Instant::now();
        let mut signs = self.signs();
        signs.last = Some(at);
        signs.work = Some(Begun { what, at, until: at + wait + self.hang_timeout });
        drop(signs);
        Work(self)
    }

    /// How long work may take that is given up before it counts as hung.
    pub(crate) fn patience(&self) -> Duration {
        self.hang_timeout / 3 * 2
    }

    /// The child's mailbox is about to be asked for a sign of life, unless an answer is still due or was given lately: each ping wakes a
    /// thread that may have nothing else to do.
    pub(super) fn ping(&self, now: Instant) -> bool {
        let mut signs = self.signs();
        if signs.pinged.is_some() || signs.next_ping.is_some_and(|next| now < next) {
            return false;
        }
        (signs.pinged, signs.next_ping) = (Some(now), Some(now + self.hang_timeout / PINGS));
        true
    }

    /// The sign of life.
    pub(crate) fn pong(&self) {
        let mut signs = self.signs();
        (signs.pinged, signs.last) = (None, Some(Instant::now()));
    }

    /// What it works at and for how long, and how long ago it last began something or answered a ping.
    pub(super) fn seen(&self, now: Instant) -> (Option<(&'static str, Duration)>, Option<Duration>) {
        let signs = self.signs();
        let work = signs.work.map(|work| (work.what, now.saturating_duration_since(work.at)));
        (work, signs.last.map(|last| now.saturating_duration_since(last)))
    }

    /// What the child is stuck at, if it is.
    pub(super) fn stuck(&self, now: Instant) -> Option<Stuck> {
        let signs = self.signs();
        let work = signs.work.filter(|work| now > work.until).map(|work| Stuck { at: work.what, since: work.at });
        let pinged = signs.pinged.filter(|at| now.saturating_duration_since(*at) > self.hang_timeout);
        work.or_else(|| pinged.map(|since| Stuck { at: "answering a ping", since }))
    }

    /// So much time did not count: the whole process stood still.
    pub(super) fn postpone(&self, by: Duration) {
        let mut signs = self.signs();
        if let Some(work) = &mut signs.work {
            work.until += by;
        }
        if let Some(pinged) = &mut signs.pinged {
            *pinged += by;
        }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.signs().work = None;
    }
}

/// The handler of pings of an actor that has a `life`.
macro_rules! answers_pings {
    ($child:ty) => {
        impl actix::Handler<$crate::supervision::Ping> for $child {
            type Result = ();

            fn handle(&mut self, _: $crate::supervision::Ping, _: &mut Self::Context) {
                $crate::failpoint::fail_point!("child.ping");
                self.life.progress.pong();
            }
        }
    };
}

pub(crate) use answers_pings;

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Duration = Duration::from_secs(30);

    fn stuck_at(progress: &Progress, now: Instant) -> Option<&'static str> {
        progress.stuck(now).map(|stuck| stuck.at)
    }

    #[test]
    fn idle_is_not_stuck() {
        assert_eq!(Progress::new(HANG).stuck(Instant::now() + HANG * 100), None);
    }

    #[test]
    fn work_past_its_time_is_stuck_and_named() {
        let progress = Progress::new(HANG);
        let work = progress.begin("writing a batch");
        assert_eq!(progress.stuck(Instant::now()), None);
        assert_eq!(stuck_at(&progress, Instant::now() + HANG + HANG), Some("writing a batch"));
        progress.postpone(HANG * 10);
        assert_eq!(stuck_at(&progress, Instant::now() + HANG + HANG), None);
        drop(work);
        assert_eq!(progress.stuck(Instant::now() + HANG + HANG), None);
    }

    #[test]
    fn an_unanswered_ping_is_stuck() {
        let progress = Progress::new(HANG);
        let now = Instant::now();
        assert!(progress.ping(now));
        assert!(!progress.ping(now + HANG), "one ping at a time");
        assert_eq!(progress.stuck(now + HANG), None);
        assert!(progress.stuck(now + HANG + Duration::from_millis(1)).is_some());
        progress.pong();
        assert_eq!(progress.stuck(now + HANG * 2), None);
        assert!(!progress.ping(now + HANG / 8), "one that has just answered is left alone");
        assert!(progress.ping(now + HANG / 3));
    }
}
