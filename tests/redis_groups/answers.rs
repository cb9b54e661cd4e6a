//! What a server answers that does not serve the agent now, and will again: which condition that is, in which words, and that the agent
//! goes on by itself, with nothing lost or doubled.

use std::{ops::Range, time::Duration};

use redis::{Commands as _, Connection};

use super::{Q, assert_stored, cluster_channel, influxd, sentinel_channel, wait_said, waits_at};
use crate::support::{
    agent::Agent,
    influxd::Influxd,
    pipeline::{PATIENCE, config_of, numbered},
    process::wait_for,
    redis_groups::{Cluster, MASTER_NAME, SentinelGroup, push_until_answered, push_until_replicated},
    redis_server::RedisServer,
};

/// Another queue of the same agent.
const OTHER: &str = "other_queue";

/// The queues of an agent, and what its configuration says of them.
fn one_or_two_queues() -> [(&'static [&'static str], String); 2] {
    [(&[Q], String::new()), (&[Q, OTHER], format!("queue_keys = [\"{Q}\", \"{OTHER}\"]"))]
}

fn single_channel(server: &RedisServer, more: &str) -> String {
    let url = server.url();
    format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{url}\"\nlease = \"3s\"\ntimeout = \"1s\"\n{more}")
}

/// All are stored and settled, each once, the agent has said that the channel works again, and by its own account it has published each
/// once.
fn assert_over(mut agent: Agent, server: &RedisServer, queues: &[&str], influxd: &Influxd, all: u64) {
    assert_stored(influxd, all);
    influxd.assert_written(0..all);
    wait_for("nothing to be left", PATIENCE, || queues.iter().all(|queue| waits_at(server, queue) == (0, 0)).then_some(()));
    agent.wait_log("channel works again, after ");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    let ledger = lines.iter().rfind(|line| line.get("leased").is_some()).expect("a ledger");
    assert_eq!(ledger["published"], all, "{ledger}");
}

/// Pushes to one queue or to the other, until a replica has it.
fn push_replicated(queues: &[&str], server: &RedisServer, numbers: Range<u64>) {
    let each = (numbers.end - numbers.start) / queues.len() as u64;
    for (queue, begin) in queues.iter().zip((numbers.start..numbers.end).step_by(each as usize)) {
        push_until_replicated(queue, begin..begin + each, || Some(server.connection()));
    }
}

/// As an operator does: the replica has all that the primary has, and takes its place.
fn exchange(primary: &RedisServer) {
    redis::cmd("FAILOVER").query::<()>(&mut primary.connection()).unwrap();
    wait_for("the primary to be a replica", PATIENCE, || {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut primary.connection()).unwrap();
        info.contains("role:slave").then_some(())
    });
    primary.wait_until_it_follows();
}

#[test]
fn a_single_server_that_becomes_a_replica_is_refused_until_it_is_the_primary_again() {
    for (queues, more) in one_or_two_queues() {
        let here = RedisServer::start();
        let other = RedisServer::replica_of(&here);
        let influxd = influxd();
        let config = config_of(&single_channel(&here, &more), &influxd.url()) + "[batch]\nmax_messages = 100\n";
        let agent = Agent::start(&config);
        agent.wait_log("receiving");
        // Some are in its hands, and more wait.
        influxd.pause();
        push_replicated(queues, &here, 0..1000);
        wait_for("some to be leased", PATIENCE, || {
            (here.connection().zcard::<_, u64>(format!("{{{Q}}}:leases")).unwrap() > 0).then_some(())
        });
        // The agent is forgotten.
        exchange(&here);
        influxd.resume();
        wait_said(&agent, "K102", &["is a read-only replica", "READONLY", "set channel.redis.url to the primary"]);
        push_replicated(queues, &other, 1000..1200);
        // It is put back.
        redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).query::<()>(&mut here.connection()).unwrap();
        assert_over(agent, &here, queues, &influxd, 1200);
    }
}

