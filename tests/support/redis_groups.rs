//! Several redis-servers that belong together: a primary with replicas that Sentinels watch, and a cluster.

use std::{fs, ops::Range, path::Path, time::Duration};

use redis::{Commands as _, Connection, Value};

use super::{
    partition::{Partition, SERVERS},
    pipeline::numbered,
    process::{Process, command, free_port, wait_for},
    redis_server::{RedisServer, is_replicated},
};

const START: Duration = Duration::from_secs(30);

/// By default a primary waits five seconds for more replicas before it sends any what it has.
const SYNC_AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

/// What the Sentinels call the primary.
pub(crate) const MASTER_NAME: &str = "metrics";

/// Three Sentinels, and two servers of which one is the primary.
pub(crate) struct SentinelGroup {
    pub(crate) servers: Vec<RedisServer>,
    sentinels: Vec<(Process, u16)>,
    password: &'static str,
    /// The way to the first server, where that can be cut off.
    way: Option<Partition>,
    folder: tempfile::TempDir,
}

/// What a group has that others have not.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// What the Sentinels want of each other and of the test.
    pub(crate) password: &'static str,
    /// More lines of the configuration of the Sentinel of that number.
    pub(crate) lines: Option<&'a dyn Fn(usize) -> String>,
    /// More arguments of each server.
    pub(crate) arguments: &'a [&'a str],
    /// Whether the first server can be cut off.
    pub(crate) way: bool,
}

impl SentinelGroup {
    pub(crate) fn start() -> Self {
        Self::with(&Setup::default())
    }

    /// With Sentinels that want a password.
    pub(crate) fn with_password(password: &'static str) -> Self {
        Self::with(&Setup { password, ..Setup::default() })
    }

    /// With a primary that can be cut off from Sentinels and replica, and from clients.
    pub(crate) fn with_a_way_to_the_primary(arguments: &[&str]) -> Self {
        Self::with(&Setup { arguments, way: true, ..Setup::default() })
    }

