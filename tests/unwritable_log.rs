//! A standard error that refuses to be written. With `publisher.type = "debug"` the log is the destination, and what it does not
//! have stays in the channel; with another publisher nobody waits for it, and what is missing is counted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::support::{
    agent::{kadabra, kadabra_with_files_of, kadabra_without_standard_error},
    pipeline::{PATIENCE, Pipeline, config, numbered},
    process::wait_for,
    redis_server::RedisServer,
};

/// A queue in a Redis, the folder of a log, and agents that show what is queued in that log.
struct House {
    redis: RedisServer,
    folder: TempDir,
    systemd: UnixDatagram,
}

/// Killed when it is dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Agent {
    fn terminate(&mut self) -> Option<i32> {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        wait_for("the end of kadabra", PATIENCE, || self.0.try_wait().unwrap()).code()
    }

    fn raise_the_limit(&self) {
        let raised = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &self.0.id().to_string()]).status();
        assert!(raised.unwrap().success());
    }
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let systemd = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        systemd.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { redis: RedisServer::start(), folder, systemd }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn push(&self, numbers: impl Iterator<Item = u64>) {
        let messages: Vec<_> = numbers.map(numbered).collect();
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(messages).query(&mut self.redis.connection()).unwrap();
    }

    fn start(&self, command: Command, error: impl Into<Stdio>) -> Agent {
        self.start_at("info", command, error)
    }

    fn start_at(&self, level: &str, mut command: Command, error: impl Into<Stdio>) -> Agent {
        let path = self.folder.path().join("kadabra.toml");
        fs::write(&path, config(&self.redis.url(), "http://localhost:1")).unwrap();
        command.arg("run").arg("--config").arg(path).stderr(error);
        command.env("KADABRA_PUBLISHER__TYPE", "debug").env("KADABRA_LOG__LEVEL", level);
        Agent(command.env("NOTIFY_SOCKET", self.folder.path().join("notify")).spawn().unwrap())
    }

    fn appended(&self) -> File {
        File::options().create(true).append(true).open(self.log()).unwrap()
    }

    /// Waits until systemd is told something with this in it.
    fn wait_status(&self, part: &str) {
        let mut buffer = [0; 4096];
        loop {
            let size = self.systemd.recv(&mut buffer).unwrap_or_else(|error| panic!("{part:?} in the status: {error}"));
            if String::from_utf8_lossy(&buffer[..size]).contains(part) {
                return;
            }
        }
    }

    /// How often each number is in the log, of which every line must be whole.
    fn shown(&self) -> BTreeMap<u64, usize> {
        let text = fs::read_to_string(self.log()).unwrap();
        let mut shown = BTreeMap::new();
        // A line that is being written in this very moment has no end yet.
        for line in text.rsplit_once('\n').map_or("", |(lines, _)| lines).lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
            let messages = serde_json::from_str::<Vec<Value>>(line["msg"].as_str().unwrap()).unwrap_or_default();
            for number in messages.iter().map(|message| message["counters"][0]["value"].as_f64().unwrap()) {
                *shown.entry(number as u64).or_default() += 1;
            }
        }
        shown
    }

    /// Waits until so many messages are in the log, each of them once.
    fn wait_shown(&self, count: u64) {
        wait_for("the messages in the log", PATIENCE, || (self.shown().len() as u64 == count).then_some(()));
        self.assert_shown(count);
    }

    fn assert_shown(&self, count: u64) {
        assert_eq!(self.shown(), (0..count).map(|number| (number, 1)).collect());
    }
}

#[test]
fn what_a_log_that_cannot_be_written_does_not_show_stays_in_the_channel_and_the_exit_code_says_so() {
    // A device that is always full, and a pipe whose reader has ended.
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(io::pipe().unwrap().1);
    for (refuses, words) in [(&full as &dyn Fn() -> Stdio, "No space left on device"), (&closed, "Broken pipe")] {
        let house = House::new();
        house.push(0..100);
        let mut agent = house.start(kadabra(), refuses());
        house.wait_status(&format!("{words} (os error"));
        assert_eq!(agent.terminate(), Some(74), "{words}");
        let mut agent = house.start(kadabra(), house.appended());
        house.wait_shown(100);
        assert_eq!(agent.terminate(), Some(0));
    }
}

