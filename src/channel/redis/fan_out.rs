//! Moves messages of the queue to every consumer. Consumers of one agent that wait at the same time get the same messages under a lease
//! each, by one script and one answer; into the list of any other consumer they are copied, to be leased from there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::Value;
use tokio::time::Instant;

use super::{
    answers,
    consumers::{Group, Known, Membership},
    errors::Error,
};
use crate::channel::{Demand, Lease, Settlement};

const MOVE: &str = "give messages to every publisher";

/// What became of messages that a consumer asked for.
pub(super) enum Given {
    /// It has some.
    Lease(Lease),
    /// It may have some in its list.
    ToList,
    /// None wait in the queue.
    Nothing,
    /// A required consumer has as many waiting as it may have.
    AtBound,
}

/// Where a consumer that waits leaves what it wants, and gets it from another one of the same agent.
#[derive(Debug, Default)]
pub(super) struct Wishes(Mutex<Wish>);

#[derive(Debug, Default)]
struct Wish {
    /// While the consumer waits.
    demand: Option<Demand>,
    given: Option<Lease>,
}

/// A consumer that waits, until this is dropped.
pub(super) struct Asking<'a> {
    membership: &'a Membership,
    demand: Demand,
}

impl Wishes {
    fn wish(&self) -> MutexGuard<'_, Wish> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a consumer that waits wants, if it was not given something since.
    fn wants(&self) -> Option<Demand> {
        let wish = self.wish();
        wish.demand.filter(|_| wish.given.is_none())
    }

    /// A lease for whoever waits here. Nobody may do so any more: then it is dropped, which gives it back.
    fn leave(&self, lease: Lease) {
        let mut wish = self.wish();
        if wish.demand.is_some() {
            wish.given = Some(lease);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.membership.known() {
            let unread = std::mem::take(&mut *known.wishes.wish()).given;
            drop(unread);
        }
    }
}

impl Membership {
    /// Lets the others know that this consumer takes messages.
    pub(super) fn asks(&self, demand: Demand) -> Asking<'_> {
        if let Some(known) = self.known() {
            known.wishes.wish().demand = Some(demand);
        }
        Asking { membership: self, demand }
    }
}

impl Asking<'_> {
    /// What another consumer has had moved meanwhile, or some of what waits in the queue, which every consumer is given; neither while
    /// this one has some in its list.
    pub(super) async fn for_more(&self) -> Result<Given, Error> {
        let Membership { group, index } = self.membership;
        let _moving = group.moving.lock().await;
        if let Some(lease) = self.membership.known().and_then(|known| known.wishes.wish().given.take()) {
            return Ok(Given::Lease(lease));
        }
        let mut given = group.fan_out(*index, self.demand).await;
        if let Ok(None) = given {
            group.join(true).await?;
            given = group.fan_out(*index, self.demand).await;
        }
        Ok(given?.unwrap_or(Given::Nothing))
    }
}

/// What one run of the script did.
enum Slice {
    Moved {
        /// To each consumer.
        count: u64,
        /// Of each consumer, the oldest at its bound.
        dropped: Vec<u64>,
        /// Which consumers have it under their lease.
        leased: Vec<bool>,
        messages: Vec<Vec<u8>>,
    },
    /// This agent's entry among the agents has expired.
    Expired,
    AtBound,
    ToList,
    /// A lease has expired meanwhile.
    Lost,
}

/// Each consumer's lease, if it has one.
type Leases = Vec<Option<Lease>>;

