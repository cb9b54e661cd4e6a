//! The latest snapshot: made when somebody looks, so that an agent at which nobody looks pays nothing for it, and once for all who look
//! at the same time.

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
    make: Box<dyn Fn() -> Snapshot + Send + Sync>,
    kept: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Latest {
    /// Snapshots that `make` makes, on whichever thread looks. It must not wait.
    #[must_use]
    pub fn new(make: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { make: Box::new(make), kept: Mutex::default() }))
    }

    /// Always the same snapshot, for a test.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        Self::new(move || snapshot.clone())
    }

    /// The latest snapshot, at most [`FRESH_FOR`] old.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        self.get_within(FRESH_FOR)
    }

    /// A snapshot of this moment.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.get_within(Duration::ZERO)
    }

    fn get_within(&self, age: Duration) -> Arc<Snapshot> {
        // Who comes while one is made waits for that one. What is kept is whole, whatever panics.
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((made, snapshot)) = &*kept
            && now.saturating_duration_since(*made) < age
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new((self.0.make)());
        *kept = Some((now, Arc::clone(&snapshot)));
        snapshot
    }

    /// The next snapshot: completes [`NEXT_AFTER`] the one that was shown last.
    pub async fn changed(&self) -> Arc<Snapshot> {
        let made = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(made, _)| *made);
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
        let latest = Latest::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Snapshot::example()
        });
        let times = || made.load(Ordering::Relaxed);
        tokio::time::sleep(NEXT_AFTER * 100).await;
        assert_eq!(times(), 0, "nobody looks");
        assert!(Arc::ptr_eq(&latest.get(), &latest.clone().get()));
        assert_eq!(times(), 1);
        let begun = Instant::now();
        let (one, other) = tokio::join!(latest.changed(), latest.changed());
        assert!(Arc::ptr_eq(&one, &other) && begun.elapsed() >= NEXT_AFTER);
        assert_eq!(times(), 2);
        let _ = latest.now();
        assert_eq!(times(), 3);
    }
}
