//! Several redis-servers that belong together: a primary with replicas that Sentinels watch, and a cluster.

use std::{fs, ops::Range, time::Duration};

use redis::{Commands as _, Connection};

use super::{
    pipeline::numbered,
    process::{Process, command, free_port, wait_for},
    redis_server::RedisServer,
};

const START: Duration = Duration::from_secs(30);

/// What the Sentinels call the primary.
pub(crate) const MASTER_NAME: &str = "metrics";

/// Three Sentinels, and two servers of which one is the primary.
pub(crate) struct SentinelGroup {
    pub(crate) servers: Vec<RedisServer>,
    sentinels: Vec<(Process, u16)>,
    password: &'static str,
    _folder: tempfile::TempDir,
}

impl SentinelGroup {
    pub(crate) fn start() -> Self {
        Self::with_password("")
    }

    /// With Sentinels that want a password, if it is not empty.
    pub(crate) fn with_password(password: &'static str) -> Self {
        let primary = RedisServer::start();
        let port = primary.port().to_string();
        let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
        let folder = tempfile::tempdir().unwrap();
        let sentinels = (0..3).map(|number| {
            let listens = free_port();
            let file = folder.path().join(format!("sentinel{number}.conf"));
            let login = if password.is_empty() {
                String::new()
            } else {
                format!("requirepass {password}\nsentinel sentinel-pass {password}\n")
            };
            let text = format!(
                "port {listens}\nbind 127.0.0.1\ndir {folder}\n{login}sentinel monitor {MASTER_NAME} 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds {MASTER_NAME} 1000\nsentinel failover-timeout {MASTER_NAME} 3000\n",
                folder = folder.path().display(),
            );
            fs::write(&file, text).unwrap();
            let mut sentinel = command("redis-server");
            sentinel.arg(&file).arg("--sentinel");
            (Process::start("a Sentinel", sentinel, &folder.path().join(format!("log{number}"))), listens)
        });
        let sentinels = sentinels.collect();
        let group = Self { servers: vec![primary, replica], sentinels, password, _folder: folder };
        wait_for("the Sentinels to know each other and the replica", START, || {
            let all = group.sentinels.iter().filter_map(|(_, port)| {
                let mut sentinel = group.connect(*port)?;
                let master: std::collections::HashMap<String, String> =
                    redis::cmd("SENTINEL").arg("MASTER").arg(MASTER_NAME).query(&mut sentinel).ok()?;
                (master["num-slaves"] == "1" && master["num-other-sentinels"] == "2" && master["flags"] == "master").then_some(())
            });
            (all.count() == 3).then_some(())
        });
        group
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
        let client = redis::Client::open(self.servers[self.primary()].url()).ok()?;
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
        self.servers.iter().position(|server| server.port() == port).unwrap()
    }
}

/// Three primaries, each with a replica.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let servers: Vec<_> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                let node = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
                RedisServer::with(&[&node[..], &["--cluster-replica-validity-factor", "0"]].concat())
            })
            .collect();
        let mut create = command("redis-cli");
        create.args(["--cluster", "create"]).args(servers.iter().map(|server| format!("127.0.0.1:{}", server.port())));
        let created = create.args(["--cluster-replicas", "1", "--cluster-yes"]).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers };
        wait_for("the cluster to be well", START, || {
            let well = |server: &RedisServer| {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut server.connection()).unwrap();
                let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut server.connection()).unwrap();
                info.contains("cluster_state:ok") && nodes.matches("slave").count() == 3
            };
            cluster.servers.iter().all(well).then_some(())
        });
        cluster
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
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let (mut at_source, mut at_target) = (source.connection(), target.connection());
        let slot: u64 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query(&mut at_source).unwrap();
        let set = |connection: &mut Connection, how: &str, node: &str| {
            redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).arg(node).query::<()>(connection).unwrap();
        };
        set(&mut at_target, "IMPORTING", &self.id(from));
        set(&mut at_source, "MIGRATING", &self.id(to));
        loop {
            let keys: Vec<String> = redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(10).query(&mut at_source).unwrap();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let mut migrate = redis::cmd("MIGRATE");
                migrate.arg("127.0.0.1").arg(target.port()).arg(key).arg(0).arg(5000);
                migrate.query::<String>(&mut at_source).unwrap();
            }
        }
        set(&mut at_target, "NODE", &self.id(to));
        set(&mut at_source, "NODE", &self.id(to));
        for other in self.servers.iter() {
            drop(
                redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(self.id(to)).query::<()>(&mut other.connection()),
            );
        }
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
        let replicas: u64 = redis::cmd("WAIT").arg(1).arg(2000).query(&mut connection).ok()?;
        (replicas > 0).then_some(())
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
