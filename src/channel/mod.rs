//! Where messages wait until they are published.
//!
//! A message is taken off a channel under a [`Lease`] and stays in the channel, leased, until the lease is completed. There is no
//! instant at which a message is only in this process's memory.
//!
//! | promise | kept by |
//! |---|---|
//! | a lease ends once: completed, given back or lost | [`Lease`] in `lease_registry`; `redis/settle`; `queue/settlement` |
//! | a lease that its agent has dropped or does not renew waits again | `redis/recover`, `redis/sweep`; `queue/state` |
//! | a queue that is full, slow or away keeps no other one waiting | `redis/queues`, `redis/queue` |
//! | an agent that is late changes nothing of what another has by now | the scripts of `redis`; an embedded queue has one agent |
//! | whatever answers in place of Redis takes no memory | `redis/questions`, `redis/resp` |
//! | a refusal says what to do about it | `redis/errors`, `embedded/errors` |
//! | what waits can be looked at without taking it | [`Channel::peek`]; `redis/peek`, `queue/reader` |
//! | a dead letter is looked at, queued anew or deleted by its id, wherever it lies | `letters` |
//! | the queue is reached as clients reach it, by whatever does so within Kadabra | `pusher` |
//! | an import doubles nothing | `redis/export`, [`embedded::EmbeddedChannel::import`] |
//!
//! - [`contract`]: what every channel can do ([`Channel`]), what clients push to ([`Intake`]), and its errors.
//! - [`lease_registry`]: which leases this process holds, has dropped or lost, and the [`Tally`] of messages, which must balance.
//! - [`pressure`]: what threatens the messages that wait, for an operator.
//! - [`redis`]: a Redis list as a channel, or several of them, each step one atomic script; dead letters are in a stream.
//! - [`embedded`]: the queue in a file ([`crate::queue`]) as a channel, with the [`crate::listener`] that clients push to.

mod contract;
pub mod embedded;
mod lease_registry;
mod letters;
mod pressure;
pub(crate) mod pusher;
pub mod redis;

pub use contract::{
    Backlog, Channel, ChannelError, Completed, DeadLetter, Demand, Depth, Intake, OneOfSeveral, Recovered, RefusedPoint,
};
pub(crate) use contract::{RECONNECT, WAIT};
pub use lease_registry::{Accepted, Lease, LeaseId, LeaseRegistry, Settlement, Tally};
pub(crate) use letters::{LetterAct, Letters};
pub use pressure::{ChannelKind, ChannelStatus, Patience, Pressure, Threat, Warning};

pub use crate::listener::{PassedSockets, Refused};

use std::{iter, sync::Arc};

use slog::Logger;

use crate::{
    config::{self, Settings},
    listener::BindError,
};

/// The channel that the configuration asks for, not connected yet, as each of its publishers uses it, in their order. One that
/// clients push to logs what they do to `log`.
///
/// Each publisher is a *consumer*: every message is given to each of them, under leases that the others know nothing of, and is done
/// when all have completed it. So each has a [`LeaseRegistry`] of its own, its own [`Tally`], backlog and dead letters, and nothing
/// that one of them does or leaves undone delays another. Only the first has the [`Channel::intake`]. A consumer that is new gets
/// what is accepted from then on. With one publisher there is one consumer, which is the channel itself. `passed` are the sockets for
/// clients that this process was started with.
///
/// # Errors
/// [`ChannelError::Unusable`] when it cannot be reached in principle, such as by a URL of something else, or when clients would come
/// by a socket on which it does not listen.
pub fn open(settings: &Settings, passed: &PassedSockets, log: &Logger) -> Result<Vec<Arc<dyn Channel>>, ChannelError> {
    let (listen, unix_socket) = match &settings.channel {
        config::Channel::Redis(_) => (&[][..], None),
        config::Channel::Embedded(embedded) => (&embedded.listen[..], embedded.unix_socket.as_deref()),
    };
    passed
        .are_configured((listen, unix_socket), (&settings.statsd.listen, settings.statsd.unix_socket.as_deref()))
        .map_err(|BindError { what, remedy }| ChannelError::Unusable { what, mend: remedy })?;
    match &settings.channel {
        config::Channel::Redis(redis) => {
            let named = settings.several.iter().filter_map(|pipeline| Some((pipeline.name.as_deref()?, &pipeline.consumer)));
            let consumers: Vec<_> = named.collect();
            redis::open(redis, &settings.agent.name, settings.nanny.threshold, &consumers)
        }
        config::Channel::Embedded(embedded) => {
            let mut channels = if settings.several.is_empty() {
                vec![embedded::EmbeddedChannel::new(embedded, &settings.agent.name)]
            } else {
                let consumers = settings.several.iter().map(consumer).collect();
                embedded::EmbeddedChannel::several(embedded, &settings.agent.name, consumers)
            };
            let first = channels.remove(0).with_intake(passed, log);
            Ok(iter::once(first).chain(channels).map(|channel| Arc::new(channel) as Arc<dyn Channel>).collect())
        }
    }
}

/// What the configuration says of one of several publishers to the queue.
fn consumer(pipeline: &config::Pipeline) -> embedded::ConsumerSettings {
    embedded::ConsumerSettings {
        name: pipeline.name.clone().unwrap_or_default(),
        required: pipeline.consumer.required,
        max_backlog: pipeline.consumer.max_backlog.map(|most| most as u64),
    }
}
