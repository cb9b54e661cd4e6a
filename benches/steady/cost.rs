//! What one load costs whom.

use std::{thread, time::Duration};

use crate::{
    CLIENTS, Options,
    servers::process::wait_for,
    support::{
        calls::system_calls,
        message,
        report::{Table, Targets, figure},
        statistics::median,
        turns::in_turns,
        world::{DATABASE, World},
    },
    taker::{EMBEDDED, EMBEDDED_FSYNC, REDIS_ALONE, Taker},
    window::{Window, load},
};

const TAKERS: [Taker; 6] =
    [REDIS_ALONE, EMBEDDED, Taker::Redis, Taker::EmbeddedToTwo, Taker::RedisAlone { always: true }, EMBEDDED_FSYNC];

/// For how long system calls are counted, behind the window: counting takes time, too.
const COUNTED: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
struct Cost {
    taken: f64,
    agent: f64,
    redis: f64,
    influxd: f64,
    requests: f64,
    p50: f64,
    p99: f64,
    switches: f64,
    calls: f64,
}

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let mut text = format!("{} connections, {} s of each load; rounds: {}.\n", CLIENTS, figure(options.seconds), options.rounds);
    for &rate in &options.rate {
        let costs = in_turns(TAKERS.len(), options.rounds, |index, _| {
            let cost = measure(world, TAKERS[index], rate, options);
            eprintln!("{} messages/s, {}: agent {} %", figure(rate), TAKERS[index].name(), figure(cost.agent));
            cost
        });
        text += &format!("\n{} messages a second:\n\n{}", figure(rate), table(&costs));
        aim(rate, &costs, targets);
    }
    text
}

fn measure(world: &mut World, taker: Taker, rate: f64, options: &Options) -> Cost {
    let influxdb = world.influxd.url();
    let running = taker.start(world, &influxdb);
    let counted = COUNTED.min(options.window());
    let load = load(rate, options.window(), counted);
    let servers = [running.server.clone()];
    let pushing = thread::spawn(move || load.push(&servers, CLIENTS));
    // Where there is no agent, Redis is the process that is looked at.
    let measured = running.agent.as_ref().map_or(world.redis.id(), |agent| agent.id());
    let window = Window::watch(world, &load, options.window(), &[measured, world.redis.id(), world.influxd.id()]);
    let calls = system_calls(measured, counted) / counted.as_secs_f64();
    let pushes = pushing.join().unwrap();
    if running.agent.is_some() {
        wait_for("all messages to be in InfluxDB", PATIENCE, || {
            (world.influxd.count(DATABASE, message::MEASUREMENT) == load.count).then_some(())
        });
    }
    let (push, taken) = window.pushes(&pushes);
    let or_nan = |known: bool, figure: f64| if known { figure } else { f64::NAN };
    let has_agent = running.agent.is_some();
    Cost {
        taken,
        agent: or_nan(has_agent, window.cpu(0)),
        redis: or_nan(taker.has_redis(), window.cpu(1)),
        influxd: or_nan(has_agent, window.cpu(2)),
        requests: or_nan(has_agent, window.requests),
        p50: push.percentile_ms(50.0) * 1e3,
        p99: push.percentile_ms(99.0) * 1e3,
        switches: window.switches(0) / taken,
        calls: calls / taken,
    }
}

fn table(costs: &[Vec<Cost>]) -> Table {
    let mut table = Table::new([
        "",
        "taken/s",
        "agent CPU %",
        "Redis CPU %",
        "InfluxDB CPU %",
        "requests/s",
        "push p50 µs",
        "p99 µs",
        "switches a push",
        "calls a push",
    ]);
    for (taker, costs) in TAKERS.iter().zip(costs) {
        let of = |of: fn(&Cost) -> f64| figure(median(costs.iter().map(of)));
        table.row([
            taker.name().to_owned(),
            of(|cost| cost.taken),
            of(|cost| cost.agent),
            of(|cost| cost.redis),
            of(|cost| cost.influxd),
            of(|cost| cost.requests),
            of(|cost| cost.p50),
            of(|cost| cost.p99),
            of(|cost| cost.switches),
            of(|cost| cost.calls),
        ]);
    }
    table
}

/// The load up to which the fixed cost of an agent counts for more.
const LIGHT: f64 = 100.0;

fn aim(rate: f64, costs: &[Vec<Cost>], targets: &mut Targets) {
    let [alone, embedded, redis, ..] = costs else { return };
    let multiple = |costs: &[Cost], of: fn(&Cost) -> f64, by: fn(&Cost) -> f64| {
        median(costs.iter().zip(alone).map(|(cost, alone)| of(cost) / by(alone)))
    };
    let bound = |light, heavy| if rate <= LIGHT { light } else { heavy };
    let mut at_most = |what: &str, wanted, measured, unit| {
        targets.at_most(&format!("{} messages/s: {what}", figure(rate)), wanted, measured, unit);
    };
    let of_redis = " × Redis alone";
    at_most("embedded, agent's CPU", bound(2.0, 1.5), multiple(embedded, |cost| cost.agent, |alone| alone.redis), of_redis);
    at_most("over Redis, agent's CPU", bound(1.0, 0.5), multiple(redis, |cost| cost.agent, |alone| alone.redis), of_redis);
    at_most("over Redis, Redis's CPU", bound(1.4, 1.2), multiple(redis, |cost| cost.redis, |alone| alone.redis), of_redis);
    for (name, costs) in [("embedded", embedded), ("over Redis", redis)] {
        at_most(&format!("{name}, push p50"), 1.3, multiple(costs, |cost| cost.p50, |alone| alone.p50), of_redis);
        at_most(&format!("{name}, push p99"), 1.8, multiple(costs, |cost| cost.p99, |alone| alone.p99), of_redis);
    }
    if rate == 1000.0 {
        let of = |of: fn(&Cost) -> f64| median(embedded.iter().map(of));
        at_most("embedded, InfluxDB's CPU", 4.0, of(|cost| cost.influxd), " %");
        at_most("embedded, requests", 25.0, of(|cost| cost.requests), "/s");
        at_most("embedded, system calls a push", 14.0, of(|cost| cost.calls), "");
        at_most("embedded, context switches a push", 3.0, of(|cost| cost.switches), "");
    }
}
