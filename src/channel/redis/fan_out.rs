//! Moves messages of the queue to every consumer. Consumers of one agent that wait at the same time get the same messages under a lease
//! each, by one script and one answer; into the list of any other consumer they are copied, to be leased from there.
//! See [`super::wishes`].

use std::sync::{Arc, atomic::Ordering};

use redis::Value;
use tokio::time::Instant;

use super::{
    answers,
    consumers::{Group, Known, Membership},
    errors::Error,
    wishes::Asking,
};
use crate::{
    channel::{Demand, Lease, Settlement},
    wire::Payloads,
};

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

impl Asking<'_> {
    /// What another consumer has had moved meanwhile, or some of what waits in the queue, which every consumer is given; neither while
    /// this one has some in its list.
    pub(super) async fn for_more(&self) -> Result<Given, Error> {
        let Membership { group, index } = self.membership;
        let Some(own) = self.membership.known().map(|known| &known.wishes) else { return Ok(Given::ToList) };
        // One that is behind itself waits for none.
        if group.drains() && !own.has_list() {
            for (_, other) in group.consumers.iter().enumerate().filter(|(other, _)| other != index) {
                other.wishes.catch_up().await;
            }
        }
        let _moving = group.moving.lock().await;
        if let Some(lease) = own.take(self.demand) {
            return Ok(Given::Lease(lease));
        }
        group.consumers.iter().for_each(|known| known.wishes.give_up());
        let mut given = group.fan_out(*index, self.demand).await;
        if let Ok(None) = given {
            group.join(true).await?;
            given = group.fan_out(*index, self.demand).await;
        }
        let given = given?.unwrap_or(Given::Nothing);
        own.note_list(matches!(given, Given::ToList));
        Ok(given)
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
    fn drains(&self) -> bool {
        self.drains.load(Ordering::Relaxed)
    }

    /// Moves messages: under leases, slice by slice as [`super::receive`] takes them, or some into lists. None when this agent's entry
    /// has expired.
    async fn fan_out(&self, asks: usize, demand: Demand) -> Result<Option<Given>, Error> {
        let base = &self.base;
        let (mut most, mut room) = (demand.messages.max(1), demand.bytes);
        // Whoever wants far less would be given too little at a time; it is given its share in its list.
        let wants = |(index, known): (usize, &Known)| {
            let demand = if index == asks { Some(demand) } else { known.wishes.wants(self.drains()) };
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
            let (count, leased, part) = match self.slice(asks, slice, room, messages.len(), &leases).await? {
                Slice::Moved { count, dropped, leased, messages } => {
                    self.consumers.iter().zip(dropped).for_each(|(known, dropped)| known.registry.backlog_dropped(dropped));
                    (count, leased, messages)
                }
                // What was leased before is given back or found to be lost, as everything that is dropped.
                Slice::Lost => return Ok(Some(Given::ToList)),
                _ if !messages.is_empty() => break,
                ended => {
                    // Under none of these names is anything.
                    for lease in leases.into_iter().flatten() {
                        lease.settle(Settlement::Released);
                    }
                    return Ok(match ended {
                        Slice::AtBound => Some(Given::AtBound),
                        Slice::ToList => Some(Given::ToList),
                        _ => None,
                    });
                }
            };
            if messages.is_empty() {
                for ((lease, known), is_leased) in leases.iter_mut().zip(&self.consumers).zip(leased) {
                    if let Some(unused) = lease.take_if(|_| !is_leased) {
                        unused.settle(Settlement::Released);
                    }
                    known.wishes.note_list(!is_leased && count > 0);
                }
                if count == 0 {
                    self.drains.store(false, Ordering::Relaxed);
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
        // What ended it may be that the next message did not fit.
        let drains = more || messages.len() > demand.messages / 2 || room < demand.bytes / 2;
        self.drains.store(drains, Ordering::Relaxed);
        Ok(Some(self.hand_out(asks, leases, messages, more)))
    }

    /// Runs the script once. `had`: how many messages of the leases have come before.
    async fn slice(&self, asks: usize, most: usize, room: usize, had: usize, leases: &Leases) -> Result<Slice, Error> {
        let base = &self.base;
        let mut script = base.scripts.fan_out.prepare_invoke();
        script.key(&base.keys.queue).key(&base.keys.adopted).key(&base.keys.agents).arg(&self.entry).arg(most).arg(room);
        script.arg(asks + 1).arg(base.lease_ms()).arg(base.max_message_bytes).arg(had);
        for (Known { keys, bound, required, .. }, lease) in self.consumers.iter().zip(leases) {
            let name = lease.as_ref().map(|lease| lease.id().0.as_str()).unwrap_or_default();
            script.key(&keys.queue).key(&keys.adopted).key(&keys.leases).key(keys.lease(name.as_bytes()));
            script.arg(bound.unwrap_or(0)).arg(if *required { "required" } else { "" }).arg(name);
        }
        let answer = base
            .link
            .within(most.saturating_add(1 + 2 * self.consumers.len()), room.max(base.max_message_bytes))
            .script(MOVE, &script)
            .await;
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
        let messages = Payloads::of(messages);
        let filled = |mut lease: Lease| {
            lease.fill(Arc::clone(&messages), false);
            lease.more = more;
            lease
        };
        let own = leases.get_mut(asks).and_then(Option::take);
        for (known, lease) in self.consumers.iter().zip(leases) {
            if let Some(lease) = lease {
                known.wishes.leave(filled(lease));
            }
        }
        self.wake_all_but(asks);
        own.map_or(Given::ToList, |own| Given::Lease(filled(own)))
    }

    fn wake_all_but(&self, asks: usize) {
        let others = self.consumers.iter().enumerate().filter(|(index, _)| *index != asks);
        others.for_each(|(_, known)| known.wake.notify_waiters());
    }
}
