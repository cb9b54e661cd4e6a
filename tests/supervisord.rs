//! The file in conf/ under Debian's supervisord: a killed agent is started again, SIGHUP has it reload, and a stop flushes.

use std::{fs, path::Path, time::Duration};

use super::support::{machine::Machine, process::wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

const LOG: &str = "/var/log/supervisor/kadabra.log";

/// With the agent under supervisord as the file itself tells, and nothing at the address of its InfluxDB, so that messages wait.
fn installed() -> Machine {
    let machine = Machine::start();
    machine.copy("/etc/supervisor");
    machine.copy("/usr/lib/systemd/system/supervisor.service");
    machine.does([
        "sh",
        "-euc",
        "ln -s /run /var/run; mkdir /var/log/supervisor; systemctl daemon-reload; systemctl start supervisor",
    ]);
    wait_for("supervisord", PATIENCE, || machine.run(["supervisorctl", "pid"]).status.success().then_some(()));
    let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/supervisor/kadabra.conf")).unwrap();
    let (before, after) = file.split_once("; Afterwards:\n").unwrap();
    let commands = |text: &str| -> String {
        let lines = text.lines().take_while(|line| line.starts_with(';')).map(|line| line.trim_start_matches("; "));
        lines.filter(|line| !line.starts_with('/')).map(|line| format!("{line}\n")).collect()
    };
    machine.does(["sh", "-euc", &commands(before)]);
    machine.write("/etc/supervisor/conf.d/kadabra.conf", &file);
    machine.does(["sh", "-euc", &commands(after)]);
    wait_running(&machine);
    machine
}

fn wait_running(machine: &Machine) {
    wait_for("an agent that runs", PATIENCE, || {
        let status = machine.run(["supervisorctl", "status", "kadabra"]);
        String::from_utf8(status.stdout).unwrap().contains("RUNNING").then_some(())
    });
}

fn pid(machine: &Machine) -> String {
    machine.does(["supervisorctl", "pid", "kadabra"]).trim().to_owned()
}

fn wait_log(machine: &Machine, part: &str) {
    wait_for(&format!("{part:?} in the log"), PATIENCE, || {
        fs::read_to_string(machine.path(LOG)).is_ok_and(|log| log.contains(part)).then_some(())
    });
}

#[test]
fn a_killed_agent_is_started_again_a_signal_reloads_and_a_stop_flushes() {
    let machine = installed();
    let push = || machine.does(["kadabra", "send", "--count", "userSignup=1"]);
    push();
    let killed = pid(&machine);
    let status = fs::read_to_string(machine.path(&format!("/proc/{killed}/status"))).unwrap();
    assert!(!status.contains("Uid:\t0"), "it is not root: {status}");
    machine.does(["kill", "-KILL", &killed]);
    wait_for("another agent", PATIENCE, || (![&killed, "0"].contains(&pid(&machine).as_str())).then_some(()));
    wait_running(&machine);
    wait_log(&machine, "where 1 message waits");

    // Into its log, where the message is found that was pushed to the one that was killed.
    let agent = pid(&machine);
    machine.write("/etc/kadabra/kadabra.toml", "[publisher]\ntype = \"debug\"\n[batch]\ninterval = \"20s\"\n");
    machine.does(["supervisorctl", "signal", "HUP", "kadabra"]);
    wait_log(&machine, "\"msg\":\"reloaded: ");
    assert_eq!(pid(&machine), agent);
    push();
    machine.does(["supervisorctl", "stop", "kadabra"]);
    let log = fs::read_to_string(machine.path(LOG)).unwrap();
    assert_eq!(log.matches("userSignup").count(), 2, "{log}");
    let end: Vec<&str> = log.lines().rev().take(2).collect();
    assert!(end[0].contains("\"exit_code\":0") && end[1].contains("\"waiting\":0"), "{log}");
    let status = machine.run(["supervisorctl", "status", "kadabra"]);
    assert!(String::from_utf8(status.stdout).unwrap().contains("STOPPED"));
}
