//! `kadabra check`: is the configuration right, and with `--online`, are the servers.

mod waiting;
mod whose_queue;

use std::{path::Path, sync::Arc, time::Duration};

use bytesize::ByteSize;
use futures_util::future::join_all;
use slog::{Discard, Logger, o};

pub(super) use self::waiting::MOST_OF_AN_AGENT;
use self::waiting::Waiting;
use super::{Answers, or_complain};
use crate::{
    agent::code,
    channel::{
        self, Backlog, Channel, ChannelError, PassedSockets, Patience, Pressure, Warning, embedded::pressure, pusher::Pusher,
    },
    config::{self, Embedded, Log, Pipeline, Settings},
    observe::log::KeptLog,
    plural::{count, leases_are_open},
    publisher::{self, Caution, Inspection, Outcome},
    queue,
    wire::MessageSet,
};

/// Longer than every time-out below it, which say more about what went wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also try the channel (version, types of the keys, permissions, what threatens waiting messages) and the publisher
    /// (login, database, right to write, types that conflict with what waits); nothing is changed by it, except that a missing
    /// queue file is made, that a queue file knows the publishers of the configuration from then on, and that a missing database
    /// is made when create_database says so
    #[arg(long)]
    online: bool,
    /// Print the configuration that holds, as a file of configuration with where each value came from and secrets hidden
    #[arg(long)]
    show: bool,
}

pub(super) fn check(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let loaded = match or_complain(config::load(file, std::env::vars_os())) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let answers = Answers::default();
    // Alone, what is shown can be used as a file.
    let alone = arguments.show && !arguments.online;
    if !alone {
        answers.say(format_args!("ok: configuration: {}", loaded.sources()));
    }
    let mut well = true;
    if arguments.online {
        actix_rt::System::new().block_on(async {
            let (usable, waiting) = try_channel(&loaded.settings, &answers).await;
            well &= usable;
            if let config::Channel::Embedded(embedded) = &loaded.settings.channel
                && loaded.has_default_queue()
                && let Some((what, mend)) =
                    whose_queue::not_of_the_unit(&embedded.path, Path::new(whose_queue::OF_THE_UNIT), file)
            {
                answers.say(format_args!("warning: channel: {what}\n  to mend it: {mend}"));
            }
            // Of a channel that cannot be looked at there is nothing.
            let mut waiting = waiting.into_iter();
            for pipeline in loaded.settings.pipelines() {
                well &= try_publisher(&pipeline, waiting.next(), loaded.settings.log, &answers).await;
            }
        });
    }
    if arguments.show {
        answers.say(format_args!("{}{}", if alone { "" } else { "\n" }, loaded.effective()));
    }
    answers.code(if well { 0 } else { code::UNAVAILABLE })
}

/// Whether the channel can be used, and what waits there for each publisher.
async fn try_channel(settings: &Settings, answers: &Answers) -> (bool, Waiting) {
    if let config::Channel::Embedded(embedded) = &settings.channel
        && queue::is_in_use(&embedded.path)
    {
        return try_running_agent(settings, embedded, answers).await;
    }
    let usable = match tokio::time::timeout(PATIENCE, open(settings)).await {
        Ok(Ok(consumers)) => {
            let (mut waiting, mut usable, mut said) = (Waiting::new(), true, Vec::new());
            for Opened { channel, pipeline, queues } in consumers {
                let of = pipeline.name.as_ref().map(|name| format!("for publisher {name}: ")).unwrap_or_default();
                for queue in queues {
                    match queue {
                        Ok(OpenedQueue { reached, backlog, mut pressure }) => {
                            answers.say(format_args!("ok: channel: {of}{reached}; {backlog}"));
                            // What is the server's, each of its queues finds.
                            pressure.warnings.retain(|warning| !said.contains(&warning.what));
                            warn(&pressure, answers);
                            said.extend(pressure.warnings.into_iter().map(|warning| warning.what));
                        }
                        Err((name, error)) => usable &= refused(&format!("{of}the queue {name}: "), &error, answers),
                    }
                }
                waiting.push(waiting::of(&*channel, &pipeline).await);
            }
            return (usable, waiting);
        }
        Ok(Err(error)) => refused("", &error, answers),
        Err(_) => wrong("channel", "it did not answer in time", None, answers),
    };
    (usable, Waiting::new())
}

