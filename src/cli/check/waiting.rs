//! What waits for a publisher, as far as `check` looks at it: enough to tell what its database will refuse.

use crate::{
    agent::Filter,
    channel::{Channel, ChannelError, Demand},
    config::Pipeline,
    wire::{Decoder, MessageSet},
};

/// How many of the oldest messages are looked at, and about how many bytes of them.
const MOST: Demand = Demand { messages: 10_000, bytes: 16 << 20 };

/// How many of the newest messages a running agent is asked for, which has other things to do.
pub(super) const MOST_OF_AN_AGENT: usize = 1000;

/// The messages that each publisher would be given next, or a sentence that says why they are not known.
pub(super) type Waiting = Vec<Result<MessageSet, String>>;

/// What waits in the channel for a publisher.
pub(super) async fn of(channel: &dyn Channel, pipeline: &Pipeline) -> Result<MessageSet, String> {
    let messages = channel.peek(MOST).await.map_err(|error: ChannelError| error.to_string())?;
    Ok(decoded(&messages, pipeline))
}

/// What a publisher would publish of messages.
pub(super) fn decoded(messages: &[Vec<u8>], pipeline: &Pipeline) -> MessageSet {
    let (mut set, mut decoder) = (MessageSet::new(), Decoder::new());
    for message in messages {
        // What is refused here becomes a dead letter before any database sees it.
        drop(decoder.decode(message, &mut set));
    }
    if let Some(filter) = Filter::of(&pipeline.consumer) {
        filter.apply(&mut set, 0);
    }
    set
}
