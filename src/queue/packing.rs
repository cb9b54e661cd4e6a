//! Which messages of a commit go into which chunk, and what they take on disk. Pure.

use bytes::Bytes;

use super::{answers::Push, body, region::Region};

/// A chunk is finished when it has as many bytes, and what is larger has one of its own: small enough to be read again for
/// the next lease, large enough that a row costs nothing.
const CHUNK: usize = 128 << 10;
/// The messages of one region from the oldest to the newest.
pub(super) fn in_order(pushes: &[Push], region: Region) -> Vec<&Bytes> {
    let mut messages: Vec<_> = pushes.iter().filter(|push| push.region == region).flat_map(|push| &push.messages).collect();
    if region == Region::Oldest {
        // Each goes to where the one before is taken from.
        messages.reverse();
    }
    messages
}

/// How many messages each chunk gets.
pub(super) fn packed(messages: &[&Bytes]) -> Vec<usize> {
    let mut counts = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for message in messages {
        let size = message.len() + body::PER_MESSAGE;
        if count > 0 && bytes + size > CHUNK {
            counts.push(std::mem::take(&mut count));
            bytes = 0;
        }
        count += 1;
        bytes += size;
    }
    if count > 0 {
        counts.push(count);
    }
    counts
}

/// What a message takes on disk, at most: in a chunk of many its own bytes and a share, in one of its own whole pages.
pub(super) fn on_disk(bytes: usize) -> u64 {
    let bytes = (bytes + body::PER_MESSAGE) as u64;
    bytes + bytes / 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_small_but_for_a_large_message_which_is_alone() {
        let sizes = [10, 20, CHUNK, 5, CHUNK / 2, CHUNK / 2 - 50, 100, 3 * CHUNK, 0];
        let messages: Vec<Bytes> = sizes.iter().map(|size| vec![0; *size].into()).collect();
        assert_eq!(packed(&messages.iter().collect::<Vec<_>>()), [2, 1, 3, 1, 1, 1]);
        assert!(packed(&[]).is_empty());
    }
}
