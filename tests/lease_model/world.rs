//! Some agents, one Redis, one InfluxDB, and all that can happen to them.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use super::{
    agent::{Agent, Plan, Settlement, Wire, Work, is_refused},
    redis::{Command, Held, Message, Name, Redis, Wrong},
};

/// How large the world is, and how much goes wrong in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Protocol {
    pub(super) agents: usize,
    /// All messages, from the oldest to the newest: so many adopted before, so many left in progress, so many orphaned,
    /// the others queued.
    pub(super) messages: u8,
    pub(super) adopted: u8,
    pub(super) left: u8,
    /// In a list that belongs to no lease, as an older version has left it; they come before those that are queued.
    pub(super) orphaned: u8,
    /// How many messages a lease has at most.
    pub(super) demand: usize,
    /// How many faults there can be, of whatever kind.
    pub(super) faults: u8,
    /// How often a replica may take the place of the primary.
    pub(super) failovers: u8,
    pub(super) wrong: Option<Wrong>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) redis: Redis,
    pub(super) agents: Vec<Agent>,
    /// Commands under way whose answers nobody waits for; sorted.
    strays: Vec<Stray>,
    written: BTreeSet<Message>,
    /// How many more there can be.
    faults: u8,
    /// What a replica has that gets nothing any more, and will be the primary.
    replica: Option<Redis>,
    /// How many more may fall behind.
    failovers: u8,
    /// Whether some of what the agents have heard of is undone.
    pub(super) undone: bool,
}

/// A command that somebody sent and gave up on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stray {
    /// Whose tally it is about; nobody's when that process has ended.
    agent: Option<usize>,
    command: Command,
}

/// Of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    Work,
    Nanny,
}

/// What can happen, to the agent of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Take(usize),
    WriteAndComplete(usize),
    CompleteAgain(usize),
    GiveBackDropped(usize),
    ReadExpired(usize, Name),
    TakeBackExpired(usize),
    ReadInProgress(usize),
    Adopt(usize),
    /// Among all keys; a fault where that list's lease is registered, since nothing need be done with it.
    ReadList(usize, Name),
    Sweep(usize),
    Execute(usize, Thread),
    Answer(usize, Thread),
    /// A stray, by its place; it may be never.
    ExecuteLate(usize),
    // Faults from here on.
    GiveUp(usize, Thread),
    Drop(usize),
    Close(usize),
    Kill(usize),
    Sleep(Name),
    Renew(usize),
    /// The replica gets no more of what the primary does.
    FallBehind,
    /// It takes the primary's place, and all connections end.
    FailOver,
}

impl World {
    /// What happens some time if nothing goes wrong, in whatever order.
    pub(super) fn goes_on(&self, protocol: &Protocol, events: &mut Vec<Event>) {
        for (number, agent) in self.agents.iter().enumerate().filter(|(_, agent)| !agent.dead) {
            match (&agent.work, &agent.work_wire) {
                (_, Some(Wire::Sent(_))) => events.push(Event::Execute(number, Thread::Work)),
                (_, Some(Wire::Answered(..))) => events.push(Event::Answer(number, Thread::Work)),
                (Work::Idle, None) if !(self.redis.queue.is_empty() && self.redis.adopted.is_empty()) => {
                    events.push(Event::Take(number));
                }
                (Work::Held(lease), None) if lease.tried.is_some() => events.push(Event::CompleteAgain(number)),
                (Work::Held(_), None) => events.push(Event::WriteAndComplete(number)),
                _ => {}
            }
            match (&agent.plan, &agent.nanny_wire) {
                (_, Some(Wire::Sent(_))) => events.push(Event::Execute(number, Thread::Nanny)),
                (_, Some(Wire::Answered(..))) => events.push(Event::Answer(number, Thread::Nanny)),
                (Plan::Expired(_), None) => events.push(Event::TakeBackExpired(number)),
                (Plan::Adopt(_), None) => events.push(Event::Adopt(number)),
                (Plan::Sweep(_), None) => events.push(Event::Sweep(number)),
                (Plan::None, None) => {
                    if !agent.dropped.is_empty() {
                        events.push(Event::GiveBackDropped(number));
                    }
                    if protocol.wrong != Some(Wrong::NobodyTakesBack) {
                        let expired = self.redis.leases.iter().filter(|(name, expired)| **expired || !self.in_hands(**name));
                        events.extend(expired.map(|(name, _)| Event::ReadExpired(number, *name)));
                    }
                    if !self.redis.inprogress.is_empty() {
                        events.push(Event::ReadInProgress(number));
                    }
                    if protocol.wrong != Some(Wrong::NobodySweeps) {
                        let orphans = self.redis.lists.keys().filter(|name| !self.redis.leases.contains_key(name));
                        events.extend(orphans.map(|name| Event::ReadList(number, *name)));
                    }
                }
            }
        }
    }