#[test]
fn a_log_that_can_be_written_again_has_every_message_once_and_no_torn_line() {
    let house = House::new();
    let mut agent = house.start(kadabra_with_files_of(20 << 10), house.appended());
    house.wait_status("READY=1");
    house.push(0..30);
    house.wait_shown(30);
    // More than there is room for, in many batches.
    for number in (30..500).step_by(10) {
        house.push(number..number + 10);
    }
    house.wait_status("File too large (os error");
    let before = house.shown();
    assert!(before.len() >= 30 && before.values().all(|times| *times == 1), "{before:?}");
    agent.raise_the_limit();
    house.wait_shown(500);
    assert_eq!(agent.terminate(), Some(0));
    house.assert_shown(500);
}

#[test]
fn without_a_standard_error_every_message_stays_in_the_channel() {
    let house = House::new();
    house.push(0..100);
    let mut agent = house.start(kadabra_without_standard_error(), Stdio::null());
    house.wait_status("started without a standard error");
    assert_eq!(agent.terminate(), Some(74));
    let mut agent = house.start(kadabra(), house.appended());
    house.wait_shown(100);
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn a_log_of_warnings_alone_shows_every_message_all_the_same() {
    let house = House::new();
    house.push(0..100);
    let mut agent = house.start_at("error", kadabra(), house.appended());
    house.wait_shown(100);
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn what_was_given_back_at_the_end_is_not_in_the_log_and_the_next_agent_shows_it() {
    let house = House::new();
    house.push(0..500);
    let mut agent = house.start(kadabra_with_files_of(20 << 10), house.appended());
    house.wait_status("File too large (os error");
    assert_eq!(agent.terminate(), Some(74));
    let before = house.shown().len();
    let queued: u64 = redis::cmd("LLEN").arg("kadabra_queue").query(&mut house.redis.connection()).unwrap();
    assert_eq!(queued, 500 - before as u64);
    let mut agent = house.start(kadabra(), house.appended());
    house.wait_shown(500);
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn with_another_publisher_nobody_waits_for_the_log_which_says_what_is_missing_once_it_can_be_written() {
    let pipeline = Pipeline::start();
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("kadabra.toml"), folder.path().join("log"));
    fs::write(&path, config(&pipeline.redis.url(), &pipeline.influxd.url())).unwrap();
    let mut command = kadabra_with_files_of(4 << 10);
    command.arg("run").arg("--config").arg(path).stderr(File::options().create(true).append(true).open(&log).unwrap());
    command.env("KADABRA_LOG__LEVEL", "trace").env("KADABRA_BATCH__MAX_MESSAGES", "1");
    let mut agent = Agent(command.spawn().unwrap());
    pipeline.push_numbers(0..2000);
    pipeline.assert_all_written(0..2000);
    agent.raise_the_limit();
    let said = wait_for("the line that lines are missing", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines).lines();
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        lines.find(|line| line["msg"].as_str().is_some_and(|message| message.contains("missing here")))
    });
    assert!(said["why"].as_str().unwrap().contains("File too large") && said["lines"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn the_exit_code_says_that_the_log_could_not_be_written_though_every_message_is() {
    let pipeline = Pipeline::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.toml");
    fs::write(&path, config(&pipeline.redis.url(), &pipeline.influxd.url())).unwrap();
    let mut command = kadabra();
    command.arg("run").arg("--config").arg(path).stderr(io::pipe().unwrap().1);
    let mut agent = Agent(command.spawn().unwrap());
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    let begun = std::time::Instant::now();
    assert_eq!(agent.terminate(), Some(74));
    assert!(begun.elapsed() < Duration::from_secs(10), "a log that refuses is not waited for: {:?}", begun.elapsed());
}
