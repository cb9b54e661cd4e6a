//! How long one message takes from its push until it is stored.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use redis::Commands;

use super::Options;
use crate::support::{
    message,
    queue::{Own, from_redis},
    report::{Table, Targets, figure},
    sink::{Answered, Sink},
    statistics::Distribution,
    world::{QUEUE, World, wait_for_rest},
};

const MESSAGES: u64 = 2_000;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    world.reset(true);
    let (messages, influxd) = (options.count(MESSAGES), world.influxd.url());
    let (sink, answered) = Sink::that_tells(Some(influxd.as_str()));
    let own = {
        let own = Own::new("process");
        let agent = own.agent(sink.url()).start();
        let connection = own.connection();
        wait_for_rest(agent.id());
        stored(connection, &answered, 0..messages)
    };
    let redis = {
        let agent = from_redis(&world.redis.url(), sink.url()).start();
        agent.wait_log("publishing");
        wait_for_rest(agent.id());
        stored(world.redis.connection(), &answered, messages..2 * messages)
    };
    let mut table = Table::new(["push to stored, ms", "p50", "p99", "max"]);
    for (name, times) in [("embedded", &own), ("from Redis", &redis)] {
        table.row([
            name.to_owned(),
            figure(times.percentile_ms(50.0)),
            figure(times.percentile_ms(99.0)),
            figure(times.max_ms()),
        ]);
    }
    targets.at_most("push to stored, p50, of that from Redis", 1.0, own.percentile_ms(50.0) / redis.percentile_ms(50.0), "");
    format!("One message at a time, {} of them.\n\n{table}\n", figure(messages as f64))
}

fn stored(mut connection: redis::Connection, answered: &Receiver<Answered>, numbers: std::ops::Range<u64>) -> Distribution {
    let one = |number| {
        let begun = Instant::now();
        let _: u64 = connection.lpush(QUEUE, message::message(number)).unwrap();
        loop {
            let Answered { at, body } = answered.recv_timeout(PATIENCE).unwrap();
            if message::numbers_in(&body).any(|stored| stored == number) {
                return at - begun;
            }
        }
    };
    numbers.map(one).collect()
}