/// What is wrong with the channel, of a queue in it if that is named.
fn refused(of: &str, error: &ChannelError, answers: &Answers) -> bool {
    match error {
        ChannelError::Unreachable { .. } => wrong("channel", &format!("{of}{error}"), None, answers),
        ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend } => {
            wrong("channel", &format!("{of}{what}"), Some(mend), answers)
        }
    }
}

/// The file is a running agent's, which is as it should be: it is asked what waits there.
async fn try_running_agent(settings: &Settings, embedded: &Embedded, answers: &Answers) -> (bool, Waiting) {
    let described = async {
        let pusher = Pusher::new(&settings.channel)?;
        // What it is asked first names the queue, and so notices that it has another.
        pusher.waiting().await?;
        let report = pusher.describe().await?;
        Ok::<_, ChannelError>((report, pusher.newest(waiting::MOST_OF_AN_AGENT).await))
    };
    let shown = embedded.path.display();
    match described.await {
        Ok((report, newest)) => {
            let (status, pressure) = pressure::of_a_running_agent(&report, embedded, &Patience::from(&settings.nanny));
            answers.say(format_args!(
                "ok: channel: an agent is running on the queue in {shown}, where {}; {}{}",
                pressure::backlog(&status),
                count(status.dead, "dead letter"),
                status.outlook.map(|outlook| format!("; {outlook}")).unwrap_or_default()
            ));
            for consumer in status.consumers.iter().filter(|consumer| !consumer.removed) {
                let waiting = Backlog { waiting: consumer.waiting, in_hand: consumer.in_hand, age: consumer.age };
                answers.say(format_args!("ok: channel: for publisher {}: {waiting}", consumer.name));
            }
            warn(&pressure, answers);
            let newest = newest.map_err(|error| error.to_string());
            let of = |pipeline: &Pipeline| {
                let newest = newest.as_ref().map_err(Clone::clone)?;
                Ok(waiting::of_agent(newest, &status.consumers, pipeline))
            };
            (!pressure.refuses, settings.pipelines().iter().map(of).collect())
        }
        Err(error) => {
            let what = format!("an agent is running on the queue in {shown}, but not as this configuration says: {error}");
            let mend = "restart it if the configuration has changed; its log says how it stands";
            (wrong("channel", &what, Some(mend), answers), Waiting::new())
        }
    }
}

/// What the channel is for one publisher.
struct Opened {
    channel: Arc<dyn Channel>,
    pipeline: Pipeline,
    /// Each of the queues in it, of several that cannot be used with why.
    queues: Vec<Result<OpenedQueue, (String, ChannelError)>>,
}

/// A queue that can be used.
struct OpenedQueue {
    /// What was reached: a sentence.
    reached: String,
    /// How much waits: a sentence.
    backlog: String,
    /// What threatens that.
    pressure: Pressure,
}

async fn open(settings: &Settings) -> Result<Vec<Opened>, ChannelError> {
    let channels = channel::open(settings, &PassedSockets::default(), &Logger::root(Discard, o!()))?;
    let patience = Patience::from(&settings.nanny);
    let mut consumers = Vec::new();
    for (channel, pipeline) in channels.into_iter().zip(settings.pipelines()) {
        // Those that cannot be reached take a time-out each.
        let each = channel
            .queues()
            .into_iter()
            .map(async |queue| open_queue(&*queue.channel, &patience).await.map_err(|error| (queue.name, error)));
        let mut queues = join_all(each).await;
        if queues.is_empty() {
            queues.push(Ok(open_queue(&*channel, &patience).await?));
        }
        consumers.push(Opened { channel, pipeline, queues });
    }
    Ok(consumers)
}

