//! A queue that is full when all agents wait.

use std::time::{Duration, Instant};

use crate::{
    Options,
    crew::Crew,
    support::{
        message,
        report::{Table, figure},
        statistics::{median, range},
        turns::in_turns,
        usage::Usage,
        world::World,
    },
};

const MESSAGES: u64 = 200_000;
const AGENTS: [usize; 4] = [1, 2, 4, 8];

struct Sample {
    rate: f64,
    cpu: f64,
    redis_cpu: f64,
    /// Of an even share, the fewest and the most.
    shares: (f64, f64),
}

pub(crate) fn run(world: &mut World, options: &Options) -> String {
    let count = options.count(MESSAGES);
    let samples = in_turns(AGENTS.len(), options.rounds, |entrant, _| drain(world, AGENTS[entrant], count));
    let mut table = Table::new(["agents", "messages/s", "of one agent", "CPU µs", "Redis CPU µs", "Redis ends at", "shares"]);
    for (agents, of) in AGENTS.iter().zip(&samples) {
        let middle = |figure: fn(&Sample) -> f64| median(of.iter().map(figure));
        let ratios: Vec<f64> = of.iter().zip(&samples[0]).map(|(one, first)| one.rate / first.rate).collect();
        let (low, high) = range(ratios.iter().copied());
        let redis = middle(|sample| sample.redis_cpu);
        table.row([
            agents.to_string(),
            figure(middle(|sample| sample.rate)),
            format!("{} ({}–{})", figure(median(ratios.iter().copied())), figure(low), figure(high)),
            figure(middle(|sample| sample.cpu)),
            figure(redis),
            figure(1e6 / redis),
            format!("{}–{}", figure(middle(|sample| sample.shares.0)), figure(middle(|sample| sample.shares.1))),
        ]);
    }
    format!("{} messages of {} bytes, {} rounds.\n\n{table}", figure(count as f64), message::BYTES, options.rounds)
}

fn drain(world: &mut World, agents: usize, count: u64) -> Sample {
    world.reset(true);
    world.prepare(count);
    let crew = Crew::start(world, agents);
    world.wait_until_quiet();
    let usage = |crew: &Crew, world: &World| (crew.cpu(), Usage::of(world.redis.id()).cpu);
    let before = usage(&crew, world);
    let begun = Instant::now();
    world.release();
    let (published, end) = crew.published(count);
    while !world.is_drained() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let after = usage(&crew, world);
    let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
    let even = count as f64 / agents as f64;
    let sample = Sample {
        rate: count as f64 / (end - begun).as_secs_f64(),
        cpu: micros(after.0 - before.0),
        redis_cpu: micros(after.1 - before.1),
        shares: range(published.iter().map(|published| *published as f64 / even)),
    };
    eprintln!("{agents} agents: {} messages/s, Redis {} µs", figure(sample.rate), figure(sample.redis_cpu));
    sample
}
