//! The files in conf/ that start and stop the agent: systemd takes its unit without a word, little of the host is exposed to it, and
//! none of them kills an agent that is still inside its own time limits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use kadabra::config::{Channel, Embedded, Settings, load_or, schema::ValueType};

const LINE: &str = "/usr/local/bin/kadabra run --config /etc/kadabra/kadabra.toml";

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(conf(name)).unwrap()
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).env("SYSTEMD_COLORS", "0").output();
    output.expect("systemd-analyze is needed for this test: apt-get install systemd")
}

/// The unit, with the example of credentials in use, and the binary where it is built instead of where it is installed.
fn unit_with_everything_in_use(folder: &Path) -> PathBuf {
    let unit = text("systemd/kadabra.service").replace("/usr/local/bin/kadabra", env!("CARGO_BIN_EXE_kadabra"));
    let unit = unit.replace("\n#LoadCredential=", "\nLoadCredential=").replace("\n#Environment=", "\nEnvironment=");
    for password in ["channel", "redis", "influxdb"] {
        assert!(unit.contains(&format!("\nLoadCredential={password}-password:")), "{password}");
    }
    let path = folder.join("kadabra.service");
    std::fs::write(&path, unit).unwrap();
    let socket = text("systemd/kadabra.socket").replace("\n#ListenStream=", "\nListenStream=");
    let socket = socket.replace("\n#ListenDatagram=", "\nListenDatagram=");
    assert_eq!((socket.matches("\nListenStream=").count(), socket.matches("\nListenDatagram=").count()), (3, 2));
    std::fs::write(folder.join("kadabra.socket"), socket).unwrap();
    path
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_with_everything_in_use(folder.path());
    let socket = folder.path().join("kadabra.socket");
    let output = systemd_analyze(&["verify", "--man=no", socket.to_str().unwrap()], &unit);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_unit_exposes_little_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_with_everything_in_use(folder.path());
    let output = systemd_analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"], &unit);
    assert!(output.status.success(), "more than 2.0:\n{}", String::from_utf8_lossy(&output.stdout));
}

/// The value after `key` and a separator, at the beginning of a line.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key}")).trim()
}

fn defaults() -> Settings {
    load_or(Path::new("/nonexistent"), None, [("STATE_DIRECTORY", "/var/lib/kadabra")]).unwrap().settings
}

#[test]
fn nothing_kills_an_agent_that_is_still_stopping() {
    let stops = [
        value(&text("systemd/kadabra.service"), "TimeoutStopSec=").to_owned(),
        format!("{}s", value(&text("supervisor/kadabra.conf"), "stopwaitsecs=")),
        value(&text("compose/docker-compose.yml"), "stop_grace_period:").to_owned(),
    ];
    for stop in stops {
        let stop = humantime::parse_duration(&stop).unwrap();
        assert!(stop >= defaults().agent.shutdown_timeout + Duration::from_secs(10), "{stop:?}");
    }
}

#[test]
fn the_agent_mends_itself_before_the_watchdog_does() {
    let watchdog = humantime::parse_duration(value(&text("systemd/kadabra.service"), "WatchdogSec=")).unwrap();
    let supervisor = defaults().supervisor;
    assert!(watchdog >= 2 * (supervisor.hang_timeout + supervisor.backoff_max), "{watchdog:?}");
}

#[test]
fn a_wrong_command_line_or_configuration_is_not_started_again_and_again() {
    assert_eq!(value(&text("systemd/kadabra.service"), "RestartPreventExitStatus="), "2 78");
    assert_eq!(value(&text("supervisor/kadabra.conf"), "exitcodes="), "0,2,78");
    assert_eq!(value(&text("compose/docker-compose.yml"), "restart: on-failure:"), "5");
}

#[test]
fn as_many_clients_can_be_connected_as_a_configuration_may_ask_for() {
    let unit = text("systemd/kadabra.service");
    let (_, hard) = value(&unit, "LimitNOFILE=").split_once(':').unwrap();
    let ValueType::Number { max, .. } = Embedded::max_connections.value_type else {
        panic!("{:?}", Embedded::max_connections.value_type)
    };
    // And what the agent needs for itself.
    assert!(hard.parse::<u64>().unwrap() >= max + 1000, "{hard}");
}

#[test]
fn the_socket_is_where_the_agent_listens_and_clients_look() {
    let socket = text("systemd/kadabra.socket");
    let Channel::Embedded(embedded) = defaults().channel else { panic!("not a queue of its own") };
    assert_eq!(value(&socket, "ListenStream="), embedded.listen[0].to_string());
    assert!(socket.contains("\n#ListenStream=/run/kadabra/kadabra.sock\n"));
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/src/kadabra/connection.py");
    assert_eq!(value(&std::fs::read_to_string(client).unwrap(), "LOCAL_SOCKET = "), "\"/run/kadabra/kadabra.sock\"");
}

#[test]
fn systemd_and_supervisord_start_the_same() {
    assert_eq!(value(&text("systemd/kadabra.service"), "ExecStart="), LINE);
    assert_eq!(value(&text("supervisor/kadabra.conf"), "command="), LINE);
}

#[test]
fn the_environment_of_compose_is_a_configuration() {
    let compose = text("compose/docker-compose.yml");
    let variables: Vec<_> = compose
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("KADABRA_"))
        .collect();
    assert!(variables.len() >= 5, "{variables:?}");
    let variables = variables.into_iter().map(|(name, value)| (name, value.trim_matches('"')));
    let settings = load_or(Path::new("/nonexistent"), None, variables).map_err(|errors| errors.to_string()).unwrap().settings;
    assert_eq!(settings.agent.name, "kadabra");
    // No other server is needed for the queue, it outlives the container, and clients beyond the container reach it.
    let Channel::Embedded(embedded) = settings.channel else { panic!("not a queue of its own") };
    let volume = Path::new(value(&compose, "volumes: [\"queue:").trim_end_matches("\"]"));
    assert_eq!(embedded.path.parent(), Some(volume));
    let image = text("compose/Dockerfile");
    let user = value(&image, "USER ").split_once(':').unwrap();
    let folder = format!("-o {} -g {} -m 0700 /state/{}", user.0, user.1, volume.file_name().unwrap().display());
    assert_eq!(value(&image, "RUN install -d "), folder);
    assert_eq!(
        value(&image, "COPY --from=build --chown"),
        format!("={}:{} /state {}", user.0, user.1, volume.parent().unwrap().display())
    );
    let [listen] = embedded.listen[..] else { panic!("{:?}", embedded.listen) };
    assert!(listen.ip().is_unspecified());
    // Where clients look.
    let Channel::Embedded(default) = defaults().channel else { panic!("not a queue of its own") };
    assert_eq!(listen.port(), default.listen[0].port());
}
