//! Leasing messages, and waiting for the first one.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use redis::{Cmd, Value};
use tokio::{sync::futures::Notified, time::Instant};

use super::{RedisChannel, answers, errors::Error, fan_out::Given, wishes::Asking};
use crate::{
    channel::{Demand, Lease, Settlement},
    wire::Payloads,
};

/// The shortest wait that is asked for: Redis 6.2.5 takes one of a millisecond for one without end.
const SHORTEST_WAIT: Duration = Duration::from_millis(2);

const TAKE: &str = "take messages";
const WAIT: &str = "wait for messages";

/// How long a consumer waits until it looks again whether another agent has given it messages.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

enum Taken {
    Lease(Lease),
    Nothing,
    /// Nothing was taken, but a message that is too large was set aside; there may be others behind it.
    SetAside,
    /// Nothing was taken from the queue because adopted messages are waiting.
    AdoptedFirst,
}

/// What one run of the script gave.
struct Slice {
    set_aside: u64,
    letters_dropped: u64,
    messages: Vec<Vec<u8>>,
}

/// What was found when it was looked for messages.
pub(super) enum Looked {
    Lease(Lease),
    /// There may be more behind what was set aside or given to every consumer.
    Again,
    Nothing {
        /// A required consumer has as many waiting as it may have, so that those in the queue stay there.
        at_bound: bool,
    },
}

/// See [`crate::channel::Channel::receive`].
pub(super) async fn receive(channel: &RedisChannel, demand: Demand, wait: Duration) -> Result<Option<Lease>, Error> {
    let until = Instant::now() + wait;
    if let Some(begins) = demand.not_before {
        tokio::time::sleep_until(begins.min(until)).await;
        if begins > until {
            return Ok(None);
        }
    }
    let mut woken = false;
    let asking = channel.membership.as_ref().map(|membership| membership.asks(demand));
    loop {
        // From here on an adoption is not missed, whether it comes before or after the wait has begun.
        let adopted = channel.adopted.notified();
        let looked = look(channel, demand, asking.as_ref()).await?;
        if let Looked::Lease(lease) = looked {
            return Ok(Some(lease));
        }
        let left = until.saturating_duration_since(Instant::now());
        // Redis counts in milliseconds and takes 0 for ever.
        if left < Duration::from_millis(1) {
            return Ok(None);
        }
        if let Looked::Nothing { at_bound } = looked {
            woken = wait_for_one(channel, (woken, at_bound), left, adopted).await?;
        }
    }
}

/// Leases what there is now.
pub(super) async fn look(channel: &RedisChannel, demand: Demand, asking: Option<&Asking<'_>>) -> Result<Looked, Error> {
    let given = match asking {
        Some(asking) => asking.for_more().await?,
        None => Given::ToList,
    };
    let taken = match given {
        Given::Lease(lease) => Taken::Lease(lease),
        Given::ToList => oldest(channel, demand).await?,
        Given::Nothing => return Ok(Looked::Nothing { at_bound: false }),
        Given::AtBound => return Ok(Looked::Nothing { at_bound: true }),
    };
    Ok(match taken {
        Taken::Lease(lease) => {
            channel.wakeups.of_use();
            Looked::Lease(lease)
        }
        Taken::SetAside => {
            channel.wakeups.of_use();
            Looked::Again
        }
        // By now another agent has taken what was in the list.
        _ if asking.is_some() => Looked::Again,
        _ => Looked::Nothing { at_bound: false },
    })
}

/// Waits until there may be a message, or was `adopted` one, or for so long; `woken` says that the last wait ended with one, and for
/// nothing. Returns whether this one does.
pub(super) async fn wait_for_one(
    channel: &RedisChannel,
    (woken, at_bound): (bool, bool),
    mut left: Duration,
    adopted: Notified<'_>,
) -> Result<bool, Error> {
    let mut waits_at = channel;
    if let Some(membership) = &channel.membership {
        // Another agent may give this one's consumer messages while it waits at the queue.
        (waits_at, left) = (&membership.group.base, left.min(LOOK_AGAIN));
        if at_bound {
            // The queue has messages, so waiting at it would be no wait.
            drop(tokio::time::timeout(left, adopted).await);
            return Ok(woken);
        }
    }
    let mut adopted = pin!(adopted);
    if woken {
        let pause = channel.wakeups.for_nothing(&mut fastrand::Rng::new()).min(left);
        if let Either::Right(_) = select(pin!(tokio::time::sleep(pause)), adopted.as_mut()).await {
            return Ok(false);
        }
        left -= pause;
    }
    let begun = Instant::now();
    match select(pin!(message(waits_at, left)), adopted).await {
        Either::Left((waited, _)) => {
            waited?;
            Ok(begun.elapsed() < left)
        }
        Either::Right(_) => Ok(false),
    }
}

/// Waits until the queue holds a message, or for so long. It stays there: its place is taken by itself, so nothing is
/// lost when nobody reads the answer. And nobody does: the answer would be the message, however large it is.
pub(super) async fn message(channel: &RedisChannel, wait: Duration) -> Result<(), Error> {
    let wait = wait.max(SHORTEST_WAIT);
    let command = first_moved_to_itself(channel, &format!("{:.3}", wait.as_secs_f64()));
    channel.link.blocking(WAIT, &no_wait(channel), &command, wait).await
}

