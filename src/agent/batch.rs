//! A batch: the unit that moves between actors and is settled as one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{filter::Filter, guards::Guards};
use crate::{
    channel::{DeadLetter, Lease, RefusedPoint},
    panics,
    publisher::Refused,
    quote::cut_name,
    status::{seen::Seen, tap::Tap},
    wire::{Decoder, MOST_REFUSALS, Message, MessageSet, Point, Refusal},
};

/// Leased messages, decoded, with the verdicts so far.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The leases; the messages of all of them, in this order, are the messages of the set.
    pub(super) leases: Vec<Lease>,
    /// The decoded messages; moves on to the Publisher that writes them. Other pipelines may have it, too.
    pub(super) set: Arc<MessageSet>,
    /// What could not be decoded and what the guards park, by the message's index in the set.
    refusals: Vec<(usize, Refusal)>,
    /// How many of those are parked by the guards.
    guarded: usize,
    /// When its first lease came, and how long the oldest of that one's messages had waited then, as far as that is known.
    begun: Option<(Instant, Duration)>,
}

impl Batch {
    /// Decodes a lease's messages and takes it in, without what the filter leaves out and what the guards park. `several`: other
    /// pipelines may have the same messages; `seen` counts what can be read, whatever becomes of it. Where `tap` is watched, all of it is
    /// shown, by the publisher's name.
    pub(super) fn take_in(
        &mut self,
        lease: Lease,
        decoder: &mut Decoder,
        several: bool,
        seen: Option<&Seen>,
        (filter, guards): (Option<&Filter>, Option<&Guards>),
        tap: Option<(&Tap, Option<&str>)>,
    ) {
        let (first, refused_before) = (self.set.len(), self.refusals.len());
        if several && first == 0 {
            let decoded = lease.messages.decoded(decoder);
            self.set = Arc::clone(&decoded.set);
            self.refusals.extend_from_slice(&decoded.refusals);
        } else {
            lease.messages.decode(decoder, Arc::make_mut(&mut self.set), &mut self.refusals);
        }
        if let Some(seen) = seen {
            seen.count(&self.set, first);
        }
        if let Some((tap, publisher)) = tap {
            let keeps =
                |message: &Message<'_>, point: &Point| filter.is_none_or(|filter| filter.keeps(&self.set, message, point));
            tap.decoded(publisher, &self.set, first, keeps);
        }
        if let Some(filter) = filter {
            filter.apply(Arc::make_mut(&mut self.set), first);
        }
        if let Some(guards) = guards {
            let before = self.refusals.len();
            guards.apply(Arc::make_mut(&mut self.set), first, &mut self.refusals);
            self.guarded += self.refusals.len() - before;
        }
        if let Some((tap, publisher)) = tap {
            tap.set_aside(publisher, self.refusals.iter().skip(refused_before).map(|(_, refusal)| refusal));
        }
        if lease.adopted {
            Arc::make_mut(&mut self.set).mark_adopted(first);
        }
        self.begun.get_or_insert_with(|| (lease.since(), lease.age));
        self.leases.push(lease);
    }

    /// For how long its oldest message has waited since its push, or since its lease where that is not known.
    pub(super) fn age(&self) -> Option<Duration> {
        self.begun.map(|(at, age)| at.elapsed() + age)
    }

    /// How many points, or whole messages, could not be read, and how many the guards park.
    pub(super) fn refused(&self) -> (usize, usize) {
        (self.refusals.len() - self.guarded, self.guarded)
    }

    /// The messages to set aside, given what the destination refused besides.
    pub(super) fn dead_letters(&mut self, refused: Vec<Refused>) -> Vec<DeadLetter> {
        if self.refusals.is_empty() && refused.is_empty() {
            return Vec::new();
        }
        let mut verdicts: Vec<(usize, Refusal)> = std::mem::take(&mut self.refusals);
        verdicts.extend(refused.into_iter().map(|at| (at.message, Refusal { metric: at.metric, reason: at.reason })));
        verdicts.sort_by_key(|(message, _)| *message);
        let places: Vec<(&Lease, usize)> =
            self.leases.iter().flat_map(|lease| (0..lease.messages.len()).map(move |message| (lease, message))).collect();
        verdicts
            .chunk_by(|(one, _), (other, _)| one == other)
            .filter_map(|verdicts| {
                let (lease, message) = *places.get(verdicts.first()?.0)?;
                let (reason, refused) =
                    panics::catch("telling why it was refused", || told(verdicts.iter().map(|(_, refusal)| refusal)))
                        .unwrap_or_else(|panic| (panic, Vec::new()));
                Some(DeadLetter { lease: lease.id().clone(), message, reason, refused })
            })
            .collect()
    }
}

/// Why a message is set aside, and which of its points.
fn told<'a>(refusals: impl Iterator<Item = &'a Refusal> + Clone) -> (String, Vec<RefusedPoint>) {
    let refused: Vec<RefusedPoint> = refusals
        .clone()
        .filter_map(|refusal| {
            Some(RefusedPoint { metric: cut_name(refusal.metric.as_ref()?), reason: cut_name(&refusal.reason) })
        })
        .collect();
    let mut refusals = refusals;
    let whole = refusals.find(|refusal| refusal.metric.is_none());
    let reason = match (whole, refused.as_slice()) {
        (Some(whole), _) => whole.reason.clone(),
        (None, [only]) => format!("{}: {}", only.metric, only.reason),
        (None, [first, ..]) if refused.len() > MOST_REFUSALS => {
            format!("more than {MOST_REFUSALS} points were refused; the first, {}: {}", first.metric, first.reason)
        }
        (None, [first, ..]) => format!("{} points were refused; the first, {}: {}", refused.len(), first.metric, first.reason),
        (None, []) => String::new(),
    };
    (cut_name(&reason), refused)
}
