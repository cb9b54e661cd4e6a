//! How soon messages are in InfluxDB.

use std::{thread, time::Duration};

use redis::Commands;

use crate::{
    CLIENTS, Options,
    support::{
        load::Load,
        message,
        report::{Table, Targets, figure},
        sink::Sink,
        statistics::Distribution,
        world::{QUEUE, World},
    },
    taker::{EMBEDDED, EMBEDDED_FSYNC, Taker},
};

const TAKERS: [Taker; 3] = [EMBEDDED, EMBEDDED_FSYNC, Taker::Redis];

/// How many messages come alone, and after how long a quiet time.
const ALONE: u64 = 20;
const QUIET: Duration = Duration::from_millis(1500);

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let mut table = Table::new(["visible after, ms", "offered", "p50", "p99", "max"]);
    for taker in TAKERS {
        let mut row = |offered: &str, times: &Distribution| {
            let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| figure(times.percentile_ms(percent)));
            eprintln!("{}, {offered}: visible after {p50} ms", taker.name());
            table.row([taker.name().to_owned(), offered.to_owned(), p50, p99, max]);
        };
        let times = alone(world, taker, if options.quick { 2 } else { ALONE });
        row("alone", &times);
        // How long a disk takes is not aimed at.
        let mut at_most = |what: &str, wanted, measured| {
            if taker != EMBEDDED_FSYNC {
                targets.at_most(&format!("{}, {what}", taker.name()), wanted, measured, " ms");
            }
        };
        at_most("a message alone, p50", 1.0, times.percentile_ms(50.0));
        for &rate in &options.rate {
            let times = busy(world, taker, rate, options.seconds);
            row(&format!("{}/s", figure(rate)), &times);
            // What one lingers, so that a request has twenty messages, and what writing it takes.
            let lingers = (20.0 / rate * 1e3).clamp(50.0, 1000.0);
            at_most(&format!("{} messages/s, p99", figure(rate)), lingers + 25.0, times.percentile_ms(99.0));
        }
    }
    format!("A message alone comes {} ms after the one before it.\n\n{table}", QUIET.as_millis())
}

fn alone(world: &mut World, taker: Taker, count: u64) -> Distribution {
    let influxdb = world.influxd.url();
    let (sink, answered) = Sink::that_tells(Some(&influxdb));
    let running = taker.start(world, sink.url());
    let mut connection = redis::Client::open(running.server.as_str()).unwrap().get_connection().unwrap();
    let mut one = |number: u64| {
        let load = Load { begin: std::time::Instant::now(), first: number, count: 1, rate: 1.0 };
        let _: u64 = connection.lpush(QUEUE, message::message(number)).unwrap();
        let took = load.stored(&answered);
        // Not in step with anything.
        thread::sleep(QUIET + Duration::from_millis(number % 7 * 10));
        took.percentile_ms(100.0)
    };
    // The first makes the connections.
    one(0);
    (1..=count).map(|number| Duration::from_secs_f64(one(number) / 1e3)).collect()
}

fn busy(world: &mut World, taker: Taker, rate: f64, seconds: f64) -> Distribution {
    let influxdb = world.influxd.url();
    let (sink, answered) = Sink::that_tells(Some(&influxdb));
    let running = taker.start(world, sink.url());
    let servers = [running.server];
    let push = |load: Load| {
        let (servers, pushing) = (servers.clone(), load);
        let pushing = thread::spawn(move || pushing.push(&servers, CLIENTS));
        let stored = load.stored(&answered);
        pushing.join().unwrap();
        stored
    };
    let warm_up = Load::soon(0, 100.0, 0.5);
    drop(push(warm_up));
    // Otherwise how little came at its end would say for how long the first messages linger.
    thread::sleep(QUIET);
    push(Load::soon(warm_up.count, rate, seconds))
}
