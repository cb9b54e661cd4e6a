//! A shell in a folder of its own, in which the blocks of a page are run as a reader would run them: in a clone of the project that has
//! been built, on a machine that has a Redis and an InfluxDB.

use std::{
    env,
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    super::support::{
        influxd::Influxd,
        process::{self, Process, free_port, wait_for},
        python,
        redis_server::RedisServer,
    },
    page::{Agent, Block, Page},
    root,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Shell {
    pub(super) folder: TempDir,
    pub(super) influxd: Influxd,
    pub(super) redis: RedisServer,
    /// Where the agent listens.
    agent_port: u16,
    /// Where it serves its status.
    status_port: u16,
    /// Where `redis-cli` and Python's client connect to when they are told nothing.
    redis_port: u16,
    agent: Option<Process>,
    /// What the blocks have written so far, without the agents that go on.
    said: String,
    /// How many commands were not run.
    pub(super) left_out: usize,
}

impl Shell {
    /// On a machine where the agent has Redis's port.
    pub(super) fn with_agent_as_channel() -> Self {
        let port = free_port();
        Self::new(RedisServer::start(), port, port, "influxdb.toml")
    }

    /// On a machine where a Redis has it.
    pub(super) fn with_redis_as_channel() -> Self {
        let redis = RedisServer::start();
        let port = redis.port();
        Self::new(redis, free_port(), port, "redis.toml")
    }

    fn new(redis: RedisServer, agent_port: u16, redis_port: u16, installed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for made in ["bin", "home", "target/release", "etc/kadabra", "etc/systemd/system", "usr/local/bin"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        let kadabra = Path::new(env!("CARGO_BIN_EXE_kadabra"));
        for (file, link) in [(kadabra, "bin/kadabra"), (kadabra, "target/release/kadabra"), (&root().join("conf"), "conf")] {
            symlink(file, at(link)).unwrap();
        }
        fs::copy(root().join("conf/examples").join(installed), at("etc/kadabra/kadabra.toml")).unwrap();
        let influxd = Influxd::start();
        // Clients whose default is the port that the server has here, and a user who may do everything.
        wrap(&at("bin/redis-cli"), &format!("redis-cli -p {redis_port}"));
        wrap(&at("bin/influx"), &format!("influx -port {}", influxd.port()));
        wrap(&at("bin/sudo"), "");
        Self {
            folder,
            influxd,
            redis,
            agent_port,
            status_port: free_port(),
            redis_port,
            agent: None,
            said: String::new(),
            left_out: 0,
        }
    }

    /// Runs all blocks of a page, and the agents in it to their end. Each must succeed, and what the page shows must come.
    pub(super) fn run(&mut self, page: &Page) {
        self.run_blocks(page);
        self.stop_agent();
    }

    /// The same, but the agent of the last block goes on.
    pub(super) fn run_blocks(&mut self, page: &Page) {
        for block in page.blocks() {
            match block.language.as_str() {
                "sh" => self.run_block(&block),
                "python" => self.run_python(&block),
                "toml" => self.check_configuration(&block),
                "text" => self.wait_shown(&block),
                // A drawing, or a program that the compiler looks at.
                "" | "rust,no_run" => {}
                other => panic!("{}: {other} is no language that the tests know", block.place),
            }
        }
    }

    fn run_block(&mut self, block: &Block) {
        let (lines, left_out) = block.commands();
        self.left_out += left_out;
        let mut lines: Vec<String> = lines.iter().map(|line| self.here(line)).collect();
        if block.agent == Agent::Stopped {
            self.stop_agent();
        }
        let agent = (block.agent == Agent::Started).then(|| lines.pop().unwrap());
        let mut shell = self.command("sh");
        shell.arg("-euc").arg(lines.join("\n"));
        self.finish(shell, block);
        if let Some(agent) = agent {
            self.start_agent(&agent);
        }
    }

    /// Starts an agent, by a command line, in place of the one that runs.
    pub(super) fn start_agent(&mut self, line: &str) {
        self.stop_agent();
        let mut shell = self.command("sh");
        shell.arg("-euc").arg(format!("exec {}", self.here(line)));
        self.agent = Some(Process::start("kadabra", shell, &self.log_file()));
        self.wait("an agent that publishes", line, |_| self.log().contains("publishing"));
    }

    /// Runs a command of `redis-cli`, and gives its answer.
    pub(super) fn redis_cli(&self, arguments: &[&str]) -> String {
        let output = self.command(self.folder.path().join("bin/redis-cli")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs it with a Kadabra whose default is the port that this machine has in place of Redis's own.
    fn run_python(&mut self, block: &Block) {
        // The original client where redis-py is spoken of, which is underneath it; else ours.
        let original = block.text.contains("import redis");
        let mut python = self.command(python::installed(if original { "python/bin/python" } else { "python-web/bin/python" }));
        let port = format!("import kadabra.channels\nkadabra.channels.RedisChannel.DEFAULT_ARGS['port'] = {}\n", self.redis_port);
        python.env("PYTHONWARNINGS", "ignore").arg("-c").arg(port + &self.here(&block.text));
        self.finish(python, block);
    }

    fn check_configuration(&mut self, block: &Block) {
        let file = self.folder.path().join("shown.toml");
        fs::write(&file, &block.text).unwrap();
        let mut check = self.command(env!("CARGO_BIN_EXE_kadabra"));
        check.env_remove("KADABRA_CHANNEL__EMBEDDED__LISTEN").args(["check", "--config"]).arg(file);
        if block.text.contains("[publishers.") {
            check.env_remove("KADABRA_PUBLISHER__INFLUXDB__URL");
        }
        if block.text.contains("mode = ") {
            check.env_remove("KADABRA_CHANNEL__REDIS__URL");
        }
        self.finish(check, block);
    }

    /// Waits until all that the page shows has been written, whatever its numbers are.
    fn wait_shown(&self, block: &Block) {
        for line in block.text.lines().map(without_numbers).filter(|line| !line.trim().is_empty()) {
            self.wait(&line, &block.place, |said| without_numbers(said).contains(&line));
        }
    }

    /// Waits for something in what the blocks and the agents have written.
    pub(super) fn wait(&self, what: &str, place: &str, found: impl Fn(&str) -> bool) {
        let said = || self.said.clone() + &self.log();
        let end = Instant::now() + PATIENCE;
        wait_for(&format!("{place}: {what}"), 2 * PATIENCE, || {
            assert!(Instant::now() < end, "{place}: waited in vain for {what:?} in:\n{}", said());
            found(&said()).then_some(())
        });
    }

    fn finish(&mut self, mut command: Command, block: &Block) {
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}; run tests/run", block.place));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{}: {}\n{said}", block.place, output.status);
        self.said += &said;
    }

    fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.signal("TERM");
            let status = agent.wait(PATIENCE);
            assert!(status.success(), "{status}:\n{}", self.log());
            self.said += &self.log();
            fs::remove_file(self.log_file()).unwrap();
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the agent that goes on has written so far.
    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A command of this machine's user.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = process::command(program);
        let folder = self.folder.path();
        command.env_clear().current_dir(folder).env("HOME", folder.join("home")).env("LANG", "C.UTF-8");
        command.env("PATH", format!("{}:{}", folder.join("bin").display(), env::var("PATH").unwrap()));
        // The log as it is on a terminal.
        command.env("KADABRA_LOG__FORMAT", "terminal").env("KADABRA_PUBLISHER__INFLUXDB__URL", self.influxd.url());
        command.env("KADABRA_CHANNEL__EMBEDDED__LISTEN", format!("127.0.0.1:{}", self.agent_port));
        command.env("KADABRA_STATUS__LISTEN", format!("127.0.0.1:{}", self.status_port));
        command.env("KADABRA_CHANNEL__REDIS__URL", self.redis.url());
        command
    }

    /// A text with the ports and folders of this machine.
    fn here(&self, text: &str) -> String {
        let folder = self.folder.path().display();
        let mut text = text.replace("localhost:6379", &format!("127.0.0.1:{}", self.redis.port()));
        for port in ["port=", "\"port\": "] {
            text = text.replace(&format!("{port}6379"), &format!("{port}{}", self.redis_port));
        }
        text = text.replace("cargo run --release", "target/release/kadabra");
        for path in ["/etc/kadabra", "/etc/systemd", "/usr/local"] {
            text = text.replace(path, &format!("{folder}{path}"));
        }
        text
    }
}

/// Makes a program that runs another one.
fn wrap(file: &Path, other: &str) {
    let path = env::var("PATH").unwrap();
    fs::write(file, format!("#!/bin/sh\nPATH='{path}'\nexec {other} \"$@\"\n")).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
}

/// With each number, however long, as `0`.
fn without_numbers(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    letters.dedup_by(|next, letter| *next == '0' && *letter == '0');
    letters.into_iter().collect()
}
