//! How fast clients push, and what a push costs the server.

use std::process::Command;

use super::Options;
use crate::support::{
    message,
    queue::{NOBODY, Own},
    report::{Table, Targets, figure},
    statistics::{median, range},
    usage::Usage,
    world::{QUEUE, World, wait_for_rest},
};

/// How the clients push.
struct Way {
    name: &'static str,
    clients: u32,
    pipeline: u32,
    pushes: u64,
    /// The least share of Redis's rate.
    wanted: Option<f64>,
    durability: &'static str,
    fsync: &'static str,
}

const WAYS: [Way; 5] = [
    Way {
        name: "50 clients",
        clients: 50,
        pipeline: 1,
        pushes: 100_000,
        wanted: Some(0.8),
        durability: "process",
        fsync: "everysec",
    },
    Way {
        name: "50 clients, pipelines of 16",
        clients: 50,
        pipeline: 16,
        pushes: 400_000,
        wanted: Some(0.5),
        durability: "process",
        fsync: "everysec",
    },
    Way { name: "1 client", clients: 1, pipeline: 1, pushes: 20_000, wanted: None, durability: "process", fsync: "everysec" },
    Way {
        name: "50 clients, fsync",
        clients: 50,
        pipeline: 1,
        pushes: 20_000,
        wanted: None,
        durability: "fsync",
        fsync: "always",
    },
    Way {
        name: "50 clients, pipelines of 16, fsync",
        clients: 50,
        pipeline: 16,
        pushes: 100_000,
        wanted: None,
        durability: "fsync",
        fsync: "always",
    },
];

/// What one run of `redis-benchmark` said, and what the server used.
struct Pushed {
    rate: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let columns = ["pushes", "pushes/s", "Redis", "ratio", "CPU µs", "Redis", "p50 ms", "Redis", "p99 ms", "Redis"];
    let mut table = Table::new(columns);
    for way in &WAYS {
        let pushes = options.count(way.pushes);
        let rounds: Vec<(Pushed, Pushed)> = (0..options.rounds)
            .map(|round| {
                let (own, redis) = if round % 2 == 0 {
                    let own = to_own(way, pushes);
                    (own, to_redis(world, way, pushes))
                } else {
                    let redis = to_redis(world, way, pushes);
                    (to_own(way, pushes), redis)
                };
                eprintln!("{}: {} pushes/s, Redis {}", way.name, figure(own.rate), figure(redis.rate));
                (own, redis)
            })
            .collect();
        let own = |of: fn(&Pushed) -> f64| median(rounds.iter().map(|(own, _)| of(own)));
        let redis = |of: fn(&Pushed) -> f64| median(rounds.iter().map(|(_, redis)| of(redis)));
        let ratios = || rounds.iter().map(|(own, redis)| own.rate / redis.rate);
        let ratio = median(ratios());
        let (low, high) = range(ratios());
        table.row([
            way.name.to_owned(),
            figure(own(|run| run.rate)),
            figure(redis(|run| run.rate)),
            format!("{} ({}–{})", figure(ratio), figure(low), figure(high)),
            figure(own(|run| run.cpu_us)),
            figure(redis(|run| run.cpu_us)),
            figure(own(|run| run.p50_ms)),
            figure(redis(|run| run.p50_ms)),
            figure(own(|run| run.p99_ms)),
            figure(redis(|run| run.p99_ms)),
        ]);
        if let Some(wanted) = way.wanted {
            targets.at_least(&format!("pushes/s, {}, of Redis's", way.name), wanted, ratio, "");
        }
    }
    format!("Pushes, {} rounds. With fsync beside a Redis that syncs always.\n\n{table}\n", options.rounds)
}

fn to_own(way: &Way, pushes: u64) -> Pushed {
    let own = Own::new(way.durability);
    let agent = own.agent(NOBODY).start();
    let mut connection = own.connection();
    wait_for_rest(agent.id());
    let pushed = benchmark(way, pushes, own.port, agent.id());
    // What the agent has in hand is written nowhere either.
    let info: redis::InfoDict = redis::cmd("INFO").arg("kadabra").query(&mut connection).unwrap();
    let waits: u64 = info.get("queue_length").unwrap();
    assert!(waits > pushes / 2, "of {pushes} messages only {waits} wait: something drains them");
    pushed
}

fn to_redis(world: &mut World, way: &Way, pushes: u64) -> Pushed {
    world.reset(true);
    let mut connection = world.redis.connection();
    let mut fsync = |how: &str| redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg(how).exec(&mut connection).unwrap();
    fsync(way.fsync);
    let pushed = benchmark(way, pushes, world.redis.port(), world.redis.id());
    fsync("everysec");
    world.reset(true);
    pushed
}

fn benchmark(way: &Way, pushes: u64, port: u16, server: u32) -> Pushed {
    let before = Usage::of(server).cpu;
    let (port, clients, pipeline) = (port.to_string(), way.clients.to_string(), way.pipeline.to_string());
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            &port,
            "-c",
            &clients,
            "-P",
            &pipeline,
            "-n",
            &pushes.to_string(),
            "--csv",
            "LPUSH",
            QUEUE,
            &message::message(0),
        ])
        .output()
        .unwrap();
    let cpu = Usage::of(server).cpu - before;
    let said = String::from_utf8(output.stdout).unwrap();
    // After the command itself, which is full of commas: rps, then latencies in ms: average, min, p50, p95, p99, max.
    let last = said.lines().last().unwrap_or_default();
    let figures: Vec<f64> = last.rsplit(',').take(7).map(|figure| figure.trim_matches('"').parse().unwrap()).collect();
    Pushed { rate: figures[6], cpu_us: cpu.as_secs_f64() * 1e6 / pushes as f64, p50_ms: figures[3], p99_ms: figures[1] }
}
