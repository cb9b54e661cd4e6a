//! The servers, the ways to them and the agents, and what each fault does to them.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    agents::{Account, Life, Slot},
    arguments::Channel,
    producers::Producers,
    proxy::{Mode, Proxy},
    queue::Queue,
    schedule::{Event, Fault, Lane},
};
use serde_json::Value;

use crate::support::{
    influxd::Influxd,
    pipeline::{DATABASE, config_of},
    process::wait_for,
};

/// How long a server that lives may take to do what a fault asks of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom InfluxDB asks for while it wants a login.
pub(crate) const USER: &str = "kadabra";
pub(crate) const PASSWORD: &str = "the right one";

pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) influxd: Influxd,
    way_to_queue: Proxy,
    way_to_influxd: Proxy,
    pub(crate) agents: Vec<Slot>,
    /// The points that were in the database each time it was dropped, by their text.
    dropped: HashMap<String, Value>,
    /// Lives that are over, and were not killed.
    pub(crate) accounts: Vec<Account>,
    /// Lives that were killed, and so have not said their ledger.
    pub(crate) killed: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) peak_memory: u64,
    /// Whether all faults are over, and all agents were begun after them.
    calm: bool,
}

impl World {
    pub(crate) fn start(channel: Channel, seed: u64, agents: usize, folder: &Path) -> Self {
        let queue = Queue::start(channel, folder);
        let influxd = Influxd::start();
        influxd.create_admin(USER, PASSWORD);
        let influxd_port: u16 = influxd.url().rsplit(':').next().unwrap().parse().unwrap();
        let way_to_influxd = Proxy::to((Ipv4Addr::LOCALHOST, influxd_port).into());
        let way_to_queue = Proxy::to(queue.address());
        let influxd_url = format!("http://127.0.0.1:{}", way_to_influxd.port());
        fs::write(folder.join("kadabra.toml"), config_of(&queue.config(way_to_queue.port()), &influxd_url)).unwrap();
        let agents = (1..=agents).map(|number| Slot::new(channel, seed, number, folder)).collect();
        Self {
            queue,
            influxd,
            way_to_queue,
            way_to_influxd,
            agents,
            dropped: HashMap::new(),
            accounts: Vec::new(),
            killed: 0,
            violations: Vec::new(),
            peak_memory: 0,
            calm: false,
        }
    }

    pub(crate) fn producers(&self, seed: u64, folder: &Path) -> Producers {
        Producers::start(seed, &self.queue, self.way_to_queue.port(), folder.join("producer.log"))
    }

    pub(crate) fn begin(&mut self, event: &Event) {
        let influxd = &mut self.influxd;
        match (event.lane, &event.fault) {
            (Lane::Agent(agent), Fault::Kill) => self.kill(agent),
            (Lane::Agent(agent), Fault::Terminate | Fault::Insist) => self.agents[agent].terminate(),
            (Lane::Agent(agent), Fault::Freeze) => self.agents[agent].signal("STOP"),
            (Lane::Disk, Fault::Full(bytes)) => self.agents.iter_mut().for_each(|slot| slot.set_disk(Some(*bytes))),
            (Lane::Redis, Fault::Kill) => self.queue.redis().kill9(),
            (Lane::Redis, Fault::Freeze) => self.queue.redis().pause(),
            (Lane::Redis, fault) => {
                let millis = event.lasts.as_millis().to_string();
                let command: &[&str] = match fault {
                    Fault::CloseConnections => &["CLIENT", "KILL", "TYPE", "normal"],
                    Fault::PauseClients => &["CLIENT", "PAUSE", &millis, "ALL"],
                    Fault::FlushScripts => &["SCRIPT", "FLUSH"],
                    Fault::Full(_) => &["CONFIG", "SET", "maxmemory", "1"],
                    Fault::ReadOnly => &["REPLICAOF", "127.0.0.1", "1"],
                    other => panic!("{other} is no fault of Redis"),
                };
                self.tell_redis(command);
            }
            (Lane::Influxd, Fault::Kill) => influxd.kill(),
            (Lane::Influxd, Fault::Stop) => influxd.stop(),
            (Lane::Influxd, Fault::Freeze) => influxd.pause(),
            (Lane::Influxd, Fault::DropDatabase) => self.drop_database(),
            (Lane::Influxd, Fault::Login) => self.ask_for(Some((USER, PASSWORD))),
            (Lane::Clock(agent), Fault::Jump(hours)) => self.agents[agent].set_clock(*hours),
            (Lane::WayToQueue, Fault::Way(mode)) => self.way_to_queue.set(mode.clone()),
            (Lane::WayToInfluxd, Fault::Way(mode)) => self.way_to_influxd.set(mode.clone()),
            (lane, fault) => panic!("{fault} is no fault of {lane:?}"),
        }
    }

