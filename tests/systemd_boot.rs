//! The unit in conf/ under a real systemd: the agent is started, started again, stopped and shut in as the unit and the documentation say.

#[path = "systemd_boot/from_nothing.rs"]
mod from_nothing;
#[path = "systemd_boot/package.rs"]
mod package;
#[path = "systemd_boot/restarts.rs"]
mod restarts;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use super::support::{machine::Machine, process::wait_for};

/// How long the agent may take for one step.
const PATIENCE: Duration = Duration::from_secs(30);

const CONFIGURATION: &str = "/etc/kadabra/kadabra.toml";

/// With the agent as docs/packages.md installs it by hand, and nothing at the address of its InfluxDB, so that messages wait.
fn installed() -> Machine {
    let machine = Machine::start();
    machine.does(["systemctl", "enable", "--now", "kadabra.socket", "kadabra"]);
    machine
}

/// Where clients may come besides, as the unit of the socket has it commented out.
const SOCKET: &str = "/run/kadabra/kadabra.sock";

fn installed_with_a_socket_file() -> Machine {
    let machine = Machine::start();
    machine
        .write("/etc/systemd/system/kadabra.socket.d/test.conf", &format!("[Socket]\nListenStream={SOCKET}\nSocketMode=0666\n"));
    machine.change_unit(&format!("Environment=KADABRA_CHANNEL__EMBEDDED__UNIX_SOCKET={SOCKET}"));
    machine.does(["systemctl", "enable", "--now", "kadabra.socket", "kadabra"]);
    machine
}

fn push(machine: &Machine) {
    machine.does(["kadabra", "send", "--count", "userSignup=1"]);
}

/// Starts the agent with a configuration in which metrics go to its log, and finds the one that was pushed.
fn assert_still_there(machine: &Machine) {
    machine.write(CONFIGURATION, "[publisher]\ntype = \"debug\"\n");
    machine.does(["systemctl", "restart", "kadabra"]);
    machine.wait_journal("userSignup");
}

fn wait_for_a_start_by_systemd(machine: &Machine) {
    machine.wait_unit("that systemd has started again", |unit| unit["NRestarts"] != "0" && unit["ActiveState"] == "active");
}

#[test]
fn clients_can_push_when_the_start_returns_and_the_status_says_what_the_agent_waits_for() {
    let machine = installed();
    push(&machine);
    assert_eq!(machine.does(["systemctl", "is-active", "kadabra"]), "active\n");
    // With the next start of the machine, too.
    assert_eq!(machine.does(["systemctl", "is-enabled", "kadabra"]), "enabled\n");
    wait_for("the reason in the status", PATIENCE, || {
        let status = machine.does(["systemctl", "status", "kadabra"]);
        status.contains("Status: \"waiting: cannot write to influxdb at http://localhost:8086: cannot connect").then_some(())
    });
}

#[test]
fn nobody_but_the_user_that_systemd_makes_up_can_read_the_queue() {
    let machine = installed();
    push(&machine);
    let folder = machine.path("/var/lib/private/kadabra");
    assert_eq!(fs::read_link(machine.path("/var/lib/kadabra")).unwrap(), Path::new("private/kadabra"));
    let user = procfs::process::Process::new(machine.agent().cast_signed()).unwrap().status().unwrap().euid;
    // Of those that systemd makes up.
    assert!((61184..=65519).contains(&user), "{user}");
    for folder in [folder.parent().unwrap(), &folder] {
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700, "{}", folder.display());
    }
    assert_eq!(fs::metadata(&folder).unwrap().uid(), user);
    assert!(folder.join("queue.db").exists());
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let file = entry.metadata().unwrap();
        assert_eq!((file.uid(), file.mode() & 0o777), (user, 0o600), "{}", entry.path().display());
    }
}

#[test]
fn a_stop_is_a_success_and_the_next_start_has_what_was_pushed() {
    let machine = installed();
    push(&machine);
    machine.does(["systemctl", "stop", "kadabra"]);
    let unit = machine.unit();
    let end = ["ActiveState", "Result", "ExecMainStatus", "NRestarts"].map(|key| unit[key].as_str());
    assert_eq!(end, ["inactive", "success", "0", "0"]);
    assert_still_there(&machine);
}

