//! Groups of children that the others can do without: when one of them has used up its budget all of its group are ended, and started
//! anew with full budgets after growing pauses, while all others go on.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    children::Group,
    error::Error,
    supervisor::{Phase, Supervisor, full_budget},
};
use crate::{backoff::Backoff, duration::for_people};

/// By how many times the longest pause before a restart the longest pause before a group is tried again is longer.
const LONGEST_PAUSE: u32 = 30;

/// A group, and when it is tried again after its next end.
pub(super) struct HeldGroup {
    group: Group,
    backoff: Backoff,
    /// When it was started last, unless that was with all others.
    tried: Option<Instant>,
}

impl HeldGroup {
    /// The first pause is the longest before a restart of a child.
    pub(super) fn new(group: Group, first_pause: Duration) -> Self {
        Self { group, backoff: Backoff::new(first_pause, first_pause * LONGEST_PAUSE), tried: None }
    }

    /// How long to wait before it is tried again. One that has worked for a while since begins with short pauses again.
    fn next_pause(&mut self, window: Duration) -> Duration {
        if self.tried.is_some_and(|since| since.elapsed() > window) {
            self.backoff.reset();
        }
        self.backoff.next_pause()
    }
}

impl Supervisor {
    /// Ends all of a group, and has it tried again later.
    pub(super) fn hold(&mut self, index: usize, why: &Error, ctx: &mut Context<Self>) {
        let window = self.rules.restarts.window;
        let Some(held) = self.groups.get_mut(index) else { return };
        let pause = held.next_pause(window);
        slog::error!(self.rules.log, "a child failed too often; its group is held and tried again, all others go on";
            "group" => &held.group.name, "why" => %why, "again_in" => for_people(pause));
        (held.group.held)(Some(&why.to_string()));
        for member in self.members.iter_mut().filter(|member| member.child.group == Some(index)) {
            member.abort();
            member.phase = Phase::Waiting;
            // What is still heard of this life is of no interest.
            member.life += 1;
        }
        ctx.run_later(pause, move |supervisor, ctx| supervisor.try_again(index, ctx));
    }

    fn try_again(&mut self, index: usize, ctx: &Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        let Some(held) = self.groups.get_mut(index) else { return };
        held.tried = Some(Instant::now());
        (held.group.held)(None);
        let of_group = |(_, member): &(usize, &mut super::supervisor::Member)| member.child.group == Some(index);
        let mut indices = Vec::new();
        for (child, member) in self.members.iter_mut().enumerate().filter(of_group) {
            member.policy = full_budget(&self.rules.restarts);
            indices.push(child);
        }
        indices.into_iter().for_each(|child| self.start(child, ctx));
    }
}
