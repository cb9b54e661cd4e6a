//! What waits in Redis, leased or not, and for how long.

use std::time::{Duration, Instant};

use super::{RedisChannel, answers, errors::Error};
use crate::{
    channel::{Backlog, Depth},
    wire,
};

/// At how many leases one script looks: their answer is as short as need not be announced.
const PAGE: u64 = 400;
/// How many bytes of messages one script looks at: the oldest of each list, as a whole inside Redis.
const LOOKED_AT: usize = 4 << 20;

const COUNT: &str = "count messages";

/// What waited when it was counted last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    at: Instant,
    backlog: Backlog,
}

impl Counted {
    /// The same some time later.
    pub(super) fn now(self) -> Backlog {
        Backlog { age: self.backlog.age.map(|age| age.saturating_add(self.at.elapsed())), ..self.backlog }
    }
}

/// See [`crate::channel::Channel::depth`].
pub(super) async fn depth(channel: &RedisChannel) -> Result<Depth, Error> {
    let keys = &channel.keys;
    let mut depth = Depth::default();
    if channel.adopts() {
        let left_by_python = page(channel, &[&keys.inprogress], None).await?;
        (depth.inprogress, depth.age) = (left_by_python.listed, left_by_python.age);
    }
    let mut looked = 0;
    loop {
        let mut lists = vec![&keys.queue, &keys.adopted];
        if let Some(membership) = &channel.membership {
            // What has not been given to every consumer yet waits for each of them.
            let of_all = &membership.group.base.keys;
            lists.extend([&of_all.queue, &of_all.adopted]);
        }
        let page = page(channel, &lists, Some(looked)).await?;
        if looked == 0 {
            // With as many leases as usual, all of it is of one instant.
            (depth.queued, depth.dead) = (page.listed, page.dead);
        }
        depth.leases = depth.leases.saturating_add(page.looked);
        depth.leased = depth.leased.saturating_add(page.leased);
        depth.age = depth.age.max(page.age);
        looked += page.looked;
        if page.looked < PAGE {
            break;
        }
    }
    // Messages that do not say when they were queued are at least as old as their lease.
    depth.age = depth.age.max(channel.registry.longest_open(|id| keys.has_named(id)));
    *channel.counted() = Some(Counted { at: Instant::now(), backlog: depth.backlog() });
    Ok(depth)
}

/// What one script has counted.
struct Page {
    /// Messages in the lists.
    listed: u64,
    dead: u64,
    /// At how many leases it was looked, and how many messages they have.
    looked: u64,
    leased: u64,
    /// For how long the oldest of all those has waited, if it says when it was queued.
    age: Option<Duration>,
}

/// Counts lists and, but for the first so many, leases.
async fn page(channel: &RedisChannel, lists: &[&String], looked: Option<u64>) -> Result<Page, Error> {
    let keys = &channel.keys;
    let mut script = channel.scripts.backlog.prepare_invoke();
    for list in lists {
        script.key(*list);
    }
    if looked.is_some() {
        script.key(&keys.dead).key(&keys.leases);
    }
    let leases = looked.map(|_| keys.lease(b"")).unwrap_or_default();
    script.arg(leases).arg(looked.unwrap_or(0)).arg(PAGE).arg(LOOKED_AT);
    let answer = channel.named(channel.link.script(COUNT, &script).await).await?;
    answers::messages(answer).and_then(|texts| read(&texts)).ok_or_else(|| channel.link.garbled(COUNT))
}

fn read(texts: &[Vec<u8>]) -> Option<Page> {
    let (counts, oldest) = texts.split_first_chunk::<5>()?;
    let number = |text: &Vec<u8>| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let [now, listed, dead, looked, leased] = counts;
    let age = |pair: &[Vec<u8>]| {
        let [queued, format] = pair else { return None };
        let queued = wire::queued_at(std::str::from_utf8(queued).ok()?, std::str::from_utf8(format).ok()?)?;
        // A client whose clock is ahead has queued it just now.
        let age = i64::try_from(number(now)?).ok()?.saturating_sub(queued);
        Some(Duration::from_secs(u64::try_from(age).unwrap_or(0)))
    };
    Some(Page {
        listed: number(listed)?,
        dead: number(dead)?,
        looked: number(looked)?,
        leased: number(leased)?,
        age: oldest.chunks(2).filter_map(age).max(),
    })
}
