//! A cluster that is not well: a slot in the middle of its move, most nodes down, scripts forgotten, a node that still loads.

use std::{thread, time::Duration};

use super::{Q, assert_stored, cluster_channel, influxd, wait_said};
use crate::support::{
    agent::{Agent, cli},
    pipeline::{PATIENCE, config_of},
    process::wait_for,
    redis_groups::{Cluster, push_until_answered},
};

#[test]
fn a_slot_that_stops_in_the_middle_of_its_move_is_waited_for_with_all_that_is_leased() {
    let cluster = Cluster::start();
    let influxd = influxd();
    let config = config_of(&cluster_channel(&cluster.nodes(), ""), &influxd.url()) + "[batch]\nmax_messages = 500\n";
    let mut agent = Agent::start(&config);
    agent.wait_log("receiving");
    let from = cluster.owner(Q, None).unwrap();
    let to = (from + 1) % 3;
    // Leases are open, and a long list waits.
    influxd.pause();
    push_until_answered(Q, 0..20_000, || Some(cluster.servers[from].connection()));
    let slot = cluster.begin_to_move(Q, from, to);
    wait_for("the agent to hear of it", PATIENCE, || agent.log_text().contains("TRYAGAIN").then_some(()));
    influxd.resume();
    wait_said(&agent, "K101", &["TRYAGAIN", "wait until the cluster has moved the slot that the queue is in"]);
    cluster.migrate(Q, from, to);
    // Longer than a lease.
    thread::sleep(Duration::from_secs(4));
    while let keys @ [_, ..] = &cluster.keys_in(slot, from)[..] {
        keys.iter().for_each(|key| cluster.migrate(key, from, to));
    }
    cluster.end_move(slot, from, to);
    assert_stored(&influxd, 20_000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn most_nodes_down_scripts_forgotten_and_a_node_that_loads_lose_nothing() {
    let mut cluster = Cluster::start();
    let influxd = influxd();
    let mut agent = Agent::start(&config_of(&cluster_channel(&cluster.nodes(), ""), &influxd.url()));
    agent.wait_log("receiving");
    let owner = cluster.owner(Q, None).unwrap();
    let flush = || redis::cmd("SCRIPT").arg("FLUSH").query::<()>(&mut cluster.servers[owner].connection()).unwrap();
    for hundred in 0..5 {
        push_until_answered(Q, hundred * 100..hundred * 100 + 100, || Some(cluster.servers[owner].connection()));
        flush();
    }
    assert_stored(&influxd, 500);

    // All but the owner and its replica, which so are no majority.
    push_until_answered(Q, 500..600, || Some(cluster.servers[owner].connection()));
    let replica = cluster.replica_of(owner);
    let others: Vec<_> = (0..6).filter(|server| ![owner, replica].contains(server)).collect();
    others.iter().for_each(|other| cluster.servers[*other].pause());
    wait_said(&agent, "K101", &["CLUSTERDOWN", "wait for the failover to end"]);
    others.iter().for_each(|other| cluster.servers[*other].resume());
    // They may have taken the owner for failed meanwhile, and a failover would undo what is pushed during it.
    cluster.wait_until_well();
    push_until_answered(Q, 600..700, || Some(cluster.servers[cluster.owner(Q, None)?].connection()));
    assert_stored(&influxd, 700);

    // Its replica is away, so that the owner comes back itself, and takes some seconds to load what it has.
    let owner = cluster.owner(Q, None).unwrap();
    let replica = cluster.replica_of(owner);
    cluster.servers[replica].pause();
    influxd.pause();
    push_until_answered(Q, 700..3000, || Some(cluster.servers[owner].connection()));
    cluster.servers[owner].restart_with(&["--key-load-delay", "1000"]);
    influxd.resume();
    assert_stored(&influxd, 3000);
    cluster.servers[replica].resume();
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn check_says_what_is_not_adopted_in_a_cluster_and_what_would_have_to_be() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let online = |more: &str| {
        let file = folder.path().join("kadabra.toml");
        let channel = cluster_channel(&cluster.nodes(), more);
        std::fs::write(&file, format!("{channel}\n[publisher]\ntype = \"debug\"")).unwrap();
        let output = cli(["check", "--online", "--config", file.to_str().unwrap()]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = online("");
    assert!(said.contains("nothing is adopted from kadabra_inprogress, which is in another slot of the cluster"), "{said}");
    assert!(said.contains("{kadabra_queue}:inprogress"), "{said}");
    let said = online("inprogress_key = \"{kadabra_queue}:inprogress\"");
    assert!(!said.contains("nothing is adopted"), "{said}");
}
