//! Orders to build a group anew between failures, restarts, holds and the end, in any order, on a clock that jumps to the next timer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::prelude::*;
use proptest::prelude::*;
use tokio::{sync::oneshot, time::sleep};

use super::Rebuild;
use crate::{
    config,
    supervision::{
        ChildPhase, Children, Closing, Drain, Held, Life, Nobody, Reports, Rules, Stop, Supervision, Thread, answers_pings,
    },
};

/// What the children have done.
#[derive(Default)]
struct World {
    /// Those that live: their generation and turn, and whether they have drained.
    live: BTreeMap<String, (u64, u8, bool)>,
    starts: BTreeMap<String, usize>,
    /// The generations that drain to be built anew.
    draining: BTreeSet<u64>,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<World>>;

/// A child that takes some time to drain, or does not drain at all.
struct Part {
    life: Life,
    name: String,
    generation: u64,
    turn: u8,
    drains_in: Option<Duration>,
    world: Shared,
}

impl Part {
    fn new(life: Life, name: &str, (generation, turn): (u64, u8), drains_in: Option<Duration>, world: &Shared) -> Self {
        let mut all = world.lock().unwrap();
        *all.starts.entry(name.to_owned()).or_default() += 1;
        if let Some((other, ..)) = all.live.insert(name.to_owned(), (generation, turn, false)) {
            all.wrong.push(format!("{name} of {generation} began beside that of {other}"));
        }
        let others = all.live.iter().filter(|(other, _)| is_of_group(other) && is_of_group(name));
        let others: Vec<_> = others.filter(|(_, (other, ..))| *other != generation).map(|(other, _)| other.clone()).collect();
        if !others.is_empty() {
            all.wrong.push(format!("{name} of {generation} began beside {others:?}"));
        }
        if all.draining.contains(&generation) {
            all.wrong.push(format!("{name} of {generation} began while that drains"));
        }
        drop(all);
        Self { life, name: name.to_owned(), generation, turn, drains_in, world: Arc::clone(world) }
    }
}

fn is_of_group(name: &str) -> bool {
    name != "nanny"
}

impl Drop for Part {
    fn drop(&mut self) {
        self.world.lock().unwrap().live.remove(&self.name);
    }
}

impl Actor for Part {
    type Context = Context<Self>;
}

impl Handler<Drain> for Part {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        let mut all = self.world.lock().unwrap();
        if is_of_group(&self.name) {
            all.draining.insert(self.generation);
        }
        let before: Vec<_> = all
            .live
            .iter()
            .filter(|(_, (generation, turn, drained))| *generation == self.generation && *turn < self.turn && !drained)
            .map(|(name, _)| name.clone())
            .collect();
        if !before.is_empty() {
            all.wrong.push(format!("{} was to drain before {before:?} had", self.name));
        }
        drop(all);
        if let Some(time) = self.drains_in {
            ctx.run_later(time, |part, _| {
                if let Some(own) = part.world.lock().unwrap().live.get_mut(&part.name) {
                    own.2 = true;
                }
                part.life.say_drained();
            });
        }
    }
}

answers_pings!(Part);

