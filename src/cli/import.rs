//! `kadabra import`: moves a queue out of a Redis into the agent's own, each message exactly once, whatever is killed when.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Answers, complain, or_complain, path};
use crate::{
    agent::code,
    channel::{
        Channel, ChannelError,
        embedded::{EmbeddedChannel, PushError},
        redis::{Kind, Names, PortionName, RedisChannel, StoredLetter, rights},
    },
    config::{self, Secret},
    connect::Service,
    plural::{count, either, leases_are_open},
};

pub(super) const EXAMPLE: &str = "\
Stop the agents that work on that queue first, this one too, and point the clients at this one. If it is interrupted,
run it again: nothing is there twice.

Example:
  kadabra import --from redis://localhost:6379/0 --password-file /etc/kadabra/redis-password";

/// How often to look whether the leases of other agents have ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The Redis: redis://host:port/db, rediss:// for TLS, unix:///path/to/socket
    #[arg(long, value_name = "URL")]
    from: String,
    /// A file that holds nothing but its password
    #[arg(long, value_name = "FILE", value_parser = path())]
    password_file: Option<PathBuf>,
    /// The list that clients pushed to there; of several, one at a time
    #[arg(long, value_name = "KEY", default_value = "kadabra_queue")]
    queue_key: String,
    /// The list in which a Python agent kept what it was working on
    #[arg(long, value_name = "KEY", default_value = "kadabra_inprogress")]
    inprogress_key: String,
    /// How long to wait for messages that other agents have under a lease
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Also take what an import that was cut off has set apart for another queue's file. Only when that file is gone: what had
    /// arrived there would be there twice
    #[arg(long)]
    take_over: bool,
}

/// What has been moved.
#[derive(Debug, Default)]
struct Moved {
    messages: usize,
    letters: usize,
    /// Dead letters that are still there, since they are too large or there is no place for them.
    left: u64,
    /// Under which names something came that is deleted there. They are remembered here until all has come: a Redis that
    /// restarts in between may have what it had deleted last.
    names: Vec<String>,
}

/// Why not everything was moved.
enum Failure {
    /// A server or the file cannot be used.
    Unusable(String),
    /// Somebody else still has some of it.
    Held(String),
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        Self::Unusable(error.to_string())
    }
}

pub(super) fn import(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let loaded = match or_complain(config::load(file, std::env::vars_os())) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config::Channel::Embedded(embedded) = &loaded.settings.channel else {
        complain(
            "channel.type is \"redis\", and messages are imported into the agent's own queue; set channel.type = \"embedded\"",
        );
        return code::CONFIGURATION;
    };
    let redis = match source(arguments, embedded) {
        Ok(redis) => redis,
        Err(sentence) => {
            complain(sentence);
            return code::CONFIGURATION;
        }
    };
    let agent = &loaded.settings.agent.name;
    // Nobody was seen at the in-progress list for so long: whoever imports has stopped the agents.
    let from = match RedisChannel::new(&redis, agent, Duration::ZERO) {
        Ok(from) => from.calling(OPTIONS).exporting(),
        Err(error) => {
            complain(error);
            return code::CONFIGURATION;
        }
    };
    let answers = Answers::default();
    let mut moved = Moved::default();
    let done = actix_rt::System::new().block_on(async {
        // What is deleted there must be on the disk here, or a power cut would lose it.
        let to =
            EmbeddedChannel::to_bring_in(&config::Embedded { durability: config::Durability::Fsync, ..embedded.clone() }, agent);
        move_all(&from, &to, &mut moved, arguments, &answers).await
    });
    answers.say(format_args!("{} and {} were moved", count(moved.messages, "message"), count(moved.letters, "dead letter")));
    if moved.left > 0 {
        complain(format_args!(
            "{} {} left in Redis: larger than channel.embedded.max_message_bytes, or the file has as many as \
             channel.embedded.max_dead_letters and a quarter of channel.embedded.max_bytes allow",
            count(moved.left, "dead letter"),
            either(moved.left, "was", "were")
        ));
    }
    let code = match done {
        Ok(()) => 0,
        Err(Failure::Unusable(why)) => {
            complain(format_args!("not everything was moved: {why}; run this again then, nothing is lost or there twice"));
            code::UNAVAILABLE
        }
        Err(Failure::Held(why)) => {
            complain(format_args!("not everything was moved: {why}"));
            code::DEADLINE
        }
    };
    answers.code(code)
}

/// The options of this command, in place of the keys of a configuration that knows nothing of this Redis.
const OPTIONS: &Names = &Names {
    service: Service { name: "Redis", key: "--from", place: "the address in --from", section: "", plain: Some("redis") },
    password_file: "--password-file",
    lists: "--queue-key or --inprogress-key",
    rights: rights::of_import,
    kind: Kind::Single,
};

/// The Redis to take from, with the limits of the queue that it goes into.
fn source(arguments: &Arguments, embedded: &config::Embedded) -> Result<config::Redis, String> {
    if url::Url::parse(&arguments.from).is_ok_and(|url| url.password().is_some()) {
        return Err("--from has a password, which everybody on this machine can see there; expected --password-file".to_owned());
    }
    config::check_redis_url(&arguments.from).map_err(|why| format!("--from: {why}"))?;
    let password = match &arguments.password_file {
        Some(path) => Some(config::password_in(path)?),
        None => None,
    };
    Ok(config::Redis {
        mode: config::RedisMode::Single(Secret::new(&arguments.from)),
        password,
        tls: config::Tls::default(),
        queue_key: arguments.queue_key.clone().into(),
        inprogress_key: arguments.inprogress_key.clone(),
        lease: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
        max_dead_letters: embedded.max_dead_letters,
        max_message_bytes: embedded.max_message_bytes,
        wait_replicas: 0,
    })
}

