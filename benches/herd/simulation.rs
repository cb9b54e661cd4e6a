//! Agents that come back when their database does, in virtual time. The pauses are those of the agent's own [`Backoff`],
//! and how much is in flight is what its own [`Limiter`] says. What a publisher does with them is told here again, in a
//! few lines: see `write` in `src/agent/publisher.rs`, `src/agent/proving.rs`, and `src/agent/limiter/permits.rs` for what waits.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    path::Path,
    time::Duration,
};

use kadabra::{
    agent::{Failure, LIMIT_AT_FIRST, Limiter, Limits, Wrote},
    backoff::Backoff,
    config::{self, PublisherKind},
};
use tokio::time::Instant;

/// How many lines go in one request at most; see `src/publisher/isolate/mod.rs`.
pub(crate) const MAX_LINES: usize = 10_000;

/// How many lines an answer that comes too late does not split any more; there it is 64 KiB.
const SMALL: usize = 500;

/// The points of a message, and its bytes.
pub(crate) const POINTS: usize = 5;
const MESSAGE: usize = 909;

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// How many agents.
    pub(crate) agents: usize,
    /// Each with so many publishers, which have a connection and a batch of their own. All have one when the outage begins, and give it
    /// back when a question is refused as well; then as many as may be in flight.
    pub(crate) workers: usize,
    /// How many messages wait in the channel of each agent, apart from the full batches that its publishers have.
    pub(crate) backlog: usize,
    /// What a batch may have.
    pub(crate) limits: Limits,
    /// How long the database is away. Connections are refused meanwhile.
    pub(crate) outage: Duration,
    /// Within how long after its beginning all publishers have noticed, each at a time of its own.
    pub(crate) noticed_within: Duration,
    /// How many lines the database takes in a second once it is back, one request after the other. What has begun is not
    /// given up when the agent stops waiting for the answer.
    pub(crate) lines_per_second: u32,
    /// How long an agent waits for an answer.
    pub(crate) timeout: Duration,
    /// The shortest and the longest pause.
    pub(crate) backoff: (Duration, Duration),
    /// Whether pauses have jitter, as they do.
    pub(crate) jitter: bool,
    /// Whether agents begin with little after an outage, as they do; otherwise all that they may have is in flight at any time.
    pub(crate) slow_start: bool,
    /// Where the random numbers of all agents come from.
    pub(crate) seed: u64,
}

/// What became of it, by whole seconds after the return.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// Attempts in the last minute of the outage.
    pub(crate) knocks: u32,
    /// Requests.
    pub(crate) requests: Vec<u32>,
    /// The lines of these requests.
    pub(crate) lines: Vec<u32>,
    /// Agents that come for the first time after the return.
    pub(crate) agents: Vec<u32>,
    /// Requests that were not answered in time.
    pub(crate) late: u32,
    /// The lines of them, which were written in vain.
    pub(crate) in_vain: usize,
    /// When everything was written.
    pub(crate) done: Duration,
}

impl Scenario {
    /// A thousand agents with the default configuration, each with a backlog of three full batches, and a database that takes
    /// what InfluxDB takes on two cores.
    pub(crate) fn a_thousand_agents() -> Self {
        let influxdb = [("HOME", "/"), ("KADABRA_PUBLISHER__TYPE", "influxdb")];
        let settings = config::load_or(Path::new("/nonexistent"), None, influxdb).expect("the defaults are valid").settings;
        let PublisherKind::Influxdb(influxdb) = settings.publisher.kind else { unreachable!("it was asked for") };
        let limits = Limits {
            linger: Duration::ZERO,
            max_linger: Duration::ZERO,
            interval: settings.batch.interval,
            max_messages: settings.batch.max_messages,
            max_bytes: settings.batch.max_bytes,
        };
        Self {
            agents: 1_000,
            workers: settings.publisher.workers.min(LIMIT_AT_FIRST),
            backlog: messages(limits),
            limits,
            outage: Duration::from_secs(600),
            noticed_within: Duration::from_secs(1),
            lines_per_second: 400_000,
            timeout: influxdb.timeout,
            backoff: (settings.publisher.backoff_min, settings.publisher.backoff_max),
            jitter: true,
            slow_start: true,
            seed: 1,
        }
    }