/// What is asked of a supervisor, one after the other.
#[derive(Clone, Debug)]
enum Op {
    Fail(&'static str),
    /// To build the group anew, with so many publishers.
    Rebuild(u64),
    Wait(u64),
    Stop,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let names = prop::sample::select(vec!["receiver", "batcher", "publisher 1", "publisher 2", "publisher 3", "nanny"]);
    let op = prop_oneof![
        3 => names.prop_map(Op::Fail),
        4 => (1..4_u64).prop_map(Op::Rebuild),
        4 => prop_oneof![0..50_u64, 500..3_000_u64, 20_000..60_000_u64].prop_map(Op::Wait),
        1 => Just(Op::Stop),
    ];
    prop::collection::vec(op, 1..20)
}

/// The agent's end, and the group's.
struct Given {
    /// Whether the others can do without the group.
    dispensable: bool,
    max_restarts: u32,
    drains_in: Option<Duration>,
}

fn add_group(children: &mut Children, generation: u64, workers: u64, given: &Given, world: &Shared) {
    let first = children.len();
    let turns = [("receiver".to_owned(), 0), ("batcher".to_owned(), 1)].into_iter();
    for (name, turn) in turns.chain((1..=workers).map(|worker| (format!("publisher {worker}"), 2))) {
        let (own, world, drains_in) = (name.clone(), Arc::clone(world), given.drains_in);
        children.add(name, Thread::Supervisors, turn, move |life| Part::new(life, &own, (generation, turn), drains_in, &world));
    }
    let held: Option<Held> = if given.dispensable { Some(Box::new(|_| ())) } else { None };
    children.group_since(first, "group", held);
}

/// Does all that, and returns what is wrong with what came of it.
async fn play(ops: Vec<Op>, given: Given) -> Vec<String> {
    let (world, closing, reports) = (Shared::default(), Closing::default(), Reports::default());
    let mut children = Children::default();
    add_group(&mut children, 0, 2, &given, &world);
    let own = Arc::clone(&world);
    let soon = Some(Duration::ZERO);
    children.add("nanny", Thread::Supervisors, 3, move |life| Part::new(life, "nanny", (u64::MAX, 3), soon, &own));
    let rules = Rules {
        restarts: config::Supervisor {
            max_restarts: given.max_restarts,
            window: Duration::from_secs(3600),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            hang_timeout: Duration::from_secs(3600),
        },
        drain_within: Duration::from_secs(10),
        observer: Box::new(Nobody),
        reports: reports.clone(),
        closing: closing.clone(),
        log: slog::Logger::root(slog::Discard, slog::o!()),
    };
    let supervision = Supervision::start(children, rules, || 0);
    let (rebuild, stop) = (supervision.rebuild(), supervision.stop());
    let mut part = closing.part();
    let (mut answers, mut stopped) = (Vec::new(), false);
    for (number, op) in (1..).zip(ops) {
        match op {
            Op::Fail(name) => supervision.fail(name),
            Op::Wait(ms) => sleep(Duration::from_millis(ms)).await,
            Op::Stop => {
                stopped = true;
                stop.do_send(Stop { by: "the test" });
            }
            Op::Rebuild(workers) => {
                let mut with = Children::default();
                add_group(&mut with, number, workers, &given, &world);
                let (rebuilt, answer) = oneshot::channel();
                let before = std::mem::replace(&mut part, closing.part());
                rebuild.do_send(Rebuild { group: "group".to_owned(), closing: before, with, rebuilt });
                answers.push((number, workers, answer));
            }
        }
    }
    // Longer than each pause, and than each drain.
    sleep(Duration::from_secs(120)).await;
    let mut wrong = Vec::new();
    let (mut generation, mut workers) = (0, 2);
    for (number, of, mut answer) in answers {
        match answer.try_recv() {
            Ok(()) => (generation, workers) = (number, of),
            Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => wrong.push(format!("{number} was not answered")),
        }
    }
    if !stopped {
        let names: BTreeSet<_> = ["receiver".to_owned(), "batcher".to_owned(), "nanny".to_owned()]
            .into_iter()
            .chain((1..=workers).map(|worker| format!("publisher {worker}")))
            .collect();
        let all = world.lock().unwrap();
        let found: BTreeSet<_> = all.live.keys().cloned().collect();
        let of: Vec<_> = all.live.iter().filter(|(name, _)| is_of_group(name)).map(|(_, (generation, ..))| *generation).collect();
        if found != names || of.iter().any(|other| *other != generation) {
            wrong.push(format!("expected {names:?} of {generation}, found {:?}", all.live));
        }
        let told: BTreeSet<_> =
            reports.read().into_iter().filter(|report| report.phase == ChildPhase::Up).map(|it| it.name).collect();
        if told != names {
            wrong.push(format!("expected to be told of {names:?}, not {told:?}"));
        }
        drop(all);
        stop.do_send(Stop { by: "the test" });
    }
    match tokio::time::timeout(Duration::from_secs(60), supervision.ended()).await {
        // What never drains is ended with the time that there is for it.
        Ok((end, _)) if end.is_ok() || given.drains_in.is_none() => {}
        Ok((end, _)) => wrong.push(format!("it ended with {end:?}")),
        Err(_) => wrong.push("it did not end".to_owned()),
    }
    // What was ended is dropped.
    sleep(Duration::from_millis(1)).await;
    let mut all = world.lock().unwrap();
    if !all.live.is_empty() {
        wrong.push(format!("{:?} live on", all.live));
    }
    wrong.append(&mut all.wrong);
    wrong
}

fn on_a_clock_of_its_own(ops: Vec<Op>, given: Given) -> Vec<String> {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(play(ops, given))
}

const SOON: Option<Duration> = Some(Duration::from_millis(20));

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_failures_and_rebuilds_and_the_end_has_two_at_the_same_or_loses_one(ops in ops(), slow in any::<bool>()) {
        let drains_in = if slow { Some(Duration::from_millis(900)) } else { SOON };
        let given = Given { dispensable: false, max_restarts: 1000, drains_in };
        prop_assert_eq!(on_a_clock_of_its_own(ops, given), Vec::<String>::new());
    }

    #[test]
    fn nor_does_one_with_holds_of_a_group_that_the_others_can_do_without(ops in ops()) {
        let ops = ops.into_iter().filter(|op| !matches!(op, Op::Fail("nanny"))).collect();
        let given = Given { dispensable: true, max_restarts: 1, drains_in: SOON };
        prop_assert_eq!(on_a_clock_of_its_own(ops, given), Vec::<String>::new());
    }
}

#[test]
fn one_that_waits_for_its_restart_does_not_begin_while_the_others_drain() {
    let given = Given { dispensable: false, max_restarts: 1000, drains_in: Some(Duration::from_millis(900)) };
    let ops = vec![Op::Wait(1), Op::Fail("receiver"), Op::Wait(1), Op::Rebuild(2)];
    assert_eq!(on_a_clock_of_its_own(ops, given), Vec::<String>::new());
}

#[test]
fn one_that_never_drains_is_ended_in_time_and_takes_none_with_it() {
    let given = Given { dispensable: false, max_restarts: 0, drains_in: None };
    let ops = vec![Op::Rebuild(3), Op::Wait(30_000), Op::Rebuild(1)];
    assert_eq!(on_a_clock_of_its_own(ops, given), Vec::<String>::new());
}
