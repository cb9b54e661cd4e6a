//! The latest snapshot: made when somebody looks, so that an agent at which nobody looks pays nothing for it, and once for all who look
//! at the same time. Prometheus, and whoever asks for health, looks at a brief one.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::snapshot::Snapshot;

/// How old a snapshot may be that is shown.
pub const FRESH_FOR: Duration = Duration::from_millis(500);

/// How long after the one that was shown last the next one is made for somebody who waits for it.
pub const NEXT_AFTER: Duration = Duration::from_secs(1);

/// The latest snapshot. A clone shows the same one.
#[derive(Clone)]
pub struct Latest(Arc<Shared>);

struct Shared {
    whole: Kept,
    brief: Kept,
}

/// Snapshots of one kind, of which the newest is kept.
struct Kept {
    make: Box<dyn Fn() -> Snapshot + Send + Sync>,
    newest: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Kept {
    fn new(make: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), newest: Mutex::default() }
    }

    fn get_within(&self, age: Duration) -> Arc<Snapshot> {
        // Who comes while one is made waits for that one. What is kept is whole, whatever panics.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((made, snapshot)) = &*newest
            && now.saturating_duration_since(*made) < age
        {
            return Arc::clone(snapshot);
        }
        // So that there are not two of them at once.
        *newest = None;
        let snapshot = Arc::new((self.make)());
        *newest = Some((now, Arc::clone(&snapshot)));
        snapshot
    }
}

impl Latest {
    /// Snapshots that `whole` makes, and those without what is long that `brief` makes, on whichever thread looks. Neither must wait.
    #[must_use]
    pub fn new(
        whole: impl Fn() -> Snapshot + Send + Sync + 'static,
        brief: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared { whole: Kept::new(whole), brief: Kept::new(brief) }))
    }

    /// Always the same snapshot, for a test.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        let same = snapshot.clone();
        Self::new(move || snapshot.clone(), move || same.clone())
    }

    /// The latest snapshot, at most [`FRESH_FOR`] old.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.whole.get_within(FRESH_FOR)
    }

    /// The same without the last hour and what came through, which take most of its time and memory.
    #[must_use]
    pub fn brief(&self) -> Arc<Snapshot> {
        self.0.brief.get_within(FRESH_FOR)
    }

    /// A snapshot of this moment, as brief as that.
    #[must_use]
    pub fn brief_now(&self) -> Arc<Snapshot> {
        self.0.brief.get_within(Duration::ZERO)
    }

    /// From now on what is shown is later than this.
    pub fn changes(&self) {
        for kept in [&self.0.whole, &self.0.brief] {
            *kept.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The next snapshot: completes [`NEXT_AFTER`] the one that was shown last.
    pub async fn changed(&self) -> Arc<Snapshot> {
        let made = self.0.whole.newest.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(made, _)| *made);
        sleep_until(made.unwrap_or_else(Instant::now) + NEXT_AFTER).await;
        self.get()
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_is_made_when_somebody_looks_and_once_for_all_who_look_at_the_same_time() {
        let made = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&made);
        let counting = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Snapshot::example()
        };
        let latest = Latest::new(counting, || Snapshot { seen: Default::default(), ..Snapshot::example() });
        let times = || made.load(Ordering::Relaxed);
        tokio::time::sleep(NEXT_AFTER * 100).await;
        assert_eq!(times(), 0, "nobody looks");
        assert!(Arc::ptr_eq(&latest.get(), &latest.clone().get()));
        assert_eq!(times(), 1);
        let begun = Instant::now();
        let (one, other) = tokio::join!(latest.changed(), latest.changed());
        assert!(Arc::ptr_eq(&one, &other) && begun.elapsed() >= NEXT_AFTER);
        assert_eq!(times(), 2);
        latest.changes();
        assert!(Arc::ptr_eq(&latest.get(), &latest.get()));
        assert_eq!(times(), 3);
        assert!(Arc::ptr_eq(&latest.brief(), &latest.brief()) && !Arc::ptr_eq(&latest.brief(), &latest.brief_now()));
        assert!(latest.brief().seen.series.is_empty() && !latest.get().seen.series.is_empty());
        assert_eq!(times(), 3);
    }
}
