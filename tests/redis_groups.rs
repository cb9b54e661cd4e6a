//! A Redis of several servers: the agent follows the primary that Sentinels name, and the slot of its queue in a cluster.

#[path = "redis_groups/answers.rs"]
mod answers;
#[path = "redis_groups/failover.rs"]
mod failover;
#[path = "redis_groups/nodes.rs"]
mod nodes;
#[path = "redis_groups/replicas.rs"]
mod replicas;
#[path = "redis_groups/sentinels.rs"]
mod sentinels;
#[path = "redis_groups/slots.rs"]
mod slots;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::support::{
    agent::{Agent, cli},
    influxd::Influxd,
    pipeline::{DATABASE, PATIENCE, config_of},
    process::wait_for,
    redis_groups::{Cluster, MASTER_NAME, SentinelGroup, push_until_answered, push_until_replicated},
    redis_server::RedisServer,
};

const Q: &str = "kadabra_queue";

fn influxd() -> Influxd {
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    influxd
}

fn sentinel_channel(nodes: &str, more: &str) -> String {
    format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nmode = \"sentinel\"\nnodes = \"{nodes}\"\nmaster_name = \"{MASTER_NAME}\"\n\
         lease = \"3s\"\ntimeout = \"1s\"\n{more}"
    )
}

fn cluster_channel(nodes: &str, more: &str) -> String {
    format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nmode = \"cluster\"\nnodes = \"{nodes}\"\nlease = \"3s\"\ntimeout = \"1s\"\n{more}"
    )
}

/// Waits until the channel is said to be away, by this code and with these words.
fn wait_said(agent: &Agent, code: &str, words: &[&str]) {
    wait_for(&format!("{code} with {words:?}"), PATIENCE, || {
        let said = |line: &serde_json::Value| {
            let text = line.to_string();
            line["condition"] == "channel" && line["code"] == code && words.iter().all(|words| text.contains(words))
        };
        agent.log_lines().iter().any(said).then_some(())
    });
}

/// How many messages are in a queue, and how many leases there are.
fn waits_at(server: &RedisServer, queue: &str) -> (u64, u64) {
    let mut questions = redis::pipe();
    questions.atomic().llen(queue).zcard(format!("{{{queue}}}:leases"));
    questions.query(&mut server.connection()).unwrap()
}

/// Waits until so many numbered messages are stored, and that no others are.
fn assert_stored(influxd: &Influxd, all: u64) {
    let end = Instant::now() + PATIENCE;
    let is_less = |measurement: &&str| (influxd.values(measurement).len() as u64) < all;
    while ["numbered", "took"].iter().any(is_less) && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    influxd.assert_written(0..all);
}

