//! How leases end, and how they are kept alive until then.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};
use redis::Value;

use super::{RedisChannel, answers, errors::Error};
use crate::channel::{Completed, DeadLetter, Lease, LeaseId, Settlement};

/// How long it is remembered that an expired lease was taken back: an agent that slept longer than this and then
/// retries a settlement counts it as its own. Its messages are another agent's all the same.
const MARK_OF_LOSS_MS: u64 = 24 * 60 * 60 * 1000;

/// How many leases one script renews: about 2 ms of Redis's time.
const RENEW_SLICE: usize = 1000;

/// How many leases are given back in one go, one after the other in Redis: with a round trip for each, thousands of
/// small leases would take longer over a network than the end of the agent may.
pub(super) const AT_ONCE: usize = 500;

/// How many leases one script completes, each with four arguments: some managed services take no more than 3,999 in a command.
const COMPLETE_SLICE: usize = 900;

/// The scratch key that is never there.
const NOTHING: &str = "nothing";

const COMPLETE: &str = "complete messages";
const RELEASE: &str = "give messages back";
const RENEW: &str = "renew leases";

/// See [`crate::channel::Channel::complete`].
pub(super) async fn complete(channel: &RedisChannel, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<(), Error> {
    let mut letters: HashMap<&LeaseId, Vec<&DeadLetter>> = HashMap::new();
    for letter in parked {
        letters.entry(&letter.lease).or_default().push(letter);
    }
    while !leases.is_empty() {
        // The next one may fail.
        let completed = complete_slice(channel, leases, &letters).await?;
        channel.registry.completed(completed);
    }
    Ok(())
}

/// Completes the first leases, as many as one script takes.
async fn complete_slice(
    channel: &RedisChannel,
    leases: &mut Vec<Lease>,
    letters: &HashMap<&LeaseId, Vec<&DeadLetter>>,
) -> Result<Completed, Error> {
    let keys = &channel.keys;
    let count = leases.len().min(COMPLETE_SLICE);
    let mut script = channel.scripts.complete.prepare_invoke();
    script.key(&keys.leases).key(&keys.dead).key(keys.probe(NOTHING)).arg(&keys.agent).arg(jiff::Timestamp::now().to_string());
    script.arg(channel.max_dead_letters);
    let mut attempts = Vec::with_capacity(count);
    for lease in leases.iter().take(count) {
        let name = lease.id().0.as_bytes();
        let letters = letters.get(lease.id()).map(Vec::as_slice).unwrap_or_default();
        script.key(keys.lease(name)).key(keys.lost(name)).arg(name).arg(as_one_text(letters));
        let how = Settlement::Completed { parked: letters.len() };
        attempts.push((how, channel.attempts.note(lease.id(), how)));
    }
    // A number of dropped letters and the list itself.
    let value = channel.link.within(count.saturating_add(2), 0).script(COMPLETE, &script).await?;
    let answers = answers::integers(&value).and_then(|mut answers| {
        let dropped = u64::try_from(answers.pop()?).ok()?;
        (answers.len() == count).then_some((answers, dropped))
    });
    let (answers, letters_dropped) = answers.ok_or_else(|| channel.link.garbled(COMPLETE))?;
    channel.registry.letters_dropped(letters_dropped);
    let mut completed = Completed { letters_dropped, ..Completed::default() };
    for ((lease, (now, before)), answer) in leases.drain(..count).zip(attempts).zip(answers) {
        let how = match answer {
            1 => now,
            0 => before.unwrap_or(Settlement::Lost),
            _ => Settlement::Lost,
        };
        channel.attempts.forget(lease.id());
        // At the end of the process the registry has given it up before.
        let messages = channel.registry.ended(lease.id(), how) + lease.settle(how);
        match how {
            Settlement::Completed { .. } => completed.messages += messages,
            Settlement::Lost => completed.lost += messages,
            Settlement::Released => {}
        }
    }
    Ok(completed)
}

/// Letters as the script takes them.
fn as_one_text(letters: &[&DeadLetter]) -> String {
    let mut text = String::new();
    for DeadLetter { message, reason, refused, .. } in letters {
        // Names and reasons are text, which always has a JSON form.
        let refused = serde_json::to_string(refused).unwrap_or_default();
        text += &format!("{message} {} {} {reason}{refused}", reason.len(), refused.len());
    }
    text
}

/// See [`crate::channel::Channel::release`].
pub(super) async fn release(channel: &RedisChannel, leases: &mut Vec<Lease>) -> Result<(), Error> {
    // From the newest to the oldest, since each goes to the end that is taken next.
    let ids: Vec<LeaseId> = leases.iter().rev().map(|lease| lease.id().clone()).collect();
    let mut answers = stream::iter(ids)
        .map(|id| async move {
            let before = channel.attempts.note(&id, Settlement::Released);
            let answer = give_back(channel, id.0.as_bytes(), Held::after(before)).await;
            (id, before, answer)
        })
        .buffered(AT_ONCE);
    while let Some((id, before, answer)) = answers.next().await {
        let how = match answer? {
            GivenBack::Messages(_) => Settlement::Released,
            GivenBack::Gone => before.unwrap_or(Settlement::Lost),
            GivenBack::Lost => Settlement::Lost,
        };
        channel.attempts.forget(&id);
        if let Some(lease) = leases.pop() {
            lease.settle(how);
        }
    }
    Ok(())
}

/// Whose a lease is that is given back.
#[derive(Clone, Copy)]
pub(super) enum Held {
    /// Ours, expired or not.
    ByUs,
    /// Ours, and a completion was sent before and not answered.
    InDoubt,
    /// Anybody's, and only if it is still expired.
    ByNobody,
}

impl Held {
    /// Whose a lease of ours is after this was tried first.
    pub(super) fn after(tried: Option<Settlement>) -> Self {
        match tried {
            Some(Settlement::Completed { .. }) => Self::InDoubt,
            _ => Self::ByUs,
        }
    }
}

/// What became of a lease that was to be given back.
pub(super) enum GivenBack {
    /// So many messages wait again.
    Messages(usize),
    /// It is not registered, or has been renewed.
    Gone,
    /// It had expired and was taken back before, or was given back in doubt.
    Lost,
}

/// Gives one lease's messages back to the list they came from.
pub(super) async fn give_back(channel: &RedisChannel, name: &[u8], held: Held) -> Result<GivenBack, Error> {
    let keys = &channel.keys;
    let home = keys.home(name);
    let mut script = channel.scripts.release.prepare_invoke();
    script.key(&keys.leases).key(keys.lease(name)).key(keys.lost(name)).key(home).key(keys.probe(NOTHING));
    let held = match held {
        Held::ByUs => "held",
        Held::InDoubt => "in doubt",
        Held::ByNobody => "expired",
    };
    script.arg(name).arg(held).arg(MARK_OF_LOSS_MS);
    match channel.link.script(RELEASE, &script).await? {
        Value::Int(-1) => Ok(GivenBack::Gone),
        Value::Int(-2) => Ok(GivenBack::Lost),
        Value::Int(count) => {
            if home == keys.adopted {
                channel.adopted.notify_waiters();
            }
            usize::try_from(count).map(GivenBack::Messages).map_err(|_| channel.link.garbled(RELEASE))
        }
        _ => Err(channel.link.garbled(RELEASE)),
    }
}

/// See [`crate::channel::Channel::renew`].
pub(super) async fn renew(channel: &RedisChannel) -> Result<bool, Error> {
    let live = channel.live_leases();
    for ids in live.chunks(RENEW_SLICE) {
        let mut script = channel.scripts.renew.prepare_invoke();
        script.key(&channel.keys.leases).arg(channel.lease_ms());
        for id in ids {
            script.arg(&id.0);
        }
        let value = channel.link.script(RENEW, &script).await?;
        let gone = answers::integers(&value).ok_or_else(|| channel.link.garbled(RENEW))?;
        let gone = gone.into_iter().filter_map(|place| ids.get(usize::try_from(place).ok()?.checked_sub(1)?));
        // One that is being settled may be gone because it has been; whoever settles it will know.
        let lost: Vec<LeaseId> = gone.filter(|id| channel.attempts.tried_first(id).is_none()).cloned().collect();
        channel.registry.mark_lost(&lost);
    }
    Ok(!live.is_empty())
}
