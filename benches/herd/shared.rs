//! Many hosts that share one Redis: each has an agent that waits at the same queue. The pauses are those of the agent's own [`Wakeups`].
//! What Redis does is told here again, in a few lines: it runs one command after the other, and a message wakes all that wait, of which
//! the first that asks takes what there is.

use std::{cmp::Reverse, collections::BinaryHeap, fmt::Write, time::Duration};

use kadabra::channel::redis::Wakeups;

/// What Redis takes for a push, for an agent that is woken and looks, for a lease that is taken and settled, and for each message of it.
/// By `cargo bench --bench agents`: with no, one and many agents at 100 to 5,000 pushes a second, and by the drain.
const PUSH: Duration = Duration::from_micros(27);
const LOOK: Duration = Duration::from_micros(40);
const LEASE: Duration = Duration::from_micros(20);
const MESSAGE: Duration = Duration::from_micros(3);

/// From Redis to an agent and back.
const WAY: Duration = Duration::from_micros(200);

/// How many messages are let through before it is counted, and as many are counted; without pauses there is nothing to learn.
const MESSAGES: u32 = 50_000;
const MESSAGES_WITHOUT_PAUSES: u32 = 2_000;

/// What became of it.
struct Course {
    /// Agents that were woken, for each message.
    woken: f64,
    /// Messages in a lease.
    lease: f64,
    /// Of the time, what Redis was busy.
    busy: f64,
    /// From a push to the lease that has the message: half of all wait less, and all but one of a hundred.
    median: Duration,
    p99: Duration,
}

/// A table of it for several rates.
pub(crate) fn table() -> String {
    let mut text =
        "### A thousand hosts that share one Redis\n\nEach pushes to it and has an agent that waits there; a push takes Redis \
                    "
        .to_owned();
    let _ = write!(
        text,
        "{} µs, an agent that is woken and looks {} µs, a lease {} µs and each message of it {} µs, as measured with some agents. A \
         message wakes all that wait: in brackets, what it would be if agents that come too late did not pause. The agents take each \
         message as soon as they can, without the `batch.linger` that gathers more where messages are frequent. Virtual time.\n\n\
         | pushes/s of all | agents | Redis is busy | agents woken for each message | messages in a lease | median until it is taken | \
         p99 |\n|--:|--:|--:|--:|--:|--:|--:|\n",
        PUSH.as_micros(),
        LOOK.as_micros(),
        LEASE.as_micros(),
        MESSAGE.as_micros(),
    );
    for rate in [10.0, 100.0, 1_000.0, 10_000.0, 25_000.0] {
        for agents in [4, 1_000] {
            let [with, without] = [true, false].map(|pauses| run(agents, rate, pauses));
            let _ = writeln!(
                text,
                "| {rate} | {agents} | {:.0} % ({:.0} %) | {:.1} ({:.1}) | {:.1} ({:.1}) | {} ({}) | {} ({}) |",
                100.0 * with.busy,
                100.0 * without.busy,
                with.woken,
                without.woken,
                with.lease,
                without.lease,
                milliseconds(with.median),
                milliseconds(without.median),
                milliseconds(with.p99),
                milliseconds(without.p99),
            );
        }
    }
    text.push('\n');
    text
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Agents and a Redis, and what has happened to them.
struct Run {
    wakeups: Vec<Wakeups>,
    pauses: bool,
    rng: fastrand::Rng,
    /// Those that wait.
    waiting: Vec<usize>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    /// When each message that is in the queue was pushed.
    queue: Vec<Duration>,
    /// When Redis has done what it was asked for, and for how long it was busy.
    free_at: Duration,
    busy: Duration,
    woken: u64,
    leases: u64,
    took: Vec<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An agent that was woken asks for messages.
    Asks(usize),
    /// One that has paused waits again.
    Back(usize),
}

fn run(agents: usize, rate: f64, pauses: bool) -> Course {
    let mut run = Run {
        wakeups: (0..agents).map(|_| Wakeups::default()).collect(),
        pauses,
        rng: fastrand::Rng::with_seed(1),
        waiting: (0..agents).collect(),
        events: BinaryHeap::new(),
        queue: Vec::new(),
        free_at: Duration::ZERO,
        busy: Duration::ZERO,
        woken: 0,
        leases: 0,
        took: Vec::new(),
    };
    let (mut now, mut begun) = (Duration::ZERO, Duration::ZERO);
    let messages = if pauses { MESSAGES } else { MESSAGES_WITHOUT_PAUSES };
    for number in 0..2 * messages {
        // Pushes of many hosts that know nothing of each other.
        now += Duration::from_secs_f64(-(1.0 - run.rng.f64()).ln() / rate);
        // Redis comes to this push when it has done what it was asked for before.
        while let Some(Reverse((at, event))) = run.events.peek().copied()
            && at <= now.max(run.free_at)
        {
            run.events.pop();
            run.happens(at, event);
        }
        if number == messages {
            begun = now.max(run.free_at);
            (run.busy, run.woken, run.leases) = (Duration::ZERO, 0, 0);
            run.took.clear();
        }
        run.push(now);
    }
    run.took.sort_unstable();
    let quantile = |part: f64| run.took[((run.took.len() - 1) as f64 * part) as usize];
    Course {
        woken: run.woken as f64 / f64::from(messages),
        lease: run.took.len() as f64 / run.leases as f64,
        busy: run.busy.as_secs_f64() / (run.free_at.max(now) - begun).as_secs_f64(),
        median: quantile(0.5),
        p99: quantile(0.99),
    }
}

impl Run {
    /// Redis does something for so long, once it has done what came before: when it has done it.
    fn works(&mut self, now: Duration, time: Duration) -> Duration {
        self.free_at = self.free_at.max(now) + time;
        self.busy += time;
        self.free_at
    }

    fn push(&mut self, now: Duration) {
        self.works(now, PUSH);
        self.queue.push(now);
        for agent in std::mem::take(&mut self.waiting) {
            self.wake(now, agent);
        }
    }

    fn wake(&mut self, now: Duration, agent: usize) {
        self.woken += 1;
        let told = self.works(now, LOOK);
        self.events.push(Reverse((told + WAY, Event::Asks(agent))));
    }

    fn happens(&mut self, now: Duration, event: Event) {
        match event {
            Event::Back(agent) => self.waits(now, agent),
            Event::Asks(agent) if self.queue.is_empty() => {
                let pause = self.wakeups[agent].for_nothing(&mut self.rng);
                let pause = if self.pauses { pause } else { Duration::ZERO };
                self.events.push(Reverse((self.free_at.max(now) + WAY + pause, Event::Back(agent))));
            }
            Event::Asks(agent) => {
                let messages = u32::try_from(self.queue.len()).expect("a queue is short");
                let done = self.works(now, LEASE + MESSAGE * messages);
                self.took.extend(self.queue.drain(..).map(|pushed| done - pushed));
                self.leases += 1;
                self.wakeups[agent].of_use();
                self.events.push(Reverse((done + WAY, Event::Back(agent))));
            }
        }
    }

    fn waits(&mut self, now: Duration, agent: usize) {
        if self.queue.is_empty() {
            self.waiting.push(agent);
        } else {
            self.wake(now, agent);
        }
    }
}
