//! The last hour, as the status has it, over restarts.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    agent::Agent,
    process::wait_for,
    served::{address, config, get},
};

const SOON: Duration = Duration::from_secs(20);

fn file(folder: &Path) -> PathBuf {
    folder.join("queue.db-history")
}

fn history(agent: &Agent) -> Value {
    // Before, the file may be another agent's.
    agent.wait_log("publishing");
    get(address(agent), "/api/status", &[]).json()["history"].take()
}

fn starts(history: &Value) -> usize {
    history["marks"].as_array().unwrap().iter().filter(|mark| mark["kind"] == "started").count()
}

/// Writes a history of which one point is within the last hour.
fn write(folder: &Path) {
    let point = |minutes: i64| {
        json!({ "at": Timestamp::now() - SignedDuration::from_mins(minutes), "accepted_per_second": 7.5, "stored_per_second": 7.5,
            "oldest_age_seconds": null, "publish_p50_seconds": 0.01, "publish_p99_seconds": 0.02, "messages": 3 })
    };
    let json = json!({ "every_seconds": 10, "points": [point(70), point(5)], "marks": [] }).to_string();
    let text = format!("kadabra history 1 {:08x}\n{json}", crc32fast::hash(json.as_bytes()));
    fs::write(file(folder), text).unwrap();
}

#[test]
fn the_last_hour_is_there_after_a_restart_and_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let text = config(folder.path(), "");
    let mut agent = Agent::start(&text);
    let first = history(&agent);
    assert_eq!((first["points"].as_array().unwrap().len(), starts(&first)), (1, 1), "{first}");
    assert_eq!(first["points"][0]["accepted_per_second"], 7.5);
    agent.signal("HUP");
    wait_for("the mark of what was read again", SOON, || {
        let history = history(&agent);
        (history["marks"].as_array().unwrap().last()?["kind"] == "reload").then_some(())
    });
    assert_eq!(agent.terminate(SOON), Some(0));

    let mut agent = Agent::start(&text);
    let second = history(&agent);
    assert_eq!((&second["points"], starts(&second)), (&first["points"], 2), "{second}");
    assert!(second["marks"].to_string().contains("reload"), "what was since the last minute is written at the end: {second}");
    // It is written down after the first measurement, too.
    wait_for("the second start in the file", SOON, || {
        let text = fs::read_to_string(file(folder.path())).unwrap();
        (text.matches("\"started\"").count() == 2).then_some(())
    });
    agent.kill9();

    let agent = Agent::start(&text);
    let third = history(&agent);
    assert_eq!((&third["points"], starts(&third)), (&first["points"], 3), "{third}");
    assert!(agent.logged("the history of the last hour").is_empty(), "{}", agent.log_text());
}

#[test]
fn a_damaged_file_is_said_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let whole = fs::read_to_string(file(folder.path())).unwrap();
    fs::write(file(folder.path()), whole.replace("7.5", "7.4")).unwrap();
    let text = config(folder.path(), "");
    let mut agent = Agent::start(&text);
    let said = agent.wait_log("the history of the last hour cannot be read, and starts anew");
    assert_eq!((&said["level"], &said["why"]), (&"INFO".into(), &"it is damaged".into()), "{said}");
    let begun = history(&agent);
    assert_eq!((begun["points"].as_array().unwrap().len(), starts(&begun)), (0, 1), "{begun}");
    assert_eq!(agent.terminate(SOON), Some(0));
    let agent = Agent::start(&text);
    assert_eq!(starts(&history(&agent)), 2);
}

#[test]
fn where_nobody_can_look_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path(), "").replace("[status]\nlisten = \"127.0.0.1:0\"", "[status]\nlisten = \"\"");
    let mut agent = Agent::start(&text);
    agent.wait_log("publishing");
    assert_eq!(agent.terminate(SOON), Some(0));
    assert!(!file(folder.path()).exists());
}

/// Neither a message nor the end waits for the disk.
#[test]
#[cfg(feature = "failpoints")]
fn a_disk_that_stalls_delays_nothing_but_the_file() {
    use redis::Commands as _;

    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::with(&config(folder.path(), "")).env("FAILPOINTS", "history.write=sleep(60000)").start();
    let address = address(&agent);
    let from = agent.wait_log("receiving")["from"].as_str().unwrap().to_owned();
    let to = from.strip_prefix("clients at ").and_then(|rest| rest.split(' ').next()).unwrap();
    let mut clients = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    // It is written after a second for the first time.
    wait_for("three seconds", SOON, || {
        (get(address, "/api/status", &[]).json()["agent"]["uptime_seconds"].as_f64()? > 3.0).then_some(())
    });
    let _: u64 = clients.lpush("kadabra_queue", crate::support::pipeline::numbered(1)).unwrap();
    wait_for("the message to be published", SOON, || {
        (get(address, "/api/status", &[]).json()["publishers"][0]["tally"]["published"] == 1).then_some(())
    });
    let begun = std::time::Instant::now();
    assert_eq!(agent.terminate(SOON), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!file(folder.path()).exists());
}
