//! A disk that stalls, noticed while pushes wait for it, where the settings have them refused rather than answered early.
//!
//! [`Stall::run`], on a thread of its own that sleeps unless something is written, looks at the write that is under way ten times in
//! the time that an answer may take. A write that is the same at [`LOOKS`] looks in a row has stalled, until it comes back:
//! - pushes that wait behind it are refused and never stored, and so is each that comes, at once;
//! - pushes that are part of it can neither be taken back nor be called stored. The owner of their connections
//!   [is told](Stall::when_stalled), and is to end them, which means *perhaps*.
//!
//! Time is counted in looks rather than read from a clock: where the process stood still, or its threads got no processor, this
//! thread has not looked either, and that is no stall.
//!
//! Most pushes are committed on the thread that serves clients, which answers nothing while its write hangs. So for a minute after a
//! stall, and while a sync takes long, commits are left to the writer's thread.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    answers::refuse,
    errors::{Problem, PushError, StoreError},
    running::Shared,
};

/// How many looks there are in the time that an answer may take.
const LOOKS_IN_ALL: u32 = 10;
/// At how many in a row a write is the same that has stalled. What is left of the time is for the answer.
const LOOKS: u32 = 8;
/// For how long after a stall commits are left to the writer's thread.
const WARY: Duration = Duration::from_secs(60);

/// That a write stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Whether it holds up the thread of those who push, which so can answer nothing.
    pub holds_up_callers: bool,
}

type Hook = Arc<dyn Fn(Stalled) + Send + Sync>;

/// See the module.
pub(super) struct Stall {
    /// The time between two looks; `None` where nothing is watched.
    pause: Option<Duration>,
    writes: Turn,
    syncs: Turn,
    /// The turn of the write that has stalled last.
    stalled: AtomicU64,
    /// Whether commits are left to the writer's thread.
    wary: AtomicBool,
    awake: AtomicBool,
    closed: Mutex<bool>,
    changed: Condvar,
    hook: Mutex<Option<Hook>>,
}

/// What one thread at a time is at: a number that is another one whenever something begins, goes on or ends.
#[derive(Debug, Default)]
struct Turn(AtomicU64);

/// The lowest bits of a turn.
const IDLE: u64 = 0;
const ON_OWN_THREAD: u64 = 1;
const ON_CALLERS_THREAD: u64 = 2;
const BITS: u64 = 3;

impl Turn {
    fn next(&self, bits: u64) {
        self.0.store((self.0.load(Ordering::Relaxed) | BITS).wrapping_add(1 + bits), Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A turn as it was seen.
#[derive(Debug, Default)]
struct Seen {
    turn: u64,
    /// At how many looks it was the same before.
    looks: u32,
    has_changed: bool,
}

impl Seen {
    fn look(&mut self, at: &Turn) {
        let turn = at.now();
        self.has_changed = turn != self.turn;
        self.looks = if self.has_changed || turn & BITS == IDLE { 0 } else { self.looks + 1 };
        self.turn = turn;
    }

    fn is_quiet(&self) -> bool {
        !self.has_changed && self.turn & BITS == IDLE
    }
}

/// Something is under way until this is dropped.
pub(super) struct UnderWay<'a>(&'a Turn);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.next(IDLE);
    }
}

impl Stall {
    /// `answer_within` is how long a push may take; `None` is for ever.
    pub(super) fn new(answer_within: Option<Duration>) -> Self {
        Self {
            pause: answer_within.map(|within| (within / LOOKS_IN_ALL).max(Duration::from_millis(1))),
            writes: Turn::default(),
            syncs: Turn::default(),
            stalled: AtomicU64::new(IDLE),
            wary: AtomicBool::new(false),
            awake: AtomicBool::new(false),
            closed: Mutex::new(false),
            changed: Condvar::new(),
            hook: Mutex::new(None),
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.pause.is_some()
    }

    /// Has this called from another thread, again and again while a write stalls. Returns whether it ever will be.
    pub(super) fn when_stalled(&self, hook: Hook) -> bool {
        *lock(&self.hook) = Some(hook);
        self.is_watched()
    }

    /// The writer's thread begins to write.
    pub(super) fn writes(&self) -> Option<UnderWay<'_>> {
        self.begin(&self.writes, ON_OWN_THREAD)
    }

