//! Messages one after the other, to agents that wait for them.

use std::time::Duration;

use redis::Commands;

use crate::{
    Options,
    crew::Crew,
    support::{
        load::Load,
        report::{Table, figure},
        statistics::median,
        turns::in_turns,
        usage::Usage,
        world::World,
    },
};

const RATES: [f64; 3] = [100.0, 1_000.0, 5_000.0];
const AGENTS: [usize; 5] = [0, 1, 4, 16, 64];
const CLIENTS: usize = 50;
const SECONDS: f64 = 5.0;

#[derive(Clone, Copy)]
struct Sample {
    cpu: f64,
    redis_cpu: f64,
    commands: f64,
}

pub(crate) fn run(world: &mut World, options: &Options) -> String {
    let seconds = if options.quick { SECONDS / 10.0 } else { SECONDS };
    let entrants: Vec<(usize, f64)> = RATES.iter().flat_map(|rate| AGENTS.map(|agents| (agents, *rate))).collect();
    let samples = in_turns(entrants.len(), options.rounds, |entrant, _| {
        let (agents, rate) = entrants[entrant];
        measure(world, agents, rate, seconds)
    });
    let mut table = Table::new(["agents; pushes/s", "CPU µs", "Redis CPU µs", "Redis ends at", "commands a message"]);
    for ((agents, rate), of) in entrants.iter().zip(&samples) {
        let middle = |figure: fn(&Sample) -> f64| median(of.iter().map(figure));
        let redis = middle(|sample| sample.redis_cpu);
        table.row([
            format!("{agents}; {}", figure(*rate)),
            figure(middle(|sample| sample.cpu)),
            figure(redis),
            figure(1e6 / redis),
            figure(middle(|sample| sample.commands)),
        ]);
    }
    format!(
        "{CLIENTS} clients push for {seconds} s, {} rounds. Without agents messages are only queued. The commands that Redis runs are \
         those of clients and of scripts.\n\n{table}",
        options.rounds
    )
}

fn measure(world: &mut World, agents: usize, rate: f64, seconds: f64) -> Sample {
    world.reset(true);
    let crew = Crew::start(world, agents);
    world.wait_until_quiet();
    let load = Load::soon(0, rate, seconds);
    let used = |world: &World| (crew.cpu(), Usage::of(world.redis.id()).cpu, commands(&mut world.redis.connection()));
    let before = used(world);
    load.push(&[world.redis.url()], CLIENTS);
    if agents > 0 {
        crew.published(load.count);
        while !world.is_drained() {
            std::thread::sleep(Duration::from_millis(2));
        }
    } else {
        let waiting: u64 = world.redis.connection().llen(crate::support::world::QUEUE).unwrap();
        assert_eq!(waiting, load.count);
    }
    let after = used(world);
    let count = load.count as f64;
    let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count;
    let sample =
        Sample { cpu: micros(after.0 - before.0), redis_cpu: micros(after.1 - before.1), commands: (after.2 - before.2) / count };
    eprintln!(
        "{agents} agents, {rate} pushes/s: Redis {} µs, {} commands a message",
        figure(sample.redis_cpu),
        figure(sample.commands)
    );
    sample
}

/// How many commands Redis has run so far.
fn commands(connection: &mut redis::Connection) -> f64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
    let calls = info.lines().filter_map(|line| line.split_once(":calls=")?.1.split(',').next()?.parse::<f64>().ok());
    calls.sum()
}
