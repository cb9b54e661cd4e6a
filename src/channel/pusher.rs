//! How the queue of this configuration is reached as clients reach it: the Redis, or the agent that listens itself and is a Redis to its
//! clients. So do `kadabra send`, `kadabra check` and the canary. The errors are sentences with this configuration's keys.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use super::{
    ChannelError, Demand,
    redis::{Kind, Names, RedisChannel, rights},
};
use crate::{
    config::{self, Secret},
    connect::Service,
    listener::Report,
    wire::{MessageError, OutgoingMessage},
};

/// Queues messages in the list that an agent with the same settings works on, of several in the first. Connects with the first message, and
/// again by itself.
#[derive(Debug)]
pub(crate) struct Pusher {
    pub(crate) channel: RedisChannel,
}

/// Why a message was not queued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// The message cannot be written down.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The channel could not be reached, or refused it.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// An agent that listens itself is to its clients a Redis.
fn as_redis(embedded: &config::Embedded) -> config::Redis {
    let url = match (embedded.listen.first(), &embedded.unix_socket) {
        (Some(address), _) => {
            let host = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            format!("redis://{}/0", SocketAddr::new(host, address.port()))
        }
        (None, Some(path)) => format!("unix://{}", path.display()),
        // Refused by the configuration.
        (None, None) => String::new(),
    };
    config::Redis {
        mode: config::RedisMode::Single(Secret::new(url)),
        password: embedded.password.clone(),
        tls: config::Tls::default(),
        queue_key: embedded.queue_key.clone().into(),
        inprogress_key: String::new(),
        lease: embedded.lease,
        timeout: Duration::from_secs(5),
        max_dead_letters: embedded.max_dead_letters,
        max_message_bytes: embedded.max_message_bytes,
        wait_replicas: 0,
    }
}

/// The keys of an agent that listens itself.
const AT_ADDRESS: &Names = &Names {
    service: Service {
        name: "the agent",
        key: config::Embedded::listen.path,
        place: "the address in channel.embedded.listen (kadabra run, or systemctl start kadabra, starts one)",
        section: "",
        plain: Some("redis"),
    },
    password_file: "channel.embedded.password_file",
    lists: config::Embedded::queue_key.path,
    rights: rights::of_agent,
    kind: Kind::Agent,
};
const AT_SOCKET: &Names =
    &Names { service: Service { key: config::Embedded::unix_socket.path, ..AT_ADDRESS.service }, ..*AT_ADDRESS };

impl Pusher {
    /// Not connected yet.
    ///
    /// # Errors
    /// [`ChannelError::Unusable`] when the URL is not one of a Redis.
    pub(crate) fn new(channel: &config::Channel) -> Result<Self, ChannelError> {
        // A name and a threshold are for agents, which lease and adopt.
        let of = |redis: &config::Redis| RedisChannel::new(redis, "", Duration::ZERO);
        let channel = match channel {
            config::Channel::Redis(redis) => of(redis)?,
            config::Channel::Embedded(embedded) if embedded.listen.is_empty() => of(&as_redis(embedded))?.calling(AT_SOCKET),
            config::Channel::Embedded(embedded) => of(&as_redis(embedded))?.calling(AT_ADDRESS),
        };
        Ok(Self { channel })
    }

    /// The same, which waits for no replicas, as clients do not.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn as_client(channel: &config::Channel) -> Result<Self, ChannelError> {
        match channel {
            config::Channel::Redis(redis) => {
                Self::new(&config::Channel::Redis(config::Redis { wait_replicas: 0, ..redis.clone() }))
            }
            config::Channel::Embedded(_) => Self::new(channel),
        }
    }

    /// Queues one message, with one `LPUSH`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When Redis cannot be reached within `channel.redis.timeout`, or refuses it. The message is not queued then,
    /// unless the connection broke between the command and its answer.
    pub(crate) async fn send(&self, message: &OutgoingMessage) -> Result<(), PushError> {
        let text = message.to_json(SystemTime::now())?;
        self.channel.push(text.as_bytes()).await?;
        Ok(())
    }

    /// How many messages wait in that list. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When Redis cannot be reached within `channel.redis.timeout`, or refuses it.
    pub(crate) async fn waiting(&self) -> Result<u64, ChannelError> {
        self.channel.waiting().await
    }

    /// The newest messages that wait in that list of an agent that listens itself.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses it.
    pub(crate) async fn newest(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        self.channel.newest(most).await
    }

    /// What an agent that listens itself says of its queue.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses it.
    pub(crate) async fn describe(&self) -> Result<Report, ChannelError> {
        self.channel.report().await
    }
}
