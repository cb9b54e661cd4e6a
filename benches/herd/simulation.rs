//! Agents that come back when their database does, in virtual time. The pauses are those of the agent's own [`Backoff`];
//! what a publisher does with them is told here again, in a few lines: see `write` in `src/agent/publisher.rs`.

use std::{cmp::Reverse, collections::BinaryHeap, path::Path, time::Duration};

use kadabra::{
    backoff::Backoff,
    config::{self, PublisherKind},
};

/// How many lines go in one request at most; see `src/publisher/influxdb/isolate.rs`.
pub(crate) const MAX_LINES: u32 = 10_000;

/// How many lines an answer that comes too late does not split any more; there it is 64 KiB.
const SMALL: u32 = 500;

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// How many agents.
    pub(crate) agents: usize,
    /// Each with so many publishers, which have a connection and a batch of their own.
    pub(crate) workers: usize,
    /// How many batches wait in the channel of each agent, apart from those that its publishers hold.
    pub(crate) backlog: usize,
    /// How many lines a batch has.
    pub(crate) lines: u32,
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
    /// Agents that come for the first time after the return.
    pub(crate) agents: Vec<u32>,
    /// Requests that were not answered in time.
    pub(crate) late: u32,
    /// When everything was written.
    pub(crate) done: Duration,
}

impl Scenario {
    /// A thousand agents with the default configuration, each with a backlog of three full batches, and a database that takes
    /// what InfluxDB takes on two cores.
    pub(crate) fn a_thousand_agents() -> Self {
        let influxdb = [("KADABRA_PUBLISHER__TYPE", "influxdb")];
        let settings = config::load_or(Path::new("/nonexistent"), None, influxdb).expect("the defaults are valid").settings;
        let PublisherKind::Influxdb(influxdb) = settings.publisher.kind else { unreachable!("it was asked for") };
        Self {
            agents: 1_000,
            workers: settings.publisher.workers,
            backlog: 1,
            // Messages of 909 bytes and 5 points.
            lines: u32::try_from(settings.batch.max_bytes / 909 * 5).expect("a batch is small"),
            outage: Duration::from_secs(600),
            noticed_within: Duration::from_secs(1),
            lines_per_second: 400_000,
            timeout: influxdb.timeout,
            backoff: (settings.publisher.backoff_min, settings.publisher.backoff_max),
            jitter: true,
            seed: 1,
        }
    }

    /// Lets time pass until everything is written.
    pub(crate) fn run(&self) -> Course {
        let mut seeds = fastrand::Rng::with_seed(self.seed);
        let mut workers: Vec<Worker> = (0..self.agents * self.workers).map(|_| Worker::new(self, seeds.u64(..))).collect();
        let mut backlogs = vec![self.backlog; self.agents];
        let mut known = vec![false; self.agents];
        let mut attempts: BinaryHeap<Reverse<(Duration, usize)>> =
            workers.iter_mut().enumerate().map(|(index, worker)| Reverse((worker.notices(self), index))).collect();
        let mut course = Course::default();
        let mut free_at = self.outage;
        while let Some(Reverse((now, index))) = attempts.pop() {
            let (worker, agent) = (&mut workers[index], index / self.workers);
            let Some(since) = now.checked_sub(self.outage) else {
                course.knocks += u32::from(now + Duration::from_secs(60) >= self.outage);
                attempts.push(Reverse((now + worker.pause(self), index)));
                continue;
            };
            count(&mut course.requests, since);
            if !std::mem::replace(&mut known[agent], true) {
                count(&mut course.agents, since);
            }
            let lines = *worker.pending.last().expect("a worker without work makes no attempt");
            free_at = free_at.max(now) + Duration::from_secs_f64(f64::from(lines) / f64::from(self.lines_per_second));
            if free_at > now + self.timeout {
                course.late += 1;
                worker.shrink();
                attempts.push(Reverse((now + self.timeout + worker.pause(self), index)));
                continue;
            }
            worker.pending.pop();
            if worker.pending.is_empty() {
                if backlogs[agent] == 0 {
                    course.done = course.done.max(free_at - self.outage);
                    continue;
                }
                backlogs[agent] -= 1;
                worker.load(self);
            }
            attempts.push(Reverse((free_at, index)));
        }
        course
    }
}

fn count(seconds: &mut Vec<u32>, since: Duration) {
    let second = usize::try_from(since.as_secs()).expect("a simulation is short");
    seconds.resize(seconds.len().max(second + 1), 0);
    seconds[second] += 1;
}

struct Worker {
    rng: fastrand::Rng,
    backoff: Backoff,
    /// How many pauses this batch has had; only for pauses without jitter.
    failures: u32,
    /// The lines of each request that is left of the batch, the next one last.
    pending: Vec<u32>,
}

impl Worker {
    fn new(scenario: &Scenario, seed: u64) -> Self {
        let backoff = Backoff::new(scenario.backoff.0, scenario.backoff.1);
        let mut worker = Self { rng: fastrand::Rng::with_seed(seed), backoff, failures: 0, pending: Vec::new() };
        worker.load(scenario);
        worker
    }

    /// Begins a batch, and with it a back-off.
    fn load(&mut self, scenario: &Scenario) {
        self.backoff = Backoff::new(scenario.backoff.0, scenario.backoff.1);
        self.failures = 0;
        let whole = (scenario.lines / MAX_LINES) as usize;
        self.pending.extend(Some(scenario.lines % MAX_LINES).filter(|rest| *rest > 0));
        self.pending.extend(std::iter::repeat_n(MAX_LINES, whole));
    }

    fn notices(&mut self, scenario: &Scenario) -> Duration {
        scenario.noticed_within.mul_f64(self.rng.f64())
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