    fn goes_wrong(&self, events: &mut Vec<Event>) {
        events.extend((0..self.strays.len()).map(Event::ExecuteLate));
        if self.replica.is_some() {
            events.push(Event::FailOver);
        } else if self.failovers > 0 {
            events.push(Event::FallBehind);
        }
        if self.faults == 0 {
            return;
        }
        for (number, agent) in self.agents.iter().enumerate().filter(|(_, agent)| !agent.dead) {
            if let Some(Wire::Sent(_)) = agent.work_wire {
                events.push(Event::GiveUp(number, Thread::Work));
            }
            if let Some(Wire::Sent(_)) = agent.nanny_wire {
                events.push(Event::GiveUp(number, Thread::Nanny));
            }
            if agent.work != Work::Idle {
                events.push(Event::Drop(number));
            }
            if matches!(&agent.work, Work::Held(lease) if lease.tried.is_none()) {
                events.push(Event::Close(number));
            }
            if *agent != Agent::default() {
                events.push(Event::Kill(number));
            }
            if agent.plan == Plan::None && agent.nanny_wire.is_none() {
                events.extend(agent.live().map(|_| Event::Renew(number)));
                let registered = self.redis.lists.keys().filter(|name| self.redis.leases.contains_key(name));
                events.extend(registered.map(|name| Event::ReadList(number, *name)));
            }
        }
        let unexpired = self.redis.leases.iter().filter(|(name, expired)| !**expired && self.in_hands(**name));
        events.extend(unexpired.map(|(name, _)| Event::Sleep(*name)));
    }

    /// Whether somebody works with a lease who is not asleep for as long as one lasts.
    fn in_hands(&self, name: Name) -> bool {
        self.agents.iter().any(|agent| match &agent.work {
            Work::Idle => false,
            Work::Taking { name: theirs, .. } => *theirs == name,
            Work::Held(lease) => !lease.struck && lease.name == name,
        })
    }

    fn happens(&mut self, event: Event, protocol: &Protocol) {
        match event {
            Event::Take(agent) => {
                let name = self.unknown_name(agent);
                self.agents[agent].take(name, true);
            }
            Event::WriteAndComplete(agent) => {
                if let Work::Held(lease) = &self.agents[agent].work {
                    self.written.extend(lease.messages.iter().filter(|message| !is_refused(**message)));
                }
                self.agents[agent].settle(Settlement::Completed);
            }
            Event::CompleteAgain(agent) => self.agents[agent].settle(Settlement::Completed),
            Event::GiveBackDropped(agent) => self.agents[agent].give_back_dropped(protocol.wrong),
            Event::ReadExpired(agent, name) => {
                // When nobody renews it, it expires before somebody reads that it has: no earlier matters to anybody.
                self.redis.leases.insert(name, true);
                self.agents[agent].plan = Plan::Expired(name);
            }
            Event::TakeBackExpired(agent) => {
                let agent = &mut self.agents[agent];
                let Plan::Expired(name) = std::mem::take(&mut agent.plan) else { return };
                let ours = agent.live().is_some_and(|lease| lease.name == name);
                let command = if ours { Command::Renew { name } } else { Command::Release { name, held: Held::ByNobody } };
                agent.nanny_wire = Some(Wire::Sent(command));
            }
            Event::ReadInProgress(agent) => {
                self.agents[agent].plan = self.redis.snapshot().map_or(Plan::None, Plan::Adopt);
            }
            Event::Adopt(agent) => {
                let agent = &mut self.agents[agent];
                let Plan::Adopt(snapshot) = std::mem::take(&mut agent.plan) else { return };
                agent.nanny_wire = Some(Wire::Sent(Command::Adopt { snapshot }));
            }
            Event::ReadList(agent, name) => {
                self.faults -= u8::from(self.redis.leases.contains_key(&name));
                self.agents[agent].plan = Plan::Sweep(name);
            }
            Event::Sweep(agent) => {
                let agent = &mut self.agents[agent];
                let Plan::Sweep(name) = std::mem::take(&mut agent.plan) else { return };
                agent.nanny_wire = Some(Wire::Sent(Command::Sweep { name }));
            }
            Event::Execute(agent, thread) => {
                let wire = self.wire(agent, thread).take();
                let Some(Wire::Sent(command)) = wire else { return };
                let answer = self.execute(&command, Some(agent), protocol);
                // When it comes to hear of it matters to nobody else.
                if thread == Thread::Nanny && !matches!(command, Command::Renew { .. }) {
                    return self.agents[agent].nanny_answered(&command, &answer);
                }
                *self.wire(agent, thread) = Some(Wire::Answered(command, answer));
            }
            Event::Answer(agent, thread) => {
                let wire = self.wire(agent, thread).take();
                let Some(Wire::Answered(command, answer)) = wire else { return };
                let agent = &mut self.agents[agent];
                match thread {
                    Thread::Work => agent.work_answered(&command, answer, protocol.demand, protocol.wrong),
                    Thread::Nanny => agent.nanny_answered(&command, &answer),
                }
            }
            Event::ExecuteLate(place) => {
                let Stray { agent, command } = self.strays.remove(place);
                self.execute(&command, agent, protocol);
            }
            Event::GiveUp(agent, thread) => {
                self.faults -= 1;
                let command = match thread {
                    Thread::Work => self.agents[agent].give_up_work(protocol.wrong),
                    Thread::Nanny => self.agents[agent].give_up_nanny(),
                };
                self.stray(command, Some(agent));
            }
            Event::Drop(agent) => {
                self.faults -= 1;
                let command = self.agents[agent].drop_lease(protocol.wrong);
                self.stray(command, Some(agent));
            }
            Event::Close(agent) => {
                self.faults -= 1;
                self.agents[agent].settle(Settlement::Released);
            }
            Event::Kill(agent) => self.kill(agent, protocol.wrong),
            Event::Sleep(name) => {
                self.faults -= 1;
                self.redis.leases.insert(name, true);
            }
            Event::Renew(agent) => {
                self.faults -= 1;
                let agent = &mut self.agents[agent];
                let name = agent.live().unwrap().name;
                agent.nanny_wire = Some(Wire::Sent(Command::Renew { name }));
            }
            Event::FallBehind => {
                self.failovers -= 1;
                self.replica = Some(self.redis.clone());
            }
            Event::FailOver => self.fail_over(protocol.wrong),
        }
    }