    /// How many lines a full batch has.
    pub(crate) fn batch(&self) -> usize {
        messages(self.limits) * POINTS
    }

    /// How many lines are to be written in all.
    pub(crate) fn lines(&self) -> usize {
        self.agents * (self.workers * self.batch() + self.backlog * POINTS)
    }

    /// How long the database writes if nothing is written in vain and it is never idle.
    pub(crate) fn alone(&self) -> Duration {
        Duration::from_secs_f64(self.lines() as f64 / f64::from(self.lines_per_second))
    }

    /// Lets time pass until everything is written.
    pub(crate) fn run(&self) -> Course {
        let mut run = Run::new(self);
        while let Some(Reverse((now, worker, event))) = run.events.pop() {
            match event {
                Event::Attempt => run.attempt(now, worker),
                Event::Answer => run.answered(now, worker),
                Event::Late => run.late(now, worker),
            }
        }
        run.course
    }
}

/// How many messages a batch has.
fn messages(limits: Limits) -> usize {
    limits.max_messages.min(limits.max_bytes / MESSAGE).max(1)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Attempt,
    Answer,
    Late,
}

struct Run<'a> {
    scenario: &'a Scenario,
    agents: Vec<Agent>,
    workers: Vec<Worker>,
    events: BinaryHeap<Reverse<(Duration, usize, Event)>>,
    /// When the outage began.
    begun: Instant,
    /// When the database has done what it has begun.
    free_at: Duration,
    course: Course,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut seeds = fastrand::Rng::with_seed(scenario.seed);
        let batch = messages(scenario.limits);
        let mut workers: Vec<Worker> =
            (0..scenario.agents * scenario.workers).map(|_| Worker::new(scenario, batch, seeds.u64(..))).collect();
        let notices = workers.iter_mut().map(|worker| scenario.noticed_within.mul_f64(worker.rng.f64()));
        let events = notices.enumerate().map(|(index, at)| Reverse((at, index, Event::Attempt))).collect();
        let begun = Instant::now();
        let limiter = Limiter::new(scenario.workers, begun);
        let agent = Agent {
            limiter,
            writing: 0,
            waiting: VecDeque::new(),
            idle: Vec::new(),
            away: None,
            pauses: None,
            backlog: scenario.backlog,
            known: false,
        };
        let agents = vec![agent; scenario.agents];
        Self { scenario, agents, workers, events, begun, free_at: scenario.outage, course: Course::default() }
    }

    /// Writes, unless another attempt of the agent shows just now whether the database is back.
    fn attempt(&mut self, now: Duration, index: usize) {
        let agent = &mut self.agents[index / self.scenario.workers];
        if self.workers[index].pending.is_empty() && agent.away != Some(index) {
            // Another one has written something before this could ask.
            agent.idle.push(index);
            return self.load(now, index);
        }
        if agent.limiter.is_probing() && agent.writing > 0 {
            agent.waiting.push_back(index);
            return;
        }
        agent.writing += 1;
        let Some(since) = now.checked_sub(self.scenario.outage) else {
            self.course.knocks += u32::from(now + Duration::from_secs(60) >= self.scenario.outage);
            return self.failed(now, index);
        };
        if !std::mem::replace(&mut agent.known, true) {
            add(&mut self.course.agents, since, 1);
        }
        let worker = &mut self.workers[index];
        let lines = if worker.asks { 0 } else { worker.begin(now, MAX_LINES / agent.limiter.divisor()) };
        add(&mut self.course.requests, since, 1);
        add(&mut self.course.lines, since, lines);
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(lines as f64 / f64::from(self.scenario.lines_per_second));
        let patience = now + self.scenario.timeout;
        let end = if self.free_at > patience { (patience, index, Event::Late) } else { (self.free_at, index, Event::Answer) };
        self.events.push(Reverse(end));
    }

    fn late(&mut self, now: Duration, index: usize) {
        self.course.late += 1;
        if !self.workers[index].asks {
            self.course.in_vain += self.workers[index].next();
            self.workers[index].shrink();
        }
        self.failed(now, index);
    }

    fn failed(&mut self, now: Duration, index: usize) {
        let (agent, worker) = (&mut self.agents[index / self.scenario.workers], &mut self.workers[index]);
        if agent.away == Some(index) {
            let pause = worker.pause(self.scenario);
            self.events.push(Reverse((now + pause, index, Event::Attempt)));
            return self.end_attempt(now, index);
        }
        if self.scenario.slow_start {
            agent.limiter.failed(Failure::Retry, self.begun + now);
        }
        if worker.asks {
            agent.backlog += worker.pending.drain(..).sum::<usize>() / POINTS;
            if agent.away.is_none() {
                agent.away = Some(index);
                let mut pause = worker.pause(self.scenario);
                if let Some(before) = agent.pauses.take() {
                    (worker.backoff, worker.failures) = before;
                    pause += worker.pause(self.scenario);
                }
                self.events.push(Reverse((now + pause, index, Event::Attempt)));
            } else {
                worker.asks = false;
                agent.idle.push(index);
            }
            return self.end_attempt(now, index);
        }
        worker.asks = agent.limiter.is_probing();
        if agent.limiter.divisor() > 1 && self.scenario.workers - agent.idle.len() > agent.limiter.limit() {
            agent.backlog += worker.pending.drain(..).sum::<usize>() / POINTS;
            agent.idle.push(index);
            self.load(now, index);
        } else {
            let pause = worker.pause(self.scenario);
            self.events.push(Reverse((now + pause, index, Event::Attempt)));
        }
        self.end_attempt(now, index);
    }

    fn answered(&mut self, now: Duration, index: usize) {
        let (agent, worker) = (&mut self.agents[index / self.scenario.workers], &mut self.workers[index]);
        let done = self.begun + now;
        if std::mem::take(&mut worker.asks) {
            if agent.away == Some(index) {
                agent.away = None;
                agent.pauses = Some((worker.backoff.clone(), worker.failures));
                agent.idle.push(index);
                self.load(now, index);
            } else {
                self.events.push(Reverse((now, index, Event::Attempt)));
            }
            return self.end_attempt(now, index);
        }
        (agent.away, agent.pauses) = (None, None);
        if self.scenario.slow_start {
            agent.limiter.answered(self.begun + worker.begun, done);
        }
        worker.pending.pop();
        if worker.pending.is_empty() {
            let (points, full) = (worker.loaded * POINTS, worker.loaded > messages(self.scenario.limits) / 2);
            if self.scenario.slow_start {
                agent.limiter.wrote(Wrote { points, full, begun: self.begun + worker.first, done });
            }
            self.course.done = self.course.done.max(now - self.scenario.outage);
            agent.idle.push(index);
            self.load(now, index);
        } else {
            self.events.push(Reverse((now, index, Event::Attempt)));
        }
        self.end_attempt(now, index);
    }

    /// Publishers that are free get batches, as many as may be in flight.
    fn load(&mut self, now: Duration, index: usize) {
        let agent = &mut self.agents[index / self.scenario.workers];
        while agent.away.is_none()
            && self.scenario.workers - agent.idle.len() < agent.limiter.limit()
            && agent.backlog > 0
            && let Some(free) = agent.idle.pop()
        {
            let batch = agent.backlog.min(messages(agent.limiter.limits(self.scenario.limits)));
            agent.backlog -= batch;
            self.workers[free].load(self.scenario, batch);
            self.events.push(Reverse((now, free, Event::Attempt)));
        }
    }

    /// What waits goes on.
    fn end_attempt(&mut self, now: Duration, index: usize) {
        let agent = &mut self.agents[index / self.scenario.workers];
        agent.writing -= 1;
        for waiting in std::mem::take(&mut agent.waiting) {
            self.attempt(now, waiting);
        }
    }
}

