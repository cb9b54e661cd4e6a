//! Lists of messages that nothing knows of, looked for among all keys a step at a time.
//!
//! No script of this version leaves any. Older ones could: when a connection was cut between two commands, while a
//! cluster's slot was migrating, or when a right was taken from the user.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use redis::Value;

use super::{RedisChannel, answers, errors::Error, keys::literal};

/// How many keys Redis goes through in one step: about 0.5 ms of its time.
const STEP: usize = 1000;

const LOOK: &str = "look for messages that belong to no lease";

/// Where Redis goes on to look through its keys.
#[derive(Debug, Default)]
pub(super) struct Progress {
    cursor: AtomicU64,
    /// Until when no other agent does it in this one's place.
    ours_until: Mutex<Option<Instant>>,
}

/// What one step has found.
pub(super) struct Found {
    /// Where the next one begins; 0 when all keys have been gone through.
    cursor: u64,
    keys: Vec<Vec<u8>>,
}

/// Takes the next step through all keys, unless another agent is the one that does; what empties the queue goes through them by itself, and
/// leaves no mark behind. Returns how many messages were found; they are
/// taken back once they have had the time of a lease: an agent that still has them in hand can renew it.
pub(super) async fn step(channel: &RedisChannel) -> Result<usize, Error> {
    if !channel.exporting && !is_ours(channel).await {
        return Ok(0);
    }
    let cursor = channel.swept.cursor.load(Ordering::Relaxed);
    let found = look(channel, cursor, &channel.keys.lease_prefix()).await?;
    let messages = register(channel, &found.keys, channel.lease_ms()).await?;
    channel.swept.cursor.store(found.cursor, Ordering::Relaxed);
    Ok(messages)
}

/// Whether this agent is the one of several that goes through the keys: the first that came, until it has not for two leases' time.
async fn is_ours(channel: &RedisChannel) -> bool {
    let lasts = channel.lease.saturating_mul(2);
    let (now, ours_until) = (Instant::now(), || channel.swept.ours_until.lock().unwrap_or_else(PoisonError::into_inner));
    let how = if ours_until().is_some_and(|until| now < until) { "XX" } else { "NX" };
    let mut set = redis::cmd("SET");
    set.arg(channel.keys.beside("sweeper"))
        .arg(channel.keys.process())
        .arg(how)
        .arg("PX")
        .arg(channel.lease_ms().saturating_mul(2));
    match channel.link.command(LOOK, &set).await {
        // Another one's; or this one's, and forgotten meanwhile.
        Ok(Value::Nil) => {
            *ours_until() = None;
            false
        }
        Ok(_) => {
            *ours_until() = now.checked_add(lasts);
            true
        }
        // Where Redis does not say, as one that is full, each does.
        Err(_) => true,
    }
}

/// Goes through all keys at once, and has what is found taken back without delay.
pub(super) async fn all(channel: &RedisChannel) -> Result<(), Error> {
    register(channel, &every_key(channel, &channel.keys.lease_prefix()).await?, 0).await.map(drop)
}

/// Every key that begins like this.
pub(super) async fn every_key(channel: &RedisChannel, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = look(channel, 0, prefix).await?;
    let mut keys = found.keys;
    while found.cursor != 0 {
        found = look(channel, found.cursor, prefix).await?;
        keys.append(&mut found.keys);
    }
    Ok(keys)
}

/// Looks for keys that begin like this, from `cursor` on.
pub(super) async fn look(channel: &RedisChannel, cursor: u64, prefix: &[u8]) -> Result<Found, Error> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg([&literal(prefix)[..], b"*"].concat()).arg("COUNT").arg(STEP);
    // Redis looks at whole buckets of its table, so it may answer with more.
    let answer = channel.link.within(4 * STEP, 1 << 20).command(LOOK, &scan).await?;
    found(answer).ok_or_else(|| channel.link.garbled(LOOK))
}

fn found(answer: Value) -> Option<Found> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let cursor = answers::text(parts.next()?)?.parse().ok()?;
    Some(Found { cursor, keys: answers::messages(parts.next()?)? })
}

async fn register(channel: &RedisChannel, lists: &[Vec<u8>], expires_in_ms: u64) -> Result<usize, Error> {
    let prefix = channel.keys.lease_prefix();
    let mut messages = 0;
    // A step may have found more than it looks at.
    for lists in lists.chunks(STEP) {
        let mut script = channel.scripts.sweep.prepare_invoke();
        script.key(&channel.keys.leases).arg(expires_in_ms);
        for list in lists {
            script.key(list).arg(list.strip_prefix(prefix.as_slice()).unwrap_or_default());
        }
        let answer = channel.link.script(LOOK, &script).await?;
        let count = answers::integer(&answer).and_then(|count| usize::try_from(count).ok());
        messages += count.ok_or_else(|| channel.link.garbled(LOOK))?;
    }
    Ok(messages)
}
