//! The role in conf/ansible: it installs, configures and upgrades an agent under systemd, and changes nothing when there is nothing to do.

use std::{path::Path, process::Command};

use super::support::machine::Machine;

/// How long one run of the playbook may take, in seconds.
const PLAY: u64 = 120;

fn conf() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

#[test]
fn the_linter_has_nothing_to_say() {
    // Elsewhere, since it asks git which files there are, and keeps what it finds beside them.
    let folder = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").args(["--recursive", "--dereference"]).arg(conf().join("ansible")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let mut lint = Command::new("ansible-lint");
    lint.args(["--offline", "--strict"]).current_dir(folder.path().join("ansible")).env("HOME", folder.path());
    let output = lint.output().expect("ansible-lint is needed for this test: run tests/run");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Runs the playbook on a machine itself, with further variables, and gives what it says.
fn play(machine: &Machine, variables: &str) -> (bool, String) {
    let command = format!(
        "cd /root/kadabra/conf/ansible && ANSIBLE_LOCAL_TEMP=/tmp/local ANSIBLE_REMOTE_TEMP=/tmp/remote ansible-playbook \
         --inventory localhost, --connection local -e ansible_become=false -e kadabra_binary=/root/kadabra/target/release/kadabra \
         -e '{{\"kadabra_credentials\": {{\"influxdb-password\": \"hunter2\"}}}}' {variables} playbook.yml"
    );
    let output = machine.run_in(PLAY, ["sh", "-euc", &command]);
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_second_run_changes_nothing_a_new_binary_restarts_and_a_wrong_configuration_is_refused() {
    let machine = Machine::with_folders(&[(&conf(), Path::new("/root/kadabra/conf"))]);
    // What the machine has installed is built, and nothing more.
    machine.does([
        "sh",
        "-euc",
        "mkdir -p /root/kadabra/target/release; mv /usr/local/bin/kadabra /root/kadabra/target/release
        rm -r /etc/kadabra /etc/systemd/system/kadabra.service /etc/systemd/system/kadabra.socket; systemctl daemon-reload",
    ]);
    let (success, said) = play(&machine, "");
    assert!(success && !said.contains("hunter2"), "{said}");
    assert_eq!(machine.does(["systemctl", "is-enabled", "kadabra.socket", "kadabra"]), "enabled\nenabled\n");
    let push = || machine.does(["kadabra", "send", "--count", "userSignup=1"]);
    push();
    let agent = machine.agent();

    let (success, said) = play(&machine, "");
    assert!(success && said.contains("changed=0 "), "{said}");
    assert_eq!(machine.agent(), agent);

    // A binary with another end is another one, and runs as well.
    machine.does(["sh", "-euc", "echo >>/root/kadabra/target/release/kadabra"]);
    let (success, said) = play(&machine, "");
    assert!(success && said.contains("changed=2 "), "{said}");
    assert_ne!(machine.agent(), agent);
    push();
    machine.wait_journal("where 1 message waits");

    let agent = machine.agent();
    let (success, said) = play(
        &machine,
        "--start-at-task 'Write the configuration, unless it is wrong' -e '{\"kadabra_config\": \"[publisher]\\ntype = \\\"influx\\\"\\n\"}'",
    );
    assert!(!success && said.contains("did you mean influxdb?"), "{said}");
    assert_eq!(machine.agent(), agent);
    assert!(machine.does(["cat", "/etc/kadabra/kadabra.toml"]).contains("type = \"influxdb\""));
}
