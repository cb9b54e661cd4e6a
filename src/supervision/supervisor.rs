//! The supervisor: starts the children, introduces them, restarts the failed ones, drains them in their turns.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use slog::Logger;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use super::{
    children::{Child, Children, Introduction},
    drain::Closing,
    ending::Ending,
    error::Error,
    groups::GroupState,
    heartbeat::Heartbeat,
    life::{Address, Cause, Event, Life, LifeId, Report},
    progress::{Progress, Stuck},
    reports::{ChildEventKind, ChildPhase, Reports},
    restart::{Decision, RestartPolicy},
    threads::Threads,
};
use crate::{backoff::Backoff, codes::Code, config, duration::for_people, failpoint::fail_point};

/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the end of a hung child may take before its thread counts as hung itself.
pub(super) const ABORT_GRACE: Duration = Duration::from_secs(5);

/// To stop: the children drain.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    /// Which signal says so.
    pub(crate) by: &'static str,
}

/// What a supervisor goes by.
pub(crate) struct Rules {
    /// The budget of restarts of each child, and how long it may make no progress.
    pub(crate) restarts: config::Supervisor,
    /// How long draining may take.
    pub(crate) drain_within: Duration,
    /// Is told how the children are.
    pub(crate) observer: Box<dyn Observer>,
    /// How they are, for whoever wants to know.
    pub(crate) reports: Reports,
    /// Begins with the end.
    pub(crate) closing: Closing,
    /// The log.
    pub(crate) log: Logger,
}

/// Is told how the children are.
pub(crate) trait Observer {
    /// How often this wants to be told, where that is more often than once a second.
    fn interval(&self) -> Option<Duration>;

    /// The children were looked at; `healthy` when none of them hangs.
    fn looked(&mut self, healthy: bool);

    /// The end has begun.
    fn stopping(&mut self);
}

/// Looks at nothing, in tests of supervision alone.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl Observer for Nobody {
    fn interval(&self) -> Option<Duration> {
        None
    }

    fn looked(&mut self, _: bool) {}

    fn stopping(&mut self) {}
}

/// How it ended, and the threads that are left.
pub(super) type End = (Result<(), Error>, Threads);

/// The actor.
pub(super) struct Supervisor {
    pub(super) rules: Rules,
    heartbeat: Heartbeat,
    pub(super) threads: Threads,
    pub(super) members: Vec<Member>,
    pub(super) introductions: Vec<Introduction>,
    /// Which child hands what it holds on to which.
    pub(super) hands_on: Vec<(usize, usize)>,
    pub(super) groups: Vec<GroupState>,
    pub(super) ending: Option<Ending>,
    /// When the children were looked at last.
    looked: Instant,
    /// Takes the end.
    pub(super) ended: Option<oneshot::Sender<End>>,
}

/// A child, and what is known of it.
pub(super) struct Member {
    pub(super) child: Child,
    /// What it says of its progress in this life.
    pub(super) progress: Arc<Progress>,
    /// Its budget of restarts.
    pub(super) policy: RestartPolicy,
    /// Which life it is in; reports of an earlier one are stale.
    pub(super) life: u64,
    /// When this life began.
    pub(super) since: Instant,
    pub(super) phase: Phase,
}

/// Where a child is in its life.
pub(super) enum Phase {
    /// Waiting for its restart.
    Waiting,
    /// Being started on its thread.
    Starting,
    /// At work.
    Up { addr: Box<dyn Address>, abort: AbortHandle },
    /// Ended for making no progress; its thread has not reported that yet.
    Hung { stuck: Stuck, since: Instant },
    /// It has drained, or it failed for good.
    Finished,
}

