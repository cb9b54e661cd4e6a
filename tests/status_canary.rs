//! The canary: what is shown is that a message's whole way works, from the port that clients push to until the database gives it back.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::support::{
    agent::{Agent, cli},
    influxd::{Influxd, Options},
    influxdb2::{Influxdb2, Right},
    influxdb3::Influxdb3,
    process::{free_port, wait_for},
    served::{address, get},
    victoriametrics::VictoriaMetrics,
};

const SOON: Duration = Duration::from_secs(40);

/// The configuration of an agent that publishes to this, and whose canary goes out every second.
fn config(folder: &Path, publisher: &str) -> String {
    format!(
        "[agent]\nname = \"it's\\\\here\"\n[channel.embedded]\npath = {:?}\nlisten = \"127.0.0.1:{}\"\n[status]\nlisten = \
         \"127.0.0.1:0\"\ncanary_interval = \"1s\"\n{publisher}\n",
        folder.join("queue.db"),
        free_port()
    )
}

fn influxdb(url: &str, more: &str) -> String {
    format!("[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = {url:?}\ndatabase = \"kadabra\"\n{more}")
}

/// Waits until it is ready, and gives what is told of the canary.
fn wait_ready(agent: &Agent) -> Value {
    let status = address(agent);
    wait_for("it to be ready", SOON, || (get(status, "/health/ready", &[]).status == 200).then_some(()));
    get(status, "/api/status", &[]).json()["publishers"][0]["canary"].clone()
}

#[test]
fn it_is_ready_while_points_come_back_from_influxdb_and_not_while_they_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start_with(Options { admin: Some(("admin", "secret")), ..Options::default() });
    influxd.execute("CREATE DATABASE kadabra");
    influxd.execute("CREATE USER writer WITH PASSWORD 'w'");
    influxd.execute("GRANT WRITE ON kadabra TO writer");
    let more = "create_database = false\nusername = \"writer\"\npassword = \"w\"";
    let mut agent = Agent::start(&config(folder.path(), &influxdb(&influxd.url(), more)));
    let status = address(&agent);
    // What is written and cannot be read shows nothing.
    let unready = wait_for("the canary to be lost", SOON, || {
        let answer = get(status, "/health/ready", &[]);
        (answer.json()["code"] == "K506").then_some(answer)
    });
    assert_eq!((unready.status, &unready.json()["ready"]), (503, &false.into()), "{unready:?}");
    let line = agent.wait_log("the canary's point cannot be read back");
    assert!(
        line["level"] == "WARNING" && line["msg"].as_str().unwrap().contains("a user who may also read the database"),
        "{line}"
    );
    assert!(get(status, "/metrics", &[]).body.contains("kadabra_canary_up{publisher=\"\"} 0"));
    influxd.execute("GRANT ALL ON kadabra TO writer");
    let canary = wait_ready(&agent);
    assert!(canary["last_seconds"].as_f64().unwrap() > 0.0 && canary["failures"].as_u64().unwrap() >= 1, "{canary}");
    let rounds = canary["rounds"].as_u64().unwrap();
    wait_for("further rounds", SOON, || {
        (get(status, "/api/status", &[]).json()["publishers"][0]["canary"]["rounds"].as_u64().unwrap() > rounds + 1).then_some(())
    });
    let metrics = get(status, "/metrics", &[]).body;
    assert!(metrics.contains("kadabra_canary_up{publisher=\"\"} 1"), "{metrics}");
    assert!(get(status, "/", &[]).body.contains("canary back in"));
    // Like any client's: counted, and accounted for.
    let points = influxd.points("kadabra");
    assert!(!points.is_empty() && points.iter().all(|point| point["measurement"] == "kadabra_canary"), "{points:?}");
    assert_eq!(get(status, "/api/status", &[]).json()["publishers"][0]["tally"]["difference"], 0);
    influxd.execute("REVOKE ALL ON kadabra FROM writer");
    wait_for("it not to be ready any more", SOON, || (get(status, "/health/ready", &[]).status == 503).then_some(()));
    assert_eq!(agent.terminate(SOON), Some(0));
}

