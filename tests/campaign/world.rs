//! The servers, the ways to them and the agents, and what each fault does to them.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    agents::{Account, Life, Slot},
    arguments::Settled,
    destination::Destination,
    group::Group,
    producers::{Gate, Producers},
    proxy::{Mode, Proxy},
    queue::{Asked, Queue},
    schedule::{Event, Fault, Lane},
};
use crate::support::{pipeline::config_of, process::wait_for};

/// How long a server that lives may take to do what a fault asks of it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) queue: Queue,
    /// Each publisher's.
    pub(crate) destinations: Vec<Destination>,
    way_to_queue: Proxy,
    pub(crate) agents: Vec<Slot>,
    /// Lives that are over, and were not killed.
    pub(crate) accounts: Vec<Account>,
    /// Lives that were killed, and so have not said their ledger.
    pub(crate) killed: usize,
    /// What those said of what they had dropped, just before, while nobody pushed.
    pub(crate) asked: Vec<Asked>,
    gate: Gate,
    pub(crate) violations: Vec<String>,
    pub(crate) peak_memory: u64,
    /// Whether all faults are over, and all agents were begun after them.
    calm: bool,
}

impl World {
    pub(crate) fn start(settled: &Settled, agents: usize, folder: &Path) -> Self {
        let queue = Queue::start(settled, folder);
        let destinations: Vec<_> = settled.publishers.iter().cloned().map(Destination::start).collect();
        let way_to_queue = Proxy::to(queue.address());
        let config = config_of(&queue.config(way_to_queue.port()), "");
        let (before, rest) = config.split_once("[publisher]").unwrap();
        let (_, after) = rest.split_once("[nanny]").unwrap();
        let publishers: String = destinations.iter().map(Destination::config).collect();
        fs::write(folder.join("kadabra.toml"), format!("{before}{publishers}\n[nanny]{after}")).unwrap();
        let agents = (1..=agents).map(|number| Slot::new(settled, number, folder)).collect();
        Self {
            queue,
            destinations,
            way_to_queue,
            agents,
            accounts: Vec::new(),
            killed: 0,
            asked: Vec::new(),
            gate: Gate::default(),
            violations: Vec::new(),
            peak_memory: 0,
            calm: false,
        }
    }

    pub(crate) fn producers(&self, seed: u64, folder: &Path) -> Producers {
        Producers::start(seed, &self.queue, self.way_to_queue.port(), folder.join("producer.log"), &self.gate)
    }

    pub(crate) fn begin(&mut self, event: &Event) {
        match (event.lane, &event.fault) {
            (Lane::Agent(agent), Fault::Kill) => self.kill(agent),
            (Lane::Agent(agent), Fault::Terminate | Fault::Insist) => self.agents[agent].terminate(),
            (Lane::Agent(agent), Fault::Freeze) => self.agents[agent].signal("STOP"),
            (Lane::Disk, Fault::Full(bytes)) => self.agents.iter_mut().for_each(|slot| slot.set_disk(Some(*bytes))),
            (Lane::Redis, fault) if self.queue.group().is_some() && !is_told(fault) => {
                self.queue.group().into_iter().for_each(|group| group.begin(event));
            }
            (Lane::Redis, Fault::Kill) => self.queue.redis().kill9(),
            (Lane::Redis, Fault::Upgrade) => self.queue.redis().terminate(),
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
            (Lane::Destination(place), fault) => self.destinations[place].begin(fault),
            (Lane::Clock(agent), Fault::Jump(hours)) => self.agents[agent].set_clock(*hours),
            (Lane::WayToQueue, Fault::Way(mode)) => self.way_to_queue.set(mode.clone()),
            (Lane::WayToDestination(place), Fault::Way(mode)) => self.destinations[place].set_way(mode.clone()),
            (lane, fault) => panic!("{fault} is no fault of {lane:?}"),
        }
    }

    pub(crate) fn end(&mut self, event: &Event) {
        match (event.lane, &event.fault) {
            (Lane::Agent(agent), Fault::Kill) => self.agents[agent].allow(),
            (Lane::Agent(agent), Fault::Freeze) => self.agents[agent].signal("CONT"),
            (Lane::Agent(agent), Fault::Insist) => self.agents[agent].insist(),
            (Lane::Disk, _) => self.agents.iter_mut().for_each(|slot| slot.set_disk(None)),
            (Lane::Redis, fault) if self.queue.group().is_some() && !is_told(fault) => {
                self.queue.group().into_iter().for_each(|group| group.end(event));
            }
            (Lane::Redis, Fault::Kill) => self.queue.redis().restart(),
            (Lane::Redis, Fault::Upgrade) => self.queue.upgrade(),
            (Lane::Redis, Fault::Freeze) => self.queue.redis().resume(),
            (Lane::Redis, Fault::Full(_)) => self.tell_redis(&["CONFIG", "SET", "maxmemory", "0"]),
            (Lane::Redis, Fault::ReadOnly) => self.tell_redis(&["REPLICAOF", "NO", "ONE"]),
            (Lane::Destination(place), fault) => self.destinations[place].end(fault),
            (Lane::Clock(agent), _) => self.agents[agent].set_clock(0),
            (Lane::WayToQueue, _) => self.way_to_queue.set(Mode::Clear),
            (Lane::WayToDestination(place), _) => self.destinations[place].set_way(Mode::Clear),
            _ => {}
        }
    }

    fn tell_redis(&mut self, command: &[&str]) {
        let (name, arguments) = command.split_first().unwrap();
        let mut connection = self.queue.server().expect("a Redis").connection();
        let answer: redis::RedisResult<redis::Value> = redis::cmd(name).arg(arguments).query(&mut connection);
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    /// Whether this fault can begin, as it can in a Redis of several servers only when the last one has left nothing behind.
    pub(crate) fn is_ready_for(&mut self, event: &Event) -> bool {
        event.lane != Lane::Redis || self.queue.group().is_none_or(Group::is_whole)
    }

    fn kill(&mut self, agent: usize) {
        // What is dropped is counted by the agent that is killed, and by nobody else.
        let gate = Arc::clone(&self.gate);
        let nobody_pushes = self.queue.drops().then(|| gate.write().unwrap());
        let asked = nobody_pushes.as_ref().and_then(|_| self.queue.ask());
        if let Some(life) = self.agents[agent].kill() {
            self.killed += 1;
            if self.queue.drops() {
                eprintln!("           {} said before: {asked:?}", life.name);
            }
            self.asked.extend(asked);
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
        if let Some(group) = self.queue.group() {
            group.look();
            self.violations.append(&mut group.violations);
        }
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
        wait_for("all servers of the Redis to be well", 3 * PATIENCE, || {
            self.attend(Some(FailPoints::None));
            self.queue.group().is_none_or(Group::is_whole).then_some(())
        });
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

/// Whether that is done by telling the Redis that has the queue.
fn is_told(fault: &Fault) -> bool {
    matches!(fault, Fault::CloseConnections | Fault::PauseClients | Fault::FlushScripts | Fault::Full(_))
}

/// Whether new lives have fail points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailPoints {
    Drawn,
    None,
}
