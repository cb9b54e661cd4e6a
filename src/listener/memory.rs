//! What all connections together may take, beyond the little that each has for itself, and in which order they get it.
//!
//! Commands cannot keep each other for ever from memory that both need, since:
//!
//! - A command whose size is known is admitted as a whole or not at all ([`Claim::whole`]), so a connection that has memory that way
//!   never waits for more.
//! - A command or a transaction whose size is not known takes memory step by step, and only with the *turn*, of which there is
//!   one ([`Claim::in_turn`]). What is free goes to its holder before all others.
//! - Nobody waits for either with shared memory in hand but the holder of the turn, and what only an answer takes is never
//!   waited for ([`Claim::cover`]).
//!
//! So what the holder of the turn lacks is had by those alone who wait for nothing here: they finish, or are given up for being
//! slow, and give it back. More than all of it is asked by nobody. Both queues are served in the order of arrival, and a small
//! command does not overtake a large one. What is not admitted stays in the system's buffer of its socket.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// What a connection may take without asking, each way: what Redis reads at once.
pub(super) const OWN: usize = 16 << 10;
/// Memory is counted by so many bytes.
const UNIT: usize = 1 << 10;

/// The memory that connections share.
#[derive(Clone, Debug)]
pub(super) struct MemoryPool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    total: usize,
    queues: Mutex<Queues>,
    /// One permit: the turn. The first who asks gets it first.
    turn: Arc<Semaphore>,
    /// How many wait, for the turn or for memory.
    waiting: AtomicUsize,
}

/// Who waits for memory, in units.
#[derive(Debug)]
struct Queues {
    free: usize,
    /// The holder of the turn.
    turn: Option<Waiter>,
    /// Those who want all that their command takes.
    whole: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    units: usize,
    granted: oneshot::Sender<Grant>,
}

/// Units of memory that are given back when it is dropped.
#[derive(Debug)]
struct Grant {
    pool: Arc<Pool>,
    units: usize,
}

