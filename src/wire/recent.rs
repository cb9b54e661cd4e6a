//! What was decoded lately, for pipelines that decode the same messages: one of them reads a message, and the others copy what became
//! of it.
//!
//! Messages are known by their bytes, not by where they came from, so this is right whatever each pipeline is given and when. It helps
//! while pipelines are close together. In a backlog, the one in front reads and the others copy, which takes a fraction of the time, so
//! that they stay close; one that is far behind the others reads for itself.

use std::{collections::HashMap, mem, ops::Range};

use super::{Decoder, MessageSet, Refusal, decode::digest, set::Lengths};

/// Messages that are larger are read by each pipeline.
const LARGEST: usize = 16 << 10;

/// When a generation is full: its messages' bytes, or what was decoded of them.
const GENERATION: usize = 1 << 20;

/// Two generations of messages, of which the older is forgotten once the newer is full.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    newer: Generation,
    older: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    set: MessageSet,
    payloads: Vec<u8>,
    known: HashMap<u32, Known>,
}

/// Where a message and its parts are.
#[derive(Debug)]
struct Known {
    payload: Range<usize>,
    parts: Range<Lengths>,
}

impl Recent {
    /// Does what [`Decoder::decode`] does.
    pub(crate) fn decode(&mut self, payload: &[u8], decoder: &mut Decoder, set: &mut MessageSet) -> Vec<Refusal> {
        let digest = digest(payload);
        if self.newer.give(digest, payload, set) || self.older.give(digest, payload, set) {
            return Vec::new();
        }
        let before = Lengths::of(set);
        let refused = decoder.decode(payload, set);
        if refused.is_empty() && payload.len() <= LARGEST {
            self.keep(digest, payload, set, before..Lengths::of(set));
        }
        refused
    }

    fn keep(&mut self, digest: u32, payload: &[u8], set: &MessageSet, parts: Range<Lengths>) {
        if self.newer.is_full() {
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.keep(digest, payload, set, parts);
    }
}

impl Generation {
    /// Appends what became of a message, if it is known.
    fn give(&self, digest: u32, payload: &[u8], to: &mut MessageSet) -> bool {
        let Some(Known { payload: known, parts }) = self.known.get(&digest) else { return false };
        self.payloads.get(known.clone()) == Some(payload) && to.append(&self.set, parts).is_some()
    }

    fn keep(&mut self, digest: u32, payload: &[u8], from: &MessageSet, parts: Range<Lengths>) {
        let (begin, before) = (self.payloads.len(), Lengths::of(&self.set));
        if self.set.append(from, &parts).is_some() {
            self.payloads.extend_from_slice(payload);
            let known = Known { payload: begin..self.payloads.len(), parts: before..Lengths::of(&self.set) };
            self.known.insert(digest, known);
        }
    }

    fn is_full(&self) -> bool {
        self.payloads.len().max(Lengths::of(&self.set).bytes()) >= GENERATION
    }

    fn clear(&mut self) {
        self.set.clear();
        self.payloads.clear();
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Vec<u8> {
        let text = format!(
            r#"{{"dimensions": [{{"name": "d", "value": "{number}"}}], "timers": [], "timestamp_format": "%Y",
            "counters": [{{"name": "c", "metadata": {{"m": "{number}"}}, "timestamp": "1970", "value": {number}}}]}}"#
        );
        text.into_bytes()
    }

    /// Decodes by a decoder of its own, as another pipeline does. Says whether the message was copied.
    fn decode(recent: &mut Recent, payload: &[u8], set: &mut MessageSet) -> bool {
        let known = |recent: &Recent| (recent.newer.known.len(), recent.newer.payloads.len(), recent.older.known.len());
        let before = known(recent);
        recent.decode(payload, &mut Decoder::new(), set);
        known(recent) == before
    }

    #[test]
    fn what_one_has_decoded_the_others_copy() {
        let (mut recent, mut alone) = (Recent::default(), MessageSet::new());
        for number in 0..100 {
            Decoder::new().decode(&message(number), &mut alone);
        }
        for is_copied in [false, true, true] {
            let mut set = MessageSet::new();
            for number in 0..100 {
                assert_eq!(decode(&mut recent, &message(number), &mut set), is_copied, "{number}");
            }
            assert_eq!(set.contents(), alone.contents());
        }
    }

    #[test]
    fn another_message_of_the_same_digest_is_decoded() {
        let (mut recent, mut set) = (Recent::default(), MessageSet::new());
        decode(&mut recent, &message(1), &mut set);
        assert!(recent.newer.give(digest(&message(1)), &message(1), &mut set));
        assert!(!recent.newer.give(digest(&message(1)), &message(2), &mut set));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn it_keeps_no_more_than_two_generations_and_nothing_large_or_refused() {
        let (mut recent, mut set) = (Recent::default(), MessageSet::new());
        for number in 0..50_000 {
            set.clear();
            assert!(!decode(&mut recent, &message(number), &mut set), "{number}");
            for generation in [&recent.newer, &recent.older] {
                let bytes = generation.payloads.len().max(Lengths::of(&generation.set).bytes());
                assert!(bytes <= GENERATION + 8 * LARGEST, "{bytes}");
            }
        }
        assert!(decode(&mut recent, &message(49_000), &mut set), "a generation is forgotten too early");
        assert!(!decode(&mut recent, &message(0), &mut set), "it was kept for ever");
        let large = String::from_utf8(message(1)).unwrap().replace("\"m\": \"1\"", &format!("\"m\": \"{:LARGEST$}\"", 1));
        for refused in [b"no message".as_slice(), large.as_bytes()] {
            let kept = recent.newer.known.len();
            recent.decode(refused, &mut Decoder::new(), &mut set);
            assert_eq!(recent.newer.known.len(), kept);
        }
    }
}
