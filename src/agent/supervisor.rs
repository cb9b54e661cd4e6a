//! The Supervisor: spawns the children, tells each where its neighbours are, restarts the failed ones, ends them in order.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    thread,
    time::Duration,
};

use actix::prelude::*;
use actix_rt::{Arbiter, ArbiterHandle};
use tokio::{sync::oneshot, time::Instant};

use super::{
    batcher::{Batcher, ReceiverIs},
    child::{self, Cause, Child, ChildAddr, Down, State, Up},
    drain::{Drain, Drained},
    environment::{Environment, Threads},
    exit::Exit,
    failpoint::fail_point,
    listener::Listener,
    nanny::Nanny,
    progress::{Ping, Progress},
    publisher::{BatcherIs, Publisher},
    receiver::Receiver,
    restart::{Decision, RestartPolicy},
    status::Status,
};
use crate::{backoff::Backoff, config, duration::for_people};

pub(super) use super::child::ChildId;

/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the end of a hung child may take before its thread counts as hung itself.
pub(super) const ABORT_GRACE: Duration = Duration::from_secs(5);

/// Stop: flush what can be flushed, give the rest back.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct Stop {
    /// Which signal says so.
    pub(super) by: &'static str,
}

/// The arbiters, one for each thread that children live on.
pub(super) type Arbiters = Vec<Arbiter>;

/// The actor.
pub(super) struct Supervisor {
    environment: Arc<Environment>,
    settings: config::Supervisor,
    shutdown_timeout: Duration,
    status: Status,
    arbiters: HashMap<Place, Arbiter>,
    children: BTreeMap<ChildId, Child>,
    ending: Option<Ending>,
    /// When the children were looked at last.
    looked: Instant,
    /// Takes the reason of the end, and the threads to be joined.
    ended: Option<oneshot::Sender<(Exit, Arbiters)>>,
}

/// The end that has begun.
struct Ending {
    exit: Exit,
    stage: Stage,
}

/// Whose turn it is to drain: in the direction of the data, so that nobody is drained who still gets some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Receiver,
    Batcher,
    Publishers,
    Nanny,
    Listener,
}

/// Where a child lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// With the supervisor: children that only wait for answers.
    Here,
    /// The thread that receives and decodes.
    Intake,
    /// The thread of one publisher.
    Publisher(usize),
    /// The thread that serves clients.
    Front,
}

impl Supervisor {
    /// A supervisor of the Receiver, the Batcher, `workers` Publishers, the Nanny and, where clients push to this process,
    /// the Listener. `ended` gets the reason of the end.
    pub(super) fn new(
        environment: Arc<Environment>,
        settings: config::Supervisor,
        shutdown_timeout: Duration,
        workers: usize,
        status: Status,
        ended: oneshot::Sender<(Exit, Arbiters)>,
    ) -> Self {
        let listener = environment.channel.front().map(|_| ChildId::Listener);
        let ids = [ChildId::Receiver, ChildId::Batcher, ChildId::Nanny].into_iter();
        let ids = ids.chain((0..workers).map(ChildId::Publisher)).chain(listener);
        let child = || Child {
            progress: Arc::new(Progress::default()),
            policy: RestartPolicy::new(
                settings.max_restarts,
                settings.window,
                Backoff::new(settings.backoff_min, settings.backoff_max),
            ),
            life: 0,
            since: Instant::now(),
            state: State::Down,
        };
        let children = ids.map(|id| (id, child())).collect();
        Self {
            environment,
            settings,
            shutdown_timeout,
            status,
            arbiters: HashMap::new(),
            children,
            ending: None,
            looked: Instant::now(),
            ended: Some(ended),
        }
    }

