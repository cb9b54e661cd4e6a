//! Passwords that change, or are mended, while the agent runs.

use std::time::Duration;

use super::*;
use crate::support::{
    agent::{Agent, Builder},
    pipeline::{config_of, numbered},
    process::wait_for,
};

const WRONG: &str = "wrong-secret";
const RIGHT: &str = "right-secret";

/// A password file with this in it.
fn password_file(folder: &tempfile::TempDir, password: &str) -> std::path::PathBuf {
    let path = folder.path().join("password");
    put(&path, &format!("{password}\n"));
    path
}

/// Has the file say this, at once: an agent that looks meanwhile does not find it empty.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn assert_no_secret(agent: &Agent) {
    let log = agent.log_text();
    assert!(!log.contains(WRONG) && !log.contains(RIGHT), "a password is in the log");
}

#[test]
fn a_password_of_influxdb_that_is_mended_in_its_file_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start_with(Options { admin: Some(("admin", RIGHT)), ..Options::default() });
    influxd.create_database(DATABASE);
    let pipeline = Pipeline { redis: RedisServer::start(), influxd };
    let file = password_file(&folder, WRONG);
    let login = |builder: Builder| {
        let builder = builder.env("KADABRA_PUBLISHER__INFLUXDB__USERNAME", "admin");
        builder.env("KADABRA_PUBLISHER__INFLUXDB__PASSWORD_FILE", file.to_str().unwrap())
    };
    let mut agent = login(pipeline.agent()).start();
    pipeline.push_numbers(0..10);
    let held = agent.wait_condition("publisher").to_string();
    assert!(held.contains("does not accept the user"), "{held}");
    put(&file, RIGHT);
    pipeline.assert_all_written(0..10);
    agent.wait_log("a password file has changed and was read again");

    // A file that has no password leaves the one that it had, and is said once.
    put(&file, "");
    for round in 1..4 {
        pipeline.push_numbers(round * 10..round * 10 + 10);
        pipeline.assert_all_written(0..round * 10 + 10);
    }
    let told = agent.logged("a password file has no password any more");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].to_string().contains("the file is empty"), "{told:?}");
    assert_no_secret(&agent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn sighup_has_what_was_mended_tried_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start_with(Options { admin: Some(("admin", RIGHT)), ..Options::default() });
    influxd.create_database(DATABASE);
    let pipeline = Pipeline { redis: RedisServer::start(), influxd };
    let file = password_file(&folder, WRONG);
    let builder = pipeline.agent().env("KADABRA_PUBLISHER__INFLUXDB__USERNAME", "admin");
    let builder = builder.env("KADABRA_PUBLISHER__INFLUXDB__PASSWORD_FILE", file.to_str().unwrap());
    // By itself it would try again after half a minute at the earliest.
    let builder = builder.env("KADABRA_PUBLISHER__BACKOFF_MIN", "1m").env("KADABRA_PUBLISHER__BACKOFF_MAX", "10m");
    let mut agent = builder.start();
    pipeline.push_numbers(0..10);
    agent.wait_condition("publisher");
    agent.signal("HUP");
    agent.wait_log("told to read passwords, tokens and certificates again");
    put(&file, RIGHT);
    // One that comes before the pause begins ends none.
    wait_for("the messages to be written", Duration::from_secs(20), || {
        agent.signal("HUP");
        (pipeline.written() == 10).then_some(())
    });
    assert_no_secret(&agent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_password_of_redis_that_is_mended_in_its_file_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline { redis: RedisServer::with_password(RIGHT), influxd: Influxd::start() };
    pipeline.influxd.create_database(DATABASE);
    let file = password_file(&folder, WRONG);
    let mut agent = pipeline.agent().env("KADABRA_CHANNEL__REDIS__PASSWORD_FILE", file.to_str().unwrap()).start();
    pipeline.push_numbers(0..10);
    let refused = agent.wait_condition("channel").to_string();
    assert!(refused.contains("does not accept"), "{refused}");
    put(&file, RIGHT);
    pipeline.assert_all_written(0..10);

    // The operator changes both.
    let _: () = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(WRONG).query(&mut pipeline.redis.connection()).unwrap();
    put(&file, WRONG);
    let mut connection = redis::Client::open(pipeline.redis.url().replace("redis://", &format!("redis://:{WRONG}@"))).unwrap();
    let _: () = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut connection).unwrap();
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(numbered(10)).query(&mut connection).unwrap();
    wait_for("the message to be written", PATIENCE, || (pipeline.written() == 11).then_some(()));
    assert_no_secret(&agent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn clients_log_in_with_the_password_that_its_file_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start();
    let file = password_file(&folder, WRONG);
    let (path, socket) = (folder.path().join("queue.db"), folder.path().join("queue.sock"));
    let channel = format!("[channel.embedded]\npath = {path:?}\nlisten = []\nunix_socket = {socket:?}\npassword_file = {file:?}");
    let mut agent = Agent::start(&config_of(&channel, &influxd.url()));
    agent.wait_log("publishing");
    let connect = |password: &str| {
        let client = redis::Client::open(format!("unix://{}?pass={password}", socket.display())).unwrap();
        client.get_connection()
    };
    let mut before = connect(WRONG).unwrap();
    put(&file, RIGHT);
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(numbered(0)).query(&mut before).expect("who is in stays in");
    let mut after = connect(RIGHT).unwrap();
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(numbered(1)).query(&mut after).unwrap();
    assert!(connect(WRONG).is_err(), "the old password is no longer let in");
    fs::remove_file(&file).unwrap();
    assert!(connect(RIGHT).is_ok(), "the last one counts while there is none");
    assert_no_secret(&agent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