impl Member {
    /// One that has not lived yet.
    pub(super) fn new(child: Child, restarts: &config::Supervisor) -> Self {
        Self {
            child,
            progress: Arc::new(Progress::new(restarts.hang_timeout)),
            policy: full_budget(restarts),
            life: 0,
            since: Instant::now(),
            phase: Phase::Waiting,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// So much time did not count: the whole process stood still.
    fn postpone(&mut self, by: Duration) {
        self.progress.postpone(by);
        match &mut self.phase {
            Phase::Starting => self.since += by,
            Phase::Hung { since, .. } => *since += by,
            Phase::Waiting | Phase::Up { .. } | Phase::Finished => {}
        }
    }

    /// Asks it to drain, if it is up; one that comes up later is asked then.
    pub(super) fn drain(&self) {
        if let Phase::Up { addr, .. } = &self.phase {
            addr.drain();
        }
    }

    /// Ends it, so that whatever it holds is dropped.
    pub(super) fn abort(&self) {
        if let Phase::Up { abort, .. } = &self.phase {
            abort.abort();
        }
    }
}

impl Supervisor {
    /// A supervisor of these children. `ended` gets the end.
    pub(super) fn new(children: Children, rules: Rules, heartbeat: Heartbeat, ended: oneshot::Sender<End>) -> Self {
        let members: Vec<Member> = children.entries.into_iter().map(|child| Member::new(child, &rules.restarts)).collect();
        rules.reports.begin(members.iter().map(|member| (&member.child, &member.progress)));
        Self {
            members,
            introductions: children.introductions,
            hands_on: children.hands_on,
            groups: children.groups.into_iter().map(|group| GroupState::new(group, rules.restarts.backoff_max)).collect(),
            rules,
            heartbeat,
            threads: Threads::default(),
            ending: None,
            looked: Instant::now(),
            ended: Some(ended),
        }
    }

    /// Begins a child's next life.
    pub(super) fn start(&mut self, index: usize, ctx: &Context<Self>) {
        let Some(member) = self.members.get_mut(index) else { return };
        member.life += 1;
        member.since = Instant::now();
        member.phase = Phase::Starting;
        member.progress = Arc::new(Progress::new(self.rules.restarts.hang_timeout));
        self.rules.reports.started(index, member.life, &member.progress);
        let id = LifeId { child: index, number: member.life };
        match self.threads.get(&member.child.thread) {
            Ok(arbiter) => {
                let life = Life { id, progress: Arc::clone(&member.progress), supervisor: ctx.address().recipient() };
                (member.child.start)(&arbiter, life);
            }
            Err(why) => ctx.address().do_send(Report { id, event: Event::Down(Cause::NoThread(why.to_string())) }),
        }
    }

    /// Tells a child that has come up where its neighbours are, and them where it is.
    fn introduce(&self, index: usize) {
        let addr = |index: usize| match &self.members.get(index)?.phase {
            Phase::Up { addr, .. } => Some(addr.as_ref()),
            _ => None,
        };
        for Introduction { told, of, tell } in &self.introductions {
            if (*told == index || *of == index)
                && let (Some(told), Some(of)) = (addr(*told), addr(*of))
            {
                tell(told, of);
            }
        }
    }

    /// A child is up.
    fn up(&mut self, id: LifeId, addr: Box<dyn Address>, abort: AbortHandle) {
        fail_point!("supervisor.up");
        let Some(member) = self.members.get_mut(id.child) else { return };
        member.phase = Phase::Up { addr, abort };
        self.rules.reports.entered(id.child, ChildPhase::Up, ChildEventKind::Up, || format!("life {}", id.number));
        if id.number > 1 {
            slog::info!(self.rules.log, "a child is back"; "child" => &member.child.name, "life" => id.number);
        }
        let drains = |group| self.groups.get(group).and_then(GroupState::drains);
        let turn = self.ending.as_ref().map(|ending| ending.turn).or_else(|| member.child.group.and_then(drains));
        if turn == Some(member.child.turn) {
            member.drain();
        }
        self.introduce(id.child);
    }

    /// A child has drained.
    fn drained(&mut self, id: LifeId, ctx: &mut Context<Self>) {
        fail_point!("supervisor.drained");
        if let Some(member) = self.members.get_mut(id.child) {
            member.abort();
            member.phase = Phase::Finished;
            self.rules
                .reports
                .entered(id.child, ChildPhase::Finished, ChildEventKind::Drained, || "it has nothing left".to_owned());
        }
        self.advance(ctx);
    }

    /// A child is down: restart it within its budget, or end.
    fn down(&mut self, id: LifeId, cause: Cause, ctx: &mut Context<Self>) {
        fail_point!("supervisor.down");
        let Some(member) = self.members.get_mut(id.child) else { return };
        let (cause, until) = match member.phase {
            Phase::Finished => return,
            // Hanging is no work, however long it lasts.
            Phase::Hung { stuck, .. } => (Cause::Hung(stuck.at), stuck.since),
            Phase::Up { .. } | Phase::Starting | Phase::Waiting => (cause, Instant::now()),
        };
        let (log, name) = (&self.rules.log, &member.child.name);
        if cause == Cause::ThreadGone {
            self.threads.forget(&member.child.thread);
        }
        let is_drained = |group: usize| self.groups.get(group).is_some_and(|group| group.drains().is_some());
        let drains = match self.ending {
            Some(_) => Some("the agent was stopping"),
            None => member.child.group.filter(|group| is_drained(*group)).map(|_| "it was drained to be built anew"),
        };
        if let Some(when) = drains {
            slog::error!(log, "a child failed while {}; what it held is given back", when;
                "code" => Code::ActorFailed.name(), "child" => name, "cause" => cause.label(), "why" => %cause);
            member.phase = Phase::Finished;
            self.rules.reports.failed(id.child, &cause, ChildPhase::Finished, member.policy.used());
            self.advance(ctx);
            return;
        }
        let decision = member.policy.failed(until.saturating_duration_since(member.since));
        self.rules.reports.failed(id.child, &cause, ChildPhase::Waiting, member.policy.used());
        match decision {
            Decision::RestartAfter(pause) => {
                slog::error!(log, "a child failed and is restarted"; "code" => Code::ActorFailed.name(), "child" => name, "cause" => cause.label(), "why" => %cause,
                    "restart_in" => for_people(pause), "life" => id.number);
                member.phase = Phase::Waiting;
                ctx.run_later(pause, move |supervisor, ctx| {
                    // Its group may have been held or drained meanwhile, which ends this wait.
                    let waits = supervisor.members.get(id.child).is_some_and(|member| member.life == id.number);
                    if supervisor.ending.is_none() && waits {
                        supervisor.start(id.child, ctx);
                    }
                });
            }
            Decision::GiveUp => {
                let error = Error::OutOfBudget { child: name.clone(), cause: cause.to_string() };
                let is_dispensable = |group: usize| self.groups.get(group).is_some_and(GroupState::is_dispensable);
                if let Some(group) = member.child.group.filter(|group| is_dispensable(*group)) {
                    self.hold(group, &error, ctx);
                    return;
                }
                slog::error!(log, "a child failed too often; the agent ends";
                    "child" => name, "cause" => cause.label(), "why" => %cause);
                member.phase = Phase::Finished;
                self.end(Err(error), "the supervisor", ctx);
            }
        }
    }

    /// Looks for children that make no progress, and tells the observer whether the others do.
    fn look(&mut self, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        let now = Instant::now();
        let late = now.saturating_duration_since(self.looked).saturating_sub(LOOK_EVERY * 2);
        self.looked = now;
        if !late.is_zero() {
            // The whole process stood still (a stopped process, a paused machine), and no child is to blame.
            self.members.iter_mut().for_each(|member| member.postpone(late));
        }
        let mut hung_thread = None;
        let mut healthy = true;
        for (index, member) in self.members.iter_mut().enumerate() {
            match &member.phase {
                Phase::Up { addr, abort } => {
                    if let Some(stuck) = member.progress.stuck(now) {
                        slog::error!(self.rules.log, "a child makes no progress and is ended";
                            "code" => Code::ActorHung.name(), "child" => &member.child.name, "at" => stuck.at);
                        abort.abort();
                        member.phase = Phase::Hung { stuck, since: now };
                        let what = || format!("made no progress at {}", stuck.at);
                        self.rules.reports.entered(index, ChildPhase::Hung, ChildEventKind::Hung, what);
                        healthy = false;
                    } else if member.progress.ping(now) {
                        addr.ping();
                    }
                }
                Phase::Hung { since, .. } => {
                    healthy = false;
                    if now.duration_since(*since) > ABORT_GRACE {
                        hung_thread = Some(index);
                    }
                }
                Phase::Starting => {
                    if now.duration_since(member.since) > self.rules.restarts.hang_timeout {
                        hung_thread = Some(index);
                    }
                }
                Phase::Waiting | Phase::Finished => {}
            }
        }
        if let Some(Member { child, .. }) = hung_thread.and_then(|index| self.members.get(index)) {
            let error = Error::ThreadHung { child: child.name.clone() };
            let is_dispensable = |group: usize| self.groups.get(group).is_some_and(GroupState::is_dispensable);
            match child.group.filter(|group| self.ending.is_none() && is_dispensable(*group)) {
                Some(group) => {
                    let hung = child.thread.clone();
                    self.hold_until_it_answers(group, &hung, &error, ctx);
                }
                None => {
                    self.finish(Err(error));
                    ctx.stop();
                    return;
                }
            }
        }
        self.rules.observer.looked(healthy);
    }
}

/// The budget of a child that has not failed yet.
pub(super) fn full_budget(restarts: &config::Supervisor) -> RestartPolicy {
    let backoff = Backoff::new(restarts.backoff_min, restarts.backoff_max);
    RestartPolicy::new(restarts.max_restarts, restarts.window, backoff)
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for index in 0..self.members.len() {
            self.start(index, ctx);
        }
        let every = self.rules.observer.interval().map_or(LOOK_EVERY, |interval| interval.min(LOOK_EVERY));
        ctx.run_interval(every, Self::look);
    }
}

/// A supervisor that panics ends the agent: no child may go on to take what none will settle.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.rules.closing.begin();
        self.finish(Err(Error::SupervisorFailed));
    }
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, Report { id, event }: Report, ctx: &mut Self::Context) {
        if self.ended.is_none() || self.members.get(id.child).is_none_or(|member| member.life != id.number) {
            // It is over, or a later life has begun, or it was given up before it was up.
            if let Event::Up { abort, .. } = event {
                abort.abort();
            }
            return;
        }
        match event {
            Event::Up { addr, abort } => self.up(id, addr, abort),
            Event::Drained => self.drained(id, ctx),
            Event::Down(cause) => self.down(id, cause, ctx),
        }
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, Stop { by }: Stop, ctx: &mut Self::Context) {
        fail_point!("supervisor.stop");
        self.end(Ok(()), by, ctx);
    }
}

/// To end a child, as a fault would.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Fail(pub(super) &'static str);

#[cfg(test)]
impl Handler<Fail> for Supervisor {
    type Result = ();

    fn handle(&mut self, Fail(name): Fail, _: &mut Self::Context) {
        self.members.iter().filter(|member| member.child.name == name).for_each(Member::abort);
    }
}

#[cfg(test)]
mod tests;
