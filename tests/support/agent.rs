//! The agent under test, as a process, and the command line.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    names::with_hosts,
    process::{self, Process, wait_for},
};

/// How long a line of the log may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// The variable by which an agent serves its status nowhere, unless its test configures that.
pub(crate) const STATUS: &str = "KADABRA_STATUS__LISTEN";

/// A running agent. Killed when dropped; what it logged is shown when its test fails.
#[derive(Debug)]
pub(crate) struct Agent {
    process: Process,
    folder: TempDir,
    log: PathBuf,
}

/// An agent about to be started.
#[derive(Debug)]
pub(crate) struct Builder {
    config: String,
    variables: Vec<(String, String)>,
    small_disk: Option<u64>,
    descriptors: Option<(u64, u64)>,
    hosts: Option<PathBuf>,
    starter: Option<Command>,
}

impl Builder {
    /// Where this file, or named pipe, is /etc/hosts.
    pub(crate) fn with_hosts(mut self, hosts: &Path) -> Self {
        self.hosts = Some(hosts.to_owned());
        self
    }

    /// Where no file can have more bytes than this, until [`Agent::make_room`].
    pub(crate) fn on_a_disk_of(mut self, bytes: u64) -> Self {
        self.small_disk = Some(bytes);
        self
    }

    /// By another command than the usual one.
    pub(crate) fn started_by(mut self, starter: Command) -> Self {
        self.starter = Some(starter);
        self
    }

    /// With so many file descriptors at first, and so many at most.
    pub(crate) fn with_descriptors(mut self, soft: u64, hard: u64) -> Self {
        self.descriptors = Some((soft, hard));
        self
    }

    /// Sets an environment variable, `FAILPOINTS` for example.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn start(self) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kadabra.toml");
        let log = folder.path().join("log");
        fs::write(&config, &self.config).unwrap();
        let mut command = match (self.small_disk, self.descriptors, self.hosts) {
            _ if self.starter.is_some() => self.starter.unwrap(),
            (Some(bytes), _, _) => kadabra_with_files_of(bytes),
            (None, Some((soft, hard)), _) => kadabra_with_descriptors(soft, hard),
            (None, None, Some(hosts)) => kadabra_with_hosts(&hosts),
            (None, None, None) => kadabra(),
        };
        command.arg("run").arg("--config").arg(&config);
        if self.config.contains("[status]") {
            command.env_remove(STATUS);
        }
        // On a machine that runs tests, disks stall: what is not about that is not to be refused for it.
        command.env("KADABRA_CHANNEL__EMBEDDED__ANSWER_WITHIN", "1m").envs(self.variables);
        let start = if self.small_disk.is_some() { Process::start_heard } else { Process::start };
        Agent { process: start("kadabra", command, &log), folder, log }
    }
}

impl Agent {
    /// Starts an agent with this configuration.
    pub(crate) fn start(config: &str) -> Self {
        Self::with(config).start()
    }

