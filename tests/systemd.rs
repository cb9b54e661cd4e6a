//! What systemd is told, over a real datagram socket.

use std::{cell::RefCell, io::ErrorKind, mem, os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

use sd_notify::NotifyState;
use tempfile::TempDir;

use super::support::{
    agent::{Agent, Builder, cli},
    pipeline::{PATIENCE, Pipeline, config_of, numbered},
    process::{free_port, wait_for},
};

/// systemd's end of the socket.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
    /// What has arrived and was not asked for yet.
    arrived: RefCell<Vec<String>>,
    _folder: TempDir,
}

impl Systemd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, arrived: RefCell::default(), _folder: folder }
    }

    /// The agent as systemd starts it.
    fn starts(&self, agent: Builder) -> Builder {
        agent.env("NOTIFY_SOCKET", self.path.to_str().unwrap()).env("WATCHDOG_USEC", "400000")
    }

    /// What has arrived since the last time.
    fn heard(&self) -> Vec<String> {
        self.receive();
        mem::take(&mut self.arrived.borrow_mut())
    }

    fn receive(&self) {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(size) => self.arrived.borrow_mut().push(String::from_utf8(buffer[..size].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a message with this in it; gives all that came until then, and leaves what came behind it.
    fn wait(&self, part: &str) -> Vec<String> {
        wait_for(&format!("{part} at systemd"), PATIENCE, || {
            self.receive();
            let mut arrived = self.arrived.borrow_mut();
            let found = arrived.iter().position(|message| message.contains(part))?;
            Some(arrived.drain(..=found).collect())
        })
    }
}

#[test]
fn ready_comes_after_the_channel_was_reached_and_stopping_at_the_end() {
    let mut pipeline = Pipeline::start();
    let systemd = Systemd::start();
    pipeline.redis.kill9();
    let mut agent = systemd.starts(pipeline.agent()).start();
    let heard = systemd.wait("STATUS=waiting: cannot connect");
    assert!(!heard.iter().any(|message| message.contains("READY")), "{heard:?}");

    pipeline.redis.restart();
    systemd.wait("READY=1");
    systemd.wait("STATUS=publishing to influxdb http");
    systemd.wait("WATCHDOG=1");
    pipeline.push_numbers(0..10);
    systemd.wait("10 published");

    pipeline.influxd.stop();
    pipeline.push_numbers(10..20);
    systemd.wait("STATUS=waiting: cannot write to influxdb");
    // Waiting for a database is not hanging.
    systemd.wait("WATCHDOG=1");

    assert_eq!(agent.terminate(PATIENCE), Some(0));
    systemd.wait("STOPPING=1");
}

#[test]
fn a_reload_begins_with_its_time_and_ends_with_ready_and_what_has_become_of_it() {
    let pipeline = Pipeline::start();
    let systemd = Systemd::start();
    let text = config_of(
        &format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"", pipeline.redis.url()),
        &pipeline.influxd.url(),
    );
    let mut agent = systemd.starts(Agent::with(&text)).start();
    systemd.wait("READY=1");
    // As CLOCK_MONOTONIC has it, which a unit of Type=notify-reload compares.
    let now = || {
        let field = NotifyState::monotonic_usec_now().unwrap().to_string();
        field.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<i64>().unwrap()
    };
    let before = now();
    agent.reload(&(text.clone() + "[batch]\nmax_messages = 7\n"));
    let heard = systemd.wait("READY=1");
    let of_reload: Vec<_> =
        heard.iter().filter(|message| message.contains("RELOADING=1") || message.contains("READY=1")).collect();
    let [begins, ends] = of_reload[..] else { panic!("{heard:?}") };
    let fields: Vec<_> = begins.lines().map(|line| line.split_once('=').unwrap()).collect();
    let [("RELOADING", "1"), ("MONOTONIC_USEC", time), ("STATUS", _)] = fields[..] else { panic!("{begins}") };
    assert!((before..=now()).contains(&time.parse().unwrap()), "{before} {begins}");
    assert!(ends.starts_with("READY=1\nSTATUS=reloaded: batch.max_messages 10000 -> 7; publishing to influxdb"), "{ends}");

    // One that is wrong ends, too, and stays said.
    agent.reload(&(text + "[batch]\nmax_messages = 0\n"));
    let heard = systemd.wait("READY=1");
    assert!(heard.iter().any(|message| message.contains("STATUS=the configuration was not reloaded")), "{heard:?}");
    systemd.wait("; warning: the configuration was not reloaded, and the one before holds: ");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn the_watchdog_is_not_fed_while_an_actor_makes_no_progress() {
    let pipeline = Pipeline::start();
    let systemd = Systemd::start();
    let mut agent = systemd
        .starts(pipeline.agent())
        .env("FAILPOINTS", "batcher.leased=1*sleep(60000)")
        .env("KADABRA_SUPERVISOR__HANG_TIMEOUT", "3s")
        .env("KADABRA_CHANNEL__REDIS__TIMEOUT", "500ms")
        .env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", "500ms")
        .start();
    systemd.wait("WATCHDOG=1");
    pipeline.push_numbers(0..10);
    agent.wait_log("makes no progress");
    // What was sent before the line was logged.
    systemd.heard();
    assert_eq!(agent.wait(Duration::from_secs(30)), Some(71));
    let heard = systemd.heard();
    assert!(!heard.iter().any(|message| message.contains("WATCHDOG=1")), "{heard:?}");
}

#[test]
fn the_status_has_what_waits_and_what_is_refused_to_clients() {
    let systemd = Systemd::start();
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().join("queue.db"), free_port());
    let channel = format!("[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = \"127.0.0.1:{port}\"");
    // Nobody is there.
    let agent = Agent::with(&config_of(&channel, "http://127.0.0.1:1"));
    let mut agent = systemd.starts(agent).start();
    systemd.wait("READY=1");
    let mut client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap().get_connection().unwrap();
    let push = |client: &mut redis::Connection, list: &str| {
        redis::cmd("LPUSH").arg(list).arg(numbered(1)).arg(numbered(2)).query::<u64>(client)
    };
    push(&mut client, "kadabra_queue").unwrap();
    systemd.wait("2 accepted, 0 published, 0 parked, 0 in flight, 2 messages wait, the oldest for ");
    push(&mut client, "typo").unwrap_err();
    systemd.wait("pushes are refused, since they are to another list than queue_key in [channel.embedded]");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn how_long_the_room_of_the_queue_lasts_is_said_by_the_status_info_and_a_check() {
    let systemd = Systemd::start();
    let folder = tempfile::tempdir().unwrap();
    let (path, port) = (folder.path().join("queue.db"), free_port());
    let channel = format!("[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = \"127.0.0.1:{port}\"");
    // Nobody is there.
    let agent = Agent::with(&config_of(&channel, "http://127.0.0.1:1")).env("FAILPOINTS", "queue.outlook=return");
    let mut agent = systemd.starts(agent).start();
    systemd.wait("READY=1");
    let mut client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap().get_connection().unwrap();
    wait_for("the outlook in INFO", PATIENCE, || {
        let messages: Vec<_> = (0..1000).map(numbered).collect();
        redis::cmd("LPUSH").arg("kadabra_queue").arg(messages).query::<u64>(&mut client).unwrap();
        let info: String = redis::cmd("INFO").arg("kadabra").query(&mut client).unwrap();
        let outlook = info.lines().find_map(|line| line.strip_prefix("outlook:full in "))?;
        assert!(outlook.ends_with(" at the present rate"), "{info}");
        Some(())
    });
    systemd.wait("messages wait");
    systemd.wait(", full in ");
    let configuration = agent.folder().join("kadabra.toml");
    let check = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), configuration.as_os_str()]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.contains("; full in ") && said.contains(" at the present rate\n"), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
