//! A group that is built anew, as when its settings have changed: its children drain in their turns while all others go on, and only
//! when all of them have finished do the new ones begin, so that no two of them ever work at the same.
//!
//! A new child of a name that there was takes the place of the one before, in its next life and with a full budget. The rest of the
//! group is gone.

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    children::{Children, Introduction},
    drain::Closing,
    progress::Stuck,
    reports::{ChildEventKind, ChildPhase},
    supervisor::{Member, Phase, Supervisor},
};
use crate::duration::for_people;

/// To build a group anew.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rebuild {
    /// The group's name.
    pub(crate) group: String,
    /// What those that are there go by: begins, so that none pauses for better times.
    pub(crate) closing: Closing,
    /// The new ones, a group of the same name.
    pub(crate) with: Children,
    /// Is told once the new ones begin; dropped where that will not be, since the end has begun or there is no such group.
    pub(crate) rebuilt: oneshot::Sender<()>,
}

/// A group that drains to be built anew.
pub(super) struct Rebuilding {
    /// The children whose turn it is to drain.
    pub(super) turn: u8,
    with: Children,
    rebuilt: oneshot::Sender<()>,
}

impl Handler<Rebuild> for Supervisor {
    type Result = ();

    fn handle(&mut self, Rebuild { group, closing, with, rebuilt }: Rebuild, ctx: &mut Self::Context) {
        let Some(index) = self.groups.iter().position(|state| state.name() == group) else { return };
        let Some(state) = self.groups.get_mut(index).filter(|state| self.ending.is_none() && state.rebuild.is_none()) else {
            return;
        };
        closing.begin();
        if state.is_held() {
            self.replace(index, with);
            self.try_now(index, ctx);
            let _ = rebuilt.send(());
            return;
        }
        state.rebuild = Some(Rebuilding { turn: 0, with, rebuilt });
        let number = state.number;
        for member in self.members.iter_mut().filter(|member| member.child.group == Some(index)) {
            if matches!(member.phase, Phase::Waiting) {
                // Ends its wait for a restart.
                member.life += 1;
                member.phase = Phase::Finished;
            }
        }
        self.drain_turn(Some(index), 0);
        ctx.run_later(self.rules.drain_within, move |supervisor, _| supervisor.end_stragglers(index, number));
        self.advance_rebuild(index, ctx);
    }
}

impl Supervisor {
    /// Goes on with a group that drains to be built anew, if it does.
    pub(super) fn advance_rebuild(&mut self, index: usize, ctx: &Context<Self>) {
        let Some(turn) = self.groups.get(index).and_then(|state| state.drains()) else { return };
        let left = self.drain_on(Some(index), turn);
        let Some(state) = self.groups.get_mut(index) else { return };
        if let (Some(turn), Some(rebuilding)) = (left, &mut state.rebuild) {
            rebuilding.turn = turn;
        } else if let Some(Rebuilding { with, rebuilt, .. }) = state.rebuild.take() {
            for place in self.replace(index, with) {
                self.start(place, ctx);
            }
            let _ = rebuilt.send(());
        }
    }

    /// Has the new ones take the place of a group that is held before it has drained: they begin when it is tried again.
    pub(super) fn replace_held(&mut self, index: usize) {
        if let Some(Rebuilding { with, rebuilt, .. }) = self.groups.get_mut(index).and_then(|state| state.rebuild.take()) {
            self.replace(index, with);
            let _ = rebuilt.send(());
        }
    }

    /// Puts new children into the place of a group's, to be started. Returns where they are.
    fn replace(&mut self, index: usize, with: Children) -> Vec<usize> {
        let Children { entries, introductions, hands_on, groups } = with;
        // A group's children are introduced to each other alone.
        let is_of_group = |member: &Member| member.child.group == Some(index);
        let is_gone = |child: &usize| self.members.get(*child).is_some_and(is_of_group);
        self.introductions.retain(|Introduction { told, of, .. }| !is_gone(told) && !is_gone(of));
        self.hands_on.retain(|(from, to)| !is_gone(from) && !is_gone(to));
        let mut threads = Vec::new();
        for (place, member) in self.members.iter_mut().enumerate().filter(|(_, member)| is_of_group(member)) {
            member.phase = Phase::Finished;
            member.child.group = None;
            threads.push(member.child.thread.clone());
            self.rules.reports.retire(place);
        }
        let mut places = Vec::new();
        for mut child in entries {
            child.group = Some(index);
            let mut member = Member::new(child, &self.rules.restarts);
            let place =
                self.members.iter().position(|before| before.child.name == member.child.name).unwrap_or(self.members.len());
            self.rules.reports.replace(place, &member.child, &member.progress);
            match self.members.get_mut(place) {
                Some(before) => {
                    // What is still heard of the one before is of no interest.
                    member.life = before.life + 1;
                    *before = member;
                }
                None => self.members.push(member),
            }
            places.push(place);
        }
        let at = |index: usize| places.get(index).copied().unwrap_or(usize::MAX);
        let introduced =
            introductions.into_iter().map(|Introduction { told, of, tell }| Introduction { told: at(told), of: at(of), tell });
        self.introductions.extend(introduced);
        self.hands_on.extend(hands_on.into_iter().map(|(from, to)| (at(from), at(to))));
        if let (Some(state), Some(group)) = (self.groups.get_mut(index), groups.into_iter().next()) {
            state.is_replaced(group);
        }
        for thread in threads {
            if self.members.iter().all(|member| member.is_finished() || member.child.thread != thread) {
                self.threads.end(&thread);
            }
        }
        places
    }

    /// Ends those of a group that take too long to drain, so that what they hold goes back.
    fn end_stragglers(&mut self, index: usize, number: u64) {
        if self.groups.get(index).is_none_or(|state| state.number != number || state.rebuild.is_none()) {
            return;
        }
        let now = Instant::now();
        let stuck = Stuck { at: "draining to be built anew", since: now };
        for (child, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.child.group == Some(index)) {
            let Phase::Up { abort, .. } = &member.phase else { continue };
            slog::warn!(self.rules.log, "a child takes too long to drain and is ended; what it held is given back";
                "child" => &member.child.name, "within" => for_people(self.rules.drain_within));
            abort.abort();
            member.phase = Phase::Hung { stuck, since: now };
            let what = || format!("took too long at {}", stuck.at);
            self.rules.reports.entered(child, ChildPhase::Hung, ChildEventKind::Hung, what);
        }
    }
}

#[cfg(test)]
mod tests;