    /// A thread of those who push begins to write.
    pub(super) fn callers_write(&self) -> Option<UnderWay<'_>> {
        self.begin(&self.writes, ON_CALLERS_THREAD)
    }

    /// A sync begins.
    pub(super) fn syncs(&self) -> Option<UnderWay<'_>> {
        self.begin(&self.syncs, ON_OWN_THREAD)
    }

    /// What was written has come back, and more follows on the same thread.
    pub(super) fn goes_on(&self) {
        self.writes.next(self.writes.now() & BITS);
    }

    fn begin<'a>(&'a self, turn: &'a Turn, bits: u64) -> Option<UnderWay<'a>> {
        self.pause?;
        turn.next(bits);
        if !self.awake.swap(true, Ordering::SeqCst) {
            drop(lock(&self.closed));
            self.changed.notify_one();
        }
        Some(UnderWay(turn))
    }

    /// Whether a write stalls now.
    pub(super) fn is_now(&self) -> bool {
        let stalled = self.stalled.load(Ordering::Relaxed);
        stalled != IDLE && stalled == self.writes.now()
    }

    /// Whether a commit had better not be made where clients are served.
    pub(super) fn is_likely(&self) -> bool {
        self.wary.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        *lock(&self.closed) = true;
        self.changed.notify_one();
    }

    /// Looks at what is written until it is closed.
    pub(super) fn run(&self, shared: &Shared) {
        let Some(pause) = self.pause else { return };
        let wary = u32::try_from(WARY.as_nanos() / pause.as_nanos().max(1)).unwrap_or(u32::MAX);
        let (mut write, mut sync, mut wary_looks) = (Seen::default(), Seen::default(), 0);
        let mut closed = lock(&self.closed);
        while !*closed {
            write.look(&self.writes);
            sync.look(&self.syncs);
            wary_looks = if write.looks >= LOOKS { wary } else { wary_looks.saturating_sub(1) };
            self.wary.store(wary_looks > 0 || sync.looks > 0, Ordering::Relaxed);
            if write.looks >= LOOKS {
                drop(closed);
                self.stalls(shared, write.turn);
                closed = lock(&self.closed);
            } else if wary_looks == 0 && write.is_quiet() && sync.is_quiet() {
                self.awake.store(false, Ordering::SeqCst);
                // What began before that has woken nobody.
                if self.writes.now() == write.turn && self.syncs.now() == sync.turn {
                    let asleep = |closed: &mut bool| !*closed && !self.awake.load(Ordering::SeqCst);
                    closed = self.changed.wait_while(closed, asleep).unwrap_or_else(PoisonError::into_inner);
                }
                self.awake.store(true, Ordering::SeqCst);
            }
            closed = self.changed.wait_timeout_while(closed, pause, |closed| !*closed).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stalls(&self, shared: &Shared, turn: u64) {
        // Before those that wait are taken: each that comes later finds it there, or is taken at the next look.
        self.stalled.store(turn, Ordering::SeqCst);
        refuse(shared.writer.take_pushes(), &stalled(shared));
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook.filter(|_| self.is_now()) {
            hook(Stalled { holds_up_callers: turn & BITS == ON_CALLERS_THREAD });
        }
    }
}

/// Why a push is refused while a write stalls.
pub(super) fn stalled(shared: &Shared) -> PushError {
    PushError::Stalled(StoreError::new(&shared.path, Problem::Stalled))
}

impl fmt::Debug for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stall").field("pause", &self.pause).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::queue::{Consumer, Region, Store, TakeLimit, WhenStalled};

    /// Far longer than a busy disk takes for what is no stall.
    const WITHIN: Duration = Duration::from_secs(3);
    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn open(folder: &std::path::Path) -> Arc<Store> {
        Arc::new(Store::open_with(folder, |settings| settings.when_stalled = WhenStalled::RefuseWithin(WITHIN)))
    }

    async fn push(store: &Store) -> Result<u64, PushError> {
        store.push(Region::Newest, vec![Bytes::from_static(b"m")]).await
    }

    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn run(folder: &std::path::Path, test: impl AsyncFnOnce(Arc<Store>, Arc<Mutex<Vec<Stalled>>>)) {
        let scenario = fail::FailScenario::setup();
        actix_rt::System::new().block_on(async {
            let store = open(folder);
            let told = Arc::new(Mutex::new(Vec::new()));
            let tells = Arc::clone(&told);
            assert!(store.when_stalled(Arc::new(move |stalled| lock(&tells).push(stalled))));
            test(store, told).await;
        });
        scenario.teardown();
    }

    #[test]
    fn what_waits_behind_a_write_that_stalls_is_refused_and_never_stored_and_its_own_pushes_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), async |store, told| {
            let shared = store.shared().unwrap();
            fail::cfg("queue.push", "pause").unwrap();
            let own = Arc::clone(&store);
            // Too much for this thread, which could not go on with this test.
            let own = actix_rt::spawn(async move { own.push(Region::Newest, vec![Bytes::from(vec![b'm'; 100_000])]).await });
            until("its write to begin", || shared.stall.writes.now() & BITS == ON_OWN_THREAD && shared.writer.is_empty()).await;
            // The first waits until the stall is noticed.
            for _ in 0..10 {
                assert!(matches!(push(&store).await, Err(PushError::Stalled(_))));
                assert!(store.stall.is_now() && store.stall.is_likely());
            }
            until("those who push are told", || !lock(&told).is_empty()).await;
            assert!(lock(&told).iter().all(|stalled| !stalled.holds_up_callers));
            fail::remove("queue.push");
            assert_eq!(own.await.unwrap(), Ok(1));
            until("the stall to be over", || !store.stall.is_now()).await;
            assert_eq!(push(&store).await, Ok(2));
        });
    }

    #[test]
    fn no_push_waits_for_a_settlement_that_stalls() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), async |store, _| {
            assert_eq!(push(&store).await, Ok(1));
            let consumer = Consumer::new(&store, 0);
            let limit = TakeLimit { messages: 1, bytes: 1 };
            assert!(consumer.take("lease", limit, None, PATIENCE).await.unwrap().is_some());
            fail::cfg("queue.settle", "pause").unwrap();
            let settled = actix_rt::spawn(async move { consumer.settle(vec![("lease".to_owned(), Vec::new())]).await });
            until("it to begin", || store.stall.writes.now() & BITS == ON_OWN_THREAD).await;
            assert!(matches!(push(&store).await, Err(PushError::Stalled(_))));
            fail::remove("queue.settle");
            settled.await.unwrap().unwrap();
            until("the stall to be over", || !store.stall.is_now()).await;
            assert_eq!(push(&store).await, Ok(1));
        });
    }

    #[test]
    fn a_write_that_holds_up_those_who_push_is_told_of_and_the_next_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), async |store, _| {
            let told = Arc::new(AtomicBool::new(false));
            let tells = Arc::clone(&told);
            let tell = move |stalled: Stalled| {
                if stalled.holds_up_callers {
                    tells.store(true, Ordering::Relaxed);
                    fail::remove("queue.push");
                }
            };
            assert!(store.when_stalled(Arc::new(tell)));
            let shared = store.shared().unwrap();
            until("the writer's thread to sleep", || shared.writer.is_idle()).await;
            until("no sync to last", || !store.stall.is_likely()).await;
            fail::cfg("queue.push", "pause").unwrap();
            assert_eq!(push(&store).await, Ok(1));
            assert!(told.load(Ordering::Relaxed) && store.stall.is_likely());
        });
    }

    #[test]
    fn a_write_that_goes_on_is_no_stall() {
        let (turn, mut seen) = (Turn::default(), Seen::default());
        let mut looks = || {
            seen.look(&turn);
            seen.looks
        };
        assert_eq!([looks(), looks()], [0, 0], "nothing is under way");
        for bits in [ON_OWN_THREAD, ON_CALLERS_THREAD] {
            turn.next(bits);
            assert_eq!([looks(), looks(), looks()], [0, 1, 2]);
            turn.next(bits);
            assert_eq!([looks(), looks()], [0, 1]);
            assert_eq!(turn.now() & BITS, bits);
            drop(UnderWay(&turn));
            assert_eq!([looks(), looks()], [0, 0]);
        }
    }

    #[test]
    fn the_thread_that_looks_sleeps_while_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), async |store, told| {
            for length in 1..4 {
                until("it sleeps", || !store.stall.awake.load(Ordering::SeqCst)).await;
                assert_eq!(push(&store).await, Ok(length));
                assert!(store.stall.awake.load(Ordering::SeqCst));
            }
            assert!(lock(&told).is_empty());
        });
    }
}
