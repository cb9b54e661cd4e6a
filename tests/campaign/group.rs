//! A Redis of several servers: a primary with a replica that Sentinels watch, or a cluster; what befalls it, and what a failover may undo.
//!
//! A replica has what its primary has done a moment later, so that a failover can undo the last of it: a push is lost unless the
//! replica was known to have it, and a settlement is undone, so that its messages are done once more. Each fault begins only when the
//! group is whole, since what one replica has acknowledged is nowhere else until then.

use std::{
    collections::HashMap,
    mem,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use redis::{Commands as _, Value};

use super::{
    held::{Held, held, held_in_files},
    schedule::{Event, Fault},
    whereabouts::{OTHER_QUEUE, QUEUE, Whereabouts, connect, has, has_the_queue, named_by},
};
use crate::support::{
    process::wait_for,
    redis_groups::{Cluster, MASTER_NAME, SentinelGroup},
    redis_server::{RedisServer, is_all_replicated},
};

/// How often it is looked whether there is another primary.
const LOOK: Duration = Duration::from_millis(100);

/// How long a server goes on as a primary that the Sentinels do not name any more: where it was down meanwhile, and where agents may have
/// connections to it, which each has closed by then.
const STALE: [Duration; 2] = [Duration::from_millis(700), Duration::from_secs(6)];

/// When an agent that still uses it is looked for the first time.
const NOBODY_USES_IT: Duration = Duration::from_secs(4);

/// How long a failover by command may be refused, as it is while another one is not quite over.
const COMMAND: Duration = Duration::from_secs(15);

enum Servers {
    Sentinel(SentinelGroup),
    Cluster(Cluster),
}

/// See the module.
pub(crate) struct Group {
    servers: Servers,
    whereabouts: Whereabouts,
    /// Which server had the queue when that was found out last.
    primary: usize,
    looked: Instant,
    /// The server that a fault has struck and that is not back.
    struck: Option<usize>,
    /// The slot that is on its way from one node to another.
    moved: Option<(u64, usize, usize)>,
    /// The server that was the primary before, until it is a replica. One that is promoted is a primary, too, before it is named.
    demoted: Option<usize>,
    /// The node that executes no write until the others agree on what it is.
    held_back: Option<usize>,
    /// It goes on as a primary though the Sentinels name another one: since when, and who used it then.
    stale: Option<(usize, Instant, Option<Vec<String>>)>,
    failovers: u32,
    /// Whether the last primary was never down when another one was named.
    goes_on: bool,
    /// What was held by the server that became the primary, while the one that was it still goes on.
    fork: Option<Held>,
    /// Whether what the failover that is under way undoes is known already.
    compared: bool,
    /// Of how many messages failovers have undone a settlement: what was done where that is forgotten, and is done once more.
    pub(crate) undone: u64,
    pub(crate) violations: Vec<String>,
}

impl Group {
    pub(crate) fn of_sentinels() -> Self {
        let group = SentinelGroup::start();
        let whereabouts = Whereabouts::Sentinels(group.sentinel_ports());
        Self::new(Servers::Sentinel(group), whereabouts)
    }

    pub(crate) fn cluster() -> Self {
        let cluster = Cluster::start();
        let whereabouts = Whereabouts::Nodes(cluster.servers.iter().map(RedisServer::port).collect());
        assert_ne!(cluster.owner(QUEUE, None), cluster.owner(OTHER_QUEUE, None), "they are to begin on two nodes");
        Self::new(Servers::Cluster(cluster), whereabouts)
    }

    fn new(servers: Servers, whereabouts: Whereabouts) -> Self {
        let mut group = Self {
            servers,
            whereabouts,
            primary: 0,
            looked: Instant::now(),
            struck: None,
            moved: None,
            demoted: None,
            held_back: None,
            stale: None,
            failovers: 0,
            goes_on: false,
            fork: None,
            compared: false,
            undone: 0,
            violations: Vec::new(),
        };
        group.primary = wait_for("the group's primary", COMMAND, || group.find());
        group
    }

    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.whereabouts.clone()
    }

    /// The server that has the queue.
    pub(crate) fn primary(&self) -> &RedisServer {
        &self.servers()[self.primary]
    }

    /// The server that has this queue.
    pub(crate) fn primary_of(&self, queue: &str) -> &RedisServer {
        let Whereabouts::Nodes(ports) = &self.whereabouts else { return self.primary() };
        let port = wait_for("the node that has a queue", COMMAND, || ports.iter().find_map(|port| has(queue, *port, None)));
        self.servers().iter().find(|server| server.port() == port.0).expect("one of the nodes")
    }

    pub(crate) fn servers(&self) -> &[RedisServer] {
        match &self.servers {
            Servers::Sentinel(group) => &group.servers,
            Servers::Cluster(cluster) => &cluster.servers,
        }
    }

    /// Where the Sentinels have their logs, and what they know.
    pub(crate) fn sentinels(&self) -> Option<&Path> {
        if let Servers::Sentinel(group) = &self.servers { Some(group.folder()) } else { None }
    }

    fn server(&mut self, number: usize) -> &mut RedisServer {
        match &mut self.servers {
            Servers::Sentinel(group) => &mut group.servers[number],
            Servers::Cluster(cluster) => &mut cluster.servers[number],
        }
    }

    /// What a Python agent has in progress, where an agent adopts it from.
    pub(crate) fn inprogress(&self) -> &'static str {
        match &self.servers {
            Servers::Sentinel(_) => "kadabra_inprogress",
            Servers::Cluster(_) => "{kadabra_queue}:inprogress",
        }
    }

    /// What agents ask first: a Sentinel, or the node that has the queue in the beginning.
    pub(crate) fn asked_first(&self) -> u16 {
        match &self.whereabouts {
            Whereabouts::Sentinels(ports) => ports[0],
            Whereabouts::Nodes(_) => self.primary().port(),
        }
    }

    /// The part of an agent's configuration that is about it. The first that is asked is asked on the way that has faults.
    pub(crate) fn config(&self, way: u16) -> String {
        let (Whereabouts::Sentinels(ports) | Whereabouts::Nodes(ports)) = &self.whereabouts;
        let others = ports.iter().filter(|port| **port != self.asked_first());
        let nodes: Vec<_> = [way].iter().chain(others).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let kind = match &self.servers {
            Servers::Sentinel(_) => format!("mode = \"sentinel\"\nmaster_name = \"{MASTER_NAME}\""),
            Servers::Cluster(_) => format!("mode = \"cluster\"\ninprogress_key = \"{}\"", self.inprogress()),
        };
        format!("{kind}\nnodes = [{}]", nodes.join(", "))
    }

    /// The server that has the queue, by what those say that a fault has not struck.
    fn find(&self) -> Option<usize> {
        let struck = self.struck.map(|number| self.servers()[number].port());
        let port = match &self.whereabouts {
            Whereabouts::Sentinels(ports) => ports.iter().find_map(|port| named_by(*port))?,
            Whereabouts::Nodes(ports) => {
                ports.iter().filter(|port| Some(**port) != struck).find_map(|port| has_the_queue(*port, struck))?.0
            }
        };
        self.servers().iter().position(|server| server.port() == port)
    }

    fn is_sentinel(&self) -> bool {
        matches!(self.servers, Servers::Sentinel(_))
    }

    /// The one that replicates the primary.
    fn replica(&self) -> Option<usize> {
        let port = self.primary().port();
        (0..self.servers().len()).find(|number| matches!(self.role(*number), Some(Role::Replica { of, .. }) if of == port))
    }

    fn role(&self, number: usize) -> Option<Role> {
        if self.struck == Some(number) {
            return None;
        }
        let mut connection = connect(self.servers()[number].port())?;
        match redis::cmd("ROLE").query(&mut connection).ok()? {
            Value::Array(role) if role.len() == 3 => Some(Role::Primary),
            role => {
                let (_, _, of, state, _): (String, String, u16, String, i64) = redis::from_redis_value(role).ok()?;
                Some(Role::Replica { of, follows: state == "connected" })
            }
        }
    }

    /// Whether nothing is left of the last fault: every server does its part and the replica has all that the primary has.
    pub(crate) fn is_whole(&mut self) -> bool {
        self.look();
        let nothing_left = self.struck.is_none() && self.held_back.is_none() && self.stale.is_none() && self.moved.is_none();
        nothing_left && self.check_whole().is_some()
    }

    fn check_whole(&self) -> Option<()> {
        let port = self.primary().port();
        let follows = |number| matches!(self.role(number), Some(Role::Replica { of, follows: true }) if of == port);
        match &self.servers {
            Servers::Sentinel(group) => {
                (0..2).all(|number| number == self.primary || follows(number)).then_some(())?;
                for sentinel in group.sentinel_ports() {
                    let mut connection = connect(sentinel)?;
                    let about = |what| redis::cmd("SENTINEL").arg(what).arg(MASTER_NAME).take();
                    let master: Told = about("MASTER").query(&mut connection).ok()?;
                    let replicas: Vec<Told> = about("REPLICAS").query(&mut connection).ok()?;
                    let well = master["port"] == port.to_string() && master["flags"] == "master";
                    (well && replicas.iter().all(|replica| replica["flags"] == "slave")).then_some(())?;
                }
            }
            Servers::Cluster(cluster) => {
                cluster.well()?;
                for server in cluster.servers.iter().filter(|server| server.port() != port) {
                    let named = connect(server.port())?.llen::<_, u64>(QUEUE).err()?;
                    named.redirect_node()?.0.ends_with(&format!(":{port}")).then_some(())?;
                }
                (0..cluster.servers.len()).any(follows).then_some(())?;
            }
        }
        is_all_replicated(&mut connect(port)?, Duration::from_millis(300))
    }

    /// Stops a primary. When it goes on, it would execute what waits at its sockets before it hears that it is the primary no more, and
    /// then forget it, so that nobody could say what was undone: a cluster's node executes no write until it has heard.
    fn freeze(&mut self, number: usize) {
        if !self.is_sentinel() {
            let mut connection = self.servers()[number].connection();
            redis::cmd("CLIENT").arg(&["PAUSE", "60000", "WRITE"]).query::<()>(&mut connection).unwrap();
            self.held_back = Some(number);
        }
        self.server(number).pause();
    }

    fn look_at_held_back(&mut self) {
        let Some(number) = self.held_back.filter(|number| self.struck != Some(*number)) else { return };
        let Servers::Cluster(cluster) = &self.servers else { return };
        if matches!(self.role(number), Some(Role::Replica { .. })) || cluster.well().is_some() {
            let Some(mut connection) = connect(self.servers()[number].port()) else { return };
            if redis::cmd("CLIENT").arg("UNPAUSE").query::<()>(&mut connection).is_ok() {
                self.held_back = None;
            }
        }
    }

    /// Looks whether there is another primary, and has one that is none any more become a replica in the end. Sentinels do that too,
    /// after ten to twenty seconds.
    pub(crate) fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let Some(now) = self.find() else { return };
        if now != self.primary {
            self.failovers += 1;
            self.demoted = Some(mem::replace(&mut self.primary, now));
            eprintln!("           {} has the queue now", self.name(now));
            if !mem::take(&mut self.compared) {
                let held = self.held(now);
                self.fork.get_or_insert_default().extend(held);
            }
        }
        if self.is_sentinel() {
            self.look_at_stale(1 - now);
        } else {
            self.look_at_held_back();
        }
    }

    fn look_at_stale(&mut self, other: usize) {
        match self.role(other) {
            Some(Role::Primary) if self.demoted == Some(other) => {}
            Some(Role::Replica { .. }) => {
                self.demoted = None;
                // What it had done besides is not known any more.
                self.undone += self.fork.take().map_or(0, |fork| fork.len() as u64);
                self.stale = None;
                return;
            }
            _ => return,
        }
        let (_, since, used) = match &mut self.stale {
            Some(stale) if stale.0 == other => stale,
            stale => stale.insert((other, Instant::now(), None)),
        };
        let stale_for = since.elapsed();
        if stale_for > NOBODY_USES_IT && used.is_none() {
            *used = Some(Vec::new());
            let users = self.users(other);
            self.stale = self.stale.take().map(|(other, since, _)| (other, since, Some(users)));
        } else if stale_for > STALE[usize::from(self.goes_on)] {
            let before = mem::take(used).unwrap_or_default();
            let lasting: Vec<_> = self.users(other).into_iter().filter(|user| before.contains(user)).collect();
            if !lasting.is_empty() {
                let name = self.name(other);
                self.violations.push(format!(
                    "{name} was the primary no more for {stale_for:?}, and connections of agents were still used there: {lasting:?}"
                ));
            }
            if let Some(fork) = self.fork.take() {
                let there = self.held(other);
                self.compare(&fork, &there);
            }
            let port = self.primary().port();
            if let Some(mut connection) = connect(self.servers()[other].port()) {
                drop(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query::<()>(&mut connection));
            }
            self.stale = None;
        }
    }

    /// Connections of agents on which something was asked within the last second.
    fn users(&self, number: usize) -> Vec<String> {
        let list = connect(self.servers()[number].port())
            .and_then(|mut connection| redis::cmd("CLIENT").arg("LIST").query::<String>(&mut connection).ok());
        let list = list.unwrap_or_default();
        let of_an_agent = list.lines().filter(|line| line.contains(" name=kadabra ") && line.contains(" idle=0 "));
        of_an_agent.filter_map(|line| line.split(' ').find(|part| part.starts_with("addr="))).map(str::to_owned).collect()
    }

    fn name(&self, number: usize) -> String {
        format!("the server at {}", self.servers()[number].port())
    }

    /// What a server holds, once it has all that was on its way to it.
    fn held(&self, number: usize) -> Held {
        thread::sleep(LOOK / 2);
        wait_for("what a server holds", COMMAND, || held(&mut connect(self.servers()[number].port())?))
    }

    /// What waits at the one that becomes the primary, and not at the one that was it, is what had been settled there.
    fn compare(&mut self, next: &Held, last: &Held) {
        let undone = next.difference(last).count() as u64;
        eprintln!("           {undone} messages of {} that wait had been settled", next.len());
        self.undone += undone;
    }

    /// The same, where the last primary is dead or frozen: then its files have all that it has answered.
    fn compare_with_files(&mut self, next: usize, last: usize) {
        let (next, last) = (self.held(next), held_in_files(self.servers()[last].dir()));
        self.compare(&next, &last);
        self.compared = true;
    }

    pub(crate) fn begin(&mut self, event: &Event) {
        // A group that is whole has nothing left to compare.
        (self.fork, self.compared) = (None, false);
        self.goes_on = matches!(event.fault, Fault::Failover);
        let primary = self.primary;
        let replica = self.replica().expect("the replica of a group that is whole");
        match &event.fault {
            Fault::Kill => {
                self.server(primary).kill9();
                self.struck = Some(primary);
                self.compare_with_files(replica, primary);
            }
            Fault::Freeze => {
                self.freeze(primary);
                self.struck = Some(primary);
                if self.is_sentinel() {
                    // It goes on for a while when it is back.
                    self.fork = Some(self.held(replica));
                } else {
                    self.compare_with_files(replica, primary);
                }
            }
            Fault::Lag(lag) => {
                self.server(replica).pause();
                // What is on its way arrives even so; what comes now is not sent.
                let mut connection = self.primary().connection();
                redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).query::<u64>(&mut connection).unwrap();
                thread::sleep(*lag);
                self.server(primary).kill9();
                self.server(replica).resume();
                self.struck = Some(primary);
                self.compare_with_files(replica, primary);
            }
            Fault::ReplicaFrozen => {
                self.server(replica).pause();
                self.struck = Some(replica);
            }
            Fault::Failover => {
                if self.is_sentinel() {
                    self.fork = Some(self.held(replica));
                } else {
                    // The nodes agree on the moment, so that nothing is undone.
                    self.compared = true;
                }
                // It is refused while another one is not quite over, and may be given up for good.
                let until = Instant::now() + COMMAND;
                while !self.names(replica) && Instant::now() < until {
                    thread::sleep(LOOK);
                    let _ = self.fail_over(replica, &event.fault);
                }
            }
            Fault::TakeOver => {
                self.freeze(primary);
                self.compare_with_files(replica, primary);
                wait_for("a replica to take over", COMMAND, || {
                    // Where comparing took long, the others have promoted it.
                    let is_primary = matches!(self.role(replica), Some(Role::Primary));
                    if is_primary { Some(()) } else { self.fail_over(replica, &event.fault) }
                });
                self.server(primary).resume();
            }
            Fault::Migrate => {
                let Servers::Cluster(cluster) = &self.servers else { panic!("only a cluster's slot moves") };
                let to = (0..6).find(|number| *number != primary && matches!(self.role(*number), Some(Role::Primary))).unwrap();
                let slot = cluster.begin_to_move(QUEUE, primary, to);
                // Of several keys some are here and some are there.
                if let Some(key) = cluster.keys_in(slot, primary).first() {
                    cluster.migrate(key, primary, to);
                }
                self.moved = Some((slot, primary, to));
            }
            Fault::SentinelFrozen => self.sentinel("STOP"),
            fault => panic!("{fault} is no fault of several servers"),
        }
    }

    pub(crate) fn end(&mut self, event: &Event) {
        match event.fault {
            Fault::Kill | Fault::Lag(_) => {
                if let Some(struck) = self.struck.take() {
                    self.server(struck).restart();
                }
            }
            Fault::Freeze | Fault::ReplicaFrozen => {
                if let Some(struck) = self.struck.take() {
                    self.server(struck).resume();
                }
            }
            Fault::Migrate => {
                if let (Some((slot, from, to)), Servers::Cluster(cluster)) = (self.moved.take(), &self.servers) {
                    while let keys @ [_, ..] = &cluster.keys_in(slot, from)[..] {
                        keys.iter().for_each(|key| cluster.migrate(key, from, to));
                    }
                    cluster.end_move(slot, from, to);
                    // Nothing is undone by that.
                    self.primary = to;
                }
            }
            Fault::SentinelFrozen => self.sentinel("CONT"),
            _ => {}
        }
    }

    /// Whether those that are told to fail over name this one.
    fn names(&self, number: usize) -> bool {
        let port = match &self.servers {
            Servers::Sentinel(group) => named_by(group.sentinel_ports()[1]),
            Servers::Cluster(cluster) => has_the_queue(cluster.servers[number].port(), None).map(|(port, _)| port),
        };
        port == Some(self.servers()[number].port())
    }

    fn fail_over(&self, replica: usize, fault: &Fault) -> Option<()> {
        match &self.servers {
            Servers::Sentinel(group) => {
                let mut connection = connect(group.sentinel_ports()[1])?;
                redis::cmd("SENTINEL").arg("FAILOVER").arg(MASTER_NAME).query(&mut connection).ok()
            }
            Servers::Cluster(cluster) => {
                let mut connection = cluster.servers[replica].connection();
                let mut command = redis::cmd("CLUSTER");
                command.arg("FAILOVER");
                if matches!(fault, Fault::TakeOver) {
                    command.arg("TAKEOVER");
                }
                command.query(&mut connection).ok()
            }
        }
    }

    fn sentinel(&self, signal: &str) {
        let Servers::Sentinel(group) = &self.servers else { panic!("there are no Sentinels") };
        // Agents ask the first one on a way that has faults of its own.
        group.sentinel(1).signal(signal);
    }

    /// What happened to it, for people.
    pub(crate) fn told(&self) -> String {
        format!("the queue had another server {} times, and {} settlements were undone at most", self.failovers, self.undone)
    }
}

