//! Messages of leases that no agent holds any more wait again: dropped leases of this agent, expired ones of any.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};

use super::{
    RedisChannel, adoption, answers,
    errors::Error,
    settle::{self, AT_ONCE, GivenBack, Held, give_back},
    sweep,
};
use crate::channel::{Recovered, Settlement};

/// How many expired leases are looked at in one go.
const PAGE: usize = 100;

const LOOK: &str = "look for expired leases";

/// See [`crate::channel::Channel::recover`].
pub(super) async fn recover(channel: &RedisChannel) -> Result<Recovered, Error> {
    let own = of_the_list(channel).await?;
    let Some(membership) = &channel.membership else {
        return Ok(Recovered { adopted: adoption::adopt(channel).await?, ..own });
    };
    if !membership.is_first() {
        return Ok(own);
    }
    let group = &membership.group;
    let left = of_the_list(&group.base).await?;
    let adopted = adoption::adopt(&group.base).await?;
    if left.expired > 0 || adopted > 0 {
        group.wake();
    }
    Ok(Recovered { dropped: own.dropped, expired: own.expired + left.expired, adopted, orphaned: own.orphaned + left.orphaned })
}

async fn of_the_list(channel: &RedisChannel) -> Result<Recovered, Error> {
    Ok(Recovered {
        dropped: dropped(channel).await?,
        expired: expired(channel).await?,
        adopted: 0,
        orphaned: sweep::step(channel).await?,
    })
}

/// See [`crate::channel::Channel::give_back`].
pub(super) async fn dropped(channel: &RedisChannel) -> Result<usize, Error> {
    let mut messages = 0;
    // From the newest to the oldest, since each goes to the end that is taken next.
    let mut answers = stream::iter(channel.dropped_leases().into_iter().rev())
        .map(|id| async move {
            let tried = channel.attempts.tried_first(&id);
            let answer = give_back(channel, id.0.as_bytes(), Held::after(tried)).await;
            (id, tried, answer)
        })
        .buffered(AT_ONCE);
    while let Some((id, tried, answer)) = answers.next().await {
        let how = match answer? {
            GivenBack::Messages(count) => {
                messages += count;
                Settlement::Released
            }
            // Settled by an attempt whose answer was lost, or never leased, since an answer that never came may have
            // been to a script that never ran.
            GivenBack::Gone => tried.unwrap_or(Settlement::Released),
            GivenBack::Lost => Settlement::Lost,
        };
        channel.attempts.forget(&id);
        channel.registry.ended(&id, how);
    }
    Ok(messages)
}

async fn expired(channel: &RedisChannel) -> Result<usize, Error> {
    let mut messages = 0;
    loop {
        let names = page(channel).await?;
        let live: HashSet<_> = channel.live_leases().into_iter().map(|id| id.0.into_bytes()).collect();
        let (ours, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| live.contains(name));
        // Late is not dead: what is in our hands is kept rather than published a second time.
        if !ours.is_empty() {
            settle::renew(channel).await?;
        }
        if others.is_empty() {
            return Ok(messages);
        }
        let mut answers =
            stream::iter(others).map(|name| async move { give_back(channel, &name, Held::ByNobody).await }).buffered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            if let GivenBack::Messages(count) = answer? {
                messages += count;
            }
        }
    }
}

async fn page(channel: &RedisChannel) -> Result<Vec<Vec<u8>>, Error> {
    let mut script = channel.scripts.expired.prepare_invoke();
    let names = channel.link.script(LOOK, script.key(&channel.keys.leases).arg(PAGE)).await?;
    answers::messages(names).ok_or_else(|| channel.link.garbled(LOOK))
}
