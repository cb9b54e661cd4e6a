//! What waits for a publisher, as far as `check` looks at it: enough to tell what its database will refuse.

use crate::{
    agent::Filter,
    channel::{Channel, Demand},
    config::Pipeline,
    listener::ConsumerStatus,
    wire::{Decoder, MessageSet},
};

/// How many of the oldest messages are looked at, and about how many bytes of them.
const MOST: Demand = Demand { messages: 10_000, bytes: 16 << 20, not_before: None };

/// How many of the newest messages a running agent is asked for, which has other things to do.
pub(in crate::cli) const MOST_OF_AN_AGENT: Demand = Demand { messages: 1000, ..MOST };

/// The messages that each publisher would be given next, or a sentence that says why they are not known.
pub(super) type Waiting = Vec<Result<MessageSet, String>>;

/// What waits in the channel for a publisher.
pub(super) async fn of(channel: &dyn Channel, pipeline: &Pipeline) -> Result<MessageSet, String> {
    match tokio::time::timeout(super::PATIENCE, channel.peek(MOST)).await {
        Ok(Ok(messages)) => Ok(decoded(&messages, pipeline)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it did not come in time".to_owned()),
    }
}

/// What waits for a publisher of the newest messages that an agent has shown, the newest first: it takes the oldest first.
pub(super) fn of_agent(newest: &[Vec<u8>], consumers: &[ConsumerStatus], pipeline: &Pipeline) -> MessageSet {
    let named = consumers.iter().find(|consumer| pipeline.name.as_ref() == Some(&consumer.name));
    let waiting = named.map(|consumer| consumer.waiting.saturating_sub(consumer.in_hand));
    let count = waiting.and_then(|waiting| usize::try_from(waiting).ok()).unwrap_or(usize::MAX).min(newest.len());
    decoded(newest.get(..count).unwrap_or_default(), pipeline)
}

/// What a publisher would publish of messages.
fn decoded(messages: &[Vec<u8>], pipeline: &Pipeline) -> MessageSet {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn of_the_newest_messages_a_publisher_waits_for_those_that_it_has_not_taken() {
        let newest: Vec<Vec<u8>> = (0..3).map(|number: u8| vec![number]).collect();
        let defaults = config::load_or(std::path::Path::new("/nonexistent"), None, [("HOME", "/home/a")]).unwrap();
        let only = defaults.settings.pipelines().remove(0);
        let named = |name: &str| Pipeline { name: Some(name.to_owned()), ..only.clone() };
        let status = |name: &str, waiting, in_hand| ConsumerStatus {
            name: name.to_owned(),
            waiting,
            in_hand,
            ..ConsumerStatus::default()
        };
        let consumers = [status("slow", 5000, 100), status("quick", 101, 100), status("done", 0, 0)];
        for (name, looked_at) in [("slow", 3), ("quick", 1), ("done", 0)] {
            assert_eq!(of_agent(&newest, &consumers, &named(name)).len(), looked_at, "{name}");
        }
        assert_eq!(of_agent(&newest, &[], &only).len(), 3);
    }
}