/// What a Sentinel says of one server.
type Told = HashMap<String, String>;

enum Role {
    Primary,
    Replica { of: u16, follows: bool },
}

/// Fails when a server that is promoted, and not named yet, is told to follow another one.
pub(crate) fn check_promoted() {
    let mut group = Group::of_sentinels();
    let promoted = 1 - group.primary;
    let mut connection = group.servers()[promoted].connection();
    redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).query::<()>(&mut connection).unwrap();
    // Sentinels make it a replica again only after eight seconds.
    let until = Instant::now() + 3 * STALE[0];
    while Instant::now() < until {
        group.look();
        assert!(matches!(group.role(promoted), Some(Role::Primary)), "it was told to follow the one that is named");
        thread::sleep(LOOK);
    }
}

/// Fails when a node that was frozen and is the primary no more executes what waits at its sockets.
pub(crate) fn check_held_back() {
    let mut group = Group::cluster();
    wait_for("a whole group", COMMAND, || group.is_whole().then_some(()));
    let (primary, replica) = (group.primary, group.replica().unwrap());
    let mut connections: Vec<_> = (0..20).map(|_| group.primary().connection()).collect();
    group.freeze(primary);
    let push = redis::cmd("LPUSH").arg(QUEUE).arg("after all was compared").get_packed_command();
    for connection in &mut connections {
        connection.send_packed_command(&push).unwrap();
    }
    wait_for("a replica to take over", COMMAND, || group.fail_over(replica, &Fault::TakeOver));
    group.server(primary).resume();
    wait_for("a whole group again", COMMAND, || group.is_whole().then_some(()));
    for mut connection in connections {
        let answer = connection.recv_response().and_then(|answer| answer.extract_error());
        assert!(answer.as_ref().is_err_and(|error| error.code() == Some("MOVED")), "{answer:?}");
    }
}
