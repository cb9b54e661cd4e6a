//! Draining in turns: of all children at the end, and of one group that is [built anew](super::rebuild).

use actix::prelude::*;

use super::{
    error::Error,
    supervisor::{Member, Phase, Supervisor},
};
use crate::duration::for_people;

/// The end that has begun.
pub(super) struct Ending {
    /// Why, where it was not asked for.
    why: Result<(), Error>,
    /// The children whose turn it is to drain.
    pub(super) turn: u8,
}

impl Supervisor {
    /// Begins the end; `by` is the signal, or who else wants it.
    pub(super) fn end(&mut self, why: Result<(), Error>, by: &str, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        slog::info!(self.rules.log, "stopping: flushing what can be flushed, giving the rest back";
            "by" => by, "within" => for_people(self.rules.drain_within));
        self.rules.observer.stopping();
        self.rules.closing.begin();
        // What waits to be told of it learns that it will not come to that.
        self.groups.iter_mut().for_each(|group| group.rebuild = None);
        for member in &mut self.members {
            if matches!(member.phase, Phase::Waiting) {
                member.phase = Phase::Finished;
            }
        }
        ctx.run_later(self.rules.drain_within, Self::deadline);
        self.ending = Some(Ending { why, turn: 0 });
        self.drain_turn(None, 0);
        self.advance(ctx);
    }

    /// Goes on with what drains: a child has finished.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let Some(Ending { turn, why }) = &self.ending else {
            (0..self.groups.len()).for_each(|group| self.advance_rebuild(group, ctx));
            return;
        };
        let why = why.clone();
        match (self.drain_on(None, *turn), &mut self.ending) {
            (Some(turn), Some(ending)) => ending.turn = turn,
            _ => {
                self.finish(why);
                ctx.stop();
            }
        }
    }

    /// Those of a turn, of all children or of a group.
    fn of_turn(&self, of: Option<usize>, turn: u8) -> impl Iterator<Item = (usize, &Member)> {
        let is_meant = move |member: &Member| member.child.turn == turn && (of.is_none() || member.child.group == of);
        self.members.iter().enumerate().filter(move |(_, member)| is_meant(member))
    }

    /// Asks those of a turn to drain.
    pub(super) fn drain_turn(&self, of: Option<usize>, turn: u8) {
        self.of_turn(of, turn).for_each(|(_, member)| member.drain());
    }

    /// Goes on from this turn to the first of which not all children have finished, and returns that; none where all have finished.
    pub(super) fn drain_on(&self, of: Option<usize>, mut turn: u8) -> Option<u8> {
        while self.of_turn(of, turn).all(|(_, member)| member.is_finished()) {
            let all = self.members.iter().filter(|member| of.is_none() || member.child.group == of);
            turn = all.map(|member| member.child.turn).filter(|other| *other > turn).min()?;
            self.drain_turn(of, turn);
        }
        let in_vain = self.of_turn(of, turn).filter(|(index, _)| self.holds_in_vain(*index));
        in_vain.for_each(|(_, member)| member.abort());
        Some(turn)
    }

    /// Whether all have finished that a child could hand on to what it holds. Without it, that goes back.
    fn holds_in_vain(&self, index: usize) -> bool {
        let mut takers =
            self.hands_on.iter().filter(|(from, _)| *from == index).filter_map(|(_, to)| self.members.get(*to)).peekable();
        takers.peek().is_some() && takers.all(Member::is_finished)
    }

    fn deadline(&mut self, ctx: &mut Context<Self>) {
        let Some(Ending { turn, why }) = &self.ending else { return };
        // The later ones wait for these, and are not to blame.
        let asked = self.members.iter().filter(|member| member.child.turn <= *turn);
        let stragglers = asked.filter(|member| !member.is_finished()).map(|member| member.child.name.clone());
        let why = why.clone().and_then(|()| Err(Error::Deadline { stragglers: stragglers.collect() }));
        self.finish(why);
        ctx.stop();
    }

    /// It is over: whatever is not finished is ended, and nothing is started any more.
    pub(super) fn finish(&mut self, why: Result<(), Error>) {
        if let Some(ended) = self.ended.take() {
            self.members.iter().for_each(Member::abort);
            drop(ended.send((why, std::mem::take(&mut self.threads))));
        }
    }
}