#[test]
fn a_primary_that_is_killed_or_frozen_in_the_middle_of_a_drain_is_followed_to_where_the_sentinels_say() {
    let mut group = SentinelGroup::start();
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    let mut all = 0;
    let mut push = |group: &SentinelGroup, count: u64| {
        push_until_replicated(Q, all..all + count, || group.connect_to_primary());
        all += count;
        all
    };
    push(&group, 300);
    for how in ["STOP", "KILL"] {
        let all = push(&group, 300);
        let old = group.primary();
        match how {
            "STOP" => group.servers[old].pause(),
            _ => group.servers[old].kill9(),
        }
        wait_for("another primary", PATIENCE, || (group.primary() != old).then_some(()));
        assert_stored(&influxd, all);
        // The old one comes back, as a replica of the new one as soon as the Sentinels have seen it.
        match how {
            "STOP" => group.servers[old].resume(),
            _ => group.servers[old].restart(),
        }
        let all = push(&group, 100);
        assert_stored(&influxd, all);
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_primary_that_still_answers_is_left_once_the_sentinels_name_another() {
    let group = SentinelGroup::start();
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    group.name_the_other();
    // One Sentinel that does not answer does not hold anything up.
    group.sentinel(0).signal("STOP");
    push_until_answered(Q, 0..100, || Some(group.servers[1].connection()));
    assert_stored(&influxd, 100);
    group.sentinel(0).signal("CONT");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_is_wrong_with_sentinels_is_said() {
    let group = SentinelGroup::with_password("hunter2");
    let influxd = influxd();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let online = |channel: String| {
        let file = folder.path().join("kadabra.toml");
        std::fs::write(&file, config_of(&channel, &influxd.url())).unwrap();
        let output = cli(["check", "--online", "--config", file.to_str().unwrap()]);
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let login = format!("[channel.redis.sentinel]\npassword_file = {password:?}");
    let (is_well, said) = online(sentinel_channel(&group.nodes(), &login));
    assert!(
        is_well && said.contains(&format!("{MASTER_NAME} of the Sentinels at {}", group.nodes().replace(',', ", "))),
        "{said}"
    );
    let (is_well, said) = online(sentinel_channel(&group.nodes(), ""));
    assert!(!is_well && said.contains("wants a password") && said.contains("channel.redis.sentinel.password_file"), "{said}");
    let (is_well, said) = online(sentinel_channel(&group.nodes(), &login).replace(MASTER_NAME, "nobody"));
    assert!(!is_well && said.contains("knows no primary of that name") && said.contains("master_name"), "{said}");
    let (is_well, said) = online(sentinel_channel("127.0.0.1:9,localhost:9", &login));
    assert!(!is_well && said.contains("127.0.0.1:9: ") && said.contains("localhost:9: ") && said.contains("refused"), "{said}");
}

#[test]
fn the_node_that_has_the_queue_is_followed_when_it_dies_and_when_its_slot_moves() {
    let mut cluster = Cluster::start();
    let influxd = influxd();
    // One of the nodes is enough to find the others.
    let some = cluster.nodes().split(',').take(2).collect::<Vec<_>>().join(",");
    let mut agent = Agent::start(&config_of(&cluster_channel(&some, ""), &influxd.url()));
    let said = agent.wait_log("receiving");
    assert!(said["from"].as_str().unwrap().contains("kadabra_inprogress, which is in another slot"), "{said}");
    let owner = cluster.owner(Q, None).unwrap();
    push_until_answered(Q, 0..300, || cluster.servers[owner].connection().into());
    assert_stored(&influxd, 300);

    // Its slot moves to another node, while messages come and are taken.
    let to = (0..3).find(|server| *server != owner).unwrap();
    let is_moved = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            cluster.move_slot(Q, owner, to);
            is_moved.store(true, Ordering::Relaxed);
        });
        push_until_answered(Q, 300..600, || {
            let now = cluster.owner(Q, None)?;
            Some(cluster.servers[now].connection())
        });
    });
    assert!(is_moved.load(Ordering::Relaxed));
    assert_eq!(cluster.owner(Q, None), Some(to));
    assert_stored(&influxd, 600);

    // And dies there.
    push_until_replicated(Q, 600..700, || Some(cluster.servers[to].connection()));
    cluster.servers[to].kill9();
    let new = wait_for("its replica to take over", PATIENCE, || cluster.owner(Q, Some(to)).filter(|new| *new != to));
    push_until_answered(Q, 700..900, || cluster.servers[new].connection().into());
    assert_stored(&influxd, 900);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_a_python_agent_left_is_adopted_in_a_cluster_from_the_queues_own_slot() {
    let cluster = Cluster::start();
    let influxd = influxd();
    let inprogress = format!("{{{Q}}}:inprogress");
    let owner = cluster.owner(Q, None).unwrap();
    push_until_answered(&inprogress, 0..10, || cluster.servers[owner].connection().into());
    let channel = cluster_channel(&cluster.nodes(), &format!("inprogress_key = \"{inprogress}\""));
    let mut agent = Agent::start(&config_of(&channel, &influxd.url()));
    assert_stored(&influxd, 10);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
