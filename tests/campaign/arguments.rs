//! The command line: what cargo and nextest ask every test binary, and what a person asks this one.

use std::path::PathBuf;

use fastrand::Rng;

use super::publishers::{KINDS, Kind, Publisher};
use crate::{OF_ITSELF, support::redis_server::OTHERS};

/// A run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    name: &'static str,
    /// Drawn where it is `None`.
    channel: Option<Channel>,
    server: Server,
    publishers: Publishers,
    /// How many queues there are, when nobody says.
    queues: usize,
    /// How long faults are made when nobody says.
    seconds: u64,
}

/// How many publishers there are, when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publishers {
    /// One, to a real InfluxDB 1.x.
    One,
    /// One, to something else.
    OneToAnother,
    /// Two or three.
    Several,
}

/// Which Redis there is, when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    OfDebian,
    /// One of the others, drawn.
    Another,
    /// See [`UPGRADED`].
    Upgraded,
}

/// One Redis that is stopped and started as its next version now and then.
pub(crate) const UPGRADED: &str = "upgraded";

/// The runs of the suite: with the drain and the checks about a minute for the first two, and half of it for the others.
const CAMPAIGNS: [Campaign; 10] = [
    Campaign {
        name: "campaign_over_redis",
        channel: Some(Channel::Redis),
        server: Server::OfDebian,
        publishers: Publishers::One,
        queues: 1,
        seconds: 35,
    },
    Campaign {
        name: "campaign_over_another_redis",
        channel: Some(Channel::Redis),
        server: Server::Another,
        publishers: Publishers::One,
        queues: 1,
        seconds: 10,
    },
    Campaign {
        name: "campaign_over_a_redis_that_is_upgraded",
        channel: Some(Channel::Redis),
        server: Server::Upgraded,
        publishers: Publishers::One,
        queues: 1,
        seconds: 12,
    },
    Campaign {
        name: "campaign_over_the_embedded_channel",
        channel: Some(Channel::Embedded),
        server: Server::OfDebian,
        publishers: Publishers::One,
        queues: 1,
        seconds: 35,
    },
    Campaign {
        name: "campaign_over_redis_with_several_publishers",
        channel: Some(Channel::Redis),
        server: Server::OfDebian,
        publishers: Publishers::Several,
        queues: 1,
        seconds: 12,
    },
    Campaign {
        name: "campaign_over_the_embedded_channel_with_several_publishers",
        channel: Some(Channel::Embedded),
        server: Server::OfDebian,
        publishers: Publishers::Several,
        queues: 1,
        seconds: 12,
    },
    Campaign {
        name: "campaign_over_sentinels",
        channel: Some(Channel::Sentinel),
        server: Server::OfDebian,
        publishers: Publishers::One,
        queues: 1,
        seconds: 15,
    },
    Campaign {
        name: "campaign_over_a_cluster",
        channel: Some(Channel::Cluster),
        server: Server::OfDebian,
        publishers: Publishers::One,
        queues: 1,
        seconds: 15,
    },
    Campaign {
        name: "campaign_over_several_queues",
        channel: Some(Channel::Cluster),
        server: Server::OfDebian,
        publishers: Publishers::One,
        queues: 2,
        seconds: 10,
    },
    Campaign {
        name: "campaign_to_another_database",
        channel: None,
        server: Server::OfDebian,
        publishers: Publishers::OneToAnother,
        queues: 1,
        seconds: 10,
    },
];

/// Where messages wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Redis,
    /// The one agent itself.
    Embedded,
    /// A primary and a replica that three Sentinels watch.
    Sentinel,
    /// Three primaries of a cluster, each with a replica.
    Cluster,
}

impl Channel {
    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Embedded => "embedded",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }

    pub(crate) fn is_of_several_servers(self) -> bool {
        matches!(self, Self::Sentinel | Self::Cluster)
    }

    /// Those that are drawn where none is named.
    const DRAWN: [Self; 2] = [Self::Redis, Self::Embedded];
}

impl Campaign {
    /// The one that is the test of this name.
    pub(crate) fn of_test(name: &str) -> Option<Self> {
        CAMPAIGNS.into_iter().find(|campaign| campaign.name == name)
    }

    /// Whether it is one of those that the options of a person are about.
    fn is_of_a_person(self) -> bool {
        self.publishers == Publishers::One && self.server == Server::OfDebian && self.queues == 1
    }

    /// With all that was left open.
    pub(crate) fn settle(self, options: &Options) -> Settled {
        let mut rng = Rng::with_seed(options.seed ^ 0x6361_6d70_6169_676e);
        let channel = self.channel.unwrap_or_else(|| Channel::DRAWN[rng.usize(..Channel::DRAWN.len())]);
        let others = &KINDS[1..];
        let kind = match self.publishers {
            Publishers::OneToAnother => others[rng.usize(..others.len())].1,
            _ => options.to.unwrap_or(Kind::Influxdb),
        };
        let count = options.publishers.unwrap_or(if self.publishers == Publishers::Several { rng.usize(2..=3) } else { 1 });
        let publishers = if count == 1 { Publisher::only(kind) } else { Publisher::several(options.seed, count, channel) };
        let mut rng = Rng::with_seed(options.seed ^ 0x7768_656e_5f66_756c);
        let when_full = ["refuse", "drop_newest", "drop_oldest"][if channel == Channel::Embedded { rng.usize(..3) } else { 0 }];
        let drawn = OTHERS[Rng::with_seed(options.seed ^ 0x7665_7273_696f_6e73).usize(..OTHERS.len())];
        let redis = options.redis.or(match self.server {
            Server::OfDebian => None,
            Server::Another => Some(drawn),
            Server::Upgraded => Some(UPGRADED),
        });
        let queues = options.queues.unwrap_or(self.queues);
        Settled {
            channel,
            redis,
            publishers,
            queues,
            when_full,
            seconds: options.seconds.unwrap_or(self.seconds),
            seed: options.seed,
        }
    }
}

