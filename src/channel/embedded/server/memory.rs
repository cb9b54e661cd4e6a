//! What all connections together may take, beyond the little that each has for itself.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a connection may take without asking, each way: what Redis reads at once.
pub(super) const OWN: usize = 16 << 10;
/// Memory is counted by so many bytes.
const UNIT: usize = 1 << 10;

/// The memory that connections share.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    units: Arc<Semaphore>,
    total: usize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).clamp(1, u32::MAX as usize >> 1);
        Self { units: Arc::new(Semaphore::new(total)), total }
    }

    /// How many bytes are taken.
    pub(super) fn used(&self) -> usize {
        self.total.saturating_sub(self.units.available_permits()) * UNIT
    }

    /// A claim to nothing yet.
    pub(super) fn claim(&self) -> Claim {
        Claim { memory: self.clone(), held: None }
    }
}

/// A connection's part of the shared memory; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
}

impl Claim {
    /// Claims what is needed for so many bytes, and gives back what is not. False when it cannot be had now.
    pub(super) fn cover(&mut self, bytes: usize) -> bool {
        let more = self.shortage(bytes);
        if more == 0 {
            return true;
        }
        match Arc::clone(&self.memory.units).try_acquire_many_owned(more) {
            Ok(permit) => self.take(permit),
            Err(_) => false,
        }
    }

    /// The same, but waits for it. False when it could not be had in time.
    pub(super) async fn cover_within(&mut self, bytes: usize, patience: Duration) -> bool {
        if self.cover(bytes) {
            return true;
        }
        let more = self.shortage(bytes);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if held + more as usize > self.memory.total {
            // All others together could not give it back.
            return false;
        }
        match tokio::time::timeout(patience, Arc::clone(&self.memory.units).acquire_many_owned(more)).await {
            Ok(Ok(permit)) => self.take(permit),
            _ => false,
        }
    }

    /// How many units are missing; what is too much is given back.
    fn shortage(&mut self, bytes: usize) -> u32 {
        let needed = u32::try_from(bytes.saturating_sub(2 * OWN).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let held = self.held.as_ref().map_or(0, |held| u32::try_from(held.num_permits()).unwrap_or(u32::MAX));
        if needed < held {
            drop(self.held.as_mut().and_then(|held| held.split((held.num_permits()).saturating_sub(needed as usize))));
        }
        needed.saturating_sub(held)
    }

    fn take(&mut self, permit: OwnedSemaphorePermit) -> bool {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_claimed_beyond_what_is_ones_own_and_comes_back() {
        let memory = Memory::new(100 << 10);
        let (mut one, mut other) = (memory.claim(), memory.claim());
        assert!(one.cover(2 * OWN) && memory.used() == 0);
        assert!(one.cover(2 * OWN + (90 << 10)) && memory.used() == 90 << 10);
        assert!(!other.cover(2 * OWN + (11 << 10)) && memory.used() == 90 << 10);
        assert!(other.cover(2 * OWN + (10 << 10)) && memory.used() == 100 << 10);
        assert!(one.cover(2 * OWN + 1) && memory.used() == 11 << 10);
        drop(other);
        assert!(one.cover(0) && memory.used() == 0);
    }
}