fn add(seconds: &mut Vec<u32>, since: Duration, count: usize) {
    let second = usize::try_from(since.as_secs()).expect("a simulation is short");
    seconds.resize(seconds.len().max(second + 1), 0);
    seconds[second] += u32::try_from(count).expect("a request is small");
}

#[derive(Clone)]
struct Agent {
    limiter: Limiter,
    /// How many attempts are under way.
    writing: usize,
    /// The publishers that wait for the attempt that is.
    waiting: VecDeque<usize>,
    /// The publishers without a batch.
    idle: Vec<usize>,
    /// The publisher that asks when the database is back, while nothing is in flight.
    away: Option<usize>,
    /// Its pauses, until something was written.
    pauses: Option<(Backoff, u32)>,
    /// The messages in its channel.
    backlog: usize,
    /// Whether it has come back.
    known: bool,
}

struct Worker {
    rng: fastrand::Rng,
    backoff: Backoff,
    /// How many pauses this batch has had; only for pauses without jitter.
    failures: u32,
    /// The lines of each request that is left of the batch, the next one last.
    pending: Vec<usize>,
    /// Whether it asks without any line before it writes.
    asks: bool,
    /// How many messages the batch has.
    loaded: usize,
    /// When its first attempt began, and the last.
    first: Duration,
    begun: Duration,
}