    pub(crate) fn end(&mut self, event: &Event) {
        let influxd = &mut self.influxd;
        match (event.lane, &event.fault) {
            (Lane::Agent(agent), Fault::Kill) => self.agents[agent].allow(),
            (Lane::Agent(agent), Fault::Freeze) => self.agents[agent].signal("CONT"),
            (Lane::Agent(agent), Fault::Insist) => self.agents[agent].insist(),
            (Lane::Disk, _) => self.agents.iter_mut().for_each(|slot| slot.set_disk(None)),
            (Lane::Redis, Fault::Kill) => self.queue.redis().restart(),
            (Lane::Redis, Fault::Freeze) => self.queue.redis().resume(),
            (Lane::Redis, Fault::Full(_)) => self.tell_redis(&["CONFIG", "SET", "maxmemory", "0"]),
            (Lane::Redis, Fault::ReadOnly) => self.tell_redis(&["REPLICAOF", "NO", "ONE"]),
            (Lane::Influxd, Fault::Kill | Fault::Stop) => influxd.start_again(),
            (Lane::Influxd, Fault::Freeze) => influxd.resume(),
            (Lane::Influxd, Fault::DropDatabase) => influxd.create_database(DATABASE),
            (Lane::Influxd, Fault::Login) => self.ask_for(None),
            (Lane::Clock(agent), _) => self.agents[agent].set_clock(0),
            (Lane::WayToQueue, _) => self.way_to_queue.set(Mode::Clear),
            (Lane::WayToInfluxd, _) => self.way_to_influxd.set(Mode::Clear),
            _ => {}
        }
    }

    /// Drops the database and notes what was in it. Whatever an agent was told is stored is noted, since nothing is
    /// written meanwhile; what an agent was not told it writes again, and then it is the same point.
    fn drop_database(&mut self) {
        self.way_to_influxd.fence(true);
        let influxd = &mut self.influxd;
        influxd.stop();
        influxd.start_again();
        self.dropped.extend(influxd.points(DATABASE).into_iter().map(|point| (point.to_string(), point)));
        influxd.drop_database(DATABASE);
        self.way_to_influxd.fence(false);
    }

    /// Every point that was stored, in the database that is there and in those that were dropped.
    pub(crate) fn points(&self) -> Vec<Value> {
        let mut points = self.dropped.clone();
        let there = self.influxd.points(DATABASE);
        points.extend(there.into_iter().map(|point| (point.to_string(), point)));
        points.into_values().collect()
    }

    fn ask_for(&mut self, admin: Option<(&'static str, &'static str)>) {
        let influxd = &mut self.influxd;
        influxd.stop();
        influxd.ask_for(admin);
        influxd.start_again();
    }

    fn tell_redis(&mut self, command: &[&str]) {
        let (name, arguments) = command.split_first().unwrap();
        let mut connection = self.queue.redis().connection();
        let answer: redis::RedisResult<redis::Value> = redis::cmd(name).arg(arguments).query(&mut connection);
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    fn kill(&mut self, agent: usize) {
        if let Some(life) = self.agents[agent].kill() {
            self.killed += 1;
            if let Err(wrong) = life.lines() {
                self.violation(&life, &wrong);
            }
        }
    }

    fn violation(&mut self, life: &Life, wrong: &str) {
        self.violations.push(format!("{} {wrong}\n{}", life.name, life.tail()));
    }

    /// Looks after the agents as a service manager does: takes note of ends and starts the next lives.
    pub(crate) fn attend(&mut self, start: Option<FailPoints>) {
        for agent in 0..self.agents.len() {
            let slot = &mut self.agents[agent];
            self.peak_memory = self.peak_memory.max(slot.peak_memory());
            if let Some(end) = slot.ended() {
                eprintln!("           {} ended: {}", end.life.name, end.status);
                match end.account {
                    // Without a fault there is nothing that keeps it from a clean end.
                    Ok(_) if self.calm && !end.status.success() => self.violation(&end.life, "did not end cleanly"),
                    Ok(account) => self.accounts.push(account),
                    Err(wrong) => self.violation(&end.life, &wrong),
                }
            }
            let slot = &mut self.agents[agent];
            if let Some(fail_points) = start
                && slot.is_due()
            {
                slot.start(fail_points == FailPoints::Drawn);
            }
        }
    }

    /// Ends every agent by SIGTERM, however long that takes it, within its bounds.
    pub(crate) fn end_agents(&mut self) {
        self.agents.iter_mut().for_each(Slot::terminate);
        wait_for("all agents to end", 2 * PATIENCE, || {
            self.attend(None);
            self.agents.iter().all(|slot| slot.life().is_none()).then_some(())
        });
    }

    /// No fault is left that keeps any agent from a clean end.
    pub(crate) fn calm(&mut self) {
        self.calm = true;
    }

    /// The faults are over: waits while agents without fail points do what is left to do. A long run leaves more than a busy
    /// machine drains in any fixed time, so that only a backlog that has not become shorter `within` the time is a violation.
    pub(crate) fn drain(&mut self, within: Duration) {
        let mut deadline = Instant::now() + within;
        let mut shortest = u64::MAX;
        loop {
            self.attend(Some(FailPoints::None));
            let all_work = self.agents.iter().all(|slot| !slot.ends() && slot.life().is_some_and(Life::receives));
            if all_work && self.queue.is_drained() {
                return;
            }
            let backlog = self.queue.backlog();
            if backlog < shortest {
                (shortest, deadline) = (backlog, Instant::now() + within);
            }
            if Instant::now() > deadline {
                self.violations.push(format!("nothing more was drained within {within:?}: {}", self.queue.left()));
                let tails: Vec<String> = self.agents.iter().filter_map(Slot::life).map(Life::tail).collect();
                self.violations.extend(tails);
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Whether new lives have fail points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailPoints {
    Drawn,
    None,
}
