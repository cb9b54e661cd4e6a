//! How much memory one message may take while it is read: one total for everything that is made of it.

/// For each byte of a message. What a client of Kadabra writes takes up to two: its shortest counter is 88 bytes and becomes
/// 128, an entry of metadata is about 20 (at least 8) and becomes 32, and text that is escaped is copied. Two bytes such as `0,` are a
/// counter to JSON as well, and would take 64 each.
const PER_BYTE: usize = 3;

/// For every message, so that a small one that is odd is judged metric by metric.
const FOR_ALL: usize = 256 << 10;

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded;

/// The budget that is left for a message, in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryBudget {
    left: usize,
}

impl MemoryBudget {
    /// The budget for a message of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes.saturating_mul(PER_BYTE).saturating_add(FOR_ALL) }
    }

    /// Adds an item to a list.
    pub(super) fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), Exceeded> {
        self.take(size_of::<T>())?;
        if list.len() == list.capacity() {
            // Twice as many as usual, but not more than there could be.
            list.reserve_exact(list.len().max(64).min(1 + self.left / size_of::<T>().max(1)));
        }
        list.push(item);
        Ok(())
    }

    /// Adds to a text.
    pub(super) fn push_str(&mut self, text: &mut String, more: &str) -> Result<(), Exceeded> {
        self.take(more.len())?;
        if text.capacity() - text.len() < more.len() {
            text.reserve_exact(more.len() + text.len().max(256).min(self.left));
        }
        text.push_str(more);
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(bytes).ok_or(Exceeded)?;
        Ok(())
    }
}