async fn open_queue(channel: &dyn Channel, patience: &Patience) -> Result<OpenedQueue, ChannelError> {
    let reached = channel.open().await?;
    let depth = channel.depth().await?;
    let backlog = format!(
        "{}; {}, {}, {} in a Python agent's in-progress list",
        depth.backlog(),
        leases_are_open(depth.leases),
        count(depth.dead, "dead letter"),
        depth.inprogress
    );
    let copies = channel.copies().await.map(|bytes| {
        let size = ByteSize(bytes).display().iec();
        format!("; {size} of Redis's memory are its own copies of messages")
    });
    let backlog = backlog + &copies.unwrap_or_default();
    let pressure = channel.pressure(patience).await?;
    Ok(OpenedQueue { reached, backlog, pressure })
}

/// What works, and may not for long.
fn warn(pressure: &Pressure, answers: &Answers) {
    for Warning { threat, what, now, mend } in &pressure.warnings {
        answers.say(format_args!("warning: {threat}: {what}; {now}\n  to mend it: {mend}"));
    }
}

async fn try_publisher(
    pipeline: &Pipeline,
    waiting: Option<Result<MessageSet, String>>,
    written: Log,
    answers: &Answers,
) -> bool {
    let publishers = publisher::configured(&pipeline.publisher, written, || KeptLog::at_once(Logger::root(Discard, o!())));
    let mut publisher = publishers.make();
    let destination = publisher.destination();
    let part = pipeline.name.as_ref().map_or_else(|| "publisher".to_owned(), |name| format!("publisher {name}"));
    match tokio::time::timeout(PATIENCE, publisher.probe()).await {
        Ok(Outcome::Written { .. } | Outcome::Progressed) => {
            let Inspection { facts, cautions } = tokio::time::timeout(PATIENCE, publisher.inspect()).await.unwrap_or_default();
            let facts = facts.map(|facts| format!("; {facts}")).unwrap_or_default();
            answers.say(format_args!("ok: {part}: {destination}{facts}"));
            caution(&part, pipeline, &cautions, answers);
            match waiting {
                Some(Ok(waiting)) if waiting.point_count() > 0 => {
                    let compared = tokio::time::timeout(PATIENCE, publisher.compare(&waiting)).await;
                    let late = || Inspection {
                        facts: Some(
                            "what waits was not compared with the types of the database's fields: no answer in time".to_owned(),
                        ),
                        cautions: Vec::new(),
                    };
                    let Inspection { facts, cautions } = compared.unwrap_or_else(|_| late());
                    if let Some(facts) = facts {
                        answers.say(format_args!("ok: {part}: {}", pipeline.said(&facts)));
                    }
                    caution(&part, pipeline, &cautions, answers);
                }
                Some(Err(why)) => answers.say(format_args!("ok: {part}: what waits could not be looked at: {why}")),
                _ => {}
            }
            true
        }
        Ok(Outcome::Retry { why, .. }) => wrong(&part, &pipeline.said(&why), None, answers),
        Ok(Outcome::Hold { what, mend, .. }) => wrong(&part, &pipeline.said(&what), Some(&pipeline.said(&mend)), answers),
        Err(_) => wrong(&part, &format!("{destination} did not answer in time"), None, answers),
    }
}

/// What to know of a publisher though nothing is wrong.
fn caution(part: &str, pipeline: &Pipeline, cautions: &[Caution], answers: &Answers) {
    for Caution { what, mend } in cautions {
        answers.say(format_args!("warning: {part}: {}\n  to mend it: {}", pipeline.said(what), pipeline.said(mend)));
    }
}

fn wrong(part: &str, what: &str, mend: Option<&str>, answers: &Answers) -> bool {
    match mend {
        Some(mend) => answers.say(format_args!("wrong: {part}: {what}\n  to mend it: {mend}")),
        None => answers.say(format_args!("wrong: {part}: {what}")),
    }
    false
}
