//! Agents and a Redis between messages.

use std::{thread, time::Duration};

use crate::{
    Options,
    crew::Crew,
    support::{
        report::{Table, figure},
        statistics::median,
        turns::in_turns,
        usage::Usage,
        world::World,
    },
};

const AGENTS: [usize; 4] = [0, 1, 8, 64];
const TIME: Duration = Duration::from_secs(20);

struct Sample {
    /// CPU ms in a second.
    redis_cpu: f64,
    cpu: f64,
    connections: f64,
}

pub(crate) fn run(world: &mut World, options: &Options) -> String {
    let time = if options.quick { TIME / 10 } else { TIME };
    let samples = in_turns(AGENTS.len(), options.rounds, |entrant, _| measure(world, AGENTS[entrant], time));
    let mut table =
        Table::new(["agents", "Redis: CPU ms in a second", "an agent", "each agent: CPU ms in a second", "connections"]);
    let middle = |of: &[Sample], figure: fn(&Sample) -> f64| median(of.iter().map(figure));
    let alone = middle(&samples[0], |sample| sample.redis_cpu);
    for (agents, of) in AGENTS.iter().zip(&samples) {
        let (redis, each) = (middle(of, |sample| sample.redis_cpu), |value: f64| value / *agents as f64);
        table.row([
            agents.to_string(),
            figure(redis),
            figure(each(redis - alone)),
            figure(each(middle(of, |sample| sample.cpu))),
            figure(each(middle(of, |sample| sample.connections))),
        ]);
    }
    format!(
        "{} s, {} rounds; an agent looks after leases and what waits now and then.\n\n{table}",
        time.as_secs(),
        options.rounds
    )
}

fn measure(world: &mut World, agents: usize, time: Duration) -> Sample {
    world.reset(true);
    let before = connections(world);
    let crew = Crew::start(world, agents);
    world.wait_until_quiet();
    let connections = connections(world) - before;
    let used = || (Usage::of(world.redis.id()).cpu, crew.cpu());
    let begun = used();
    thread::sleep(time);
    let ended = used();
    let milliseconds = |cpu: Duration| cpu.as_secs_f64() * 1e3 / time.as_secs_f64();
    Sample { redis_cpu: milliseconds(ended.0 - begun.0), cpu: milliseconds(ended.1 - begun.1), connections }
}

/// How many clients Redis has.
fn connections(world: &World) -> f64 {
    let info: String = redis::cmd("INFO").arg("clients").query(&mut world.redis.connection()).unwrap();
    info.lines().find_map(|line| line.strip_prefix("connected_clients:")?.trim().parse().ok()).unwrap()
}
