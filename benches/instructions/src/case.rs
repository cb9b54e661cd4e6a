//! What is counted.

use std::{hint::black_box, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use kadabra::{
    agent::{self, Exit, Parts},
    channel::Channel,
    config::{self, Settings},
    observe::{log::KeptLog, systemd::Notifier},
    publisher::{self, LinePublisher, Publisher},
    wire::{Decoder, MessageSet},
};
use tokio::sync::mpsc;

use super::{flask, memory::Memory};

/// How many messages a batch has.
pub(crate) const BATCH: usize = 1_000;

/// A way of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Decode,
    Encode,
    Agent,
    Served,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [Self::Decode, Self::Encode, Self::Agent, Self::Served];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Agent => "agent",
            Self::Served => "served",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name() == name)
    }

    /// For people.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Decode => "decoding (Decoder::decode)",
            Self::Encode => "encoding (LinePublisher::load)",
            Self::Agent => "the way through the agent (agent::run, from the channel to the request)",
            Self::Served => "that way while the status is served",
        }
    }

    /// By how much it may grow, in %. Of the same program on a busy machine, decoding was counted the same to the instruction each
    /// time, encoding to 0.1 % (hash seeds, while the settings are loaded), and the agent to 0.4 %: its threads wake each other,
    /// and a socket takes what it takes. An
    /// allocation and a copy of each message are 1 % of decoding.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Self::Decode | Self::Encode => 0.5,
            Self::Agent | Self::Served => 1.5,
        }
    }

    /// Few and many batches.
    pub(crate) fn batches(self) -> [usize; 2] {
        match self {
            Self::Decode => [1, 5],
            Self::Encode => [1, 21],
            Self::Agent | Self::Served => [2, 12],
        }
    }

    /// Does it with so many batches. `url` is of something that answers every request as InfluxDB answers a write.
    pub(crate) fn run(self, batches: usize, url: &str) {
        let messages: Vec<Vec<u8>> = (0..BATCH).map(|number| flask::message(number).into_bytes()).collect();
        match self {
            Self::Decode => decode(&messages, batches),
            Self::Encode => encode(&messages, batches, &settings(url)),
            Self::Agent | Self::Served => {
                let mut settings = settings(url);
                settings.status.listen.clear();
                if self == Self::Served {
                    settings.status.listen.push(SocketAddr::from(([127, 0, 0, 1], 0)));
                }
                through_the_agent(messages, batches, &settings);
            }
        }
    }
}

/// The defaults, and InfluxDB.
fn settings(url: &str) -> Settings {
    let environment = [("HOME", "/"), ("KADABRA_PUBLISHER__TYPE", "influxdb"), ("KADABRA_PUBLISHER__INFLUXDB__URL", url)];
    let mut settings = config::load_or(Path::new("/nonexistent"), None, environment).expect("these settings are valid").settings;
    settings.batch.max_messages = BATCH;
    // Under valgrind everything takes long.
    settings.agent.shutdown_timeout = Duration::from_secs(600);
    settings
}

fn decode(messages: &[Vec<u8>], batches: usize) {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for _ in 0..batches {
        set.clear();
        for message in messages {
            let refused = decoder.decode(black_box(message), &mut set);
            assert!(refused.is_empty());
        }
    }
    assert_eq!(set.point_count(), 5 * BATCH);
}

fn encode(messages: &[Vec<u8>], batches: usize, settings: &Settings) {
    let config::PublisherKind::Influxdb(influxdb) = &settings.publisher.kind else { unreachable!("it is set") };
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for message in messages {
        decoder.decode(message, &mut set);
    }
    let (mut publisher, set) = (LinePublisher::influxdb(influxdb), Arc::new(set));
    for _ in 0..batches {
        publisher.load(black_box(Arc::clone(&set)));
    }
}

fn through_the_agent(messages: Vec<Vec<u8>>, batches: usize, settings: &Settings) {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let (stop, stopped) = mpsc::unbounded_channel();
    let memory = Arc::new(Memory::new(messages, batches, stop));
    let exit = agent::run(
        settings,
        Parts {
            statsd: None,
            pipelines: vec![agent::Pipeline {
                channel: Arc::clone(&memory) as Arc<dyn Channel>,
                publishers: {
                    let log = log.clone();
                    publisher::configured(&settings.publisher, settings.log, move || KeptLog::at_once(log.clone()))
                },
            }],
            notifier: Notifier::new(None, None, &log),
            log,
            output: None,
            configuration: String::new(),
            reloading: None,
            orders: stopped,
        },
    );
    assert_eq!(exit, Exit::Clean);
    assert_eq!(memory.registry().tally().published, (batches * BATCH) as u64);
}