#[test]
fn a_killed_agent_is_started_again_and_has_what_was_pushed() {
    let machine = installed();
    push(&machine);
    machine.does(["systemctl", "kill", "--signal=KILL", "kadabra"]);
    wait_for_a_start_by_systemd(&machine);
    machine.wait_journal("status=9/KILL");
    assert_still_there(&machine);
}

#[test]
fn an_agent_that_hangs_is_killed_by_the_watchdog_and_started_again() {
    let machine = Machine::start();
    // Sooner than in the unit. A core would be written by whoever does that on the machine that runs the tests.
    machine.change_unit("WatchdogSec=4s\nRestartSec=100ms\nLimitCORE=0");
    machine.does(["systemctl", "start", "kadabra"]);
    push(&machine);
    let fed = || machine.unit().remove("WatchdogTimestampMonotonic").unwrap();
    let first = fed();
    wait_for("the watchdog to be fed", PATIENCE, || (fed() != first).then_some(()));
    assert_eq!(machine.unit()["NRestarts"], "0");
    machine.does(["systemctl", "kill", "--signal=STOP", "kadabra"]);
    wait_for_a_start_by_systemd(&machine);
    machine.wait_journal("Watchdog timeout");
    assert_still_there(&machine);
}

#[test]
fn a_wrong_configuration_is_said_and_not_started_again() {
    let machine = Machine::start();
    machine.write(CONFIGURATION, "[publisher]\ntype = \"influx\"\n");
    assert!(!machine.run(["systemctl", "start", "kadabra"]).status.success());
    // Before another start the unit would be "activating".
    let unit = machine.unit();
    let end = ["ActiveState", "Result", "ExecMainStatus", "NRestarts"].map(|key| unit[key].as_str());
    assert_eq!(end, ["failed", "exit-code", "78", "0"]);
    machine.wait_journal("did you mean influxdb?");
    let [said] = journal_of(&machine, "err").try_into().unwrap();
    assert_eq!((&said["level"], &said["exit_code"]), (&"ERROR".into(), &78.into()), "{said}");
}