    /// Prepares an agent with this configuration.
    pub(crate) fn with(config: &str) -> Builder {
        let config = config.to_owned();
        Builder { config, variables: Vec::new(), small_disk: None, descriptors: None, hosts: None, starter: None }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Lets its files grow again.
    pub(crate) fn make_room(&self) {
        let room = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &self.id().to_string()]).status();
        assert!(room.unwrap().success());
    }

    /// Has it reload this configuration.
    pub(crate) fn reload(&self, config: &str) {
        // Whole at each moment, as an editor and a configuration tool leave it.
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("kadabra.toml"));
        fs::write(&new, config).unwrap();
        fs::rename(new, file).unwrap();
        self.signal("HUP");
    }

    /// The agent's own folder, with its configuration and its log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged so far. Panics at a line that is not JSON, unless it is still being written.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        let text = self.log_text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("the log has a line that is not JSON ({e}): {line}"));
        whole.lines().map(parse).collect()
    }

    /// What it has written to standard output and standard error, as it is.
    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for a line whose message contains `part`, and gives the first such line.
    pub(crate) fn wait_log(&self, part: &str) -> Value {
        self.wait_log_count(part, 1).swap_remove(0)
    }

    /// Waits for the line that says that the `channel` or the `publisher` cannot go on.
    pub(crate) fn wait_condition(&self, who: &str) -> Value {
        wait_for(&format!("a line of the log that says why the {who} cannot go on"), PATIENCE, || {
            self.log_lines().into_iter().find(|line| line["condition"] == who && line["level"] != "INFO")
        })
    }

    /// Waits for so many lines whose messages contain `part`.
    pub(crate) fn wait_log_count(&self, part: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} lines of the log with {part:?}"), PATIENCE, || {
            let lines = self.logged(part);
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The lines so far whose messages contain `part`.
    pub(crate) fn logged(&self, part: &str) -> Vec<Value> {
        let mut lines = self.log_lines();
        lines.retain(|line| line["msg"].as_str().is_some_and(|message| message.contains(part)));
        lines
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// SIGTERM, and waits for the end. None when a signal ended it.
    pub(crate) fn terminate(&mut self, deadline: Duration) -> Option<i32> {
        // A signal ends a process that has hardly begun; it can hear signals by the time it says that it starts.
        wait_for("the agent to start or to end", PATIENCE, || {
            (self.log_text().contains("starting") || !self.runs()).then_some(())
        });
        self.signal("TERM");
        self.wait(deadline)
    }

    /// Waits for its end by itself. None when a signal ended it.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Option<i32> {
        self.process.wait(deadline).code()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// kill -9, and waits for the end.
    pub(crate) fn kill9(&mut self) {
        self.process.kill();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the agent's log:\n{}", String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()));
        }
    }
}

/// Runs the command line to its end.
pub(crate) fn cli<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    kadabra().args(args).output().unwrap()
}

/// The binary, with nothing in its environment that configures it.
pub(crate) fn kadabra() -> Command {
    unconfigured(process::command(env!("CARGO_BIN_EXE_kadabra")))
}

/// The same, with a limit on how many bytes a file may have, which can be raised.
pub(crate) fn kadabra_with_files_of(bytes: u64) -> Command {
    let mut command = process::command("prlimit");
    command.arg(format!("--fsize={bytes}:unlimited")).arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, where this file, or named pipe, is /etc/hosts, in a mount namespace of its own.
pub(crate) fn kadabra_with_hosts(hosts: &Path) -> Command {
    unconfigured(with_hosts(hosts, env!("CARGO_BIN_EXE_kadabra")))
}

/// The same, with a limit on how many file descriptors it has.
fn kadabra_with_descriptors(soft: u64, hard: u64) -> Command {
    let mut command = process::command("prlimit");
    command.arg(format!("--nofile={soft}:{hard}")).arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, whose standard input is the terminal that it belongs to.
pub(crate) fn kadabra_on_a_terminal() -> Command {
    let mut command = process::command("setsid");
    command.arg("--ctty").arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, which ignores these signals from its start.
pub(crate) fn kadabra_that_ignores(signals: &str) -> Command {
    let mut command = process::command("env");
    command.arg(format!("--ignore-signal={signals}")).arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, which has no standard error.
pub(crate) fn kadabra_without_standard_error() -> Command {
    let mut command = process::command("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&-"]).arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, for which a write beyond a limit fails, as on a full disk, rather than end it.
pub(crate) fn kadabra_on_a_small_disk() -> Command {
    let mut command = process::command("env");
    command.arg("--ignore-signal=XFSZ").arg(env!("CARGO_BIN_EXE_kadabra"));
    unconfigured(command)
}

/// The same, as systemd starts it, with a socket as the third descriptor.
pub(crate) fn kadabra_with_socket(socket: impl Into<OwnedFd>) -> Command {
    let mut command = process::command("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=test.socket LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_kadabra")).stdin(socket.into());
    unconfigured(command)
}

/// What nothing configures but what the test says. The status is served only where the test asks for that, since one of many
/// agents could have its port.
fn unconfigured(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let configures = name.to_string_lossy().starts_with("KADABRA") || name == "NOTIFY_SOCKET" || name == "FAILPOINTS";
        let configures = configures || name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy");
        if configures {
            command.env_remove(name);
        }
    }
    command.env(STATUS, "");
    command
}