    /// What is under way is never executed where it matters any more.
    fn fail_over(&mut self, wrong: Option<Wrong>) {
        let Some(replica) = self.replica.take() else { return };
        self.redis = replica;
        self.undone = true;
        self.strays.clear();
        for agent in &mut self.agents {
            if let Some(Wire::Sent(_)) = agent.work_wire {
                drop(agent.give_up_work(wrong));
            }
            if let Some(Wire::Sent(_)) = agent.nanny_wire {
                drop(agent.give_up_nanny());
            }
        }
    }

    fn wire(&mut self, agent: usize, thread: Thread) -> &mut Option<Wire> {
        let agent = &mut self.agents[agent];
        match thread {
            Thread::Work => &mut agent.work_wire,
            Thread::Nanny => &mut agent.nanny_wire,
        }
    }

    fn execute(&mut self, command: &Command, agent: Option<usize>, protocol: &Protocol) -> super::redis::Answer {
        let (done, dead) = (self.redis.done.len(), self.redis.dead.len());
        let answer = self.redis.execute(command, protocol.wrong);
        if let Some(agent) = agent {
            let tally = &mut self.agents[agent].tally;
            tally.unpublished += i8::try_from(self.redis.done.len() - done).unwrap();
            tally.unparked += i8::try_from(self.redis.dead.len() - dead).unwrap();
        }
        answer
    }

    fn stray(&mut self, command: Option<Command>, agent: Option<usize>) {
        self.strays.extend(command.map(|command| Stray { agent, command }));
    }

    fn kill(&mut self, number: usize, wrong: Option<Wrong>) {
        self.faults -= 1;
        let mut agent = std::mem::take(&mut self.agents[number]);
        for stray in self.strays.iter_mut().filter(|stray| stray.agent == Some(number)) {
            stray.agent = None;
        }
        let command = agent.drop_lease(wrong);
        self.stray(command, None);
        self.stray(agent.give_up_nanny(), None);
        // Only the last one starts anew: to have fewer in the end is harder.
        self.agents[number].dead = self.agents.iter().filter(|agent| !agent.dead).count() > 1;
    }

    /// A name that neither Redis nor anybody else knows.
    fn unknown_name(&self, agent: usize) -> Name {
        let agent = u8::try_from(agent).unwrap();
        let known = self.known_names();
        let numbers = known.iter().filter(|name| name.agent == agent).map(|name| name.number);
        Name { agent, number: (0..).find(|number| !numbers.clone().any(|known| known == *number)).unwrap(), adopted: false }
    }

