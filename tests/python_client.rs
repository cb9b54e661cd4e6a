//! Unmodified Kadabra clients just work.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{
    agent::Agent,
    pipeline::{DATABASE, Left, PATIENCE, Pipeline},
    process::{free_port, wait_for},
    python,
};

fn port(pipeline: &Pipeline) -> String {
    pipeline.redis.port().to_string()
}

/// The points of one measurement.
fn points(pipeline: &Pipeline, measurement: &str) -> Vec<Value> {
    let mut points = pipeline.influxd.points(DATABASE);
    points.retain(|point| point["measurement"] == measurement);
    points
}

/// The numbers that `producer.py` has sent, sorted.
fn sent(pipeline: &Pipeline) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        points(pipeline, "sent").iter().map(|point| point["fields"]["value"].as_f64().unwrap() as u64).collect();
    numbers.sort_unstable();
    numbers
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn the_example_of_the_documentation_arrives() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    let said = python::run("fibonacci.py", &["30", "--port", &port(&pipeline)]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "832040");
    wait_for("both points", PATIENCE, || (pipeline.influxd.points(DATABASE).len() == 2).then_some(()));
    let iterations = points(&pipeline, "iterations").remove(0);
    assert_eq!((iterations["fields"]["value"].as_f64(), &iterations["tags"]["program"]), (Some(30.0), &"fibonacci".into()));
    let time = points(&pipeline, "runTime").remove(0);
    assert_eq!(time["fields"]["unit"], "milliseconds");
    assert!(time["fields"]["value"].as_f64().is_some());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn eager_and_batched_agents_publish_what_the_client_sends() {
    for interval in ["0s", "1s"] {
        let pipeline = Pipeline::start();
        let mut agent = pipeline.agent().env("KADABRA_BATCH__INTERVAL", interval).start();
        python::run("producer.py", &["--port", &port(&pipeline), "--count", "300", "--request"]);
        pipeline.wait_left(&Left::NOTHING);
        assert_eq!(sent(&pipeline), numbers(300), "{interval}");
        assert_eq!(pipeline.influxd.points(DATABASE).len(), 300 * 5, "{interval}");
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn flask_kadabra_just_works() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    python::run("flask_app.py", &["--port", &port(&pipeline), "--requests", "8"]);
    wait_for("a point for each request", PATIENCE, || (points(&pipeline, "RequestTime").len() == 8).then_some(()));
    let sum = |measurement: &str| -> f64 {
        points(&pipeline, measurement).iter().map(|point| point["fields"]["value"].as_f64().unwrap()).sum()
    };
    pipeline.wait_left(&Left::NOTHING);
    assert_eq!((sum("userSignup"), sum("ClientError"), sum("Failure")), (4.0, 2.0, 2.0));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_a_killed_python_agent_had_in_progress_is_taken_over() {
    const MESSAGES: u64 = 500;
    let pipeline = Pipeline::with_any_rights();
    let log = pipeline.redis.dir().join("python-agent.log");
    // InfluxDB is not there for it, so that everything stays in progress.
    let nowhere = free_port().to_string();
    let redis = port(&pipeline);
    let mut python_agent = python::start("python_agent.py", &["--redis-port", &redis, "--influxdb-port", &nowhere], &log);
    python::run("producer.py", &["--port", &redis, "--count", &MESSAGES.to_string()]);
    wait_for("the Python agent to have all in progress", PATIENCE, || (pipeline.left().inprogress == MESSAGES).then_some(()));
    python_agent.kill();
    python::run("producer.py", &["--port", &redis, "--first", &MESSAGES.to_string(), "--count", "100"]);

    let mut agent = pipeline.agent().start();
    pipeline.wait_left(&Left::NOTHING);
    assert_eq!(sent(&pipeline), numbers(MESSAGES + 100));
    // Adopted messages are written as the Python agent would have: to the microsecond.
    let exact = points(&pipeline, "sent").iter().filter(|point| point["time"].as_i64().unwrap() % 1000 == 0).count() as u64;
    assert!(exact >= MESSAGES, "{exact}");
    agent.wait_log("a Python agent had left in progress");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_the_python_agent_had_already_written_is_not_there_twice() {
    const MESSAGES: u64 = 200;
    let pipeline = Pipeline::with_any_rights();
    let redis = port(&pipeline);
    python::run("producer.py", &["--port", &redis, "--count", &MESSAGES.to_string()]);
    let mut connection = pipeline.redis.connection();
    let messages: Vec<Vec<u8>> = redis::cmd("LRANGE").arg("kadabra_queue").arg(0).arg(-1).query(&mut connection).unwrap();

    let log = pipeline.redis.dir().join("python-agent.log");
    let influxdb = pipeline.influxd.url().rsplit(':').next().unwrap().to_owned();
    let mut python_agent = python::start("python_agent.py", &["--redis-port", &redis, "--influxdb-port", &influxdb], &log);
    pipeline.wait_left(&Left::NOTHING);
    python_agent.kill();
    assert_eq!(sent(&pipeline), numbers(MESSAGES));
    // As if it had died between writing and completing.
    let _: () = redis::cmd("LPUSH").arg("kadabra_inprogress").arg(messages).query(&mut connection).unwrap();

    let mut agent = pipeline.agent().start();
    agent.wait_log("a Python agent had left in progress");
    pipeline.wait_left(&Left::NOTHING);
    assert_eq!(sent(&pipeline), numbers(MESSAGES));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_python_agent_that_is_alive_keeps_what_it_has_in_progress() {
    let pipeline = Pipeline::start();
    let mut connection = pipeline.redis.connection();
    let mut agent = pipeline.agent().env("KADABRA_NANNY__FREQUENCY", "200ms").env("KADABRA_NANNY__THRESHOLD", "5s").start();
    let mut push = |key: &str, value: String| -> u64 { redis::cmd("LPUSH").arg(key).arg(value).query(&mut connection).unwrap() };
    for round in 0..3 {
        push("kadabra_inprogress", format!("busy {round}"));
    }
    // Touched again and again for longer than the threshold, as a working agent does: in at one end, out at the other.
    let begun = Instant::now();
    let mut other = pipeline.redis.connection();
    for round in 3.. {
        push("kadabra_inprogress", format!("busy {round}"));
        let _: () = redis::cmd("RPOP").arg("kadabra_inprogress").query(&mut other).unwrap();
        pipeline.push_numbers(round..round + 1);
        wait_for("the agent to be at work meanwhile", PATIENCE, || (pipeline.left().queued == 0).then_some(()));
        if begun.elapsed() > Duration::from_secs(11) {
            break;
        }
    }
    assert_eq!(pipeline.left().inprogress, 3);
    assert!(agent.logged("left in progress").is_empty());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// The status and the time of a request to an application as docs/applications.md tells to make it.
fn softened(arguments: &[&str]) -> (u16, Duration) {
    let said = python::run("softened.py", &[arguments, &["--password", "sesame"]].concat());
    let said = String::from_utf8(said.stdout).unwrap();
    let (status, seconds) = said.trim().split_once(' ').unwrap();
    (status.parse().unwrap(), Duration::from_secs_f64(seconds.parse().unwrap()))
}

#[test]
fn the_lines_of_the_documentation_soften_what_a_request_pays_for_an_agent_that_hangs_or_is_down() {
    // Far below what the client waits by itself, which is 3.5 s and 58 s; far above what a busy machine makes of 0.1 s.
    const SOON: Duration = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let (socket, password) = (folder.path().join("kadabra.sock"), folder.path().join("password"));
    std::fs::write(&password, "sesame").unwrap();
    let channel = format!(
        "[channel.embedded]\npath = {:?}\nlisten = \"0.0.0.0:{}\"\nunix_socket = {socket:?}\npassword_file = {password:?}\n",
        folder.path().join("queue.db"),
        free_port()
    );
    let mut agent = Agent::start(&channel);
    agent.wait_log("publishing");
    let socket = socket.to_str().unwrap();
    let request = |catch: bool| {
        let arguments = ["--socket", socket, "--catch"];
        softened(&arguments[..if catch { 3 } else { 2 }])
    };
    // An agent that is well may answer later than that on a busy machine.
    assert_eq!(softened(&["--socket", socket, "--timeout", "30"]).0, 200);
    agent.wait_log("userSignup");

    agent.signal("STOP");
    for (catch, expected) in [(false, 500), (true, 200)] {
        let (status, took) = request(catch);
        assert!(status == expected && took < SOON, "hangs: {status} after {took:?}");
    }
    agent.signal("CONT");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    for (catch, expected) in [(false, 500), (true, 200)] {
        let (status, took) = request(catch);
        assert!(status == expected && took < SOON, "down: {status} after {took:?}");
    }
}

#[test]
fn a_client_elsewhere_says_the_password_as_the_example_tells() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "sesame").unwrap();
    let address = format!("0.0.0.0:{}", free_port());
    let example = include_str!("../conf/examples/other-machines.toml");
    let client = example.lines().find(|line| line.contains("redis.Redis(")).expect("the example says what works");
    assert!(client.contains("kadabra.channel.client = redis.Redis(host=\"HOST\", port=6379, password=\"PASSWORD\""), "{client}");
    let mut agent = Agent::with(example)
        .env("KADABRA_CHANNEL__EMBEDDED__PATH", folder.path().join("queue.db").to_str().unwrap())
        .env("KADABRA_CHANNEL__EMBEDDED__LISTEN", &address)
        .env("KADABRA_CHANNEL__EMBEDDED__PASSWORD_FILE", password.to_str().unwrap())
        .env("KADABRA_PUBLISHER__TYPE", "debug")
        .start();
    agent.wait_log("publishing");
    let (_, port) = address.split_once(':').unwrap();
    assert_eq!(softened(&["--port", port, "--timeout", "30"]).0, 200);
    agent.wait_log("userSignup");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
