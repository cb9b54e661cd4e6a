//! What each consumer of one agent wants, so that another one which moves messages can lease them for it as well.
//!
//! A consumer that waits is given its lease at once. While a backlog is drained, consumers seldom wait at the same time, but each asks
//! again soon: there a lease is also kept for one that does not wait, one at most and not for long, and those that are about as fast are
//! kept together, by waiting a moment for one that has not come for what is kept for it, or has some in its list.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::consumers::Membership;
use crate::channel::{Demand, Lease};

/// How long a lease is kept for a consumer that does not ask for it, or not any more. Then it is given back, so that other agents may have
/// it.
pub(super) const KEPT: Duration = Duration::from_secs(1);

/// How long one that drains a backlog waits for another one that is behind: some batches of one that is about as fast.
const CATCH_UP: Duration = Duration::from_millis(50);

/// For how long a consumer is not waited for any more after that: at first, and at most after each time in vain has doubled it. So one
/// that is slower costs the others 5 % of a second, and then less and less.
const LEFT_BEHIND: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Where a consumer leaves what it wants, and gets it from another one of the same agent.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    wish: Mutex<Wish>,
    /// Whether nothing is kept for one that does not wait: of each of many queues that would be a lease.
    keeps_none: bool,
    /// Notified when it may not be behind any more.
    caught_up: Notify,
}

#[derive(Debug, Default)]
struct Wish {
    /// What it asked for last, and when.
    asked: Option<(Demand, Instant)>,
    /// It still waits for that.
    waits: bool,
    /// It has asked for as much twice, and so is likely to do it again.
    repeats: bool,
    /// What it was given.
    given: Option<Lease>,
    /// It has some in its list.
    has_list: bool,
    /// Until when it is not waited for, and how long that lasts.
    left_behind: Option<(Instant, Duration)>,
}

/// A consumer that waits, until this is dropped.
pub(super) struct Asking<'a> {
    pub(super) membership: &'a Membership,
    pub(super) demand: Demand,
}

impl Wish {
    /// Whether the consumer is likely to want as much again soon.
    fn is_active(&self) -> bool {
        self.repeats && self.asked.is_some_and(|(_, at)| at.elapsed() < KEPT)
    }

    fn is_behind(&self) -> bool {
        self.given.is_some() || self.has_list
    }

    fn is_waited_for(&self) -> bool {
        let is_left_behind = self.left_behind.is_some_and(|(until, _)| Instant::now() < until);
        self.is_behind() && self.is_active() && !is_left_behind
    }
}

impl Wishes {
    pub(super) fn of(keeps_none: bool) -> Self {
        Self { keeps_none, ..Self::default() }
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        // Every change is whole before anything that could panic.
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, demand: Demand) {
        let demand = Demand { not_before: None, ..demand };
        let mut wish = self.wish();
        wish.repeats = wish.asked.is_some_and(|(before, _)| before == demand);
        (wish.asked, wish.waits) = (Some((demand, Instant::now())), true);
    }

    /// What the consumer wants, if it was not given something since: while it waits, and, where a backlog is drained, also if it is
    /// likely to want the same soon.
    pub(super) fn wants(&self, drains: bool) -> Option<Demand> {
        let wish = self.wish();
        let wants = wish.given.is_none() && (wish.waits || drains && !self.keeps_none && wish.is_active());
        wish.asked.filter(|_| wants).map(|(demand, _)| demand)
    }

    pub(super) fn leave(&self, lease: Lease) {
        self.wish().given = Some(lease);
    }

    /// What it was given, if that is no more than it wants now; else it is dropped, and so given back.
    pub(super) fn take(&self, demand: Demand) -> Option<Lease> {
        let given = self.wish().given.take()?;
        self.caught_up.notify_waiters();
        let fits = given.messages.len() <= demand.messages && (given.bytes() <= demand.bytes || given.messages.len() == 1);
        fits.then_some(given)
    }

    /// Gives back what was kept for too long.
    pub(super) fn give_up(&self) {
        let overdue = self.wish().given.take_if(|given| given.since().elapsed() >= KEPT);
        drop(overdue);
    }

    pub(super) fn has_list(&self) -> bool {
        self.wish().has_list
    }

    pub(super) fn note_list(&self, has_list: bool) {
        self.wish().has_list = has_list;
        if !has_list {
            self.caught_up.notify_waiters();
        }
    }

    /// Waits for a consumer that is behind and takes messages, but not for long and not often in vain.
    pub(super) async fn catch_up(&self) {
        let until = Instant::now() + CATCH_UP;
        loop {
            let changed = self.caught_up.notified();
            if !self.wish().is_waited_for() {
                break;
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                let mut wish = self.wish();
                let pause = wish.left_behind.map_or(LEFT_BEHIND.0, |(_, pause)| (pause * 2).min(LEFT_BEHIND.1));
                wish.left_behind = Some((Instant::now() + pause, pause));
                return;
            }
        }
        let mut wish = self.wish();
        if !wish.is_behind() {
            wish.left_behind = None;
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.membership.known() {
            known.wishes.wish().waits = false;
        }
    }
}

impl Membership {
    /// Lets the others know that this consumer takes messages.
    pub(super) fn asks(&self, demand: Demand) -> Asking<'_> {
        if let Some(known) = self.known() {
            known.wishes.begin(demand);
        }
        Asking { membership: self, demand }
    }
}