    pub(crate) fn with(setup: &Setup<'_>) -> Self {
        let way = setup.way.then(Partition::start);
        let announced = way.as_ref().map(|way| way.port().to_string());
        // To servers that come from another address than 127.0.0.1 a primary without a password is closed else.
        let open = ["--protected-mode", "no"];
        let announces = |port| [&open[..], &["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", port]].concat();
        let own = announced.as_deref().map(announces).unwrap_or_default();
        let primary = RedisServer::with(&[&SYNC_AT_ONCE[..], setup.arguments, &own].concat());
        if let Some(way) = &way {
            way.lead_to(primary.port());
        }
        let port = announced.unwrap_or_else(|| primary.port().to_string());
        let own = if setup.way { [&open[..], &["--bind-source-addr", SERVERS]].concat() } else { Vec::new() };
        let replica = RedisServer::with(&[&SYNC_AT_ONCE[..], setup.arguments, &own].concat());
        // Not by an argument, by which it would follow that one once more when it is started again, though it is the primary by then.
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query::<()>(&mut replica.connection()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let sentinels = (0..3).map(|number| {
            let listens = free_port();
            let mut lines =
                format!("sentinel down-after-milliseconds {MASTER_NAME} 1000\nsentinel failover-timeout {MASTER_NAME} 3000\n");
            if !setup.password.is_empty() {
                lines += &format!("requirepass {0}\nsentinel sentinel-pass {0}\n", setup.password);
            }
            if setup.way {
                lines += &format!("bind-source-addr {SERVERS}\nsentinel announce-ip 127.0.0.1\n");
            }
            lines += &setup.lines.map_or_else(String::new, |lines| lines(number));
            (start_sentinel(folder.path(), number, listens, &port, &lines), listens)
        });
        let sentinels = sentinels.collect();
        let group = Self { servers: vec![primary, replica], sentinels, password: setup.password, way, folder };
        group.wait_until_all_is_well();
        group
    }

    /// Until the Sentinels know each other, the primary and its replica, which has all of it.
    pub(crate) fn wait_until_all_is_well(&self) {
        wait_for("the Sentinels to know each other and the replica", START, || {
            let all = self.sentinels.iter().filter_map(|(_, port)| {
                let mut sentinel = self.connect(*port)?;
                // On a machine that stands still for two seconds it would do nothing for thirty more.
                redis::cmd("SENTINEL").arg(&["DEBUG", "tilt-trigger", "60000"]).exec(&mut sentinel).unwrap();
                let master: std::collections::HashMap<String, String> =
                    redis::cmd("SENTINEL").arg("MASTER").arg(MASTER_NAME).query(&mut sentinel).ok()?;
                (master["num-slaves"] == "1" && master["num-other-sentinels"] == "2" && master["flags"] == "master").then_some(())
            });
            (all.count() == 3).then_some(())
        });
        self.servers[1 - self.primary()].wait_until_it_follows();
    }

    /// Where it can be cut off.
    pub(crate) fn way(&self) -> &Partition {
        self.way.as_ref().expect("a way to the primary")
    }

    pub(crate) fn connect_to_sentinel(&self, number: usize) -> Connection {
        self.connect(self.sentinels[number].1).unwrap()
    }

    /// Of each server, as clients find it.
    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.servers.len()).map(|server| format!("redis://127.0.0.1:{}/", self.port_of(server))).collect()
    }

    /// Where clients and Sentinels find a server.
    fn port_of(&self, server: usize) -> u16 {
        match &self.way {
            Some(way) if server == 0 => way.port(),
            _ => self.servers[server].port(),
        }
    }

    fn connect(&self, port: u16) -> Option<Connection> {
        let login = if self.password.is_empty() { String::new() } else { format!(":{}@", self.password) };
        let client = redis::Client::open(format!("redis://{login}127.0.0.1:{port}/")).ok()?;
        client.get_connection_with_timeout(Duration::from_secs(1)).ok()
    }

    pub(crate) fn nodes(&self) -> String {
        let nodes = self.sentinels.iter().map(|(_, port)| format!("127.0.0.1:{port}"));
        nodes.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|(_, port)| *port).collect()
    }

    /// Where they have their logs, and what they know.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn sentinel(&self, number: usize) -> &Process {
        &self.sentinels[number].0
    }

    /// Makes the replica a primary, and has the Sentinels name that one, while the old one goes on as it was.
    pub(crate) fn name_the_other(&self) {
        let other = &self.servers[1];
        redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).query::<()>(&mut other.connection()).unwrap();
        for (_, port) in &self.sentinels {
            let mut sentinel = self.connect(*port).unwrap();
            let told = redis::cmd("SENTINEL").arg("REMOVE").arg(MASTER_NAME).query::<()>(&mut sentinel);
            told.unwrap();
            let mut monitor = redis::cmd("SENTINEL");
            monitor.arg("MONITOR").arg(MASTER_NAME).arg("127.0.0.1").arg(other.port()).arg(2);
            monitor.query::<()>(&mut sentinel).unwrap();
        }
    }

    /// As a client connects: to what the Sentinels say is the primary, if that answers.
    pub(crate) fn connect_to_primary(&self) -> Option<Connection> {
        let client = redis::Client::open(self.urls().swap_remove(self.primary())).ok()?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        Some(connection)
    }

    /// Which of the servers the Sentinels say is the primary.
    pub(crate) fn primary(&self) -> usize {
        let said = self.sentinels.iter().find_map(|(_, port)| {
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER_NAME);
            command.query::<(String, u16)>(&mut self.connect(*port)?).ok()
        });
        let (_, port) = said.expect("a Sentinel that answers");
        (0..self.servers.len()).find(|server| self.port_of(*server) == port).unwrap()
    }
}

/// Starts a Sentinel in a folder that watches the primary on that port, with more lines of its configuration.
fn start_sentinel(folder: &Path, number: usize, listens: u16, primary: &str, lines: &str) -> Process {
    let file = folder.join(format!("sentinel{number}.conf"));
    let text = format!(
        "port {listens}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER_NAME} 127.0.0.1 {primary} 2\n{lines}",
        folder.display()
    );
    fs::write(&file, text).unwrap();
    let mut sentinel = command("redis-server");
    sentinel.arg(&file).arg("--sentinel");
    Process::start("a Sentinel", sentinel, &folder.join(format!("log{number}")))
}

