//! A redis-server on a free port, in a folder of its own, that ends with its test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kadabra::channel::redis::rights;

use super::{
    process::{self, Process, free_port, wait_for},
    python::installed,
};

const START: Duration = Duration::from_secs(20);

/// Servers that the agent shall work with, beside Debian's, as tests/run installs them.
pub(crate) const OTHERS: [&str; 3] = ["redis-6.2.5", "redis-8.2.3", "valkey-8.1.8"];

/// The keys of the queue that agents have when nobody says, as an ACL names them.
pub(crate) const KEYS: &str = "~kadabra_queue ~{kadabra_queue}:* ~kadabra_inprogress";

/// Which of them the tests use in place of Debian's: not a variable that configures an agent.
pub(crate) const CHOSEN: &str = "TEST_REDIS";

/// Written and deleted again. In a cluster it is where the queue is.
const SCRATCH: &str = "{kadabra_queue}:scratch";

/// A running redis-server. It keeps an append-only file, so that it is the same again after a restart, also by SIGKILL.
pub(crate) struct RedisServer {
    program: PathBuf,
    process: Process,
    port: u16,
    args: Vec<String>,
    /// As whom the test itself comes, as in a URL.
    login: String,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one with its defaults.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one that wants a password.
    pub(crate) fn with_password(password: &str) -> Self {
        Self::launch(program(None), &["--requirepass", password], &format!(":{password}@"))
    }

    /// Starts one with further arguments: `&["--maxmemory", "10mb"]`.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::launch(program(None), args, "")
    }

    /// Starts one that allows what an agent needs of the queue `kadabra_queue`, and nothing else to anybody but the test.
    pub(crate) fn for_agents() -> Self {
        Self::for_agents_with(&[])
    }

    /// The same with further arguments.
    pub(crate) fn for_agents_with(args: &[&str]) -> Self {
        Self::for_agents_of(None, args)
    }

    /// The same of another version, if one is named.
    pub(crate) fn for_agents_of(version: Option<&str>, args: &[&str]) -> Self {
        Self::for_agents_with_keys(version, KEYS, args)
    }

    /// The same with these keys.
    pub(crate) fn for_agents_with_keys(version: Option<&str>, keys: &str, args: &[&str]) -> Self {
        let rights = rights::of_agent(keys);
        let mut users = vec!["--user", "admin", "on", ">admin", "~*", "&*", "+@all", "--user", "default", "on", "nopass"];
        users.extend(rights.split(' '));
        Self::launch(program(version), &[args, &users].concat(), "admin:admin@")
    }

    fn launch(program: PathBuf, args: &[&str], login: &str) -> Self {
        let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok_and(|status| status.success()), "redis-server is missing; run tests/run, which installs it");
        let (dir, port, login) = (tempfile::tempdir().unwrap(), free_port(), login.to_owned());
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let process = spawn(&program, port, dir.path(), &args);
        let mut server = Self { program, process, port, args, login, dir };
        server.wait_until_ready();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Without the password.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its folder: the append-only file, the log, and the socket `redis.sock`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a replica of another one, and waits until it has all of that, which counts it among those that WAIT is about.
    pub(crate) fn replica_of(primary: &Self) -> Self {
        let replica = Self::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
        primary.wait_until_replicated();
        replica
    }

    /// Waits until it is a replica that has all of its primary.
    pub(crate) fn wait_until_it_follows(&self) {
        wait_for("the replica to follow", START, || {
            let info: String = redis::cmd("INFO").arg("replication").query(&mut self.connection()).ok()?;
            info.contains("master_link_status:up").then_some(())
        });
    }

    /// Waits until a replica has all that is written by now.
    pub(crate) fn wait_until_replicated(&self) {
        let mut connection = self.connection();
        wait_for("a replica to have it all", START, || is_all_replicated(&mut connection, Duration::from_millis(500)));
    }

    /// How often a command was called, by clients and scripts; one that waits counts when it begins.
    pub(crate) fn calls_of(&self, command: &str) -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection()).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// How many clients wait for something to come.
    pub(crate) fn blocked(&self) -> usize {
        let info: String = redis::cmd("INFO").arg("clients").query(&mut self.connection()).unwrap();
        info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap().trim().parse().unwrap()
    }

    /// A blocking connection that answers.
    pub(crate) fn connection(&self) -> redis::Connection {
        wait_for("an answer of redis-server", START, || self.connect())
    }

    /// The same, if it answers at once.
    pub(crate) fn connect(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("redis://{}127.0.0.1:{}/0", self.login, self.port)).unwrap();
        let patience = Duration::from_secs(2);
        let mut connection = client.get_connection_with_timeout(patience).ok()?;
        connection.set_read_timeout(Some(patience)).ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        connection.set_read_timeout(None).ok()?;
        Some(connection)
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill9(&mut self) {
        self.process.kill();
    }

    /// Ends it by SIGKILL if it runs, and starts it on the same port with the same data.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// The same, with more arguments.
    pub(crate) fn restart_with(&mut self, more: &[&str]) {
        self.kill9();
        let args: Vec<_> = self.args.iter().cloned().chain(more.iter().map(ToString::to_string)).collect();
        self.process = spawn(&self.program, self.port, self.dir.path(), &args);
        self.wait_until_ready();
    }

    /// The same as another version, or as Debian's.
    pub(crate) fn restart_as(&mut self, version: Option<&str>) {
        self.program = program(version);
        self.restart();
    }

    /// Ends it by SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.process.signal("TERM");
        self.process.wait(START);
    }

    /// Stops it where it is: connections stay, nothing is answered.
    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Waits until the leases in this sorted set have been renewed: what an agent renews it has, and before, Redis's answer may be on its
    /// way to it.
    pub(crate) fn wait_until_renewed(&self, leases: &str) {
        let mut connection = self.connection();
        let mut expiry = || -> Vec<(String, f64)> {
            redis::cmd("ZRANGE").arg(&[leases, "0", "-1", "WITHSCORES"]).query(&mut connection).unwrap()
        };
        let first = wait_for("a lease", START, || Some(expiry()).filter(|leases| !leases.is_empty()));
        wait_for("it to be renewed", START, || (expiry() != first).then_some(()));
    }

    fn wait_until_ready(&mut self) {
        wait_for("redis-server to answer", START, || {
            if let Some(status) = self.process.ended() {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                panic!("redis-server ended at its start ({status}); its log: {log}");
            }
            self.connect()
        });
    }
}