async fn move_all(
    from: &RedisChannel,
    to: &EmbeddedChannel,
    moved: &mut Moved,
    arguments: &Arguments,
    answers: &Answers,
) -> Result<(), Failure> {
    let queue = to.open().await?;
    let reached = from.open().await?;
    let identity = to.identity()?.to_owned();
    answers.say(format_args!("from {reached} into {queue}"));
    from.find_orphans().await?;
    if !from.is_there().await? {
        complain(format_args!(
            "warning: there is no queue {:?} in that Redis, neither messages nor leases nor dead letters of it; if it should be \
             there, correct --queue-key, or the number of the database at the end of --from",
            arguments.queue_key
        ));
    }
    let (ours, others): (Vec<_>, Vec<_>) = from.portions().await?.into_iter().partition(|name| name.is_for(&identity));
    for name in &ours {
        bring(from, to, name, moved).await?;
    }
    if arguments.take_over {
        for name in &others {
            if let Some(name) = from.take_over(name, &identity).await? {
                bring(from, to, &name, moved).await?;
            }
        }
    }
    let until = Instant::now() + arguments.wait;
    let mut waiting = false;
    let held = loop {
        from.recover().await?;
        letters(from, to, moved).await?;
        while let Some(name) = from.set_apart(&identity).await? {
            bring(from, to, &name, moved).await?;
        }
        // Some may have been set aside for their size.
        letters(from, to, moved).await?;
        let depth = from.depth().await?;
        moved.left = depth.dead;
        if depth.leases == 0 || Instant::now() >= until {
            break depth.leases;
        }
        if !waiting {
            waiting = true;
            answers.say(format_args!(
                "waiting up to {} for {} in Redis: agents have those messages in their hands, or had them when they were killed",
                humantime::format_duration(arguments.wait),
                count(depth.leases, "lease")
            ));
        }
        tokio::time::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
    };
    // No others: an import from elsewhere may have been cut off before it could delete what is stored here.
    to.forget_imports(std::mem::take(&mut moved.names)).await?;
    if held > 0 {
        return Err(Failure::Held(format!(
            "{} in Redis still, so an agent works on that queue; stop it, and run this again",
            leases_are_open(held)
        )));
    }
    if let Some(other) = others.first().filter(|_| !arguments.take_over) {
        return Err(Failure::Held(format!(
            "an import into another file was cut off and has set {} of up to 1000 messages apart for it; import into that \
             file, which is the one where sqlite3 FILE \"SELECT id FROM identity\" says {}, or, if it is gone, run this again with \
             --take-over",
            count(others.len(), "portion"),
            other.destination()
        )));
    }
    Ok(())
}

/// Stores a portion here, unless it is here, and deletes it there.
async fn bring(from: &RedisChannel, to: &EmbeddedChannel, name: &PortionName, moved: &mut Moved) -> Result<(), Failure> {
    let messages = from.read_portion(name).await?;
    let count = messages.len();
    let messages = messages.into_iter().map(Bytes::from).collect();
    if to.import(name.as_str(), name.is_adopted(), messages).await.map_err(|why| not_taken(&why))? {
        moved.messages += count;
    }
    from.forget_portion(name).await?;
    moved.names.push(name.as_str().to_owned());
    Ok(())
}

/// The name of a dead letter: another Redis, or another queue of the same, may have one of the same identifier. What somebody
/// else than an agent has put there lacks what else tells it apart, but for its bytes.
fn name_of(letter: &StoredLetter) -> String {
    let StoredLetter { id, payload, reason, agent, time, .. } = letter;
    let name = format!("letter:{id}:{agent}:{time}");
    if !agent.is_empty() && !time.is_empty() {
        return name;
    }
    // FNV-1a, which is the same tomorrow.
    let bytes = payload.iter().flatten().chain(reason.as_bytes());
    let digest =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{name}:{digest:016x}")
}

async fn letters(from: &RedisChannel, to: &EmbeddedChannel, moved: &mut Moved) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    while let Some(letter) = from.letter_after(after.as_deref()).await? {
        let id = letter.id.clone();
        if letter.payload.is_some() {
            let name = name_of(&letter);
            match to.import_letter(&name, letter).await {
                Ok(new) => moved.letters += usize::from(new),
                // Stored, it would push out another, and then be pushed out itself: they stay where they are kept.
                Err(PushError::Full) => return Ok(()),
                Err(why) => return Err(not_taken(&why)),
            }
            from.forget_letter(&id).await?;
            moved.names.push(name);
        }
        after = Some(id);
    }
    Ok(())
}

fn not_taken(why: &PushError) -> Failure {
    Failure::Unusable(match why {
        PushError::Full => "the queue's file is as large as channel.embedded.max_bytes allows; raise it".to_owned(),
        PushError::Failed { why, .. } => why.clone(),
    })
}
