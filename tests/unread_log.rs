//! A standard error that nobody reads: a full pipe holds up nobody, and what is read again says what is missing.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::support::{
    agent::{Agent, kadabra},
    pipeline::{PATIENCE, Pipeline, config, numbered},
    process::wait_for,
    redis_server::RedisServer,
};

/// How long a stop may take here, far below the shutdown time-out.
const STOP: Duration = Duration::from_secs(10);

/// An agent whose standard error is a pipe.
struct Piped {
    child: Child,
    _folder: TempDir,
}

impl Piped {
    fn start(config: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kadabra.toml");
        fs::write(&path, config).unwrap();
        let mut command = kadabra();
        command.arg("run").arg("--config").arg(path).envs(variables.iter().copied());
        Self { child: command.stderr(Stdio::piped()).spawn().unwrap(), _folder: folder }
    }

    fn pipe(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        wait_for("the end of kadabra", STOP, || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(text: &str) -> impl Iterator<Item = Value> + '_ {
    // Where the process ended, there may be half a line.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}")))
}

const TALKATIVE: [(&str, &str); 2] = [("KADABRA_LOG__LEVEL", "trace"), ("KADABRA_BATCH__MAX_MESSAGES", "1")];

#[test]
fn a_log_that_nobody_reads_holds_up_neither_delivery_nor_the_stop() {
    let pipeline = Pipeline::start();
    let mut agent = Piped::start(&config(&pipeline.redis.url(), &pipeline.influxd.url()), &TALKATIVE);
    pipeline.push_numbers(0..2000);
    pipeline.assert_all_written(0..2000);
    assert_eq!(agent.terminate(), Some(0));
    let mut text = String::new();
    agent.pipe().read_to_string(&mut text).unwrap();
    assert!(lines(&text).any(|line| line["msg"] == "starting"));
    assert!(!text.contains("stopped"), "the pipe was full at the end");
}

#[test]
fn a_log_that_is_read_again_says_how_much_is_missing_and_ends_with_the_last_words() {
    let pipeline = Pipeline::start();
    let mut agent = Piped::start(&config(&pipeline.redis.url(), &pipeline.influxd.url()), &TALKATIVE);
    pipeline.push_numbers(0..2000);
    pipeline.assert_all_written(0..2000);

    let text = Arc::new(Mutex::new(Vec::new()));
    let (mut pipe, read) = (agent.pipe(), Arc::clone(&text));
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            read.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    let said = wait_for("the line that lines are missing", PATIENCE, || {
        let text = String::from_utf8_lossy(&text.lock().unwrap()).into_owned();
        lines(&text).find(|line| line["msg"].as_str().is_some_and(|message| message.contains("missing here")))
    });
    assert_eq!(said["level"], "WARNING");
    assert!(said["lines"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(agent.terminate(), Some(0));
    reader.join().unwrap();
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    assert!(text.ends_with('\n'));
    let last = lines(&text).last().unwrap();
    assert_eq!((&last["msg"], &last["exit_code"]), (&"stopped".into(), &0.into()), "{last}");
}

/// The numbers of the messages that the debug publisher has shown whole.
fn shown(text: &str) -> BTreeSet<u64> {
    let lists = lines(text).filter_map(|line| serde_json::from_str::<Vec<Value>>(line["msg"].as_str()?).ok());
    lists.flatten().filter_map(|message| message["counters"][0]["value"].as_f64()).map(|number| number as u64).collect()
}

#[test]
fn what_the_debug_publisher_cannot_show_stays_in_the_channel_and_the_stop_is_in_time() {
    const MESSAGES: u64 = 30;
    let redis = RedisServer::start();
    // A pipe takes two of them.
    let padding = format!(r#""dimensions": [{{"name": "padding", "value": "{}"}}, "#, "x".repeat(30_000));
    for number in 0..MESSAGES {
        let message = numbered(number).replacen(r#""dimensions": ["#, &padding, 1);
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(message).query(&mut redis.connection()).unwrap();
    }
    let config = config(&redis.url(), "http://localhost:1");
    let variables = [("KADABRA_PUBLISHER__TYPE", "debug"), ("KADABRA_LOG__LEVEL", "info"), ("KADABRA_BATCH__MAX_MESSAGES", "1")];
    let mut agent = Piped::start(&config, &variables);
    let queued = || -> u64 { redis::cmd("LLEN").arg("kadabra_queue").query(&mut redis.connection()).unwrap() };
    wait_for("the pipe to be full", PATIENCE, || (queued() <= MESSAGES - 4).then_some(()));
    assert_eq!(agent.terminate(), Some(0));
    let mut text = String::new();
    agent.pipe().read_to_string(&mut text).unwrap();
    let first = shown(&text);
    let waiting = queued();
    assert!(waiting >= MESSAGES - 4, "only {waiting} wait; shown {first:?}");
    assert!(first.len() as u64 >= MESSAGES - waiting, "what is off the channel was shown: {first:?}, {waiting} wait");

    let mut again = Agent::with(&config);
    for (name, value) in variables {
        again = again.env(name, value);
    }
    let mut again = again.start();
    wait_for("the rest to be shown", PATIENCE, || (queued() == 0).then_some(()));
    assert_eq!(again.terminate(PATIENCE), Some(0));
    let second = shown(&again.log_text());
    let all: BTreeSet<u64> = first.union(&second).copied().collect();
    assert_eq!(all.len() as u64, MESSAGES, "{first:?} and {second:?}");
    assert_eq!(second.len() as u64, waiting);
}