/// Of an agent whose points come back; its name is one that has to be quoted.
fn assert_back(config: &str, points: impl Fn() -> Vec<Value>) {
    let mut agent = Agent::start(config);
    let canary = wait_ready(&agent);
    assert!(canary["works"] == true && canary["last_seconds"].as_f64().unwrap() > 0.0, "{canary}");
    assert!(points().iter().all(|point| point["measurement"] == "kadabra_canary"), "{:?}", points());
    assert_eq!(points()[0]["tags"]["agent"], "it's\\here");
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn points_come_back_from_influxdb_2_with_a_token_that_may_read() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Influxdb2::start("acme", "kadabra", "all"));
    server.token("writer", Right::Write("kadabra"));
    let publisher = |token: &str| {
        format!(
            "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\napi = \"v2\"\nurl = {:?}\norg = \"acme\"\nbucket = \
             \"kadabra\"\ntoken = {token:?}",
            server.url()
        )
    };
    let mut agent = Agent::start(&config(folder.path(), &publisher("writer")));
    let status = address(&agent);
    wait_for("the canary to be lost", SOON, || (get(status, "/health/ready", &[]).json()["code"] == "K506").then_some(()));
    let line = agent.wait_log("the canary's point cannot be read back");
    assert!(line["msg"].as_str().unwrap().contains("a token that may also read the bucket"), "{line}");
    assert_eq!(agent.terminate(SOON), Some(0));
    assert_back(&config(folder.path(), &publisher("all")), || server.points("kadabra"));
}

#[test]
fn points_come_back_from_influxdb_3() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Influxdb3::start("t"));
    let publisher = format!(
        "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\napi = \"v3\"\nurl = {:?}\ndatabase = \"kadabra\"\ntoken = \"t\"",
        server.url()
    );
    assert_back(&config(folder.path(), &publisher), || server.points("kadabra"));
}

#[test]
fn points_come_back_from_victoriametrics() {
    let folder = tempfile::tempdir().unwrap();
    let server = VictoriaMetrics::start();
    let publisher = format!("[publisher]\ntype = \"victoriametrics\"\n[publisher.victoriametrics]\nurl = {:?}", server.url());
    // Its actor fails once, and is started again.
    let agent = Agent::with(&config(folder.path(), &publisher)).env("FAILPOINTS", "canary.round=1*panic(told to)->off");
    let mut agent = agent.start();
    let canary = wait_ready(&agent);
    assert!(agent.log_text().contains("told to"), "it did not fail");
    assert!(canary["works"] == true && canary["last_seconds"].as_f64().unwrap() > 0.0, "{canary}");
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn the_start_is_refused_where_points_cannot_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.toml");
    let several = |keys: &str| {
        format!(
            "[publishers.one]\ntype = \"influxdb\"\n{keys}\n[publishers.one.influxdb]\nurl = \"http://localhost:8086\"\ndatabase = \"d\""
        )
    };
    for (publisher, why) in [
        ("[publisher]\ntype = \"debug\"".to_owned(), "cannot be read back"),
        (
            "[publisher]\ntype = \"victoriametrics\"\n[publisher.victoriametrics]\nurl = \"http://localhost:8480\"\ntenant = \"0\"".to_owned(),
            "cannot be asked where it is written to",
        ),
        (several("only = \"http_*\""), "leaves out kadabra_canary"),
        (several("except = \"*_canary\""), "leaves out kadabra_canary"),
    ] {
        std::fs::write(&path, config(folder.path(), &publisher)).unwrap();
        let checked = cli(["check", "--config", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(78), "{said}");
        assert!(said.contains("canary_interval") && said.contains(why), "{said}");
    }
    std::fs::write(&path, config(folder.path(), &several("only = \"kadabra_*\""))).unwrap();
    assert_eq!(cli(["check", "--config", path.to_str().unwrap()]).status.code(), Some(0));
}
