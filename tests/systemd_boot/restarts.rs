//! The agent is restarted, upgraded and killed by systemd while unmodified clients push, and none of them notices.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::{
    super::support::{machine::Machine, process, process::Process, python::installed as python},
    CONFIGURATION, PATIENCE, SOCKET, installed, installed_with_a_socket_file, told,
};
use process::wait_for;

/// An InfluxDB on the machine, where the configuration that is installed looks for it.
fn start_influxdb(machine: &Machine) {
    let folders = ["DATA_DIR=/var/lib/influxdb/data", "DATA_WAL_DIR=/var/lib/influxdb/wal", "META_DIR=/var/lib/influxdb/meta"];
    let mut unit: Vec<String> = ["systemd-run", "--unit=influxdb", "-p", "StateDirectory=influxdb"].map(str::to_owned).to_vec();
    unit.extend(folders.map(|folder| format!("--setenv=INFLUXDB_{folder}")));
    unit.extend(["--setenv=INFLUXDB_REPORTING_DISABLED=true", "influxd"].map(str::to_owned));
    machine.does(unit.iter().map(String::as_str));
    wait_for("influxd", PATIENCE, || {
        machine.run(["influx", "-execute", "CREATE DATABASE kadabra"]).status.success().then_some(())
    });
}

/// Which numbers are stored, each of which is a point of its own.
pub(super) fn stored(machine: &Machine) -> Vec<u64> {
    let query = "SELECT value FROM numbered";
    let text = machine.does(["influx", "-database", "kadabra", "-format", "csv", "-execute", query]);
    let values = text.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse::<f64>().ok());
    values.map(|value| value as u64).collect()
}

/// Clients on the machine's network.
pub(super) struct Clients {
    process: Process,
    log: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Clients {
    pub(super) fn start(machine: &Machine, python: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = process::command("nsenter");
        command.arg("--net").args(["--target", &machine.systemd().to_string(), "--"]);
        command
            .arg(python)
            .args(["-W", "ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/steady.py")])
            .args(arguments);
        Self { process: Process::start("the clients", command, &log), log, _folder: folder }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until so many more have been sent.
    pub(super) fn wait(&mut self, more: u64) {
        let before = self.sent();
        wait_for("clients to push", PATIENCE, || {
            if let Some(status) = self.process.ended() {
                panic!("the clients ended: {status}: {}", self.said());
            }
            (self.sent() >= before + more).then_some(())
        });
    }

    /// How many have been sent.
    fn sent(&self) -> u64 {
        self.said().lines().last().and_then(|line| line.parse().ok()).unwrap_or_default()
    }

    pub(super) fn end(mut self) -> Value {
        self.process.signal("TERM");
        let status = self.process.wait(PATIENCE);
        assert!(status.success(), "{}", self.said());
        serde_json::from_str(self.said().lines().last().unwrap()).unwrap()
    }
}

/// How often the agent is restarted: more often by hand.
fn restarts() -> u64 {
    std::env::var("KADABRA_TEST_RESTARTS").map_or(5, |number| number.parse().unwrap())
}

/// Restarts the agent under load, and kills it every fifth time: nothing raises, and what was sent is stored, each once.
fn assert_unnoticed(folder: &str, arguments: &[&str]) {
    assert_unnoticed_on(&installed(), folder, arguments);
}

fn assert_unnoticed_on(machine: &Machine, folder: &str, arguments: &[&str]) {
    // Sooner and more often than in the unit.
    machine.write(
        "/etc/systemd/system/kadabra.service.d/often.conf",
        "[Service]\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0\n",
    );
    machine.does(["systemctl", "daemon-reload"]);
    start_influxdb(machine);
    let mut clients = Clients::start(machine, &python(&format!("{folder}/bin/python")), arguments);
    for restart in 1..=restarts() {
        clients.wait(100);
        if restart % 5 == 3 {
            let agent = machine.agent();
            machine.does(["systemctl", "kill", "--signal=KILL", "kadabra"]);
            machine.wait_unit("that clients have started again", |unit| {
                unit["ActiveState"] == "active" && unit["MainPID"] != "0" && machine.agents() != [agent]
            });
        } else {
            machine.does(["systemctl", "restart", "kadabra"]);
        }
    }
    clients.wait(100);
    let said = clients.end();
    eprintln!("{folder} {arguments:?}: {} restarts: {said}", restarts());
    assert_eq!(said["failed"], serde_json::json!([]));
    let sent = said["sent"].as_u64().unwrap();
    let all = wait_for("all to be stored", PATIENCE, || Some(stored(machine)).filter(|stored| stored.len() as u64 >= sent));
    assert_eq!(all.len() as u64, sent, "something is there twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (1..=sent).collect());
}

#[test]
fn clients_that_connect_for_each_push_notice_no_restart() {
    assert_unnoticed("python", &["--anew"]);
}

#[test]
fn clients_that_keep_their_connections_notice_no_restart() {
    assert_unnoticed("python", &[]);
}

#[test]
fn clients_of_a_socket_in_the_file_system_notice_no_restart() {
    let machine = installed_with_a_socket_file();
    let socket = machine.path(SOCKET);
    assert_unnoticed_on(&machine, "python", &["--anew", "--socket", socket.to_str().unwrap()]);
    // systemd has made it, and no agent has replaced it.
    assert_eq!(machine.does(["stat", "--format=%a", SOCKET]), "666\n");
}

#[test]
fn clients_of_the_time_when_kadabra_was_written_notice_no_restart() {
    assert_unnoticed("python-old", &["--anew"]);
}

#[test]
fn a_wrong_configuration_is_given_up_though_clients_push_and_is_started_again_as_the_documentation_says() {
    let machine = installed();
    machine.does(["systemctl", "stop", "kadabra.socket", "kadabra"]);
    machine.write(CONFIGURATION, "[publisher]\ntype = \"influx\"\n");
    machine.does(["systemctl", "start", "kadabra.socket"]);
    let push = || machine.run(["timeout", "1", "redis-cli", "LPUSH", "kadabra_queue", "a"]);
    let unit = wait_for("a unit that is given up", PATIENCE, || {
        push();
        let socket = machine.does(["systemctl", "show", "--property=ActiveState,Result", "kadabra.socket"]);
        socket.contains("ActiveState=failed").then(|| machine.unit())
    });
    assert_eq!(unit["ActiveState"], "failed");
    let refused = String::from_utf8([push().stdout, push().stderr].concat()).unwrap();
    assert!(refused.contains("Connection refused"), "{refused}");

    machine.write(CONFIGURATION, "[publisher]\ntype = \"debug\"\n");
    machine.does([
        "sh",
        "-ec",
        &told("docs/operations.md", "sudo systemctl stop kadabra.socket kadabra\nsudo systemctl reset-failed"),
    ]);
    assert_eq!(machine.does(["redis-cli", "PING"]), "PONG\n");
}