    /// Begins a child's next life.
    fn start(&mut self, id: ChildId, ctx: &Context<Self>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.life += 1;
        child.since = Instant::now();
        child.state = State::Starting;
        child.progress = Arc::new(Progress::default());
        let (life, progress, supervisor) = (child.life, Arc::clone(&child.progress), ctx.address());
        let (environment, reports) = (Arc::clone(&self.environment), ctx.address());
        let arbiter = match self.arbiter(id) {
            Ok(arbiter) => arbiter,
            Err(why) => {
                reports.do_send(Down { id, life, cause: Cause::NoThread(why.to_string()) });
                return;
            }
        };
        match id {
            ChildId::Receiver => child::start(
                &arbiter,
                id,
                life,
                reports,
                || Receiver::new(environment, progress, supervisor),
                ChildAddr::Receiver,
            ),
            ChildId::Batcher => {
                child::start(&arbiter, id, life, reports, || Batcher::new(environment, progress, supervisor), ChildAddr::Batcher);
            }
            ChildId::Publisher(worker) => child::start(
                &arbiter,
                id,
                life,
                reports,
                move || Publisher::new(environment, progress, supervisor, worker),
                ChildAddr::Publisher,
            ),
            ChildId::Nanny => {
                child::start(&arbiter, id, life, reports, || Nanny::new(environment, progress, supervisor), ChildAddr::Nanny);
            }
            ChildId::Listener => {
                let Some(front) = environment.channel.front() else { return };
                let make = || Listener::new(environment, progress, supervisor, front);
                child::start(&arbiter, id, life, reports, make, ChildAddr::Listener);
            }
        }
    }

    /// The thread of a child.
    fn arbiter(&mut self, id: ChildId) -> io::Result<ArbiterHandle> {
        let place = match self.environment.threads {
            Threads::Own => place(id),
            #[cfg(test)]
            Threads::One => Place::Here,
        };
        if place == Place::Here {
            return Ok(Arbiter::current());
        }
        if !self.arbiters.contains_key(&place) {
            // An arbiter panics where there can be no thread for it.
            let tried = thread::Builder::new().spawn(|| ())?;
            let _ = tried.join();
        }
        Ok(self.arbiters.entry(place).or_insert_with(Arbiter::new).handle())
    }

    fn addr(&self, id: ChildId) -> Option<&ChildAddr> {
        match &self.children.get(&id)?.state {
            State::Up { addr, .. } => Some(addr),
            _ => None,
        }
    }

    /// Tells a child that has come up where its neighbours are, and them where it is.
    fn introduce(&self, id: ChildId) {
        let receiver = self.addr(ChildId::Receiver);
        let batcher = self.addr(ChildId::Batcher);
        if matches!(id, ChildId::Receiver | ChildId::Batcher)
            && let (Some(ChildAddr::Receiver(receiver)), Some(ChildAddr::Batcher(batcher))) = (receiver, batcher)
        {
            batcher.do_send(ReceiverIs(receiver.clone()));
        }
        let Some(ChildAddr::Batcher(batcher)) = batcher else { return };
        for (other, child) in &self.children {
            if let State::Up { addr: ChildAddr::Publisher(publisher), .. } = &child.state
                && (id == ChildId::Batcher || id == *other)
            {
                publisher.do_send(BatcherIs(batcher.clone()));
            }
        }
    }

    /// A child failed after it had worked for so long: restart it within its budget, or end.
    fn failed(&mut self, id: ChildId, cause: &Cause, worked: Duration, ctx: &mut Context<Self>) {
        let log = &self.environment.log;
        if *cause == Cause::ThreadGone {
            self.arbiters.remove(&place(id));
        }
        let Some(child) = self.children.get_mut(&id) else { return };
        if self.ending.is_some() {
            slog::error!(log, "a child failed while the agent was stopping; what it held is given back";
                "child" => %id, "cause" => cause.label(), "why" => %cause);
            child.state = State::Finished;
            self.advance_end();
            return;
        }
        child.state = State::Down;
        let life = child.life;
        match child.policy.failed(worked) {
            Decision::RestartAfter(pause) => {
                slog::error!(log, "a child failed and is restarted"; "child" => %id, "cause" => cause.label(), "why" => %cause,
                    "restart_in" => for_people(pause), "life" => life);
                ctx.run_later(pause, move |supervisor, ctx| {
                    if supervisor.ending.is_none() {
                        supervisor.start(id, ctx);
                    }
                });
            }
            Decision::GiveUp => {
                slog::error!(log, "a child failed too often; the agent ends"; "child" => %id, "cause" => cause.label(), "why" => %cause);
                child.state = State::Finished;
                let exit = Exit::OutOfBudget { child: id.to_string(), cause: cause.to_string() };
                self.end(exit, "the supervisor", ctx);
            }
        }
    }