    fn known_names(&self) -> BTreeSet<Name> {
        let servers = [&self.redis].into_iter().chain(&self.replica);
        let mut names: BTreeSet<Name> =
            servers.flat_map(|redis| redis.leases.keys().chain(redis.lists.keys())).copied().collect();
        let of = |command: &Command| match *command {
            Command::Take { name, .. }
            | Command::Complete { name, .. }
            | Command::Release { name, .. }
            | Command::Renew { name }
            | Command::Sweep { name } => Some(name),
            Command::Adopt { .. } => None,
        };
        for agent in &self.agents {
            match &agent.work {
                Work::Idle => {}
                Work::Taking { name, .. } => drop(names.insert(*name)),
                Work::Held(lease) => drop(names.insert(lease.name)),
            }
            names.extend(agent.dropped.iter().map(|lease| lease.name));
            for wire in agent.work_wire.iter().chain(&agent.nanny_wire) {
                let (Wire::Sent(command) | Wire::Answered(command, _)) = wire;
                names.extend(of(command));
            }
            if let Plan::Expired(name) | Plan::Sweep(name) = agent.plan {
                names.insert(name);
            }
        }
        names.extend(self.strays.iter().filter_map(|stray| of(&stray.command)));
        names
    }

    /// What no property depends on does not make a state another one.
    fn normalise(&mut self) {
        self.strays.sort_unstable();
        self.redis.done.sort_unstable();
        self.redis.dead.sort_unstable();
        let known = self.known_names();
        for redis in [&mut self.redis].into_iter().chain(&mut self.replica) {
            redis.marks.retain(|name| known.contains(name));
            redis.ended.retain(|name| known.contains(name));
        }
    }

    /// How often a message is where a message can be.
    fn places(&self, message: Message) -> usize {
        let redis = &self.redis;
        let known = |name: &Name| *name == ORPHAN || redis.leases.contains_key(name);
        let lists = redis.lists.iter().filter(|(name, _)| known(name)).map(|(_, list)| list);
        [&redis.queue, &redis.adopted, &redis.inprogress, &redis.dead, &redis.done]
            .into_iter()
            .chain(lists)
            .flatten()
            .filter(|found| **found == message)
            .count()
    }
}

/// Under which name messages are orphaned: no agent's.
const ORPHAN: Name = Name { agent: u8::MAX, number: 0, adopted: false };

pub(super) const ONE_PLACE: &str = "every message is in exactly one place";
pub(super) const WRITTEN: &str = "a message is done only if it was written";
pub(super) const PARKED_ONCE: &str = "no message is parked twice";
pub(super) const PARKED_RIGHTLY: &str = "what is parked is a message that was refused";
pub(super) const UNTOUCHED: &str = "no sweep changes a lease that is registered";
pub(super) const FENCED: &str = "a lease that was settled or taken back is not settled again";
pub(super) const BALANCES: &str = "what an agent has leased and not accounted for is what it holds";
pub(super) const TRUE: &str = "an agent counts as done what it has done: no more, and in the end no less";
pub(super) const ENDS: &str = "when nothing goes on any more, everything is done";

impl Model for Protocol {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let left = self.adopted + self.left;
        let orphaned = left + self.orphaned;
        let mut redis = Redis {
            adopted: (0..self.adopted).collect(),
            inprogress: (self.adopted..left).collect(),
            queue: (orphaned..self.messages).collect(),
            ..Redis::default()
        };
        if self.orphaned > 0 {
            redis.lists.insert(ORPHAN, (left..orphaned).collect());
        }
        let agents = vec![Agent::default(); self.agents];
        let written = BTreeSet::new();
        let (faults, failovers) = (self.faults, self.failovers);
        vec![World { redis, agents, strays: Vec::new(), written, faults, replica: None, failovers, undone: false }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        world.goes_on(self, events);
        world.goes_wrong(events);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        next.happens(event, self);
        next.normalise();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_PLACE, |protocol: &Self, world: &World| {
                (0..protocol.messages).all(|message| world.places(message) == 1)
            }),
            Property::always(WRITTEN, |_, world: &World| world.redis.done.iter().all(|message| world.written.contains(message))),
            Property::always(PARKED_ONCE, |_, world: &World| world.redis.dead.windows(2).all(|pair| pair[0] != pair[1])),
            Property::always(PARKED_RIGHTLY, |protocol: &Self, world: &World| {
                world.redis.dead.iter().all(|message| *message < protocol.messages && is_refused(*message))
            }),
            Property::always(UNTOUCHED, |_, world: &World| !world.redis.swept_a_lease),
            Property::always(FENCED, |_, world: &World| !world.redis.ended_twice),
            Property::always(BALANCES, |_, world: &World| world.agents.iter().all(Agent::balances)),
            // What was counted before it was undone is counted once more when it is done again.
            Property::always(TRUE, |_, world: &World| world.undone || world.agents.iter().all(Agent::tells_the_truth)),
            Property::always(ENDS, |protocol: &Self, world: &World| {
                let mut events = Vec::new();
                world.goes_on(protocol, &mut events);
                let ended = world.redis.done.len() + world.redis.dead.len();
                !events.is_empty() || ended >= usize::from(protocol.messages)
            }),
        ]
    }
}
