//! Groups of children that belong together, as those of a pipeline do, and can be [built anew](super::rebuild) together.
//!
//! Some are groups that the others can do without: when one of them has used up its budget all of its group are ended, and started
//! anew with full budgets after growing pauses, while all others go on.
//!
//! A thread that hangs cannot be ended. The group of a child on such a thread stays held until the thread answers: only then is it
//! certain that the child there writes nothing any more, and what it holds is dropped.

use std::time::Duration;

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use super::{
    children::Group,
    error::Error,
    rebuild::Rebuilding,
    reports::{ChildEventKind, ChildPhase},
    supervisor::{Phase, Supervisor, full_budget},
    threads::Thread,
};
use crate::{backoff::Backoff, duration::for_people};

/// By how many times the longest pause before a restart the longest pause before a group is tried again is longer.
const LONGEST_PAUSE: u32 = 30;

/// A group, and how it is.
pub(super) struct GroupState {
    group: Group,
    backoff: Backoff,
    /// When it was started last, unless that was with all others.
    tried: Option<Instant>,
    hold: Option<Hold>,
    /// How often it was held or built anew: a timer of before means nothing any more.
    pub(super) number: u64,
    /// It drains, and is built anew then.
    pub(super) rebuild: Option<Rebuilding>,
}

/// What a group that is held waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// For its time.
    Pauses,
    /// For a thread that hangs.
    Hangs,
}

impl GroupState {
    /// The first pause is the longest before a restart of a child.
    pub(super) fn new(group: Group, first_pause: Duration) -> Self {
        let backoff = Backoff::new(first_pause, first_pause * LONGEST_PAUSE);
        Self { group, backoff, tried: None, hold: None, number: 0, rebuild: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.group.name
    }

    /// Whether the others can do without it.
    pub(super) fn is_dispensable(&self) -> bool {
        self.group.held.is_some()
    }

    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// The turn of those that drain now for it to be built anew.
    pub(super) fn drains(&self) -> Option<u8> {
        self.rebuild.as_ref().map(|rebuilding| rebuilding.turn)
    }

    /// There are other children of it.
    pub(super) fn is_replaced(&mut self, group: Group) {
        self.group = group;
        self.number += 1;
    }

    fn say(&self, why: Option<&str>) {
        if let Some(held) = &self.group.held {
            held(why);
        }
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
        let Some((pause, number)) = self.end_group(index, Hold::Pauses, &why.to_string()) else { return };
        slog::error!(self.rules.log, "a child failed too often; its group is held and tried again, all others go on";
            "group" => self.name_of(index), "why" => %why, "again_in" => for_people(pause));
        ctx.run_later(pause, move |supervisor, ctx| supervisor.try_again(index, number, ctx));
    }

    /// Ends all of a group of which a child is on a thread that hangs, and has it tried again later than that thread answers.
    pub(super) fn hold_until_it_answers(&mut self, index: usize, hung: &Thread, why: &Error, ctx: &mut Context<Self>) {
        let what = format!("{why}; it is tried again once that thread answers, and when the agent is started again");
        let Some((pause, _)) = self.end_group(index, Hold::Hangs, &what) else { return };
        slog::error!(self.rules.log, "a thread hangs; what it holds stays with it, its group is held, all others go on";
            "group" => self.name_of(index), "why" => what);
        // Dropped, too, with a thread that ends without answering.
        let (answers, answered) = oneshot::channel::<()>();
        if let Ok(thread) = self.threads.get(hung) {
            thread.spawn_fn(move || drop(answers));
        }
        ctx.spawn(answered.into_actor(self).map(move |_, supervisor, ctx| {
            // Whatever else was asked of it meanwhile.
            let Some(number) = supervisor.groups.get(index).map(|state| state.number) else { return };
            ctx.run_later(pause, move |supervisor, ctx| supervisor.try_again(index, number, ctx));
        }));
        self.replace_held(index);
    }

    fn name_of(&self, group: usize) -> &str {
        self.groups.get(group).map_or("", GroupState::name)
    }

    /// Ends all of a group. Returns how long to wait before it is tried again, and the number of that hold.
    fn end_group(&mut self, index: usize, hold: Hold, why: &str) -> Option<(Duration, u64)> {
        let window = self.rules.restarts.window;
        let state = self.groups.get_mut(index)?;
        state.say(Some(why));
        state.hold = Some(hold);
        state.number += 1;
        for (child, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.child.group == Some(index)) {
            self.rules.reports.entered(child, ChildPhase::Waiting, ChildEventKind::Held, || why.to_owned());
            member.abort();
            member.phase = Phase::Waiting;
            // What is still heard of this life is of no interest.
            member.life += 1;
        }
        Some((state.next_pause(window), state.number))
    }

    fn try_again(&mut self, index: usize, number: u64, ctx: &Context<Self>) {
        let Some(state) = self.groups.get_mut(index) else { return };
        if self.ending.is_some() || state.number != number {
            return;
        }
        state.hold = None;
        state.tried = Some(Instant::now());
        state.say(None);
        for child in 0..self.members.len() {
            let Some(member) = self.members.get_mut(child).filter(|member| member.child.group == Some(index)) else { continue };
            member.policy = full_budget(&self.rules.restarts);
            self.start(child, ctx);
        }
    }

    /// Tries a group again that is held, unless a thread hangs that may still write for it.
    pub(super) fn try_now(&mut self, index: usize, ctx: &Context<Self>) {
        let waits = self.groups.get(index).filter(|state| state.hold == Some(Hold::Pauses));
        if let Some(number) = waits.map(|state| state.number) {
            self.try_again(index, number, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        config,
        supervision::{Children, Closing, Drain, Life, Nobody, Reports, Rules, Stop, Supervision, Thread, answers_pings},
    };

    struct Idle {
        life: Life,
    }

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    impl Handler<Drain> for Idle {
        type Result = ();

        fn handle(&mut self, _: Drain, _: &mut Self::Context) {
            self.life.say_drained();
        }
    }

    answers_pings!(Idle);

    #[actix_rt::test]
    async fn a_child_that_waits_for_its_restart_when_its_group_is_held_stays_down_until_that_is_tried_again() {
        tokio::time::pause();
        let (mut children, starts) = (Children::default(), Arc::new(AtomicUsize::new(0)));
        let started = Arc::clone(&starts);
        children.add("one", Thread::Supervisors, 0, move |life| {
            started.fetch_add(1, Ordering::SeqCst);
            Idle { life }
        });
        children.add("other", Thread::Supervisors, 0, |life| Idle { life });
        children.group_since(0, "both", Some(Box::new(|_| ())));
        let rules = Rules {
            restarts: config::Supervisor {
                max_restarts: 1,
                window: Duration::from_secs(3600),
                backoff_min: Duration::from_secs(1),
                backoff_max: Duration::from_secs(100),
                hang_timeout: Duration::from_secs(3600),
            },
            drain_within: Duration::from_secs(1),
            observer: Box::new(Nobody),
            reports: Reports::default(),
            closing: Closing::default(),
            log: slog::Logger::root(slog::Discard, slog::o!()),
        };
        let supervision = Supervision::start(children, rules, || 0);
        let later = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        later(1).await;
        supervision.fail("other");
        later(3).await;
        supervision.fail("one");
        supervision.fail("other");
        later(10).await;
        assert_eq!(starts.load(Ordering::SeqCst), 1, "it is held");
        later(200).await;
        assert_eq!(starts.load(Ordering::SeqCst), 2, "it is tried again once");
        supervision.stop().do_send(Stop { by: "the test" });
        assert!(supervision.ended().await.0.is_ok());
    }
}
