//! What is asked of a Redis before it is used: its version, the types of the keys, the permissions.

use redis::Value;

use super::{RedisChannel, answers, errors::Error, receive, replicas, sweep};
use crate::{channel::ChannelError, quote::quote};

/// The first version with LMOVE and its kin.
const OLDEST: (u64, u64) = (6, 2);

const TRY: &str = "try the commands that this agent needs";

/// Connects and checks. Returns a sentence that says what was reached.
pub(super) async fn open(channel: &RedisChannel) -> Result<String, ChannelError> {
    let doing = "ask for the version";
    let mut info = redis::cmd("INFO");
    let text =
        answers::text(channel.link.command(doing, info.arg("server")).await?).ok_or_else(|| channel.link.garbled(doing))?;
    if field(&text, "kadabra_version").is_some() {
        return Err(ChannelError::Unusable {
            what: format!("cannot take messages at {}: this is a Kadabra agent, which takes them itself", channel.link.server),
            mend: format!("set {} to a Redis; clients push to either", channel.link.server.key()),
        });
    }
    let version = field(&text, "redis_version").ok_or_else(|| channel.link.garbled(doing))?;
    let target = &channel.link.server;
    if number(version) < OLDEST {
        return Err(ChannelError::Unusable {
            what: format!("{target} is Redis {}, which cannot move messages as safely as this agent needs", quote(version)),
            mend: "use Redis 6.2 or later, or Valkey".to_owned(),
        });
    }
    types(channel).await?;
    permissions(channel).await?;
    let name = match field(&text, "valkey_version") {
        Some(valkey) => format!("Valkey {}", quote(valkey)),
        None => format!("Redis {}", quote(version)),
    };
    let keys = &channel.keys;
    let mut reached = format!("{name} at {target}, queue {}", keys.queue);
    if !channel.adopts() && !keys.inprogress.is_empty() {
        reached += &format!(
            "; nothing is adopted from {}, which is in another slot of the cluster: for that it needs the hash tag of the queue, as \
             in {}",
            keys.inprogress,
            keys.beside("inprogress")
        );
    }
    Ok(reached)
}

/// Checks the type of every key that exists, and names the one that is wrong.
pub(super) async fn types(channel: &RedisChannel) -> Result<(), ChannelError> {
    let doing = "ask for the types of the keys";
    let keys = &channel.keys;
    let expected = [
        (&keys.queue, "list"),
        (&keys.inprogress, "list"),
        (&keys.adopted, "list"),
        (&keys.leases, "zset"),
        (&keys.dead, "stream"),
    ];
    for (key, expected) in expected {
        if *key == keys.inprogress && !channel.adopts() {
            continue;
        }
        let mut command = redis::cmd("TYPE");
        let found = match channel.link.command(doing, command.arg(key)).await? {
            Value::Okay => None,
            value => answers::text(value),
        };
        let found = quote(&found.ok_or_else(|| channel.link.garbled(doing))?);
        if found != "none" && found != expected {
            return Err(ChannelError::Refused {
                what: format!("the key {key} at {} holds a {found} where a {expected} belongs (WRONGTYPE)", channel.link.server),
                mend: format!("rename or delete {key}, or choose another {}", channel.link.server.names.lists),
            });
        }
    }
    Ok(())
}

/// Tries every command once without changing anything: a refusal in the middle of a step would be worse.
pub(super) async fn permissions(channel: &RedisChannel) -> Result<(), Error> {
    let keys = &channel.keys;
    let mut probe = channel.scripts.probe.prepare_invoke();
    probe.key(&keys.leases).key(keys.probe("list")).key(keys.probe("other")).key(keys.probe("stream"));
    probe.key(&keys.queue).key(&keys.adopted).arg(if channel.exporting { "export" } else { "" });
    channel.link.script(TRY, &probe).await?;
    // While Redis knows every script it need not load any.
    channel.link.command(TRY, &channel.scripts.probe.load()).await?;
    // What blocks cannot be tried in a script.
    receive::may_wait(channel).await?;
    if channel.replicas.wanted > 0 {
        replicas::may_wait(channel).await?;
    }
    channel.link.command(TRY, &redis::cmd("PING")).await?;
    sweep::look(channel, 0, &keys.lease_prefix()).await?;
    let mut reply = redis::cmd("CLIENT");
    channel.link.command(TRY, reply.arg("REPLY").arg("ON")).await.map(drop)
}

/// A value of an answer to INFO.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

pub(super) fn number(version: &str) -> (u64, u64) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(number("6.0.16") < OLDEST && number("5.10.1") < OLDEST && number("nonsense") < OLDEST);
        assert!(
            number("6.2.0") >= OLDEST
                && number("7.0.15") >= OLDEST
                && number("10.1") >= OLDEST
                && number("255.255.255") >= OLDEST
        );
    }
}
