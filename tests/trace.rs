//! `kadabra trace`: it stops where a metric stops.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    agent::{Agent, STATUS, kadabra},
    http_server::ask,
    influxd::Influxd,
    process::{free_port, wait_for},
    redis_server::RedisServer,
    served::{cli_with, command_with, config, pushes},
    victoriametrics::VictoriaMetrics,
};

const SOON: Duration = Duration::from_secs(20);

/// The configuration of an agent that serves its status at a port that is known before, as are those at which it listens; with more.
fn served(folder: &Path, more: &str) -> String {
    let text = config(folder, more);
    text.replace("\nlisten = \"127.0.0.1:0\"\n[status]", &format!("\nlisten = \"127.0.0.1:{}\"\n[status]", free_port()))
        .replace("[status]\nlisten = \"127.0.0.1:0\"", &format!("[status]\nlisten = \"127.0.0.1:{}\"", free_port()))
}

fn influxdb(url: &str, name: &str) -> String {
    format!("[publisher{name}]\ntype = \"influxdb\"\n[publisher{name}.influxdb]\nurl = {url:?}\ndatabase = \"kadabra\"\n")
}

/// Pushes a metric with this value, as JSON.
fn push(to: SocketAddr, name: &str, value: &str) {
    let message = format!(
        r#"{{"dimensions": [{{"name": "host", "value": "web-1"}}], "counters": [{{"name": "{name}", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": {value}}}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
    );
    let mut clients = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    redis::cmd("LPUSH").arg("kadabra_queue").arg(message).query::<()>(&mut clients).unwrap();
}

/// Writes a line beside the agent.
fn write(influxd: &Influxd, line: &str) {
    ask(&influxd.url(), "POST", "/write?db=kadabra", &[], line.as_bytes()).unwrap();
}

/// What `trace` says once it ends with this code and has said this.
fn wait_trace(agent: &Agent, name: &str, code: i32, said: &str) -> String {
    let end = Instant::now() + SOON;
    wait_for("what trace is to say", 2 * SOON, || {
        let trace = cli_with(agent, &["trace", name, "--wait", "0"]);
        let told = String::from_utf8([trace.stdout, trace.stderr].concat()).unwrap();
        assert!(Instant::now() < end, "{said:?} is never said:\n{told}");
        (trace.status.code() == Some(code) && told.contains(said)).then_some(told)
    })
}

#[test]
fn a_metric_that_is_in_the_database_is_stopped_by_nothing_and_one_that_nobody_sends_by_the_application() {
    let (folder, influxd) = (tempfile::tempdir().unwrap(), Influxd::start());
    influxd.create_database("kadabra");
    let agent = Agent::start(&served(folder.path(), &influxdb(&influxd.url(), "")));
    push(pushes(&agent), "hits", "1.0");
    let said = wait_trace(&agent, "hits", 0, "ok: destination: influxdb ");
    assert!(
        said.contains(" has it\n") && said.contains("\nok: client port: 127.0.0.1:") && said.ends_with("\nnothing stops hits\n"),
        "{said}"
    );
    let said = wait_trace(&agent, "nobody's", 1, "stops: application: there is no trace of it");
    assert!(said.contains(r"kadabra send --count 'nobody'\''s'=1") && said.contains("does not have it"), "{said}");
    // One that comes while it is watched.
    let mut watch = command_with(&agent, &["trace", "late", "--wait", "5"]);
    let watch = std::thread::spawn(move || watch.output().unwrap());
    while !watch.is_finished() {
        push(pushes(&agent), "late", "1.0");
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = String::from_utf8(watch.join().unwrap().stdout).unwrap();
    assert!(said.contains(" points came through in ") && !said.contains("; 0 points"), "{said}");
}

#[test]
fn it_stops_at_an_agent_that_does_not_run_though_its_queue_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&served(folder.path(), &influxdb(&format!("http://127.0.0.1:{}", free_port()), "")));
    push(pushes(&agent), "hits", "1.0");
    agent.wait_condition("publisher");
    let said = wait_trace(&agent, "hits", 1, "stops: destination: ");
    assert!(said.contains("127.0.0.1:"), "{said}");
    agent.terminate(SOON);
    let said = wait_trace(&agent, "hits", 1, "stops: agent: no agent runs");
    assert!(
        said.contains("ok: queue: 1 of 1 message that wait and were looked at has it") && said.contains("kadabra run"),
        "{said}"
    );
    assert!(said.ends_with("\nhits stops at the agent\n"), "{said}");
}

#[test]
fn it_stops_at_the_port_of_clients_while_they_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&served(folder.path(), ""));
    let mut clients = redis::Client::open(format!("redis://{}/", pushes(&agent))).unwrap().get_connection().unwrap();
    redis::cmd("LPUSH").arg("another").arg("x").query::<()>(&mut clients).unwrap_err();
    let said = wait_trace(&agent, "hits", 1, "stops: client port: pushes are refused, since they are to another list");
    assert!(said.contains("  to mend it: ") && said.ends_with("hits stops at the client port\n"), "{said}");
}