impl Group {
    /// Moves messages: under leases, slice by slice as [`super::receive`] takes them, or some into lists. None when this agent's entry
    /// has expired.
    async fn fan_out(&self, asks: usize, demand: Demand) -> Result<Option<Given>, Error> {
        let base = &self.base;
        let (mut most, mut room) = (demand.messages.max(1), demand.bytes);
        // Whoever wants far less would be given too little at a time; it is given its share in its list.
        let wants = |(index, known): (usize, &Known)| {
            let demand = if index == asks { Some(demand) } else { known.wishes.wants() };
            demand.filter(|demand| demand.messages >= most.div_ceil(2) && demand.bytes >= room / 2)
        };
        let wanted: Vec<_> = self.consumers.iter().enumerate().map(wants).collect();
        for demand in wanted.iter().flatten() {
            (most, room) = (most.min(demand.messages.max(1)), room.min(demand.bytes));
        }
        let enter =
            |(known, wanted): (&Known, &Option<Demand>)| wanted.map(|_| known.registry.enter(known.keys.new_lease(false)));
        let mut leases: Leases = self.consumers.iter().zip(&wanted).map(enter).collect();
        let no_more_after = Instant::now() + base.timeout / 2;
        let (mut messages, mut more) = (Vec::new(), false);
        loop {
            let (small, slice) = (base.slice.is_small(), base.slice.size().min(most));
            let (count, leased, part) = match self.slice(asks, slice, room, messages.is_empty(), &leases).await? {
                Slice::Moved { count, dropped, leased, messages } => {
                    self.consumers.iter().zip(dropped).for_each(|(known, dropped)| known.registry.backlog_dropped(dropped));
                    (count, leased, messages)
                }
                // What was leased before is given back or found to be lost, as everything that is dropped.
                Slice::Lost => return Ok(Some(Given::ToList)),
                _ if !messages.is_empty() => break,
                ended => {
                    // Under none of these names is anything.
                    leases.into_iter().flatten().for_each(|lease| lease.settle(Settlement::Released));
                    return Ok(match ended {
                        Slice::AtBound => Some(Given::AtBound),
                        Slice::ToList => Some(Given::ToList),
                        _ => None,
                    });
                }
            };
            if messages.is_empty() {
                for (lease, _) in leases.iter_mut().zip(leased).filter(|(_, is_leased)| !is_leased) {
                    if let Some(unused) = lease.take() {
                        unused.settle(Settlement::Released);
                    }
                }
                if count == 0 {
                    return Ok(Some(Given::Nothing));
                }
                if part.is_empty() {
                    self.wake_all_but(asks);
                    return Ok(Some(Given::ToList));
                }
            }
            (most, room) = (most - part.len(), room.saturating_sub(part.iter().map(Vec::len).sum()));
            let ended = part.len() < slice;
            messages.extend(part);
            if ended || most == 0 || room == 0 || small || Instant::now() > no_more_after {
                more = !ended;
                break;
            }
        }
        Ok(Some(self.hand_out(asks, leases, messages, more)))
    }

    /// Runs the script once.
    async fn slice(&self, asks: usize, most: usize, room: usize, is_first: bool, leases: &Leases) -> Result<Slice, Error> {
        let base = &self.base;
        let mut script = base.scripts.fan_out.prepare_invoke();
        script.key(&base.keys.queue).key(&base.keys.adopted).key(&base.keys.agents).arg(&self.entry).arg(most).arg(room);
        script.arg(asks + 1).arg(base.lease_ms()).arg(base.max_message_bytes).arg(if is_first { "first" } else { "more" });
        for (Known { keys, bound, required, .. }, lease) in self.consumers.iter().zip(leases) {
            let name = lease.as_ref().map(|lease| lease.id().0.as_str()).unwrap_or_default();
            script.key(&keys.queue).key(&keys.adopted).key(&keys.leases).key(keys.lease(name.as_bytes()));
            script.arg(bound.unwrap_or(0)).arg(if *required { "required" } else { "" }).arg(name);
        }
        base.link.expect(most.saturating_add(1 + 2 * self.consumers.len()), room.max(base.max_message_bytes));
        let answer = base.link.script(MOVE, &script).await;
        base.slice.answered(&answer);
        let slice = match answer? {
            Value::Int(-1) => Some(Slice::Expired),
            Value::Int(-2) => Some(Slice::AtBound),
            Value::Int(-3) => Some(Slice::ToList),
            Value::Int(-4) => Some(Slice::Lost),
            Value::Array(items) => self.moved(items, most),
            _ => None,
        };
        slice.ok_or_else(|| base.link.garbled(MOVE))
    }

    /// What the script says it has moved.
    fn moved(&self, answer: Vec<Value>, most: usize) -> Option<Slice> {
        let mut answer = answer.into_iter();
        let mut number = || answers::count(&answer.next()?);
        let count = number()?;
        let (mut dropped, mut leased) = (Vec::new(), Vec::new());
        for _ in &self.consumers {
            dropped.push(number()?);
            leased.push(number()? == 1);
        }
        let messages: Vec<Vec<u8>> = answer.map(answers::bytes).collect::<Option<_>>()?;
        let is_right = messages.len() <= most && (messages.is_empty() || messages.len() as u64 == count);
        is_right.then_some(Slice::Moved { count, dropped, leased, messages })
    }

    /// Gives everyone its lease, and has the others look for what was moved.
    fn hand_out(&self, asks: usize, mut leases: Leases, messages: Vec<Vec<u8>>, more: bool) -> Given {
        let filled = |mut lease: Lease, messages| {
            lease.fill(messages, false);
            lease.more = more;
            lease
        };
        let own = leases.get_mut(asks).and_then(Option::take);
        for (known, lease) in self.consumers.iter().zip(leases) {
            if let Some(lease) = lease {
                known.wishes.leave(filled(lease, messages.clone()));
            }
        }
        self.wake_all_but(asks);
        own.map_or(Given::ToList, |own| Given::Lease(filled(own, messages)))
    }

    fn wake_all_but(&self, asks: usize) {
        let others = self.consumers.iter().enumerate().filter(|(index, _)| *index != asks);
        others.for_each(|(_, known)| known.wake.notify_waiters());
    }
}
