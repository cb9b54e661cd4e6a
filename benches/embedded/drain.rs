//! How fast an agent empties a full queue.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use redis::Commands;

use super::Options;
use crate::{
    servers::agent::Builder,
    support::{
        message,
        queue::{Own, from_redis},
        report::{Table, Targets, figure, megabytes},
        sink::{Answered, Sink},
        statistics::{median, range},
        usage::Usage,
        world::{QUEUE, World, wait_for_rest},
    },
};

const MESSAGES: u64 = 100_000;

const PATIENCE: Duration = Duration::from_secs(600);

struct Drained {
    rate: f64,
    cpu_us: f64,
    peak_rss: f64,
}

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let messages = options.count(MESSAGES);
    let mut table =
        Table::new(["to", "messages/s", "from Redis", "ratio", "CPU µs", "agent + Redis", "peak RSS MB", "from Redis"]);
    for name in ["null", "InfluxDB"] {
        let influxd = world.influxd.url();
        let (sink, answered) = Sink::that_tells((name != "null").then_some(influxd.as_str()));
        let rounds: Vec<(Drained, Drained)> = (0..options.rounds)
            .map(|round| {
                let (own, redis) = if round % 2 == 0 {
                    let own = own(world, &sink, &answered, messages);
                    (own, redis(world, &sink, &answered, messages))
                } else {
                    let redis = redis(world, &sink, &answered, messages);
                    (own(world, &sink, &answered, messages), redis)
                };
                eprintln!("to {name}: {} messages/s, from Redis {}", figure(own.rate), figure(redis.rate));
                (own, redis)
            })
            .collect();
        let own = |of: fn(&Drained) -> f64| median(rounds.iter().map(|(own, _)| of(own)));
        let redis = |of: fn(&Drained) -> f64| median(rounds.iter().map(|(_, redis)| of(redis)));
        let ratios = || rounds.iter().map(|(own, redis)| own.rate / redis.rate);
        let (ratio, (low, high)) = (median(ratios()), range(ratios()));
        table.row([
            name.to_owned(),
            figure(own(|run| run.rate)),
            figure(redis(|run| run.rate)),
            format!("{} ({}–{})", figure(ratio), figure(low), figure(high)),
            figure(own(|run| run.cpu_us)),
            figure(redis(|run| run.cpu_us)),
            figure(own(|run| run.peak_rss)),
            figure(redis(|run| run.peak_rss)),
        ]);
        targets.at_least(&format!("drain to {name}, of the rate from Redis"), 1.0, ratio, "");
    }
    format!("Drains of {} messages, {} rounds.\n\n{table}\n", figure(messages as f64), options.rounds)
}

fn own(world: &mut World, sink: &Sink, answered: &Receiver<Answered>, messages: u64) -> Drained {
    world.reset(true);
    let own = Own::new("process");
    own.fill(messages);
    drain(own.agent(sink.url()), None, answered, messages)
}

fn redis(world: &mut World, sink: &Sink, answered: &Receiver<Answered>, messages: u64) -> Drained {
    world.reset(true);
    world.prepare(messages);
    world.release();
    world.wait_until_quiet();
    let agent = from_redis(&world.redis.url(), sink.url());
    let drained = drain(agent, Some(world.redis.id()), answered, messages);
    let waits: u64 = world.redis.connection().llen(QUEUE).unwrap();
    assert_eq!(waits, 0);
    drained
}

fn drain(agent: Builder, redis: Option<u32>, answered: &Receiver<Answered>, messages: u64) -> Drained {
    let of_redis = || redis.map_or(Duration::ZERO, |redis| Usage::of(redis).cpu);
    let before = of_redis();
    let begun = Instant::now();
    let agent = agent.start();
    let (mut count, mut end) = (0, begun);
    while count < messages {
        let Answered { at, body } = answered.recv_timeout(PATIENCE).unwrap();
        count += message::numbers_in(&body).count() as u64;
        end = at;
    }
    assert_eq!(count, messages, "some were published twice");
    wait_for_rest(agent.id());
    let usage = Usage::of(agent.id());
    let cpu = usage.cpu + of_redis() - before;
    Drained {
        rate: messages as f64 / (end - begun).as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / messages as f64,
        peak_rss: megabytes(usage.peak_rss as f64),
    }
}
