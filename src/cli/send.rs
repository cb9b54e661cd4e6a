//! `kadabra send`: queues a message from a shell, or those that come on standard input, as a Kadabra client does.

mod lines;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use clap::ArgGroup;
use jiff::Timestamp;

use super::{complain, or_complain, time::time};
use crate::{
    agent::code,
    channel::pusher::{PushError, Pusher},
    config,
    wire::{OutgoingMessage, Unit},
};

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra send --count userSignup=1 --timer RequestTime=12.5ms --dimension method=index --metadata path=/
  kadabra send --stdin < messages.jsonl";

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("metric").required(true).multiple(true).args(["counts", "timers", "stdin"])))]
pub(super) struct Arguments {
    /// A counter; without a value it counts one
    #[arg(long = "count", value_name = "NAME[=VALUE]", value_parser = count)]
    counts: Vec<(String, f64)>,
    /// A timer; units are us, ms and s
    #[arg(long = "timer", value_name = "NAME=DURATION", value_parser = timer)]
    timers: Vec<Timer>,
    /// A dimension of every metric of the message
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = pair)]
    dimensions: Vec<(String, String)>,
    /// Metadata of every metric of the message
    #[arg(long = "metadata", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// When it was: 2026-03-01T12:00:00Z, or 2h for two hours ago; without it now
    #[arg(long, value_name = "TIME", value_parser = time)]
    timestamp: Option<Timestamp>,
    /// Into which queue, where the configuration has several; without it into the first
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Queue the messages of standard input instead: one a line, in JSON as a client of Kadabra writes it
    #[arg(long, conflicts_with_all = ["counts", "timers", "dimensions", "metadata", "timestamp"])]
    stdin: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Timer {
    name: String,
    value: Duration,
    unit: Unit,
}

pub(super) fn send(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let channel = match or_complain(config::load_channel(file, std::env::vars_os())) {
        Ok(channel) => channel,
        Err(code) => return code,
    };
    let channel = match &arguments.queue {
        Some(name) => match channel.of_queue(name) {
            Ok(channel) => channel,
            Err(why) => {
                complain(format_args!("--queue: {why}"));
                return code::CONFIGURATION;
            }
        },
        None => channel,
    };
    if arguments.stdin {
        return lines::send(&channel);
    }
    let sent = actix_rt::System::new().block_on(async {
        let pusher = Pusher::new(&channel)?;
        pusher.send(&message(arguments)?).await
    });
    match sent {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("the message was not queued: {error}"));
            code::UNAVAILABLE
        }
    }
}

fn message(arguments: &Arguments) -> Result<OutgoingMessage, PushError> {
    let now = arguments.timestamp.map_or_else(SystemTime::now, SystemTime::from);
    let mut message = OutgoingMessage::new();
    for (name, value) in &arguments.dimensions {
        message.dimension(name, value);
    }
    for (name, value) in &arguments.counts {
        message.counter(name, *value, now, arguments.metadata.clone())?;
    }
    for timer in &arguments.timers {
        message.timer(&timer.name, timer.value, timer.unit.clone(), now, arguments.metadata.clone())?;
    }
    Ok(message)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn count(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    if name.is_empty() {
        return Err("expected NAME or NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), finite(value)?))
}

fn timer(text: &str) -> Result<Timer, String> {
    let (name, duration) = pair(text).map_err(|_| "expected NAME=DURATION, such as RequestTime=12.5ms".to_owned())?;
    let number = duration.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match duration.get(number.len()..).unwrap_or_default() {
        "us" => Unit::MICROSECONDS,
        "ms" => Unit::MILLISECONDS,
        "s" => Unit::SECONDS,
        _ => return Err(format!("expected a duration with a unit of us, ms or s, such as 12.5ms, not {duration:?}")),
    };
    let value = Duration::try_from_secs_f64(finite(number)? / unit.seconds_offset());
    let value = value
        .map_err(|_| format!("expected a duration that is neither negative nor longer than anyone can wait, not {duration:?}"))?;
    Ok(Timer { name, value, unit })
}

fn finite(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    value.ok_or_else(|| format!("expected a finite number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_one_unless_said_otherwise() {
        assert_eq!(count("a"), Ok(("a".to_owned(), 1.0)));
        assert_eq!(count("a=2.5"), Ok(("a".to_owned(), 2.5)));
        assert_eq!(count("a=-1e3"), Ok(("a".to_owned(), -1000.0)));
        for wrong in ["", "=1", "a=", "a=b", "a=NaN", "a=inf", "a=1e999"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timers_keep_the_unit_they_were_given_in() {
        let wanted = Timer { name: "t".to_owned(), value: Duration::from_micros(12_500), unit: Unit::MILLISECONDS };
        assert_eq!(timer("t=12.5ms"), Ok(wanted));
        for wrong in ["t", "t=", "t=5", "t=ms", "t=5parsecs", "=5ms", "t=NaNms", "t=5 ms", "t=-1s", "t=1e300s"] {
            assert!(timer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(pair("path=/?a=b"), Ok(("path".to_owned(), "/?a=b".to_owned())));
        assert!(pair("path").is_err() && pair("=x").is_err());
    }
}
