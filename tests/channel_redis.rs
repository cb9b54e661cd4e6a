//! The Redis channel: leases, atomic steps, recovery, adoption, and what it says of a Redis that cannot be used.
//! A real redis-server, on a free port, in a folder of its own.

#[path = "channel_redis/adopting.rs"]
mod adopting;
#[path = "channel_redis/endless.rs"]
mod endless;
#[path = "channel_redis/faults.rs"]
mod faults;
#[path = "channel_redis/flood.rs"]
mod flood;
#[path = "channel_redis/full.rs"]
mod full;
#[path = "channel_redis/orphans.rs"]
mod orphans;
#[path = "channel_redis/outages.rs"]
mod outages;
#[path = "channel_redis/oversized.rs"]
mod oversized;
#[path = "channel_redis/pressure.rs"]
mod pressure;
#[path = "channel_redis/proxy.rs"]
mod proxy;
#[path = "channel_redis/rights.rs"]
mod rights;
#[path = "channel_redis/services.rs"]
mod services;
#[path = "channel_redis/settling.rs"]
mod settling;
#[path = "channel_redis/several_agents.rs"]
mod several_agents;
#[path = "channel_redis/taking.rs"]
mod taking;
#[path = "channel_redis/tls.rs"]
mod tls;
#[path = "channel_redis/undone.rs"]
mod undone;
#[path = "channel_redis/waiting.rs"]
mod waiting;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use kadabra::{
    channel::{Channel, ChannelError, DeadLetter, Demand, Lease, redis::RedisChannel},
    config::{Redis, RedisMode, Secret},
};
use redis::{Commands, Connection};

use crate::support::redis_server::RedisServer;

const Q: &str = "kadabra_queue";
const P: &str = "kadabra_inprogress";
const LEASES: &str = "{kadabra_queue}:leases";
const DEAD: &str = "{kadabra_queue}:dead";
const ADOPTED: &str = "{kadabra_queue}:adopted";
const ALL: Demand = Demand { messages: 100_000, bytes: 100_000_000, not_before: None };
const NO_WAIT: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);

fn settings(url: &str) -> Redis {
    Redis {
        mode: RedisMode::Single(Secret::new(url)),
        password: None,
        tls: kadabra::config::Tls::default(),
        queue_key: Q.into(),
        inprogress_key: P.into(),
        lease: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
        max_dead_letters: 10_000,
        max_message_bytes: 4 << 20,
        wait_replicas: 0,
    }
}

/// A channel to the server with a long lease; adopts at the second look.
fn channel(server: &RedisServer) -> RedisChannel {
    RedisChannel::new(&settings(&server.url()), "here", Duration::from_nanos(1)).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// Waits for a condition that has to be asked for asynchronously.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Pushes messages as a client does, the first one first.
fn push<T: AsRef<[u8]>>(connection: &mut Connection, messages: impl IntoIterator<Item = T>) {
    for message in messages {
        let _: usize = connection.lpush(Q, message.as_ref()).unwrap();
    }
}

fn list(connection: &mut Connection, key: &str) -> Vec<String> {
    connection.lrange(key, 0, -1).unwrap()
}

fn texts(lease: &Lease) -> Vec<String> {
    lease.messages.iter().map(|message| String::from_utf8(message.clone()).unwrap()).collect()
}

async fn receive(channel: &RedisChannel, messages: usize, bytes: usize) -> Option<Lease> {
    channel.receive(Demand { messages, bytes, not_before: None }, NO_WAIT).await.unwrap()
}

/// Lets every lease expire now, as if a long time had passed on Redis's clock.
fn expire(connection: &mut Connection) {
    let names: Vec<Vec<u8>> = connection.zrange(LEASES, 0, -1).unwrap();
    for name in names {
        let _: usize = connection.zadd(LEASES, name, 1).unwrap();
    }
}

fn letter(lease: &Lease, message: usize) -> DeadLetter {
    DeadLetter { lease: lease.id().clone(), message, reason: "it is not JSON".into(), refused: Vec::new() }
}

/// Nothing is left of any lease, and every message is accounted for.
fn settled(channel: &RedisChannel, connection: &mut Connection) {
    let tally = channel.registry().tally();
    assert!(tally.balances(), "{tally:?}");
    assert_eq!(tally.in_flight, 0);
    let keys: Vec<String> = connection.keys("*lease*").unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

fn sentence<T: std::fmt::Debug>(outcome: Result<T, ChannelError>) -> String {
    outcome.unwrap_err().to_string()
}
