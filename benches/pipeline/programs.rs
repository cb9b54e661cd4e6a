//! The programs that are compared, and one run of each.

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kadabra::wire::{Decoder, MessageSet};

use crate::{
    servers::{
        process::{Process, wait_for},
        python,
    },
    support::{
        bare_loop,
        http::Connection,
        lines, message,
        sink::Sink,
        usage::Usage,
        world::{DATABASE, Variant, World, wait_for_rest},
    },
};

/// How long a drain may take, and how often it is looked whether it is over.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How many messages make a body of 10,000 lines.
const MESSAGES_A_BODY: u64 = 10_000 / message::POINTS as u64;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Influxdb,
    Null,
}

/// A program and how it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Agent { to: To, variant: Variant, append_only: bool },
    BareLoop { to: To },
    ReadyMade { connections: u64 },
    Python { batch: usize },
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Messages a second.
    pub(crate) rate: f64,
    /// CPU µs a message.
    pub(crate) own_cpu: f64,
    pub(crate) redis_cpu: f64,
    pub(crate) influxd_cpu: f64,
    /// Bytes.
    pub(crate) peak_rss: f64,
}

impl Program {
    /// The agent as it is when nothing is configured.
    pub(crate) fn agent(to: To) -> Self {
        Self::Agent { to, variant: Variant::DEFAULT, append_only: true }
    }

    /// Carries so many messages, with both servers empty before.
    pub(crate) fn run(&self, world: &mut World, null: &Sink, count: u64) -> Sample {
        world.reset(!matches!(self, Self::Agent { append_only: false, .. }));
        let influxdb = world.influxd.url();
        let url = |to: To| if to == To::Influxdb { influxdb.as_str() } else { null.url() };
        let sample = match *self {
            Self::ReadyMade { connections } => post(world, count, connections),
            Self::Agent { to, ref variant, .. } => {
                prepare(world, count);
                let agent = world.agent(url(to), variant);
                drain(world, agent.id(), count)
            }
            Self::BareLoop { to } => {
                prepare(world, count);
                let folder = tempfile::tempdir().unwrap();
                let log = folder.path().join("log");
                let bare = Process::start("the bare loop", bare_loop::command(&world.redis.url(), url(to)), &log);
                wait_for("the bare loop", PATIENCE, || bare_loop::is_ready(&log).then_some(()));
                wait_for_rest(bare.id());
                drain(world, bare.id(), count)
            }
            Self::Python { batch } => {
                prepare(world, count);
                let folder = tempfile::tempdir().unwrap();
                let log = folder.path().join("log");
                let python = start_python(world, batch, &log);
                drain(world, python.id(), count)
            }
        };
        if !matches!(self, Self::Agent { to: To::Null, .. } | Self::BareLoop { to: To::Null }) {
            world.assert_stored(count);
        }
        sample
    }
}

fn prepare(world: &mut World, count: u64) {
    world.prepare(count);
    world.wait_until_quiet();
}

fn start_python(world: &World, batch: usize, log: &std::path::Path) -> Process {
    let influxdb = world.influxd.url();
    let port = influxdb.rsplit(':').next().unwrap().to_owned();
    // It looks at the queue all the time, and nothing is there that its nanny would publish twice.
    let arguments = [
        ("--redis-port", world.redis.port().to_string()),
        ("--influxdb-port", port),
        ("--database", DATABASE.to_owned()),
        ("--interval", "0.02".to_owned()),
        ("--batch", batch.to_string()),
        ("--nanny-frequency", "3600".to_owned()),
    ];
    let arguments: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let python = python::start("python_agent.py", &arguments, log);
    wait_for("the Python agent to start", PATIENCE, || {
        fs::read_to_string(log).is_ok_and(|text| text.contains("Starting agent")).then_some(())
    });
    // Its first look at the queue makes its connections and says nothing.
    thread::sleep(Duration::from_millis(500));
    python
}

/// Makes the messages the queue and waits until the program has carried them all.
fn drain(world: &mut World, id: u32, count: u64) -> Sample {
    let usage = |world: &World| [id, world.redis.id(), world.influxd.id()].map(Usage::of);
    let before = usage(world);
    let begun = Instant::now();
    world.release();
    while !world.is_drained() {
        assert!(begun.elapsed() < PATIENCE, "the queue is not drained after {PATIENCE:?}");
        thread::sleep(LOOK_EVERY);
    }
    let took = begun.elapsed();
    sample(count, took, before, usage(world))
}

fn sample(count: u64, took: Duration, before: [Usage; 3], after: [Usage; 3]) -> Sample {
    let count = count as f64;
    let cpu = |index: usize| (after[index].cpu - before[index].cpu).as_secs_f64() * 1e6 / count;
    Sample {
        rate: count / took.as_secs_f64(),
        own_cpu: cpu(0),
        redis_cpu: cpu(1),
        influxd_cpu: cpu(2),
        peak_rss: after[0].peak_rss as f64,
    }
}

/// Posts bodies that were encoded before, over so many connections.
fn post(world: &World, count: u64, connections: u64) -> Sample {
    let bodies: Arc<Vec<Vec<u8>>> = Arc::new(bodies(count));
    let path = format!("/write?db={DATABASE}&precision=ns");
    let mut posters: Vec<Connection> = (0..connections).map(|_| Connection::open(&world.influxd.url()).unwrap()).collect();
    let usage = || [Usage::default(), Usage::default(), Usage::of(world.influxd.id())];
    let before = usage();
    let begun = Instant::now();
    thread::scope(|scope| {
        for (first, poster) in posters.iter_mut().enumerate() {
            let (bodies, path) = (&bodies, &path);
            scope.spawn(move || {
                for body in bodies.iter().skip(first).step_by(connections as usize) {
                    assert_eq!(poster.post(path, body).unwrap(), 204);
                }
            });
        }
    });
    let took = begun.elapsed();
    Sample { own_cpu: f64::NAN, redis_cpu: f64::NAN, peak_rss: f64::NAN, ..sample(count, took, before, usage()) }
}

fn bodies(count: u64) -> Vec<Vec<u8>> {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    let firsts = (0..count).step_by(MESSAGES_A_BODY as usize);
    firsts
        .map(|first| {
            set.clear();
            for number in first..count.min(first + MESSAGES_A_BODY) {
                assert!(decoder.decode(message::message(number).as_bytes(), &mut set).is_empty());
            }
            let mut body = Vec::new();
            lines::encode(&set, &mut body);
            body
        })
        .collect()
}