/// Whether Redis lets this agent wait.
pub(super) async fn may_wait(channel: &RedisChannel) -> Result<(), Error> {
    channel.link.would_block(WAIT, &no_wait(channel)).await
}

/// The wait with a time-out that is none, which Redis refuses last of all: after what the user may do, whether it is a
/// primary, its memory and its replicas.
fn no_wait(channel: &RedisChannel) -> Cmd {
    first_moved_to_itself(channel, "-1")
}

fn first_moved_to_itself(channel: &RedisChannel, seconds: &str) -> Cmd {
    let queue = &channel.keys.queue;
    redis::cmd("BLMOVE").arg(queue).arg(queue).arg("RIGHT").arg("RIGHT").arg(seconds).take()
}

async fn oldest(channel: &RedisChannel, demand: Demand) -> Result<Taken, Error> {
    let mut taken = take(channel, demand, false, true).await?;
    if let Taken::AdoptedFirst = taken {
        taken = take(channel, demand, true, false).await?;
        if let Taken::Nothing = taken {
            // Others were quicker to take the adopted ones.
            taken = take(channel, demand, false, false).await?;
        }
    }
    Ok(taken)
}

/// Fills one lease, slice by slice.
///
/// The lease is in the registry before the first script is sent. When an answer does not arrive the lease is dropped,
/// even if earlier slices have come: Redis may have added messages to it that are not here, and completing it would
/// forget those. What Redis has under the name is then given back by `recover`. Should Redis run the script only
/// after that (a command can linger in a dying connection), the first slice registers a lease that nobody renews,
/// and which is taken back when it expires; a later slice finds the lease gone and does nothing. Either way nobody
/// reads that answer, so nothing is doubled.
///
/// A message that is too large never comes here: Redis sets it aside, and it is counted as leased and parked.
async fn take(channel: &RedisChannel, demand: Demand, adopted: bool, adopted_first: bool) -> Result<Taken, Error> {
    let keys = &channel.keys;
    let mut lease = channel.registry.enter(keys.new_lease(adopted));
    let name = lease.id().0.clone();
    let source = if adopted { &keys.adopted } else { &keys.queue };
    let (mut messages, mut room, mut set_aside) = (Vec::new(), demand.bytes, 0);
    // Long before the lease can expire, which is longer than the time-out.
    let no_more_after = Instant::now() + channel.timeout / 2;
    loop {
        let first = messages.is_empty();
        let small = channel.slice.is_small();
        let most = channel.slice.size().min(demand.messages.max(1) - messages.len());
        let mut script = channel.scripts.take.prepare_invoke();
        script.key(&keys.leases).key(keys.lease(name.as_bytes())).key(source).key(&keys.adopted).key(&keys.dead);
        script.arg(&name).arg(channel.lease_ms()).arg(most).arg(room);
        script.arg(messages.len()).arg(if first && adopted_first { "adopted-first" } else { "" });
        script.arg(channel.max_message_bytes).arg(&keys.agent).arg(jiff::Timestamp::now().to_string());
        script.arg(channel.max_dead_letters);
        // Two counts and the list itself.
        let answer = channel.link.within(most.saturating_add(3), room.max(channel.max_message_bytes)).script(TAKE, &script).await;
        channel.slice.answered(&answer);
        let slice = match answer? {
            Value::Int(-2) => {
                lease.settle(Settlement::Released);
                return Ok(Taken::AdoptedFirst);
            }
            // It expired between two slices, or a failover has undone some of it: what came is another lease's by now.
            Value::Int(-1) => return Ok(Taken::Nothing),
            value => slice_of(value).ok_or_else(|| channel.link.garbled(TAKE))?,
        };
        channel.registry.set_aside(slice.set_aside);
        channel.registry.letters_dropped(slice.letters_dropped);
        set_aside += slice.set_aside;
        let slice = slice.messages;
        let count = slice.len();
        room = room.saturating_sub(slice.iter().map(Vec::len).sum());
        if first {
            messages = slice;
        } else {
            messages.extend(slice);
        }
        let full = room == 0 || messages.len() >= demand.messages;
        if full || small || Instant::now() > no_more_after {
            lease.more = count == most;
            break;
        }
        if count < most {
            break;
        }
    }
    if messages.is_empty() {
        lease.settle(Settlement::Released);
        return Ok(if set_aside > 0 { Taken::SetAside } else { Taken::Nothing });
    }
    lease.fill(Payloads::of(messages), adopted);
    Ok(Taken::Lease(lease))
}

fn slice_of(answer: Value) -> Option<Slice> {
    let Value::Array(items) = answer else { return None };
    let mut items = items.into_iter();
    let mut count = || answers::count(&items.next()?);
    let (set_aside, letters_dropped) = (count()?, count()?);
    let messages = items.map(answers::bytes).collect::<Option<_>>()?;
    Some(Slice { set_aside, letters_dropped, messages })
}
