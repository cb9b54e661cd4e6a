//! A stop while a name is looked up, which nothing can interrupt.

use std::time::{Duration, Instant};

use super::*;
use crate::support::{
    agent::{Agent, kadabra_with_hosts},
    names::silent_hosts,
    pipeline::{config, config_of},
    process::{Process, wait_for},
};

/// What a stop may take beyond its time-out, on a busy machine. One that waited for the lookup would never end.
const SLACK: Duration = Duration::from_secs(5);

/// How many threads wait for the resolver.
fn lookups(process: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "resolver\n")).count()
}

fn wait_for_a_lookup(process: u32) {
    wait_for("a lookup", PATIENCE, || (lookups(process) > 0).then_some(()));
}

/// Stops it, and says how long that took and how it ended.
fn stop(agent: &mut Agent) -> (Duration, Option<i32>) {
    let begun = Instant::now();
    agent.signal("TERM");
    let code = agent.wait(PATIENCE);
    (begun.elapsed(), code)
}

#[test]
fn a_stop_while_the_channels_name_is_looked_up_takes_no_longer_than_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("redis://db.test/0", "http://127.0.0.1:1");
    let mut agent = Agent::with(&config).with_hosts(&silent_hosts(&folder)).start();
    wait_for_a_lookup(agent.id());
    let (took, code) = stop(&mut agent);
    assert_eq!(code, Some(0));
    assert!(took < SLACK, "{took:?}");
}

#[test]
fn a_stop_while_the_destinations_name_is_looked_up_takes_no_longer_than_its_time_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let socket = folder.path().join("queue.sock");
    let channel = format!("[channel.embedded]\npath = {path:?}\nlisten = []\nunix_socket = {socket:?}");
    let config = config_of(&channel, "http://db.test:8086").replace("shutdown_timeout = \"20s\"", "shutdown_timeout = \"1s\"");
    let config = config.replace("timeout = \"5s\"", "timeout = \"20s\"");
    let mut agent = Agent::with(&config).with_hosts(&silent_hosts(&folder)).start();
    agent.wait_log("publishing");
    let mut client = redis::Client::open(format!("unix://{}", socket.display())).unwrap().get_connection().unwrap();
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(crate::support::pipeline::numbered(1)).query(&mut client).unwrap();
    wait_for_a_lookup(agent.id());
    let (took, code) = stop(&mut agent);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    assert_eq!(code, Some(75), "the batch that was being written was given back");
}

#[test]
fn commands_end_at_their_time_out_though_a_lookup_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = silent_hosts(&folder);
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config("redis://db.test/0", "http://db.test:8086").replace("\"5s\"", "\"1s\"")).unwrap();
    let queue = folder.path().join("queue.db");
    for (args, within) in [
        (vec!["check", "--online", "--config", file.to_str().unwrap()], 2),
        (vec!["send", "--count", "a", "--config", file.to_str().unwrap()], 1),
        (vec!["import", "--from", "redis://db.test/0"], 5),
    ] {
        let mut command = kadabra_with_hosts(&hosts);
        command.args(&args).env("KADABRA_CHANNEL__EMBEDDED__PATH", &queue);
        let log = folder.path().join("log");
        let begun = Instant::now();
        let mut process = Process::start("kadabra", command, &log);
        let code = process.wait(PATIENCE).code();
        let took = begun.elapsed();
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(code, Some(69), "{args:?}: {said}");
        assert!(said.contains("cannot find the host db.test: no answer of the resolver within"), "{args:?}: {said}");
        assert!(took < Duration::from_secs(within) + SLACK, "{args:?}: {took:?}");
    }
}