/// A Sentinel by itself, as one that a partition has left behind: it says that this server is the primary.
pub(crate) struct LoneSentinel {
    _process: Process,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl LoneSentinel {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let process = start_sentinel(folder.path(), 0, port, &server.port().to_string(), "");
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        wait_for("the Sentinel to answer", START, || client.get_connection_with_timeout(Duration::from_secs(1)).ok());
        Self { _process: process, port, _folder: folder }
    }
}

/// Three primaries, each with a replica.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let (buses, servers): (Vec<_>, Vec<_>) = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                let node = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
                let server = RedisServer::with(&[&SYNC_AT_ONCE[..], &node, &["--cluster-replica-validity-factor", "0"]].concat());
                (bus, server)
            })
            .unzip();
        let cluster = Self { servers };
        cluster.join(&buses);
        cluster.wait_until_well();
        cluster
    }

    /// After that no failover is on its way.
    pub(crate) fn wait_until_well(&self) {
        wait_for("the cluster to be well", START, || self.well());
    }

    /// Whether each node serves, takes three for replicas, and none for one that has failed.
    pub(crate) fn well(&self) -> Option<()> {
        self.servers.iter().try_for_each(|server| {
            let mut connection = server.connect()?;
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection).ok()?;
            let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut connection).ok()?;
            let unwell = nodes.contains("fail") || nodes.contains("handshake");
            (info.contains("cluster_state:ok") && nodes.matches("slave").count() == 3 && !unwell).then_some(())
        })
    }

    /// What `redis-cli --cluster create` does, which waits for ever where a node misses that it was to meet another one: it has a second
    /// for that.
    fn join(&self, buses: &[String]) {
        let to = |server: &RedisServer, arguments: &[&str]| {
            redis::cmd("CLUSTER").arg(arguments).query::<Value>(&mut server.connection())
        };
        for (number, server) in self.servers.iter().enumerate() {
            to(server, &["SET-CONFIG-EPOCH", &(number + 1).to_string()]).unwrap();
        }
        for (server, slots) in self.servers.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
            to(server, &[&["ADDSLOTSRANGE"][..], &slots].concat()).unwrap();
        }
        wait_for("the nodes to know each other", START, || {
            let mut know = 0;
            for server in &self.servers {
                let nodes: String = redis::from_redis_value(to(server, &["NODES"]).ok()?).ok()?;
                let knows = |port: u16| nodes.contains(&format!("127.0.0.1:{port}@"));
                let others = self.servers.iter().zip(buses).filter(|(other, _)| other.port() != server.port());
                let unknown: Vec<_> = others.filter(|(other, _)| !knows(other.port())).collect();
                for (other, bus) in &unknown {
                    let _ = to(server, &["MEET", "127.0.0.1", &other.port().to_string(), bus]);
                }
                know += usize::from(unknown.is_empty() && !nodes.contains("handshake"));
            }
            (know == self.servers.len()).then_some(())
        });
        for (number, replica) in self.servers.iter().enumerate().skip(3) {
            to(replica, &["REPLICATE", &self.id(number - 3)]).unwrap();
        }
    }

    pub(crate) fn nodes(&self) -> String {
        let nodes = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// Which of the servers has the slot of a key, if the others can tell.
    pub(crate) fn owner(&self, key: &str, down: Option<usize>) -> Option<usize> {
        let asked = (0..self.servers.len()).find(|number| Some(*number) != down)?;
        let mut connection = self.servers[asked].connection();
        match connection.llen::<_, u64>(key) {
            Ok(_) => Some(asked),
            Err(error) => {
                let (_, port) = error.redirect_node()?.0.rsplit_once(':')?;
                let port: u16 = port.parse().ok()?;
                self.servers.iter().position(|server| server.port() == port)
            }
        }
    }

    /// Moves the slot of a key with all that is in it from one node to another, as a rebalancing does.
    pub(crate) fn move_slot(&self, key: &str, from: usize, to: usize) {
        let slot = self.begin_to_move(key, from, to);
        while let keys @ [_, ..] = &self.keys_in(slot, from)[..] {
            keys.iter().for_each(|key| self.migrate(key, from, to));
        }
        self.end_move(slot, from, to);
    }

    /// Has both nodes know that the slot of a key is being moved. Returns the slot.
    pub(crate) fn begin_to_move(&self, key: &str, from: usize, to: usize) -> u64 {
        let slot = redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query(&mut self.servers[from].connection()).unwrap();
        self.set_slot(to, slot, "IMPORTING", from).unwrap();
        self.set_slot(from, slot, "MIGRATING", to).unwrap();
        slot
    }

    /// The keys of a slot that a node has, ten at most.
    pub(crate) fn keys_in(&self, slot: u64, server: usize) -> Vec<String> {
        let mut keys = redis::cmd("CLUSTER");
        keys.arg("GETKEYSINSLOT").arg(slot).arg(10).query(&mut self.servers[server].connection()).unwrap()
    }

    /// Moves one key.
    pub(crate) fn migrate(&self, key: &str, from: usize, to: usize) {
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.servers[to].port()).arg(key).arg(0).arg(5000);
        migrate.query::<String>(&mut self.servers[from].connection()).unwrap();
    }

    /// Has all nodes know that the slot is moved.
    pub(crate) fn end_move(&self, slot: u64, from: usize, to: usize) {
        self.set_slot(to, slot, "NODE", to).unwrap();
        self.set_slot(from, slot, "NODE", to).unwrap();
        (0..self.servers.len()).for_each(|other| drop(self.set_slot(other, slot, "NODE", to)));
    }

    fn set_slot(&self, at: usize, slot: u64, how: &str, node: usize) -> redis::RedisResult<()> {
        redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).arg(self.id(node)).query(&mut self.servers[at].connection())
    }

    /// The replica of a primary.
    pub(crate) fn replica_of(&self, server: usize) -> usize {
        let mut nodes = redis::cmd("CLUSTER");
        let nodes: String = nodes.arg("NODES").query(&mut self.servers[server].connection()).unwrap();
        let id = self.id(server);
        let replica = nodes.lines().find(|line| line.split(' ').nth(3) == Some(&id)).expect("a replica");
        let (own, _) = replica.split_once(' ').unwrap();
        (0..self.servers.len()).find(|other| self.id(*other) == own).unwrap()
    }

    /// Has a node know of no other any more, as one that is cut off from all, while clients reach it.
    pub(crate) fn isolate(&self, server: usize) {
        let ids = (0..self.servers.len()).filter(|other| *other != server).map(|other| self.id(other));
        let mut connection = self.servers[server].connection();
        ids.for_each(|id| redis::cmd("CLUSTER").arg("FORGET").arg(id).query(&mut connection).unwrap());
    }

    /// Has a replica be the primary without asking any other node.
    pub(crate) fn take_over(&self, replica: usize) {
        redis::cmd("CLUSTER").arg("FAILOVER").arg("TAKEOVER").query::<()>(&mut self.servers[replica].connection()).unwrap();
        let id = self.id(replica);
        wait_for("it to be the primary", START, || {
            let mut nodes = redis::cmd("CLUSTER");
            let nodes: String = nodes.arg("NODES").query(&mut self.servers[replica].connection()).ok()?;
            let own = nodes.lines().find(|line| line.starts_with(&id))?;
            own.contains("master").then_some(())
        });
    }

    fn id(&self, server: usize) -> String {
        redis::cmd("CLUSTER").arg("MYID").query(&mut self.servers[server].connection()).unwrap()
    }
}

/// Pushes numbered messages together until a replica has them too: a failover can lose what none has. A message that was pushed
/// twice is the same message.
pub(crate) fn push_until_replicated(queue: &str, numbers: Range<u64>, mut connect: impl FnMut() -> Option<Connection>) {
    let messages: Vec<_> = numbers.map(numbered).collect();
    wait_for("a push to be replicated", START, || {
        let mut connection = connect()?;
        let _: usize = connection.lpush(queue, &messages).ok()?;
        is_replicated(&mut connection, Duration::from_secs(2))
    });
}

/// Pushes numbered messages, each until it is answered; a message that was pushed twice is the same message.
pub(crate) fn push_until_answered(queue: &str, numbers: Range<u64>, mut connect: impl FnMut() -> Option<Connection>) {
    let mut connection = None;
    for number in numbers {
        wait_for("a push to be answered", START, || {
            let open: &mut Connection = match &mut connection {
                Some(open) => open,
                none => none.insert(connect()?),
            };
            let pushed: Result<usize, _> = open.lpush(queue, numbered(number));
            if pushed.is_err() {
                connection = None;
            }
            pushed.ok()
        });
    }
}