    /// Begins the end; `by` is the signal, or who else wants it.
    fn end(&mut self, exit: Exit, by: &str, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            return;
        }
        slog::info!(self.environment.log, "stopping: flushing what can be flushed, giving the rest back";
            "by" => by, "within" => for_people(self.shutdown_timeout));
        self.status.stopping();
        self.environment.closing.begin();
        for child in self.children.values_mut() {
            if matches!(child.state, State::Down) {
                child.state = State::Finished;
            }
        }
        self.ending = Some(Ending { exit, stage: Stage::Receiver });
        ctx.run_later(self.shutdown_timeout, |supervisor, _| supervisor.deadline());
        self.drain_stage();
        self.advance_end();
    }

    fn drain_stage(&self) {
        let Some(ending) = &self.ending else { return };
        for (id, child) in &self.children {
            if stage(*id) == ending.stage
                && let State::Up { addr, .. } = &child.state
            {
                addr.send(Drain);
            }
        }
    }

    /// Goes on to the next stage when all children of this one have finished.
    fn advance_end(&mut self) {
        loop {
            let Some(ending) = &mut self.ending else { return };
            let unfinished = |wanted: Stage| {
                let children = &self.children;
                children.iter().any(|(id, child)| stage(*id) == wanted && !matches!(child.state, State::Finished))
            };
            if unfinished(ending.stage) {
                if ending.stage == Stage::Batcher && !unfinished(Stage::Publishers) {
                    // Nobody is left to take what it holds; without it, its leases go back.
                    self.abort(ChildId::Batcher);
                }
                return;
            }
            ending.stage = match ending.stage {
                Stage::Receiver => Stage::Batcher,
                Stage::Batcher => Stage::Publishers,
                Stage::Publishers => Stage::Nanny,
                Stage::Nanny => Stage::Listener,
                Stage::Listener => {
                    let exit = ending.exit.clone();
                    self.finish(exit);
                    return;
                }
            };
            self.drain_stage();
        }
    }

    fn abort(&self, id: ChildId) {
        if let Some(Child { state: State::Up { abort, .. }, .. }) = self.children.get(&id) {
            abort.abort();
        }
    }

    fn deadline(&mut self) {
        let Some(ending) = &self.ending else { return };
        // The later ones wait for these, and are not to blame.
        let asked = self.children.iter().filter(|(id, _)| stage(**id) <= ending.stage);
        let stragglers = asked.filter(|(_, child)| !matches!(child.state, State::Finished)).map(|(id, _)| id.to_string());
        let exit = match &ending.exit {
            Exit::Clean => Exit::Deadline { stragglers: stragglers.collect() },
            worse => worse.clone(),
        };
        self.finish(exit);
    }

    fn finish(&mut self, exit: Exit) {
        if let Some(ended) = self.ended.take() {
            let arbiters = self.arbiters.drain().map(|(_, arbiter)| arbiter).collect();
            drop(ended.send((exit, arbiters)));
        }
    }

    /// Looks for children that make no progress, and tells systemd that the others do.
    fn look(&mut self) {
        self.environment.heartbeat.beat();
        let now = Instant::now();
        let late = now.saturating_duration_since(self.looked).saturating_sub(LOOK_EVERY * 2);
        self.looked = now;
        if !late.is_zero() {
            // The whole process stood still (a stopped process, a paused machine), and no child is to blame.
            self.children.values().for_each(|child| child.progress.postpone(late));
        }
        let mut hung_thread = None;
        let mut healthy = true;
        for (id, child) in &mut self.children {
            match &child.state {
                State::Up { addr, abort } => {
                    if let Some(stuck) = child.progress.stuck(now, self.settings.hang_timeout) {
                        slog::error!(self.environment.log, "a child makes no progress and is ended"; "child" => %id, "at" => stuck.at);
                        abort.abort();
                        child.state = State::Hung { stuck, since: now };
                        healthy = false;
                    } else if child.progress.ping(now) {
                        addr.send(Ping);
                    }
                }
                State::Hung { since, .. } => {
                    healthy = false;
                    if now.duration_since(*since) > ABORT_GRACE {
                        hung_thread = Some(*id);
                    }
                }
                State::Starting => {
                    if now.duration_since(child.since) > self.settings.hang_timeout {
                        hung_thread = Some(*id);
                    }
                }
                State::Down | State::Finished => {}
            }
        }
        if let Some(id) = hung_thread {
            self.finish(Exit::ThreadHung { child: id.to_string() });
            return;
        }
        self.status.tell(healthy);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            self.start(id, ctx);
        }
        let every = self.status.watchdog_interval().map_or(LOOK_EVERY, |interval| interval.min(LOOK_EVERY));
        ctx.run_interval(every, |supervisor, _| supervisor.look());
    }
}