impl Worker {
    fn new(scenario: &Scenario, batch: usize, seed: u64) -> Self {
        let backoff = Backoff::new(scenario.backoff.0, scenario.backoff.1);
        let mut worker = Self {
            rng: fastrand::Rng::with_seed(seed),
            backoff,
            failures: 0,
            pending: Vec::new(),
            asks: false,
            loaded: 0,
            first: Duration::ZERO,
            begun: Duration::ZERO,
        };
        worker.load(scenario, batch);
        worker
    }

    /// Begins a batch of so many messages, and with it a back-off.
    fn load(&mut self, scenario: &Scenario, batch: usize) {
        self.backoff = Backoff::new(scenario.backoff.0, scenario.backoff.1);
        (self.failures, self.asks, self.loaded, self.first) = (0, false, batch, Duration::MAX);
        let lines = batch * POINTS;
        self.pending.extend(Some(lines % MAX_LINES).filter(|rest| *rest > 0));
        self.pending.extend(std::iter::repeat_n(MAX_LINES, lines / MAX_LINES));
    }

    /// Begins the next request, with so many lines at most, and says how many.
    fn begin(&mut self, now: Duration, most: usize) -> usize {
        (self.begun, self.first) = (now, self.first.min(now));
        if let Some(lines) = self.pending.pop_if(|lines| *lines > most) {
            self.pending.extend([lines - most, most]);
        }
        self.next()
    }

    /// The lines of the next request.
    fn next(&self) -> usize {
        *self.pending.last().expect("a worker without work makes no attempt")
    }

    fn pause(&mut self, scenario: &Scenario) -> Duration {
        if scenario.jitter {
            return self.backoff.next(&mut self.rng);
        }
        let pause = scenario.backoff.0.saturating_mul(2_u32.saturating_pow(self.failures)).min(scenario.backoff.1);
        self.failures += 1;
        pause
    }

    /// After an answer that did not come in time.
    fn shrink(&mut self) {
        if let Some(lines) = self.pending.pop_if(|lines| *lines > SMALL) {
            self.pending.extend([lines - lines / 2, lines / 2]);
        }
    }
}
