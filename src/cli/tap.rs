//! `kadabra tap`: follows what comes through the running agent, which never waits for it.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::timeout;
use url::form_urlencoded;

use super::{
    Answers,
    asking::{Asking, NoAnswer},
    complain, or_complain,
};
use crate::{
    agent::code,
    config,
    quote::{printable, printable_json},
    status::tap::{Fate, Tapped},
};

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra tap 'http_*' --config /etc/kadabra/kadabra.toml
  kadabra tap host=web-1 --rate 1000 --json";

/// Longer than any line that an agent writes.
const LONGEST_LINE: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Metrics of which the name fits, with * and ?, or a dimension, as host=web-*; several mean either
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// So many points a second at most, up to 2000; how many were left out is said
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    rate: u64,
    /// End after so many points
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// One JSON object a line, and {"left_out": NUMBER} where points were left out
    #[arg(long)]
    json: bool,
}

/// What the agent writes on a line.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    LeftOut { left_out: u64 },
    Point(Box<Tapped>),
}

pub(super) fn tap(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let settings = match or_complain(config::load_status(file, std::env::vars_os())) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let answers = Answers::default();
    match actix_rt::System::new().block_on(follow(&settings, arguments, &answers)) {
        Ok(()) => answers.code(0),
        Err(error) => {
            complain(error);
            answers.code(code::UNAVAILABLE)
        }
    }
}

async fn follow(settings: &config::Status, arguments: &Arguments, answers: &Answers) -> Result<(), NoAnswer> {
    let asking = Asking::new(settings)?;
    let path = path(arguments.rate, &arguments.patterns);
    let mut shown = 0;
    // The agent ends an answer now and then, as it ends every connection that is old.
    loop {
        let mut parts = asking.parts(&path).await?;
        if io::stderr().is_terminal() && shown == 0 {
            complain(format_args!("following {}; Ctrl-C ends", asking.place()));
        }
        let mut lines = Lines::default();
        while let Some(Ok(part)) = parts.next().await {
            for line in lines.take_in(&part) {
                shown += u64::from(show(&line, arguments.json, answers));
                if arguments.limit.is_some_and(|limit| shown >= limit) || answers.failed() {
                    return Ok(());
                }
            }
        }
    }
}

/// The points of a metric of this name that come through in this time, or as many of them as tell enough.
pub(super) async fn within(asking: &Asking, metric: &str, time: Duration) -> Result<Vec<Tapped>, NoAnswer> {
    const ENOUGH: usize = 20;
    let mut found = Vec::new();
    let mut parts = asking.parts(&path(ENOUGH as u64, &[metric.to_owned()])).await?;
    let follow = async {
        let mut lines = Lines::default();
        while let Some(Ok(part)) = parts.next().await {
            for line in lines.take_in(&part) {
                if let Ok(Line::Point(point)) = serde_json::from_slice(&line) {
                    found.push(*point);
                }
            }
            if found.len() >= ENOUGH {
                break;
            }
        }
    };
    // At its end what was found is all there is.
    drop(timeout(time, follow).await);
    Ok(found)
}

/// What the agent is asked for.
fn path(per_second: u64, patterns: &[String]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("per_second", &per_second.to_string());
    for pattern in patterns {
        query.append_pair("only", pattern);
    }
    ["/api/tap?", &query.finish()].concat()
}

/// Lines that come in parts.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that end in this part.
    fn take_in(&mut self, part: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(part);
        let mut lines = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            lines.push(self.0.drain(..=end).collect());
        }
        if self.0.len() > LONGEST_LINE {
            self.0.clear();
        }
        lines
    }
}

/// Says what stands on a line. Returns whether that is a point.
fn show(line: &[u8], json: bool, answers: &Answers) -> bool {
    let text = String::from_utf8_lossy(line);
    match serde_json::from_slice(line) {
        Ok(Line::Point(point)) => {
            answers.say(if json { printable_json(text.trim_end()) } else { said(&point) });
            true
        }
        Ok(Line::LeftOut { left_out: 0 }) | Err(_) => false,
        Ok(Line::LeftOut { left_out }) if json => {
            answers.say(format_args!("{{\"left_out\":{left_out}}}"));
            false
        }
        Ok(Line::LeftOut { left_out }) => {
            complain(format_args!("up to {left_out} points were left out; --rate shows more, a pattern fewer"));
            false
        }
    }
}

fn said(point: &Tapped) -> String {
    let Tapped { publisher, metric, time, value, unit, dimensions, fate, why } = point;
    let mut said = time.map(|time| time.to_string() + " ").unwrap_or_default();
    said += metric.as_deref().unwrap_or("a message");
    if let Some(value) = value {
        said += &format!(" {value}");
    }
    if let Some(unit) = unit {
        said += &format!(" {unit}");
    }
    said.extend(dimensions.iter().map(|(name, value)| format!(" {name}={value}")));
    if let Some(publisher) = publisher {
        said += &format!(" -> {publisher}");
    }
    said += match fate {
        Fate::Passed => "",
        Fate::Filtered => " (left out by the publisher's filter)",
        Fate::SetAside => " (set aside)",
    };
    if let Some(why) = why {
        said += &format!(": {why}");
    }
    printable(&said)
}
