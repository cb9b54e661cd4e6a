//! One load: when was each message stored, and what did it cost.

use std::{
    thread,
    time::{Duration, Instant},
};

use redis::Commands;

use crate::support::{
    load::Load,
    message,
    sink::Sink,
    statistics::Distribution,
    usage::Usage,
    world::{DATABASE, QUEUE, Variant, World},
};

/// How long a message may be on its way.
const PATIENCE: Duration = Duration::from_secs(60);

/// So that a push which takes long does not hold up the next one.
const CLIENTS: usize = 4;

/// How long pushes without an agent are measured.
const ALONE: f64 = 5.0;

/// Where the agent writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Influxdb,
    Null,
}

impl To {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Influxdb => "InfluxDB",
            Self::Null => "null",
        }
    }
}

/// What was seen at one load.
pub(crate) struct Row {
    pub(crate) to: To,
    pub(crate) rate: f64,
    pub(crate) stored: Distribution,
    pub(crate) push: Distribution,
    pub(crate) push_alone: Distribution,
    pub(crate) cpu_percent: f64,
}

/// Pushes so many messages a second for so long.
pub(crate) fn measure(world: &mut World, to: To, rate: f64, seconds: f64) -> Row {
    world.reset(true);
    let redis = [world.redis.url()];
    let push = |load: Load| load.push(&redis, CLIENTS).into_iter().map(|push| push.took).collect::<Distribution>();
    let push_alone = push(Load::soon(0, rate, seconds.min(ALONE)));
    world.reset(true);

    let influxdb = world.influxd.url();
    let (sink, answered) = Sink::that_tells((to == To::Influxdb).then_some(&influxdb));
    let agent = world.agent(sink.url(), &Variant::DEFAULT);
    // The first message makes the connections.
    let warm_up = Load::soon(0, 100.0, 0.5);
    push(warm_up);
    drop(warm_up.stored(&answered));

    let before = Usage::of(agent.id()).cpu;
    let load = Load::soon(warm_up.count, rate, seconds);
    let collector = thread::spawn(move || load.stored(&answered));
    let push = push(load);
    let stored = collector.join().unwrap();
    let used = Usage::of(agent.id()).cpu - before;
    let cpu_percent = 100.0 * used.as_secs_f64() / load.begin.elapsed().as_secs_f64();
    Row { to, rate, stored, push, push_alone, cpu_percent }
}

/// Pushes messages one at a time and asks InfluxDB for each until it is there: how long that takes.
pub(crate) fn until_seen(world: &mut World, count: u64) -> Distribution {
    world.reset(true);
    let _agent = world.agent(&world.influxd.url(), &Variant::DEFAULT);
    let mut connection = world.redis.connection();
    let mut until_seen = |number: u64| {
        // Not in step with anything.
        thread::sleep(Duration::from_millis(20 + number % 7));
        let from = message::time_us(number);
        let question = format!("SELECT value FROM {} WHERE time >= {from}u AND time < {}u", message::MEASUREMENT, from + 1);
        let begun = Instant::now();
        let _: u64 = connection.lpush(QUEUE, message::message(number)).unwrap();
        while world.influxd.query(DATABASE, &question)["results"][0]["series"].is_null() {
            assert!(begun.elapsed() < PATIENCE, "message {number} was never seen");
        }
        begun.elapsed()
    };
    until_seen(0);
    (1..=count).map(until_seen).collect()
}