#[test]
fn it_stops_at_the_filter_of_one_publisher_and_goes_on_to_another() {
    let (folder, influxd) = (tempfile::tempdir().unwrap(), Influxd::start());
    influxd.create_database("kadabra");
    let more = influxdb(&influxd.url(), "s.all")
        + &influxdb(&influxd.url(), "s.few").replace("s.few]\n", "s.few]\nexcept = [\"hit*\"]\n");
    let agent = Agent::start(&served(folder.path(), &more));
    push(pushes(&agent), "hits", "1.0");
    let said = wait_trace(&agent, "hits", 1, "ok: destination of all: influxdb ");
    assert!(said.contains("ok: filter of all: it is kept\n"), "{said}");
    assert!(said.contains("stops: filter of few: it is left out: publishers.few.except has \"hit*\"\n  to mend it: "), "{said}");
}

#[test]
fn it_stops_at_a_database_that_is_held_and_at_a_dead_letter_until_that_is_replayed() {
    let (folder, influxd) = (tempfile::tempdir().unwrap(), Influxd::start());
    let more = influxdb(&influxd.url(), "") + "create_database = false\n";
    let agent = Agent::start(&served(folder.path(), &more));
    let to = pushes(&agent);
    push(to, "hits", "1.0");
    let said = wait_trace(&agent, "hits", 1, "stops: destination: ");
    assert!(said.contains("\n  to mend it: ") && said.ends_with("hits stops at the destination\n"), "{said}");
    assert!(said.contains("; 1 is in hand") || said.contains("1 of 1 message"), "{said}");
    influxd.create_database("kadabra");
    wait_trace(&agent, "hits", 0, " has it\n");
    write(&influxd, "signups value=1i 1772366400000000000");
    push(to, "signups", "1.0");
    let said = wait_trace(&agent, "signups", 1, "stops: dead letters: 1 message with it was set aside, the newest at ");
    assert!(said.contains("field type conflict") && said.contains("kadabra dead-letters replay --metric signups"), "{said}");
    assert!(said.ends_with("signups stops at the dead letters\n"), "{said}");
}

#[test]
fn it_stops_at_the_guard_that_has_set_it_aside() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&served(folder.path(), "[guards]\nmax_age = \"1h\"\n"));
    push(pushes(&agent), "hits", "1.0");
    let said = wait_trace(&agent, "hits", 1, "stops: dead letters: 1 message with it was set aside");
    assert!(said.contains("guards.max_age") && said.contains("change the guard"), "{said}");
}

#[test]
fn it_is_found_in_a_redis_for_which_no_agent_runs_and_what_its_database_will_refuse_is_said() {
    let (folder, influxd, redis) = (tempfile::tempdir().unwrap(), Influxd::start(), RedisServer::start());
    influxd.create_database("kadabra");
    write(&influxd, "hits value=1i 1");
    let text = format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = {:?}\n[status]\nlisten = \"127.0.0.1:{}\"\n{}",
        redis.url(),
        free_port(),
        influxdb(&influxd.url(), "")
    );
    let path = folder.path().join("kadabra.toml");
    fs::write(&path, text).unwrap();
    push(SocketAddr::from(([127, 0, 0, 1], redis.port())), "hits", "1.0");
    let traced = kadabra().env_remove(STATUS).args(["trace", "hits", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8(traced.stdout).unwrap();
    assert_eq!(traced.status.code(), Some(1), "{said}");
    assert!(said.contains("unknown: agent: whether one runs is not known: no agent answers at http://127.0.0.1:"), "{said}");
    assert!(said.contains("ok: queue: 1 of 1 message that wait and were looked at has it\n"), "{said}");
    assert!(said.contains("stops: destination: ") && said.contains("\n  to mend it: "), "{said}");
}

#[test]
fn victoriametrics_is_asked_whether_it_has_it_and_a_cluster_cannot_be() {
    let (folder, server) = (tempfile::tempdir().unwrap(), VictoriaMetrics::start());
    let more = format!("[publisher]\ntype = \"victoriametrics\"\n[publisher.victoriametrics]\nurl = {:?}\n", server.url());
    let agent = Agent::start(&served(folder.path(), &more));
    // Months old, and with letters that mean something else in a selector.
    for name in ["hits", "a.b", r#"it's "5" \\ {x=~y}"#] {
        push(pushes(&agent), &name.replace('\\', r"\\").replace('"', r#"\""#), "1.0");
        wait_trace(&agent, name, 0, " has it\n");
    }
    for other in ["hit", "hits_", "a_b"] {
        let said = wait_trace(&agent, other, 1, "stops: application: there is no trace of it");
        assert!(said.contains("does not have it"), "{said}");
    }
    let cluster = more + "tenant = \"0\"\n";
    let agent = Agent::start(&served(&folder.path().join("other"), &cluster));
    let said = wait_trace(&agent, "hits", 1, "cannot be asked whether it has it");
    assert!(said.contains("unknown: destination: victoriametrics "), "{said}");
}