/// What the agent has said that is at least so important.
fn journal_of(machine: &Machine, priority: &str) -> Vec<serde_json::Value> {
    // systemd's own lines about the unit come another way. The name of a process that has ended already is in no line.
    let only = ["journalctl", "--output=cat", "--unit=kadabra.service", "_TRANSPORT=stdout"];
    let text = machine.does([&only[..], &["--priority", priority]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn journald_knows_how_important_each_line_is() {
    let machine = installed();
    push(&machine);
    machine.wait_journal("cannot write to influxdb at http://localhost:8086");
    let levels = |priority: &str| -> std::collections::BTreeSet<String> {
        journal_of(&machine, priority).iter().map(|line| line["level"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(levels("info"), ["INFO", "WARNING"].map(str::to_owned).into());
    assert_eq!(levels("warning"), ["WARNING"].map(str::to_owned).into());
    assert_eq!(levels("err"), [].into());

    // For people, several lines of one record are entries of their own.
    machine.write(
        CONFIGURATION,
        "[publisher]\ntype = \"debug\"\n[publisher.debug]\nformat = \"text\"\n[log]\nformat = \"terminal\"\n",
    );
    machine.does(["systemctl", "restart", "kadabra"]);
    machine.wait_journal("userSignup");
    let important = machine.does(["journalctl", "--output=cat", "--unit=kadabra.service", "--priority=4"]);
    assert!(important.contains("WARN metrics go to this log") && !important.contains("userSignup"), "{important}");
    let all = machine.does(["journalctl", "--output=cat", "--unit=kadabra.service"]);
    assert!(!all.lines().any(|line| line.starts_with('<')), "{all}");
}

#[test]
fn sighup_ends_no_unit_and_the_end_says_which_signal_it_was() {
    let machine = installed();
    let agent = machine.agent();
    machine.does(["systemctl", "kill", "--signal=HUP", "kadabra"]);
    machine.wait_journal("told to read passwords, tokens and certificates again");
    assert_eq!(machine.agent(), agent);
    machine.does(["systemctl", "stop", "kadabra"]);
    machine.wait_journal("\"by\":\"SIGTERM\"");
}

#[test]
fn systemctl_reload_has_the_configuration_reloaded_and_a_wrong_one_ends_nothing() {
    let machine = installed();
    let agent = machine.agent();
    push(&machine);
    machine.does(["mkdir", "/etc/kadabra/kadabra.d"]);
    let own = "/etc/kadabra/kadabra.d/10-own.toml";
    machine.write(own, "[batch]\nmax_mesages = 7\n");
    machine.does(["systemctl", "reload", "kadabra"]);
    machine.wait_journal("10-own.toml, line 2: batch.max_mesages: unknown key; did you mean batch.max_messages?");
    wait_for("the reason in the status", PATIENCE, || {
        machine.does(["systemctl", "status", "kadabra"]).contains("warning: the configuration was not reloaded").then_some(())
    });
    machine.write(own, "[publisher]\ntype = \"debug\"\n[agent]\nname = \"another\"\n");
    machine.does(["systemctl", "reload", "kadabra"]);
    machine.wait_journal("needs a restart for: agent.name ");
    // What waited for InfluxDB is shown by what takes its place.
    machine.wait_journal("userSignup");
    machine.wait_unit("that has reloaded", |unit| unit["ActiveState"] == "active");
    assert_eq!(machine.agent(), agent);
}

#[test]
fn too_few_threads_are_said_with_what_to_raise() {
    let machine = Machine::start();
    machine.change_unit("LimitNPROC=6\nRestart=no");
    machine.run(["systemctl", "start", "kadabra"]);
    machine.wait_unit("that has failed", |unit| unit["ActiveState"] == "failed");
    machine.wait_journal("TasksMax=");
    assert!(!machine.does(["journalctl", "--output=cat", "--unit=kadabra.service"]).contains("panic"));
}

/// Says what of this can be done by whoever runs it.
const PROBE: &str = "
exec 2>/dev/null
for folder in / /dev /dev/shm /etc /home /run /srv /sys/fs/cgroup /tmp /usr /var /var/lib /var/lib/kadabra /var/tmp; do
    touch $folder/probe && echo writes $folder
done
for file in /home/somebody/letter /proc/1/status /proc/sys/kernel/hostname; do
    cat $file >/dev/null && echo reads $file
done
program=/var/tmp/probe
chmod u+s $program && echo makes programs that run as their owner
chrt --batch --pid 0 $$ >/dev/null && echo changes how it is scheduled
true
";

#[test]
fn the_agent_sees_little_of_its_host_and_writes_nothing_but_its_queue() {
    let machine = Machine::start();
    machine.write("/usr/local/bin/probe", PROBE);
    machine.write("/srv/for everybody", "");
    fs::set_permissions(machine.path("/srv"), fs::Permissions::from_mode(0o1777)).unwrap();
    // What the agent cannot do it cannot do because of its unit: somebody else can.
    let somebody = ["systemd-run", "--quiet", "--pipe", "--wait", "-p", "User=somebody"];
    let others = machine.does([&somebody[..], &["sh", "/usr/local/bin/probe"]].concat());
    let others: Vec<_> = others.lines().collect();
    assert_eq!(
        others,
        [
            "writes /dev/shm",
            "writes /srv",
            "writes /tmp",
            "writes /var/tmp",
            "reads /home/somebody/letter",
            "reads /proc/1/status",
            "reads /proc/sys/kernel/hostname",
            "makes programs that run as their owner",
            "changes how it is scheduled",
        ]
    );
    for probe in ["/dev/shm/probe", "/srv/probe", "/tmp/probe", "/var/tmp/probe"] {
        fs::remove_file(machine.path(probe)).unwrap();
    }

    machine.change_unit("ExecStartPre=sh -c 'sh /usr/local/bin/probe >/var/lib/kadabra/could'");
    machine.does(["systemctl", "start", "kadabra"]);
    let could = fs::read_to_string(machine.path("/var/lib/kadabra/could")).unwrap();
    let could: Vec<_> = could.lines().collect();
    assert_eq!(could, ["writes /dev/shm", "writes /tmp", "writes /var/lib/kadabra", "writes /var/tmp"]);
    // Its own /tmp, which nobody else sees.
    for probe in ["/tmp/probe", "/var/tmp/probe"] {
        assert!(!machine.path(probe).exists());
    }

    let agent = procfs::process::Process::new(machine.agent().cast_signed()).unwrap();
    // A thread gives itself its name, and then gives way.
    let nice = |name: &str| {
        let threads = agent.tasks().unwrap().filter_map(|thread| thread.ok()?.stat().ok());
        threads.into_iter().find(|thread| thread.comm == name).map(|thread| thread.nice)
    };
    let nicer = || (nice("queue-writer") == Some(0) && nice("queue-keeper") == Some(10)).then_some(());
    wait_for("the thread that tidies up to give way", PATIENCE, nicer);
    let status = agent.status().unwrap();
    assert_eq!([status.capinh, status.capprm, status.capeff, status.capbnd.unwrap(), status.capamb.unwrap()], [0; 5]);
    assert_eq!((status.nonewprivs, status.seccomp), (Some(1), Some(2)));
}

#[test]
fn passwords_that_root_alone_reads_and_a_redis_that_a_group_alone_may_use_reach_the_agent_which_waits_for_it() {
    let machine = Machine::start();
    let unit = machine.path("/etc/systemd/system/kadabra.service");
    let text = fs::read_to_string(&unit).unwrap();
    let used = text.replace("\n#LoadCredential=", "\nLoadCredential=");
    assert_eq!(used.matches("\nLoadCredential=").count(), 3);
    fs::write(&unit, used).unwrap();
    for password in ["channel-password", "redis-password", "influxdb-password"] {
        let file = format!("/etc/kadabra/{password}");
        machine.write(&file, "hunter2\n");
        fs::set_permissions(machine.path(&file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    machine.write(
        CONFIGURATION,
        r#"
        [channel]
        type = "redis"
        [channel.redis]
        url = "unix:///run/redis/redis.sock"
        password_file = "credential:redis-password"
        [publisher]
        type = "influxdb"
        [publisher.influxdb]
        username = "kadabra"
        password_file = "credential:influxdb-password"
        "#,
    );
    machine.change_unit("SupplementaryGroups=redis");
    machine.does(["systemctl", "start", "--no-block", "kadabra"]);
    machine.wait_unit("that says what it waits for", |unit| {
        let status = unit.get("StatusText").map_or("", String::as_str);
        unit["ActiveState"] == "activating" && status.starts_with("waiting: cannot connect to unix:///run/redis/redis.sock")
    });

    start_redis(
        &machine,
        &["--port", "0", "--unixsocket", "/run/redis/redis.sock", "--unixsocketperm", "770", "--requirepass", "hunter2"],
    );
    let unit = machine.wait_unit("that is ready", |unit| unit["ActiveState"] == "active");
    assert_eq!(unit["NRestarts"], "0");
    machine.wait_journal("\"receiving\"");
}

/// As a unit of its own, with a folder that its group alone may enter.
fn start_redis(machine: &Machine, arguments: &[&str]) {
    let unit = ["systemd-run", "--unit=redis", "-p", "User=redis"];
    let folder = ["-p", "RuntimeDirectory=redis", "-p", "RuntimeDirectoryMode=0750"];
    let server = ["redis-server", "--dir", "/run/redis", "--save", ""];
    machine.does([&unit[..], &folder, &server, arguments].concat());
}

#[test]
fn clients_of_a_group_and_nobody_else_reach_the_agents_own_socket() {
    let machine = Machine::start();
    machine.write(CONFIGURATION, "[channel.embedded]\nlisten = []\nunix_socket = \"/run/kadabra/kadabra.sock\"\n");
    machine.change_unit("RuntimeDirectory=kadabra\nGroup=clients");
    machine.does(["systemctl", "start", "kadabra"]);
    let ping = |groups: &str| {
        let somebody = ["setpriv", "--reuid=somebody", "--regid=somebody", groups];
        machine.run([&somebody[..], &["redis-cli", "-s", "/run/kadabra/kadabra.sock", "PING"]].concat()).stdout
    };
    assert_eq!(ping("--groups=clients"), b"PONG\n");
    assert_eq!(ping("--clear-groups"), b"");
}

/// The commands of a page from the one that begins like this to the end of its block.
fn told(page: &str, begin: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let begin = page.find(begin).expect("the command is told");
    let (commands, _) = page[begin..].split_once("```").unwrap();
    commands.replace("sudo ", "")
}

#[test]
fn a_check_says_that_systemd_keeps_the_sockets_and_starts_no_agent_by_asking() {
    let machine = installed_with_a_socket_file();
    machine.does(["systemctl", "stop", "kadabra"]);
    let check = |listen: &str| {
        let socket = format!("KADABRA_CHANNEL__EMBEDDED__UNIX_SOCKET={SOCKET}");
        let listen = format!("KADABRA_CHANNEL__EMBEDDED__LISTEN={listen}");
        let folder = "KADABRA_CHANNEL__EMBEDDED__PATH=/tmp/queue.db";
        let remote = "KADABRA_CHANNEL__EMBEDDED__ALLOW_REMOTE=true";
        let check =
            machine.run(["env", &socket, &listen, remote, folder, "kadabra", "check", "--online", "--config", CONFIGURATION]);
        assert!(!check.status.success());
        String::from_utf8(check.stdout).unwrap()
    };
    for (listen, place) in [("127.0.0.1:6379", "127.0.0.1:6379"), ("0.0.0.0:6379", "0.0.0.0:6379"), ("", SOCKET)] {
        let said = check(listen);
        let expected =
            format!("cannot listen for clients on {place}: systemd listens there by kadabra.socket, for kadabra.service");
        assert!(said.contains(&expected) && said.contains("systemctl start kadabra.service"), "{said}");
    }
    assert_eq!(machine.unit()["ActiveState"], "inactive");
}

#[test]
fn a_check_as_the_documentation_says_asks_the_agent_of_the_unit() {
    let machine = installed();
    push(&machine);
    for page in ["README.md", "docs/operations.md"] {
        let check = told(page, "sudo systemd-run");
        assert!(check.contains("check --online"), "{check}");
        let said = machine.run(["sh", "-ec", &check]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let channel = "ok: channel: an agent is running on the queue in /var/lib/kadabra/queue.db, where 1 message waits";
        assert!(said.contains(channel) && said.contains("wrong: publisher: "), "{said}");
        assert!(!said.contains("systemd-run"), "{said}");
    }
    // Another user is told that it looks elsewhere, and how to look there.
    let elsewhere = machine.run(["env", "KADABRA_CHANNEL__EMBEDDED__LISTEN=127.0.0.1:6399", "kadabra", "check", "--online"]);
    let said = String::from_utf8_lossy(&elsewhere.stdout).into_owned();
    assert!(said.contains("that of the unit kadabra is another, in /var/lib/kadabra\n"), "{said}");
    let (_, command) = said.split_once("ask as the unit's user: sudo ").unwrap();
    let said = machine.run(["sh", "-ec", command.lines().next().unwrap()]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("ok: channel: an agent is running on the queue in /var/lib/kadabra/queue.db"), "{said}");
}

#[test]
fn an_import_as_the_documentation_says_fills_the_queue_of_the_unit() {
    let machine = installed();
    // The agent has the port that the documentation names for the Redis.
    start_redis(&machine, &["--port", "6380"]);
    wait_for("redis-server", PATIENCE, || (machine.run(["redis-cli", "-p", "6380", "PING"]).stdout == b"PONG\n").then_some(()));
    let to_redis = ["env", "KADABRA_CHANNEL__TYPE=redis", "KADABRA_CHANNEL__REDIS__URL=redis://localhost:6380/0"];
    machine.does([&to_redis[..], &["kadabra", "send", "--count", "userSignup=1"]].concat());

    let import = told("docs/operations.md", "sudo systemctl stop kadabra.socket kadabra\nsudo systemd-run");
    assert!(import.contains("redis://localhost:6379/0"), "{import}");
    let said = machine.does(["sh", "-ec", &import.replace("localhost:6379", "localhost:6380")]);
    assert!(said.contains("1 message and 0 dead letters were moved"), "{said}");
    assert_still_there(&machine);
}