impl MemoryPool {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).max(1);
        Self(Arc::new(Pool {
            total,
            queues: Mutex::new(Queues { free: total, turn: None, whole: VecDeque::new() }),
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// How many bytes are taken.
    pub(super) fn used(&self) -> usize {
        (self.0.total - self.0.queues().free) * UNIT
    }

    /// Whether a connection waits for memory that others have.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.waiting.load(Relaxed) > 0
    }

    /// A claim to nothing yet.
    pub(super) fn claim(&self) -> Claim {
        Claim { held: Grant { pool: Arc::clone(&self.0), units: 0 }, turn: None }
    }
}

impl Pool {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // Nothing that holds it can panic half-way.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what is free to those whose turn it is.
    fn serve(self: &Arc<Self>) {
        loop {
            let next = self.queues().next();
            let Some(Waiter { units, granted }) = next else { return };
            // A waiter that has gone is not handed the grant, which comes back at once.
            drop(granted.send(Grant { pool: Arc::clone(self), units }));
        }
    }
}

impl Queues {
    fn is_nobody_waiting(&self) -> bool {
        self.turn.is_none() && self.whole.is_empty()
    }

    /// The next who gets what they wait for, if there is as much.
    fn next(&mut self) -> Option<Waiter> {
        let (free, is_gone) = (self.free, |waiter: &Waiter| waiter.granted.is_closed());
        self.turn.take_if(|waiter| is_gone(waiter));
        while self.whole.front().is_some_and(is_gone) {
            self.whole.pop_front();
        }
        let next = match &self.turn {
            Some(_) => self.turn.take_if(|waiter| waiter.units <= free),
            None if self.whole.front().is_some_and(|waiter| waiter.units <= free) => self.whole.pop_front(),
            None => None,
        }?;
        self.free -= next.units;
        Some(next)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl Grant {
    fn shrink(&mut self, units: usize) {
        if units < self.units {
            self.pool.queues().free += self.units - units;
            self.units = units;
            self.pool.serve();
        }
    }

    fn merge(&mut self, mut more: Self) {
        self.units += std::mem::take(&mut more.units);
    }
}

/// A connection's part of the shared memory; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    held: Grant,
    turn: Option<OwnedSemaphorePermit>,
}

impl Claim {
    /// Whether others may have to wait for what it has.
    pub(super) fn holds(&self) -> bool {
        self.held.units > 0 || self.turn.is_some()
    }

    /// Whether so many bytes can ever be had.
    pub(super) fn may_have(&self, bytes: usize) -> bool {
        units(bytes) <= self.held.pool.total
    }

    /// Whether what it has is enough for so many bytes; what is too much is given back.
    pub(super) fn suffices(&mut self, bytes: usize) -> bool {
        self.shortage(bytes) == 0
    }

    /// Claims what is needed for so many bytes, and gives back what is not. False when it cannot be had now.
    pub(super) fn cover(&mut self, bytes: usize) -> bool {
        let more = self.shortage(bytes);
        more == 0 || self.take_free(more, Queues::is_nobody_waiting)
    }

    /// The same for a command of this size, and waits for it. False when it was not to be had in time.
    pub(super) async fn whole(&mut self, bytes: usize, patience: Duration) -> bool {
        if self.cover(bytes) {
            return true;
        }
        if self.turn.is_some() {
            return self.in_turn(bytes, patience).await;
        }
        // A connection with some in hand could be waited for by those for which it would wait.
        if self.held.units > 0 || !self.may_have(bytes) {
            return false;
        }
        let granted = Waiting::new(&self.held.pool).whole(units(bytes));
        timeout(patience, granted).await.is_ok_and(|granted| self.take(granted))
    }

    /// The same for what may become more: waits for its turn first, which ends with the need for shared memory.
    pub(super) async fn in_turn(&mut self, bytes: usize, patience: Duration) -> bool {
        let more = self.shortage(bytes);
        if more == 0 {
            return true;
        }
        if !self.may_have(bytes) || (self.turn.is_none() && self.held.units > 0) {
            return false;
        }
        let pool = Arc::clone(&self.held.pool);
        if self.turn.is_none() {
            self.turn = Arc::clone(&pool.turn).try_acquire_owned().ok();
        }
        if self.turn.is_some() && self.take_free(more, |_| true) {
            return true;
        }
        let granted = async {
            let waiting = Waiting::new(&pool);
            if self.turn.is_none() {
                self.turn = Arc::clone(&pool.turn).acquire_owned().await.ok();
            }
            waiting.in_turn(more).await
        };
        match timeout(patience, granted).await {
            Ok(granted) => self.take(granted),
            Err(_) => false,
        }
    }

    /// Takes what is free, if that is enough and it may.
    fn take_free(&mut self, units: usize, may: impl FnOnce(&Queues) -> bool) -> bool {
        let mut queues = self.held.pool.queues();
        let takes = units <= queues.free && may(&queues);
        if takes {
            queues.free -= units;
        }
        drop(queues);
        self.held.units += if takes { units } else { 0 };
        takes
    }

    /// How many units are missing; what is too much is given back.
    fn shortage(&mut self, bytes: usize) -> usize {
        let needed = units(bytes);
        self.held.shrink(needed);
        if needed == 0 {
            self.turn = None;
        }
        needed.saturating_sub(self.held.units)
    }

    fn take(&mut self, granted: Option<Grant>) -> bool {
        granted.map(|granted| self.held.merge(granted)).is_some()
    }
}

/// How many units so many bytes take of what is shared.
fn units(bytes: usize) -> usize {
    bytes.saturating_sub(2 * OWN).div_ceil(UNIT)
}

/// A connection that waits. What is free may be enough for the next when the first gives up.
struct Waiting<'a>(&'a Arc<Pool>);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Arc<Pool>) -> Self {
        pool.waiting.fetch_add(1, Relaxed);
        Self(pool)
    }

    async fn whole(self, units: usize) -> Option<Grant> {
        let (granted, grant) = oneshot::channel();
        self.0.queues().whole.push_back(Waiter { units, granted });
        self.0.serve();
        grant.await.ok()
    }

    async fn in_turn(self, units: usize) -> Option<Grant> {
        let (granted, grant) = oneshot::channel();
        self.0.queues().turn = Some(Waiter { units, granted });
        self.0.serve();
        grant.await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.serve();
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
