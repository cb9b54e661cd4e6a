//! The Debian package on a Debian of its own: installed, upgraded under load, removed, purged.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use super::{
    super::support::{
        machine::Machine,
        package,
        process::{self, Process, wait_for},
        python::installed as python,
    },
    CONFIGURATION, PATIENCE,
    restarts::{Clients, stored},
};

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Has apt-get do this, which finds everything in its cache.
pub(super) fn apt(machine: &Machine, arguments: &[&str]) -> String {
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet"];
    machine.does_in(120, [&apt[..], arguments].concat())
}

/// Packs an agent as this version, and puts the package where root is at home; gives how apt-get is told of it.
pub(super) fn bring(machine: &Machine, agent: &Path, version: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let package = package::debian(agent, version, folder.path());
    let there = format!("/root/{}", package.file_name().unwrap().to_str().unwrap());
    fs::copy(package, machine.path(&there)).unwrap();
    there
}

/// How often the package is upgraded, or installed anew: more often by hand.
fn upgrades() -> u64 {
    env::var("KADABRA_TEST_UPGRADES").map_or(3, |number| number.parse().unwrap())
}

fn agent() -> PathBuf {
    env!("CARGO_BIN_EXE_kadabra").into()
}

/// Everything on the machine that has this project's name, but what was brought.
fn left(machine: &Machine) -> Vec<String> {
    let places = ["find", "/etc", "/opt", "/run", "/srv", "/usr", "/var", "/tmp"];
    let found = machine.does([&places[..], &["-iname", "*kadabra*"]].concat());
    // What is systemd's own of a process that has ended, and the database.
    let others = ["/run/systemd/", "/var/cache/apt/", "/var/lib/influxdb/"];
    found.lines().filter(|line| !others.iter().any(|other| line.starts_with(other))).map(str::to_owned).collect()
}

#[test]
fn an_upgrade_under_load_is_noticed_by_no_client_and_a_purge_leaves_nothing() {
    let machine = Machine::start_debian();
    assert_eq!(left(&machine), <[&str; 0]>::default());
    // By hand that of an older version; else the same program under another one.
    let old = env::var_os("KADABRA_TEST_BEFORE").map_or_else(agent, PathBuf::from);
    let old = bring(&machine, &old, "0.1.0");
    let new = bring(&machine, &agent(), VERSION);
    apt(&machine, &["install", "influxdb", "influxdb-client"]);
    wait_for("influxd", PATIENCE, || {
        machine.run(["influx", "-execute", "CREATE DATABASE kadabra"]).status.success().then_some(())
    });
    apt(&machine, &["install", &old]);
    assert_eq!(machine.does(["systemctl", "is-active", "kadabra.socket", "kadabra"]), "active\nactive\n");
    assert_eq!(machine.does(["systemctl", "is-enabled", "kadabra.socket", "kadabra"]), "enabled\nenabled\n");

    let edited = fs::read_to_string(machine.path(CONFIGURATION)).unwrap() + "\n[log]\nlevel = \"debug\"\n";
    machine.write(CONFIGURATION, &edited);
    let mut clients = Clients::start(&machine, &python("python/bin/python"), &["--anew"]);
    for upgrade in 1..=upgrades() {
        clients.wait(100);
        let before = machine.agent();
        // Once more is as much to those that push.
        let again = if upgrade == 1 { "--no-remove" } else { "--reinstall" };
        apt(&machine, &["install", again, &new]);
        assert_ne!(machine.agent(), before);
        let program = fs::read_link(format!("/proc/{}/exe", machine.agent())).unwrap();
        assert_eq!(program, Path::new("/usr/bin/kadabra"), "not one that is deleted");
    }
    clients.wait(100);
    let said = clients.end();
    eprintln!("{} upgrades: {said}", upgrades());
    assert_eq!(said["failed"], serde_json::json!([]));
    let sent = said["sent"].as_u64().unwrap();
    let all = wait_for("all to be stored", PATIENCE, || Some(stored(&machine)).filter(|stored| stored.len() as u64 >= sent));
    assert_eq!(all.len() as u64, sent, "something is there twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (1..=sent).collect());
    assert_eq!(fs::read_to_string(machine.path(CONFIGURATION)).unwrap(), edited);

    let said = apt(&machine, &["remove", "kadabra"]);
    assert!(said.contains("what waits stays in /var/lib/kadabra"), "{said}");
    assert_eq!(machine.run(["systemctl", "is-active", "kadabra.socket", "kadabra"]).stdout, b"inactive\ninactive\n");
    assert!(machine.path("/var/lib/private/kadabra/queue.db").exists());
    assert_eq!(fs::read_to_string(machine.path(CONFIGURATION)).unwrap(), edited);
    apt(&machine, &["install", &new]);
    assert_eq!(machine.does(["systemctl", "is-active", "kadabra.socket", "kadabra"]), "active\nactive\n");

    let said = apt(&machine, &["purge", "kadabra"]);
    assert!(said.contains("removing /var/lib/kadabra, with all that waits and all dead letters"), "{said}");
    assert_eq!(left(&machine), <[&str; 0]>::default());
}

#[test]
fn an_agent_whose_port_is_taken_is_installed_all_the_same_and_its_administrator_told() {
    let machine = Machine::start_debian();
    let log = machine.path("/root/redis.log");
    let mut redis = process::command("nsenter");
    redis.args(["--net", "--target", &machine.systemd().to_string(), "--", "redis-server", "--port", "6379", "--save", ""]);
    let mut redis = Process::start("redis-server", redis, &log);
    wait_for("redis-server", PATIENCE, || fs::read_to_string(&log).unwrap().contains("Ready to accept").then_some(()));
    let package = bring(&machine, &agent(), VERSION);
    let said = apt(&machine, &["install", &package]);
    assert!(said.contains("kadabra: the agent does not run yet; systemctl status kadabra.socket kadabra says why"), "{said}");
    redis.kill();
    machine.does(["systemctl", "reset-failed", "kadabra.socket", "kadabra"]);
    machine.does(["systemctl", "restart", "kadabra.socket", "kadabra"]);
    machine.does(["kadabra", "send", "--count", "userSignup=1"]);

    // What was switched off stays so.
    machine.does(["systemctl", "disable", "--now", "kadabra.socket", "kadabra"]);
    apt(&machine, &["install", "--reinstall", &package]);
    assert_eq!(machine.run(["systemctl", "is-active", "kadabra.socket", "kadabra"]).stdout, b"inactive\ninactive\n");
}