/// Whether a replica has, within that time, what was written on this connection.
pub(crate) fn is_replicated(connection: &mut redis::Connection, within: Duration) -> Option<()> {
    let replicas: u64 = redis::cmd("WAIT").arg(1).arg(within.as_millis() as u64).query(connection).ok()?;
    (replicas > 0).then_some(())
}

/// Whether a replica has, within that time, all that anybody has written by now.
pub(crate) fn is_all_replicated(connection: &mut redis::Connection, within: Duration) -> Option<()> {
    // Redis waits for what this connection has written, and a replica that has that has all before it.
    redis::cmd("SET").arg(SCRATCH).arg("").exec(connection).ok()?;
    redis::cmd("DEL").arg(SCRATCH).exec(connection).ok()?;
    is_replicated(connection, within)
}

fn program(version: Option<&str>) -> PathBuf {
    let chosen = version.map(str::to_owned).or_else(|| env::var(CHOSEN).ok());
    chosen.map_or_else(|| "redis-server".into(), |version| installed(&format!("redis-servers/{version}")))
}

fn spawn(program: &Path, port: u16, dir: &Path, args: &[String]) -> Process {
    let mut command = process::command(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir);
    command.args(["--unixsocket"]).arg(dir.join("redis.sock"));
    // A replica is given all at once, and not after five seconds, in which others might want it too.
    command.args(["--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0"]);
    // With `everysec` it writes nothing into its file while the disk is busy with a sync, for two seconds, and answers all the same:
    // whoever kills it then loses that.
    command.args(["--appendfsync", "no"]).args(args);
    Process::start("redis-server", command, &dir.join("log"))
}