/// A run with all that was left open.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) channel: Channel,
    /// Which server it is, in place of Debian's Redis, or [`UPGRADED`].
    pub(crate) redis: Option<&'static str>,
    pub(crate) publishers: Vec<Publisher>,
    /// How many lists clients push to: one or two.
    pub(crate) queues: usize,
    /// What becomes of a push that finds no room.
    pub(crate) when_full: &'static str,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

impl Settled {
    /// As a person asks for it.
    pub(crate) fn arguments(&self) -> String {
        let Self { channel, redis, publishers, queues, seconds, seed, .. } = self;
        let redis = redis.map(|redis| format!("--redis {redis} ")).unwrap_or_default();
        let queues = if *queues > 1 { format!("--queues {queues} ") } else { String::new() };
        let to = match publishers.as_slice() {
            [only] => KINDS.iter().find(|(_, kind)| *kind == only.kind).map(|(name, _)| format!("--to {name}")),
            several => Some(format!("--publishers {}", several.len())),
        };
        format!("--channel {} {redis}{queues}{} --seconds {seconds} --seed {seed}", channel.name(), to.unwrap_or_default())
    }
}

pub(crate) enum Wanted {
    /// The names of these tests.
    List(Vec<&'static str>),
    /// These tests; none when somebody wants others.
    Run(Vec<&'static str>, Options),
}

#[derive(Debug)]
pub(crate) struct Options {
    /// How long faults are made.
    seconds: Option<u64>,
    seed: u64,
    /// How many publishers there are.
    publishers: Option<usize>,
    /// How many queues there are.
    queues: Option<usize>,
    /// What the only one writes to.
    to: Option<Kind>,
    /// Which server takes the place of Debian's Redis.
    redis: Option<&'static str>,
    /// Where the agents' logs and Redis's files stay. Nothing may be in it.
    pub(crate) keep: Option<PathBuf>,
}

pub(crate) fn wanted(arguments: impl Iterator<Item = String>) -> Wanted {
    // Short, so that it is easily typed again.
    let mut options = Options {
        seconds: None,
        seed: fastrand::u32(..).into(),
        publishers: None,
        queues: None,
        to: None,
        redis: None,
        keep: None,
    };
    let (mut list, mut exact, mut ignored) = (false, false, false);
    let (mut filters, mut skipped, mut channel) = (Vec::new(), Vec::new(), None::<String>);
    let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![argument],
    });
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = Some(value().parse().expect("--seconds takes a number")),
            "--seed" => options.seed = value().parse().expect("--seed takes a number"),
            "--channel" => channel = Some(value()),
            "--publishers" => {
                let count = value().parse().ok().filter(|count| (1..=3).contains(count));
                options.publishers = Some(count.expect("--publishers takes 1, 2 or 3"));
            }
            "--queues" => {
                options.queues =
                    Some(value().parse().ok().filter(|count| (1..=2).contains(count)).expect("--queues takes 1 or 2"));
                channel.get_or_insert_with(|| Channel::Redis.name().to_owned());
            }
            "--to" => {
                let wanted = value();
                let kind = KINDS.iter().find(|(name, _)| *name == wanted);
                let names = KINDS.map(|(name, _)| name).join(", ");
                options.to = Some(kind.unwrap_or_else(|| panic!("--to takes one of {names}")).1);
            }
            "--redis" => {
                let wanted = value();
                let found = OTHERS.into_iter().chain([UPGRADED]).find(|server| *server == wanted);
                options.redis = Some(found.unwrap_or_else(|| panic!("--redis takes {UPGRADED} or one of {}", OTHERS.join(", "))));
                channel.get_or_insert_with(|| Channel::Redis.name().to_owned());
            }
            "--keep" => options.keep = Some(value().into()),
            "--list" => list = true,
            "--exact" => exact = true,
            "--ignored" => ignored = true,
            "--skip" => skipped.push(value()),
            "--format" | "--color" | "--test-threads" | "--logfile" | "-Z" => drop(value()),
            flag if flag.starts_with('-') => {}
            name => filters.push(name.to_owned()),
        }
    }
    let mut tests = OF_ITSELF.map(|(name, _)| name).to_vec();
    tests.extend(CAMPAIGNS.map(|campaign| campaign.name));
    if channel.is_some() || options.publishers.is_some() || options.to.is_some() {
        tests.retain(|name| {
            let of = Campaign::of_test(name).filter(|campaign| campaign.is_of_a_person()).and_then(|campaign| campaign.channel);
            of.is_some_and(|of| channel.as_ref().is_none_or(|channel| of.name() == channel))
        });
        assert!(!tests.is_empty(), "--channel takes redis, embedded, sentinel or cluster");
        let is_embedded = channel.as_deref() == Some(Channel::Embedded.name());
        assert!(!is_embedded || options.queues.unwrap_or(1) == 1, "the embedded channel has one queue");
        assert!(options.to.is_none() || options.publishers.unwrap_or(1) == 1, "--to is about a single publisher");
    }
    tests.retain(|name| {
        let matches = |filter: &String| if exact { filter == name } else { name.contains(filter.as_str()) };
        !ignored && !skipped.iter().any(matches) && (filters.is_empty() || filters.iter().any(matches))
    });
    if list { Wanted::List(tests) } else { Wanted::Run(tests, options) }
}
