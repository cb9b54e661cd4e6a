//! `wait_replicas`: what is queued by an agent itself outlives a failover, with Sentinels and in a cluster.

use std::time::{Duration, Instant};

use kadabra::{
    channel::{Channel, ChannelError, redis::RedisChannel},
    config,
};
use redis::Commands as _;

use super::{Q, cluster_channel, sentinel_channel};
use crate::support::{
    agent::cli,
    pipeline::PATIENCE,
    process::wait_for,
    redis_groups::{Cluster, SentinelGroup},
    redis_server::RedisServer,
};

/// The channel that this part of a configuration is of.
pub(super) fn channel(part: &str) -> RedisChannel {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, format!("{part}\n[publisher]\ntype = \"debug\"")).unwrap();
    let settings = config::load(Some(&file), std::iter::empty::<(String, String)>()).unwrap().settings;
    let config::Channel::Redis(redis) = settings.channel else { panic!("no Redis") };
    RedisChannel::new(&redis, "here", Duration::from_secs(60)).unwrap()
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(work)
}

async fn push(channel: &RedisChannel, messages: &[&'static str]) -> Result<(), ChannelError> {
    Channel::push(channel, messages.iter().map(|message| (*message).into()).collect()).await
}

/// This channel with a longer time-out: Redis waits for replicas for half of it, and an answer that comes after all of it would be none.
fn patient(channel: &str) -> String {
    channel.replace("\"3s\"", "\"60s\"").replace("\"1s\"", "\"4s\"")
}

/// Tries until it is done, as the agent does.
async fn push_until_done(channel: &RedisChannel, messages: &[&'static str]) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = push(channel, messages).await {
        assert!(Instant::now() < end, "{error}");
        actix_rt::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn what_no_replica_had_is_queued_again_where_the_failover_went_and_without_waiting_it_is_gone() {
    let mut group = SentinelGroup::start();
    let waits = channel(&patient(&sentinel_channel(&group.nodes(), "wait_replicas = 1")));
    let does_not = channel(&sentinel_channel(&group.nodes(), ""));
    run(async {
        waits.open().await.unwrap();
        push_until_done(&waits, &["confirmed"]).await;
        cut_off(&group.servers[0], &group.servers[1]);
        push(&does_not, &["answered"]).await.unwrap();
        for _ in 0..3 {
            let said = push(&waits, &["unconfirmed"]).await.unwrap_err();
            assert!(matches!(said, ChannelError::Unreachable { .. }), "it is not known whether it is queued");
            assert!(said.to_string().contains("only 0 of 1 replica confirmed"), "{said}");
        }
        assert_eq!(list(&group.servers[0]), ["unconfirmed", "answered", "confirmed"]);
        group.servers[0].kill9();
        group.servers[1].resume();
        wait_for("the failover", PATIENCE, || (group.primary() == 1).then_some(()));
        // The new primary has no replica until the old one is back.
        group.servers[0].restart();
        let replicaof = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(group.servers[1].port()).take();
        replicaof.query::<()>(&mut group.servers[0].connection()).unwrap();
        push_until_done(&waits, &["unconfirmed"]).await;
        assert_eq!(list(&group.servers[1]), ["unconfirmed", "confirmed"]);
    });
}

/// A primary with a replica that follows it, and a channel to it that waits for the replica.
fn primary_with_replica() -> (RedisServer, RedisServer, RedisChannel) {
    let primary = RedisServer::start();
    let replica = RedisServer::replica_of(&primary);
    let url = primary.url();
    let waits =
        channel(&format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{url}\"\ntimeout = \"4s\"\nwait_replicas = 1"));
    (primary, replica, waits)
}

/// Has the replica confirm nothing more until it is resumed, and find nothing in its socket then.
fn cut_off(primary: &RedisServer, replica: &RedisServer) {
    replica.pause();
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).query::<u64>(&mut primary.connection()).unwrap();
}

fn list(server: &RedisServer) -> Vec<String> {
    server.connection().lrange(Q, 0, -1).unwrap()
}

#[test]
fn pushes_that_come_at_once_while_no_replica_confirms_are_queued_once() {
    let (primary, replica, waits) = primary_with_replica();
    run(async {
        push_until_done(&waits, &["before"]).await;
        cut_off(&primary, &replica);
        for _ in 0..2 {
            // Of statsd, and of what was dropped.
            let (one, other) = tokio::join!(push(&waits, &["one"]), push(&waits, &["other"]));
            one.unwrap_err();
            other.unwrap_err();
            assert_eq!(list(&primary), ["one", "before"]);
        }
        replica.resume();
        push_until_done(&waits, &["other"]).await;
        push_until_done(&waits, &["one", "more"]).await;
        assert_eq!(list(&primary), ["more", "other", "one", "before"]);
    });
}

#[test]
fn what_replicas_have_by_now_is_not_queued_again_whatever_became_of_later_pushes() {
    let (primary, replica, waits) = primary_with_replica();
    let set = |name: &str, value: &str| {
        redis::cmd("CONFIG").arg(&["SET", name, value]).query::<()>(&mut primary.connection()).unwrap();
    };
    run(async {
        push_until_done(&waits, &["before"]).await;
        cut_off(&primary, &replica);
        push(&waits, &["one"]).await.unwrap_err();
        // A push that Redis refuses once the replica has the first one.
        set("maxmemory", "1");
        replica.resume();
        let end = Instant::now() + PATIENCE;
        while let said @ ChannelError::Unreachable { .. } = push(&waits, &["one", "two"]).await.unwrap_err() {
            assert!(Instant::now() < end, "{said}");
        }
        set("maxmemory", "0");
        // One whose wait for replicas is in vain, and one on another connection.
        cut_off(&primary, &replica);
        push(&waits, &["one", "two"]).await.unwrap_err();
        replica.resume();
        push_until_done(&waits, &["three"]).await;
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query::<u64>(&mut primary.connection()).unwrap();
        push_until_done(&waits, &["one", "two", "four"]).await;
        assert_eq!(list(&primary), ["four", "three", "two", "one", "before"]);
        // What was pushed again is not remembered any longer.
        push_until_done(&waits, &["one"]).await;
        assert_eq!(list(&primary)[0], "one");
    });
}

#[test]
fn a_push_is_confirmed_in_a_cluster_and_check_says_when_too_few_replicas_follow() {
    let cluster = Cluster::start();
    let waits = channel(&patient(&cluster_channel(&cluster.nodes(), "wait_replicas = 1")));
    let more = patient(&cluster_channel(&cluster.nodes(), "wait_replicas = 2"));
    let owner = cluster.owner(Q, None).unwrap();
    run(async {
        waits.open().await.unwrap();
        push_until_done(&waits, &["one", "two"]).await;
        assert_eq!(cluster.servers[owner].connection().lrange::<_, Vec<String>>(Q, 0, -1).unwrap(), ["two", "one"]);
        let said = push(&channel(&more), &["three"]).await.unwrap_err().to_string();
        assert!(said.contains("only 1 of 2 replicas confirmed"), "{said}");
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, format!("{more}\n[publisher]\ntype = \"debug\"")).unwrap();
    let output = cli(["check", "--online", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("1 replica follows, channel.redis.wait_replicas is 2"), "{said}");
}

#[test]
fn a_right_that_only_waiting_for_replicas_takes_is_named() {
    let redis = RedisServer::start();
    // As docs/redis.md says what each channel takes.
    let rights = "on >secret ~kadabra_queue ~{kadabra_queue}:* ~kadabra_inprogress +@read +@write +@blocking +@scripting +@stream \
                  +@sortedset +@list +ping +info +time +select +client|setname +client|reply";
    let set = |more: &str| {
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg("kadabra").arg(format!("{rights} {more}").split_whitespace().collect::<Vec<_>>());
        set.query::<()>(&mut redis.connection()).unwrap();
    };
    set("");
    let url = redis.url().replace("redis://", "redis://kadabra:secret@");
    let waits = channel(&format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{url}\"\nwait_replicas = 1"));
    run(async {
        let said = waits.open().await.unwrap_err().to_string();
        assert!(said.contains("lacks a permission") && said.ends_with("+wait"), "{said}");
        set("+wait");
        waits.open().await.unwrap();
    });
}

/// By hand, since it is a measurement: `cargo nextest run --features failpoints --run-ignored all --no-capture redis_groups::replicas::the_price`.
#[test]
#[ignore = "measures"]
fn the_price_of_waiting_for_a_replica() {
    const PUSHES: u32 = 1000;
    let (primary, _replica, waits) = primary_with_replica();
    let does_not = channel(&format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"", primary.url()));
    run(async {
        // In turns, so that whatever else the machine does concerns both.
        let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..PUSHES {
            for (channel, took) in [(&waits, &mut with), (&does_not, &mut without)] {
                let begun = Instant::now();
                push(channel, &["a message"]).await.unwrap();
                *took += begun.elapsed();
            }
        }
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("a push: {:?} without, {:?} with a replica, {ratio:.1} times as long", without / PUSHES, with / PUSHES);
    });
}
