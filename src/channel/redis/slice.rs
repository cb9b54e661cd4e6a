//! How many messages one script takes: fewer where answers do not arrive in time, as on a slow line.
//!
//! An answer that does not arrive leaves its messages in a lease that is given back. Asked for as many again it would
//! not arrive again, and nothing would ever be published.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::errors::Error;
use crate::channel::ChannelError;

/// At most so many messages are moved by one script, so that Redis answers others in between: 500 messages of
/// 900 bytes take it about 1 ms, and larger slices cost more per message, in Lua's garbage collector.
const MOST: usize = 500;

/// The size of the next slice.
#[derive(Debug)]
pub(super) struct Slice(AtomicUsize);

impl Slice {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(MOST))
    }

    pub(super) fn size(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether slices are small since larger ones did not arrive. Then each is a lease of its own: a later one
    /// that does not arrive takes the earlier ones of its lease with it.
    pub(super) fn is_small(&self) -> bool {
        self.size() < MOST
    }

    /// What became of the answer to one.
    pub(super) fn answered<T>(&self, answer: &Result<T, Error>) {
        match answer {
            Ok(_) => self.arrived(),
            Err(Error::Other(ChannelError::Unreachable { .. })) => self.missed(),
            Err(_) => {}
        }
    }

    /// One arrived. Grows slower than it shrinks, since each step too many costs a time-out.
    fn arrived(&self) {
        let size = self.size();
        self.0.store((size + size.div_ceil(4)).min(MOST), Ordering::Relaxed);
    }

    /// One did not.
    fn missed(&self) {
        self.0.store((self.size() / 2).max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_shrinks_to_one_message_and_grows_back() {
        let slice = Slice::new();
        assert!(!slice.is_small());
        for _ in 0..9 {
            slice.missed();
            assert!(slice.is_small());
        }
        assert_eq!(slice.size(), 1);
        slice.missed();
        assert_eq!(slice.size(), 1);
        let steps = (0..).take_while(|_| slice.is_small().then(|| slice.arrived()).is_some()).count();
        assert!((10..40).contains(&steps), "{steps}");
        slice.arrived();
        assert_eq!(slice.size(), MOST);
    }
}
