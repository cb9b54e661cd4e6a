//! `kadabra queue`: works on what waits in a queue, beside the agent.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueHint;

use super::{Answers, complain, or_complain, path};
use crate::{
    agent::code,
    channel::{self, ChannelError, embedded::remedy, redis::RedisChannel},
    config,
    plural::{count, messages_wait},
    queue::{self, Problem},
};

pub(super) const EXAMPLE: &str = "\
Example, with the agent stopped:
  mv queue.db queue.db.damaged
  mv queue.db-wal queue.db.damaged-wal    # if there is one
  kadabra queue salvage queue.db.damaged --to queue.db";

const FORGET_EXAMPLE: &str = "Example, with the agent stopped:\n  kadabra queue forget old --config /etc/kadabra/kadabra.toml";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take out what can be read of a damaged file, into a new one with which the agent can start
    #[command(after_help = EXAMPLE)]
    Salvage(Salvage),
    /// Let a publisher go that is not configured any more, with all messages and dead letters that wait for it
    #[command(after_help = FORGET_EXAMPLE)]
    Forget(Forget),
}

#[derive(Debug, clap::Args)]
struct Forget {
    /// The publisher's name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Salvage {
    /// The file; it is not changed
    #[arg(value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The new file; it must not be there yet
    #[arg(long, value_name = "NEW", value_parser = path(), value_hint = ValueHint::FilePath)]
    to: PathBuf,
}

pub(super) fn queue(config: Option<&Path>, arguments: &Arguments) -> u8 {
    match &arguments.command {
        Command::Salvage(Salvage { file, to }) => salvage(file, to),
        Command::Forget(Forget { name }) => forget(config, name),
    }
}

fn forget(file: Option<&Path>, name: &str) -> u8 {
    let channel = match or_complain(config::load_channel(file, std::env::vars_os())) {
        Ok(channel) => channel,
        Err(code) => return code,
    };
    let forgotten = match channel {
        config::Channel::Redis(redis) => actix_rt::System::new().block_on(forget_in_all(&redis, name)),
        config::Channel::Embedded(embedded) => channel::embedded::forget_consumer(&embedded, name),
    };
    match forgotten {
        Ok((messages, letters)) => {
            let answers = Answers::default();
            let (messages, letters) = (count(messages, "message"), count(letters, "dead letter"));
            answers.say(format_args!("{messages} and {letters} of {name} are gone"));
            answers.code(0)
        }
        Err(error) => {
            complain(error);
            code::UNAVAILABLE
        }
    }
}

/// Of each queue that has had it; of one that has not, nothing is forgotten unless it is so of all.
async fn forget_in_all(redis: &config::Redis, name: &str) -> Result<(u64, u64), ChannelError> {
    let (mut forgotten, mut missing) = (None, None);
    for queue in redis.queue_key.all() {
        let own = config::Redis { queue_key: queue.into(), ..redis.clone() };
        let of_queue = RedisChannel::new(&own, "forget", Duration::ZERO)?;
        if redis.queue_key.are_several() && !of_queue.has_had_consumer(name).await? {
            missing = missing.or(Some(of_queue));
            continue;
        }
        let (messages, letters) = of_queue.forget_consumer(name).await?;
        let (all, all_letters) = forgotten.unwrap_or_default();
        forgotten = Some((all + messages, all_letters + letters));
    }
    match (forgotten, missing) {
        (None, Some(of_queue)) => of_queue.forget_consumer(name).await,
        (forgotten, _) => Ok(forgotten.unwrap_or_default()),
    }
}

fn salvage(file: &Path, to: &Path) -> u8 {
    let taken = match queue::salvage(file, to) {
        Ok(taken) => taken,
        Err(error) => {
            let mend = match &error.problem {
                Problem::InUse => "stop that agent first".to_owned(),
                Problem::NoQueue(_) => "name the queue's own file".to_owned(),
                Problem::Unreadable { .. } => "nothing can be read of it".to_owned(),
                _ => remedy(&error),
            };
            complain(format_args!("nothing was taken out: {error}; {mend}"));
            return code::UNAVAILABLE;
        }
    };
    let answers = Answers::default();
    let to = to.display();
    answers.say(format_args!("{} in {to}, with {}", messages_wait(taken.messages), count(taken.letters, "dead letter")));
    answers.say(format_args!(
        "{} and {} could not be read",
        count(taken.unreadable, "message"),
        count(taken.unreadable_letters, "dead letter")
    ));
    if taken.unknown > 0 {
        let parts = count(taken.unknown, "part");
        answers.say(format_args!("of {parts} of the file it cannot be told whether there were messages, and how many"));
    }
    if taken.may_repeat {
        answers.say("not everything could be read of what was published already: some messages may be published once more");
    }
    answers.code(0)
}
