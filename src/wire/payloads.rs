//! The messages of a lease as they are in the channel, and what became of them once a pipeline has decoded them.
//!
//! Where there are several pipelines, channels give the same messages to those that are close together. The first one that needs them
//! decoded leaves that to the others, so that a further publisher costs its own lines and requests and little else.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use super::{Decoder, MessageSet, Refusal};

/// See the module. Kept behind an [`Arc`], which those that have the same messages share.
#[derive(Debug, Default)]
pub struct Payloads {
    messages: Vec<Vec<u8>>,
    decoded: OnceLock<Decoded>,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) set: Arc<MessageSet>,
    /// What could not be decoded, by the message's index.
    pub(crate) refusals: Vec<(usize, Refusal)>,
}

impl Payloads {
    /// These messages, the oldest first.
    #[must_use]
    pub fn of(messages: Vec<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self { messages, decoded: OnceLock::new() })
    }

    /// Appends every message to a set as [`Decoder::decode`] does, and what could not be decoded, by the message's index in the set.
    pub(crate) fn decode(&self, decoder: &mut Decoder, set: &mut MessageSet, refusals: &mut Vec<(usize, Refusal)>) {
        for payload in &self.messages {
            let index = set.len();
            refusals.extend(decoder.decode(payload, set).into_iter().map(|refusal| (index, refusal)));
        }
    }

    /// What became of them: decoded by whoever asks first, while the others wait. It takes memory for as long as these do.
    pub(crate) fn decoded(&self, decoder: &mut Decoder) -> &Decoded {
        self.decoded.get_or_init(|| {
            let (mut set, mut refusals) = (MessageSet::new(), Vec::new());
            self.decode(decoder, &mut set, &mut refusals);
            Decoded { set: Arc::new(set), refusals }
        })
    }

    /// The sum of the messages' sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(Vec::len).sum()
    }
}

/// The messages, oldest first.
impl Deref for Payloads {
    type Target = [Vec<u8>];

    fn deref(&self) -> &[Vec<u8>] {
        &self.messages
    }
}