/// A supervisor that panics ends the agent: nobody else may go on to lease what nobody will settle.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.environment.closing.begin();
        self.finish(Exit::SupervisorFailed);
    }
}

impl Handler<Up> for Supervisor {
    type Result = ();

    fn handle(&mut self, up: Up, _: &mut Self::Context) {
        fail_point!("supervisor.up");
        let Some(child) = self.children.get_mut(&up.id).filter(|child| child.life == up.life) else { return };
        if self.ending.as_ref().is_some_and(|ending| ending.stage == stage(up.id)) {
            up.addr.send(Drain);
        }
        child.state = State::Up { addr: up.addr, abort: up.abort };
        if up.life > 1 {
            slog::info!(self.environment.log, "a child is back"; "child" => %up.id, "life" => up.life);
        }
        self.introduce(up.id);
    }
}

impl Handler<Down> for Supervisor {
    type Result = ();

    fn handle(&mut self, down: Down, ctx: &mut Self::Context) {
        fail_point!("supervisor.down");
        if self.ended.is_none() {
            // Everything is over; the threads are being ended.
            return;
        }
        let Some(child) = self.children.get(&down.id).filter(|child| child.life == down.life) else { return };
        let (cause, until) = match child.state {
            State::Finished => return,
            // Hanging is no work, however long it lasts.
            State::Hung { stuck, .. } => (Cause::Hung(stuck.at), stuck.since),
            State::Up { .. } | State::Starting | State::Down => (down.cause, Instant::now()),
        };
        let worked = until.saturating_duration_since(child.since);
        self.failed(down.id, &cause, worked, ctx);
    }
}

impl Handler<Drained> for Supervisor {
    type Result = ();

    fn handle(&mut self, Drained(id): Drained, _: &mut Self::Context) {
        fail_point!("supervisor.drained");
        if let Some(child) = self.children.get_mut(&id) {
            child.state = State::Finished;
        }
        self.advance_end();
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, Stop { by }: Stop, ctx: &mut Self::Context) {
        fail_point!("supervisor.stop");
        self.end(Exit::Clean, by, ctx);
    }
}

fn place(id: ChildId) -> Place {
    match id {
        ChildId::Receiver | ChildId::Batcher => Place::Intake,
        ChildId::Publisher(worker) => Place::Publisher(worker),
        ChildId::Nanny => Place::Here,
        ChildId::Listener => Place::Front,
    }
}

fn stage(id: ChildId) -> Stage {
    match id {
        ChildId::Receiver => Stage::Receiver,
        ChildId::Batcher => Stage::Batcher,
        ChildId::Publisher(_) => Stage::Publishers,
        ChildId::Nanny => Stage::Nanny,
        ChildId::Listener => Stage::Listener,
    }
}
