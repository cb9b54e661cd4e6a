//! `kadabra dead-letters`: looks at what was set aside, queues it anew, deletes it, or writes it down, whether or not an agent runs.

mod letter;
mod places;

use std::path::Path;

use self::letter::{Filter, json, line, reason, whole};
pub(super) use self::places::Places;
use super::{Answers, complain, or_complain};
use crate::{
    agent::code,
    channel::{ChannelError, LetterAct, redis::StoredLetter},
    config,
    plural::{count, either},
};

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra dead-letters list --since 2h
  kadabra dead-letters replay --reason 'field type conflict' --dry-run
  kadabra dead-letters discard 17";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One line each, the oldest first
    List(List),
    /// All of one, with its message
    Show(Show),
    /// Queue them anew, as they were, for the publisher that set them aside
    Replay(Chosen),
    /// Delete them for good
    Discard(Chosen),
    /// Write them to standard output, one JSON object a line, with their messages
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// Those behind the one with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// So many at most
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Their ids, as list says them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// Their ids, as list says them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All that there are, where neither ids nor filters say which
    #[arg(long, alias = "yes")]
    all: bool,
    /// So many at most, the oldest first
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Only say which
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line for each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Their ids, as list says them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// So many at most, the oldest first
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

pub(super) fn dead_letters(file: Option<&Path>, arguments: &Arguments) -> u8 {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    if let Command::Replay(chosen) | Command::Discard(chosen) = &arguments.command
        && chosen.ids.is_empty()
        && chosen.filter == Filter::default()
        && !chosen.all
    {
        complain("which dead letters? Name ids, filters such as --reason, or --all");
        return code::COMMAND_LINE;
    }
    let channel = match or_complain(config::load_channel(file, std::env::vars_os())) {
        Ok(channel) => channel,
        Err(code) => return code,
    };
    let answers = Answers::default();
    let done = actix_rt::System::new().block_on(async {
        let places = Places::open(&channel).await?;
        let all_there = run(&places, &arguments.command, &answers).await;
        places.close().await?;
        all_there
    });
    match done {
        Ok(true) => answers.code(0),
        Ok(false) => answers.code(code::UNAVAILABLE),
        Err(error) => {
            complain(error);
            answers.code(code::UNAVAILABLE)
        }
    }
}

/// Returns whether all that were named are there.
async fn run(places: &Places, command: &Command, answers: &Answers) -> Result<bool, ChannelError> {
    match command {
        Command::List(List { filter, after, limit, json: as_json }) => {
            let say = |letter: &StoredLetter| answers.say(if *as_json { json(letter, false) } else { line(letter) });
            let last = each(places, filter, after.clone(), *limit, say).await?;
            if let Some(last) = last.filter(|_| !as_json) {
                answers.say(format_args!("there may be more: kadabra dead-letters list --after {last}"));
            }
            Ok(none_left_out(places))
        }
        Command::Show(Show { ids, json: as_json }) => {
            let say = |letter: &StoredLetter| answers.say(if *as_json { json(letter, true) } else { whole(letter) });
            named(places, ids, &Filter::default(), say).await
        }
        Command::Export(Export { ids, filter, limit }) => {
            let say = |letter: &StoredLetter| answers.say(json(letter, true));
            if !ids.is_empty() {
                return named(places, ids, filter, say).await;
            }
            each(places, filter, None, limit.unwrap_or(usize::MAX), say).await.map(|_| none_left_out(places))
        }
        Command::Replay(chosen) => act(places, LetterAct::Replay, chosen, answers).await,
        Command::Discard(chosen) => act(places, LetterAct::Discard, chosen, answers).await,
    }
}

/// Complains of each of several queues that cannot be used. Returns whether there is none.
fn none_left_out(places: &Places) -> bool {
    let left_out = places.left_out();
    for (queue, error) in &left_out {
        complain(format_args!("the dead letters of the queue {queue} are left out: {error}"));
    }
    left_out.is_empty()
}

/// Those of these ids that fit. Returns whether all are there.
async fn named(
    places: &Places,
    ids: &[String],
    filter: &Filter,
    mut say: impl FnMut(&StoredLetter),
) -> Result<bool, ChannelError> {
    let mut all_there = true;
    for id in ids {
        match places.get(id).await? {
            Some(letter) if filter.fits(&letter) => say(&letter),
            Some(_) => {}
            None => {
                complain(format_args!("there is no dead letter {id:?}"));
                all_there = false;
            }
        }
    }
    Ok(all_there)
}

/// The first so many that fit. Returns the last one's id, where there may be more.
async fn each(
    places: &Places,
    filter: &Filter,
    mut after: Option<String>,
    limit: usize,
    mut say: impl FnMut(&StoredLetter),
) -> Result<Option<String>, ChannelError> {
    let mut left = limit;
    while let Some(letter) = places.after(after.as_deref()).await? {
        if left == 0 {
            return Ok(after);
        }
        if filter.fits(&letter) {
            say(&letter);
            left -= 1;
        }
        after = Some(letter.id);
    }
    Ok(None)
}

/// Says each with a refused metric of this name, the oldest first, and why that was refused.
pub(super) async fn with_metric(
    places: &Places,
    metric: &str,
    mut say: impl FnMut(&StoredLetter, String),
) -> Result<(), ChannelError> {
    let say = |letter: &StoredLetter| say(letter, reason(letter, metric));
    each(places, &Filter::of_metric(metric), None, usize::MAX, say).await?;
    // Who traces a metric is to know of all.
    places.left_out().into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// All that are meant are found before anything is done: what is refused anew is not found again.
async fn act(places: &Places, act: LetterAct, chosen: &Chosen, answers: &Answers) -> Result<bool, ChannelError> {
    let mut found = Vec::new();
    let mut note = |letter: &StoredLetter| {
        if found.len() < chosen.limit.unwrap_or(usize::MAX) {
            let said = if chosen.json { json(letter, false) } else { line(letter) };
            found.push((letter.id.clone(), letter.time.clone(), (chosen.json || chosen.dry_run).then_some(said)));
        }
    };
    let all_there = if chosen.ids.is_empty() {
        each(places, &chosen.filter, None, chosen.limit.unwrap_or(usize::MAX), &mut note).await?;
        none_left_out(places)
    } else {
        named(places, &chosen.ids, &chosen.filter, &mut note).await?
    };
    let mut done = 0_u64;
    let mut failed = None;
    for (id, time, said) in found {
        if !chosen.dry_run {
            match places.act(act, &id, &time).await {
                Ok(true) => {}
                // Somebody was quicker.
                Ok(false) => continue,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        done += 1;
        if let Some(said) = said {
            answers.say(said);
        }
    }
    if !chosen.json {
        let what = match (act, chosen.dry_run) {
            (LetterAct::Replay, false) => format!("{} queued anew", either(done, "is", "are")),
            (LetterAct::Replay, true) => "would be queued anew".to_owned(),
            (LetterAct::Discard, false) => format!("{} gone", either(done, "is", "are")),
            (LetterAct::Discard, true) => "would be gone".to_owned(),
        };
        answers.say(format_args!("{} {what}", count(done, "dead letter")));
    }
    failed.map_or(Ok(all_there), Err)
}
