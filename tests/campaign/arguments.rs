//! The command line: what cargo and nextest ask every test binary, and what a person asks this one.

use std::path::PathBuf;

/// The run itself, over each channel.
const CAMPAIGNS: [(&str, Channel); 2] =
    [("campaign_over_redis", Channel::Redis), ("campaign_over_the_embedded_channel", Channel::Embedded)];

/// What can happen in it is looked through, without a run.
pub(crate) const DRAWN: &str = "every_fault_and_every_fail_point_is_drawn";

/// How long faults are made when nobody says: with the drain and the checks a run of about a minute.
const SECONDS: u64 = 35;

/// Where messages wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Redis,
    /// The one agent itself.
    Embedded,
}

impl Channel {
    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Embedded => "embedded",
        }
    }

    /// What a run over it is, if the test of this name is one.
    pub(crate) fn of_test(name: &str) -> Option<Self> {
        CAMPAIGNS.iter().find(|(campaign, _)| *campaign == name).map(|(_, channel)| *channel)
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
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// Where the agents' logs and Redis's files stay. Nothing may be in it.
    pub(crate) keep: Option<PathBuf>,
}

pub(crate) fn wanted(arguments: impl Iterator<Item = String>) -> Wanted {
    // Short, so that it is easily typed again.
    let mut options = Options { seconds: SECONDS, seed: fastrand::u32(..).into(), keep: None };
    let (mut list, mut exact, mut ignored) = (false, false, false);
    let (mut filters, mut skipped, mut channel) = (Vec::new(), Vec::new(), None::<String>);
    let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![argument],
    });
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = value().parse().expect("--seconds takes a number"),
            "--seed" => options.seed = value().parse().expect("--seed takes a number"),
            "--channel" => channel = Some(value()),
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
    let mut tests = vec![DRAWN];
    tests.extend(CAMPAIGNS.map(|(name, _)| name));
    if let Some(channel) = channel {
        tests.retain(|name| Channel::of_test(name).is_some_and(|of| of.name() == channel));
        assert!(!tests.is_empty(), "--channel takes redis or embedded");
    }
    tests.retain(|name| {
        let matches = |filter: &String| if exact { filter == name } else { name.contains(filter.as_str()) };
        !ignored && !skipped.iter().any(matches) && (filters.is_empty() || filters.iter().any(matches))
    });
    if list { Wanted::List(tests) } else { Wanted::Run(tests, options) }
}