#[test]
fn a_primary_that_becomes_a_replica_before_the_sentinels_know_of_it_is_waited_out() {
    let group = SentinelGroup::start();
    let influxd = influxd();
    let agent = Agent::start(&config_of(&sentinel_channel(&group.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    let [here, other] = &group.servers[..] else { panic!("two servers") };
    push_replicated(&[Q], here, 0..100);
    assert_stored(&influxd, 100);
    exchange(here);
    wait_said(&agent, "K101", &["READONLY", "wait for the failover to end"]);
    push_replicated(&[Q], other, 100..200);
    // NOGOODSLAVE until that Sentinel has heard of both.
    wait_for("a failover to begin", PATIENCE, || {
        redis::cmd("SENTINEL").arg(&["FAILOVER", MASTER_NAME]).query::<()>(&mut group.connect_to_sentinel(0)).ok()
    });
    assert_over(agent, other, &[Q], &influxd, 200);
}

/// Its Nanny has no lease to renew, and of several queues that are all away it asks none again so soon: neither shows that Redis is back.
#[test]
fn agents_without_work_say_that_redis_works_again_when_it_does_and_not_before() {
    let mut server = RedisServer::start();
    let influxd = influxd();
    let agents = ["queue_key = \"one\"", "queue_keys = [\"two\", \"three\"]"]
        .map(|queues| Agent::start(&config_of(&single_channel(&server, queues), &influxd.url())));
    agents.iter().for_each(|agent| drop(agent.wait_log("receiving")));
    server.kill9();
    for agent in &agents {
        // Said anew after ten seconds without an end, in which leases would have been renewed ten times.
        let attempts = wait_for("the condition to last", PATIENCE, || {
            let lasts = |line: &serde_json::Value| {
                let lasted = humantime::parse_duration(line["for"].as_str()?).unwrap();
                (line["condition"] == "channel" && lasted >= Duration::from_secs(10)).then(|| line["attempts"].as_u64().unwrap())
            };
            agent.log_lines().iter().find_map(lasts)
        });
        // Some at first, then two a second that the Nanny is due, and those of the Receiver with one of the Nanny for each.
        eprintln!("{attempts} attempts in ten seconds");
        assert!(attempts < 70, "{attempts} attempts in ten seconds");
    }
    server.restart();
    for mut agent in agents {
        agent.wait_log("channel works again, after ");
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn a_single_server_that_loads_its_data_is_waited_out() {
    for (queues, more) in one_or_two_queues() {
        let mut server = RedisServer::start();
        let influxd = influxd();
        // An attempt takes two answers, for each of which it waits while a thousand commands are loaded.
        let channel = single_channel(&server, &more).replace("timeout = \"1s\"", "timeout = \"2500ms\"");
        let agent = Agent::start(&config_of(&channel, &influxd.url()));
        agent.wait_log("receiving");
        influxd.pause();
        // One by one, since it answers while it loads after each thousand of commands.
        let half = 6000 / queues.len() as u64;
        for (queue, begin) in queues.iter().zip([0, half]) {
            push_until_answered(queue, begin..begin + half, || Some(server.connection()));
        }
        server.restart_with(&["--key-load-delay", "400"]);
        influxd.resume();
        wait_said(&agent, "K101", &["LOADING", "it has just started, wait until it has read its data"]);
        assert_over(agent, &server, queues, &influxd, 6000);
    }
}

/// Pushes to the node that a slot moves to, as a client that was told so does (ASK).
fn push_asking(server: &RedisServer, numbers: Range<u64>) {
    let mut connection: Connection = server.connection();
    for number in numbers {
        redis::cmd("ASKING").query::<()>(&mut connection).unwrap();
        let _: usize = connection.lpush(Q, numbered(number)).unwrap();
    }
}

/// A cluster whose queue an agent has drained of the first hundred messages, and the node that has it.
fn drained_cluster() -> (Cluster, Influxd, Agent, usize) {
    let (cluster, influxd) = (Cluster::start(), influxd());
    let agent = Agent::start(&config_of(&cluster_channel(&cluster.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    let owner = cluster.owner(Q, None).unwrap();
    push_until_answered(Q, 0..100, || Some(cluster.servers[owner].connection()));
    assert_stored(&influxd, 100);
    (cluster, influxd, agent, owner)
}

#[test]
fn a_slot_all_of_whose_keys_have_moved_is_waited_for_until_it_has_moved_itself() {
    let (cluster, influxd, agent, from) = drained_cluster();
    let to = (from + 1) % 3;
    let slot = cluster.begin_to_move(Q, from, to);
    wait_for("no key to be left", PATIENCE, || {
        let keys = cluster.keys_in(slot, from);
        keys.iter().for_each(|key| cluster.migrate(key, from, to));
        keys.is_empty().then_some(())
    });
    wait_said(&agent, "K101", &[": ASK ", "wait until the cluster has moved the slot that the queue is in"]);
    push_asking(&cluster.servers[to], 100..200);
    cluster.end_move(slot, from, to);
    assert_over(agent, &cluster.servers[to], &[Q], &influxd, 200);
}

#[test]
fn a_slot_that_has_moved_is_said_to_have_moved_and_followed() {
    let (cluster, influxd, agent, from) = drained_cluster();
    let to = (from + 1) % 3;
    cluster.move_slot(Q, from, to);
    wait_said(&agent, "K101", &["MOVED", "the queue is on another node by now, which the next attempt finds"]);
    push_until_answered(Q, 100..200, || Some(cluster.servers[to].connection()));
    assert_over(agent, &cluster.servers[to], &[Q], &influxd, 200);
}
