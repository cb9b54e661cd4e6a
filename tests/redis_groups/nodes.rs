//! Nodes of a cluster that are of no use: that hang, that name one that hangs, or that have lost the others.

use std::net::TcpListener;

use kadabra::channel::Channel as _;

use super::{
    Q, assert_stored, cluster_channel, influxd,
    replicas::{channel, run},
    sentinels::answers,
    wait_said,
};
use crate::support::{
    agent::Agent,
    pipeline::{PATIENCE, config_of},
    process::free_port,
    redis_groups::{Cluster, push_until_answered},
    redis_server::RedisServer,
};

/// Servers that take connections and say nothing, as long as they are kept.
fn that_hang(count: usize) -> (Vec<TcpListener>, Vec<String>) {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    (listeners, addresses)
}

/// A node that says of every queue that this one has it.
fn that_names(owner: &str) -> String {
    let moved = format!("-MOVED 1 {owner}\r\n");
    format!("127.0.0.1:{}", answers(move |asked| if asked.contains("CLIENT") { "+OK\r\n".to_owned() } else { moved.clone() }))
}

/// What becomes of one attempt to use a cluster with these nodes.
fn opened(nodes: &[String], timeout: &str) -> Result<(), String> {
    let settings = cluster_channel(&nodes.join(","), "").replace("3s", "60s").replace("1s", timeout);
    run(async { channel(&settings).open().await.map(drop).map_err(|error| error.to_string()) })
}

#[test]
fn nodes_that_hang_hide_none_behind_them() {
    let server = RedisServer::start();
    for (count, timeout) in [(2, "2s"), (5, "5s"), (32, "5s")] {
        let (_hung, mut nodes) = that_hang(count);
        nodes.push(format!("127.0.0.1:{}", server.port()));
        opened(&nodes, timeout).unwrap_or_else(|error| panic!("behind {count}, within {timeout}: {error}"));
    }
}

#[test]
fn nodes_that_name_one_that_hangs_hide_none_behind_them() {
    let server = RedisServer::start();
    let (_hung, owners) = that_hang(2);
    let live = format!("127.0.0.1:{}", server.port());
    for named in [[&owners[0], &owners[0]], [&owners[0], &owners[1]]] {
        let nodes = [that_names(named[0]), that_names(named[1]), live.clone()];
        opened(&nodes, "2s").unwrap();
    }
    // What is wrong is said of the one that they name.
    let said = opened(&[that_names(&owners[0]), that_names(&owners[0])], "2s").unwrap_err();
    assert_eq!(said.matches(&format!("{}: no answer within 950ms", owners[0])).count(), 1, "{said}");
    assert!(!said.contains("MOVED"), "{said}");
}

#[test]
fn each_node_is_told_of_by_what_it_did_itself_and_in_their_order() {
    let (_hung, mut nodes) = that_hang(2);
    nodes.insert(1, format!("127.0.0.1:{}", free_port()));
    let said = opened(&nodes, "2s").unwrap_err();
    let [first, closed, last] = &nodes[..] else { panic!("three nodes") };
    let found = [format!("{first}: no answer within 950ms"), format!("{closed}: "), format!("{last}: no answer within 950ms")];
    let places: Vec<_> = found.iter().map(|words| said.rfind(words).unwrap_or_else(|| panic!("{words} in {said}"))).collect();
    assert!(places.is_sorted() && said[places[1]..places[2]].contains("refused"), "{said}");
}

#[test]
fn an_owner_that_has_lost_the_others_is_left_for_the_node_that_has_taken_over() {
    // Whether it still lets be read what it has.
    for reads in ["no", "yes"] {
        let cluster = Cluster::start();
        let influxd = influxd();
        let mut agent = Agent::start(&config_of(&cluster_channel(&cluster.nodes(), ""), &influxd.url()));
        agent.wait_log("receiving");
        let owner = cluster.owner(Q, None).unwrap();
        let replica = cluster.replica_of(owner);
        push_until_answered(Q, 0..100, || Some(cluster.servers[owner].connection()));
        assert_stored(&influxd, 100);
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("cluster-allow-reads-when-down").arg(reads);
        config.query::<()>(&mut cluster.servers[owner].connection()).unwrap();
        cluster.isolate(owner);
        wait_said(&agent, "K101", &["CLUSTERDOWN", "wait for the failover to end"]);
        cluster.take_over(replica);
        push_until_answered(Q, 100..200, || Some(cluster.servers[replica].connection()));
        assert_stored(&influxd, 200);
        let said = redis::cmd("LPUSH").arg(Q).arg("x").query::<u64>(&mut cluster.servers[owner].connection()).unwrap_err();
        assert_eq!(said.code(), Some("CLUSTERDOWN"), "the old owner answers and knows no better: {said}");
        agent.wait_log("channel works again, after ");
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}
