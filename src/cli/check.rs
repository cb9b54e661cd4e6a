//! `kadabra check`: is the configuration right, and with `--online`, are the servers.

use std::{path::Path, time::Duration};

use slog::{Discard, Logger, o};

use super::{Answers, or_complain, pusher::Pusher};
use crate::{
    agent::code,
    channel::{self, Backlog, ChannelError, Patience, Pressure, Warning, embedded::pressure},
    config::{self, Channel, Embedded, Log, Pipeline, Settings},
    observe::log::KeptLog,
    plural::{count, leases_are_open},
    publisher::{self, Caution, Inspection, Outcome},
    queue,
};

/// Longer than every time-out below it, which say more about what went wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also try the channel (version, types of the keys, permissions, what threatens waiting messages) and the publisher
    /// (login, database, right to write); nothing is changed by it, except that a missing queue file is made, that a queue file
    /// knows the publishers of the configuration from then on, and that a missing database is made when create_database says so
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
            well &= try_channel(&loaded.settings, &answers).await;
            for pipeline in loaded.settings.pipelines() {
                well &= try_publisher(&pipeline, loaded.settings.log, &answers).await;
            }
        });
    }
    if arguments.show {
        answers.say(format_args!("{}{}", if alone { "" } else { "\n" }, loaded.effective()));
    }
    answers.code(if well { 0 } else { code::UNAVAILABLE })
}

async fn try_channel(settings: &Settings, answers: &Answers) -> bool {
    if let Channel::Embedded(embedded) = &settings.channel
        && queue::is_in_use(&embedded.path)
    {
        return try_running_agent(settings, embedded, answers).await;
    }
    match tokio::time::timeout(PATIENCE, open(settings)).await {
        Ok(Ok(consumers)) => {
            for (name, reached, waiting, pressure) in consumers {
                let of = name.map(|name| format!("for publisher {name}: ")).unwrap_or_default();
                answers.say(format_args!("ok: channel: {of}{reached}; {waiting}"));
                warn(&pressure, answers);
            }
            true
        }
        Ok(Err(ChannelError::Unreachable { what, why })) => wrong("channel", &format!("{what}: {why}"), None, answers),
        Ok(Err(ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend })) => {
            wrong("channel", &what, Some(&mend), answers)
        }
        Err(_) => wrong("channel", "it did not answer in time", None, answers),
    }
}

/// The file is a running agent's, which is as it should be: it is asked what waits there.
async fn try_running_agent(settings: &Settings, embedded: &Embedded, answers: &Answers) -> bool {
    let described = async {
        let pusher = Pusher::new(&settings.channel)?;
        // What it is asked first names the queue, and so notices that it has another.
        pusher.waiting().await?;
        pusher.describe().await
    };
    let shown = embedded.path.display();
    match described.await {
        Ok(report) => {
            let (status, pressure) = pressure::of_a_running_agent(&report, embedded, &Patience::from(&settings.nanny));
            answers.say(format_args!(
                "ok: channel: an agent is running on the queue in {shown}, where {}; {}",
                pressure::backlog(&status),
                count(status.dead, "dead letter")
            ));
            for consumer in status.consumers.iter().filter(|consumer| !consumer.removed) {
                let waiting = Backlog { waiting: consumer.waiting, in_hand: consumer.in_hand, age: consumer.age };
                answers.say(format_args!("ok: channel: for publisher {}: {waiting}", consumer.name));
            }
            warn(&pressure, answers);
            !pressure.refuses
        }
        Err(error) => {
            let what = format!("an agent is running on the queue in {shown}, but not as this configuration says: {error}");
            wrong("channel", &what, Some("restart it if the configuration has changed; its log says how it stands"), answers)
        }
    }
}

/// Each publisher's name where there are several, what was reached for it, what waits for it, and what threatens that.
async fn open(settings: &Settings) -> Result<Vec<(Option<String>, String, String, Pressure)>, ChannelError> {
    let channels = channel::open(settings, &Logger::root(Discard, o!()))?;
    let mut consumers = Vec::new();
    for (channel, pipeline) in channels.iter().zip(settings.pipelines()) {
        let reached = channel.open().await?;
        let depth = channel.depth().await?;
        let waiting = format!(
            "{}; {}, {}, {} in a Python agent's in-progress list",
            depth.backlog(),
            leases_are_open(depth.leases),
            count(depth.dead, "dead letter"),
            depth.inprogress
        );
        let pressure = channel.pressure(&Patience::from(&settings.nanny)).await?;
        consumers.push((pipeline.name, reached, waiting, pressure));
    }
    Ok(consumers)
}

/// What works, and may not for long.
fn warn(pressure: &Pressure, answers: &Answers) {
    for Warning { threat, what, now, mend } in &pressure.warnings {
        answers.say(format_args!("warning: {threat}: {what}; {now}\n  to mend it: {mend}"));
    }
}

async fn try_publisher(pipeline: &Pipeline, written: Log, answers: &Answers) -> bool {
    let publishers = publisher::configured(&pipeline.publisher, written, || KeptLog::at_once(Logger::root(Discard, o!())));
    let mut publisher = publishers.make();
    let destination = publisher.destination();
    let part = pipeline.name.as_ref().map_or_else(|| "publisher".to_owned(), |name| format!("publisher {name}"));
    match tokio::time::timeout(PATIENCE, publisher.probe()).await {
        Ok(Outcome::Written { .. } | Outcome::Progressed) => {
            let Inspection { facts, cautions } = tokio::time::timeout(PATIENCE, publisher.inspect()).await.unwrap_or_default();
            let facts = facts.map(|facts| format!("; {facts}")).unwrap_or_default();
            answers.say(format_args!("ok: {part}: {destination}{facts}"));
            for Caution { what, mend } in cautions {
                answers.say(format_args!("warning: {part}: {}\n  to mend it: {}", pipeline.said(&what), pipeline.said(&mend)));
            }
            true
        }
        Ok(Outcome::Retry { why, .. }) => wrong(&part, &pipeline.said(&why), None, answers),
        Ok(Outcome::Hold { what, mend }) => wrong(&part, &pipeline.said(&what), Some(&pipeline.said(&mend)), answers),
        Err(_) => wrong(&part, &format!("{destination} did not answer in time"), None, answers),
    }
}

fn wrong(part: &str, what: &str, mend: Option<&str>, answers: &Answers) -> bool {
    match mend {
        Some(mend) => answers.say(format_args!("wrong: {part}: {what}\n  to mend it: {mend}")),
        None => answers.say(format_args!("wrong: {part}: {what}")),
    }
    false
}
