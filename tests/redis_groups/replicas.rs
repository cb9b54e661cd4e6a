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
fn channel(part: &str) -> RedisChannel {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, format!("{part}\n[publisher]\ntype = \"debug\"")).unwrap();
    let settings = config::load(Some(&file), std::iter::empty::<(String, String)>()).unwrap().settings;
    let config::Channel::Redis(redis) = settings.channel else { panic!("no Redis") };
    RedisChannel::new(&redis, "here", Duration::from_secs(60)).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(work)
}

async fn push(channel: &RedisChannel, messages: &[&'static str]) -> Result<(), ChannelError> {
    Channel::push(channel, messages.iter().map(|message| (*message).into()).collect()).await
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
    let waits = channel(&sentinel_channel(&group.nodes(), "wait_replicas = 1"));
    let does_not = channel(&sentinel_channel(&group.nodes(), ""));
    let list = |server: &RedisServer| -> Vec<String> { server.connection().lrange(Q, 0, -1).unwrap() };
    run(async {
        waits.open().await.unwrap();
        push_until_done(&waits, &["confirmed"]).await;
        // What comes now the replica cannot find in its socket either.
        group.servers[1].pause();
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).query::<u64>(&mut group.servers[0].connection()).unwrap();
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

#[test]
fn a_push_is_confirmed_in_a_cluster_and_check_says_when_too_few_replicas_follow() {
    let cluster = Cluster::start();
    let waits = channel(&cluster_channel(&cluster.nodes(), "wait_replicas = 1"));
    let more = cluster_channel(&cluster.nodes(), "wait_replicas = 2");
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
    let primary = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    replica.wait_until_it_follows();
    let part = |more: &str| format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n{more}", primary.url());
    let (waits, does_not) = (channel(&part("wait_replicas = 1")), channel(&part("")));
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
