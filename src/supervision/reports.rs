//! How the children are, for whoever wants to know, from any thread and at any time. Written by the supervisor when something happens,
//! so that a child that only works costs nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{children::Child, life::Cause, progress::Progress, threads::Thread};

/// How many events of a child are remembered.
const EVENTS: usize = 10;

/// How the children of one supervisor are. A clone tells of the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Report>>>);

/// How a child is.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) thread: String,
    pub(crate) phase: ChildPhase,
    /// Since when it has been in this phase.
    pub(crate) since: Instant,
    /// Which of its lives this is, from 1.
    pub(crate) life: u64,
    /// How often it has failed, by [`Cause::LABELS`].
    pub(crate) failures: [u64; Cause::LABELS.len()],
    /// How many restarts of its budget it has used.
    pub(crate) used: usize,
    /// What has happened to it, the newest last.
    pub(crate) events: VecDeque<ChildEvent>,
    progress: Arc<Progress>,
    /// The index of its group.
    group: Option<usize>,
    /// The place of the child behind which it is told of: one that is added later is told of with those of its group.
    beside: usize,
    /// Whether there is no such child any more.
    retired: bool,
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildPhase {
    Waiting,
    Starting,
    Up,
    Hung,
    Finished,
}

/// What has happened to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildEvent {
    pub(crate) at: SystemTime,
    pub(crate) kind: ChildEventKind,
    /// More about it: a sentence.
    pub(crate) what: String,
}

/// What can happen to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEventKind {
    Up,
    Failed,
    Hung,
    Held,
    Drained,
}

impl Report {
    /// The labels of [`Report::failures`].
    pub(crate) const CAUSES: [&'static str; Cause::LABELS.len()] = Cause::LABELS;

    /// What it works at, and for how long; and how long ago it last began something or answered a sign of life.
    pub(crate) fn progress(&self, now: Instant) -> (Option<(&'static str, Duration)>, Option<Duration>) {
        self.progress.seen(now)
    }
}

impl Reports {
    /// How they are now.
    pub(crate) fn read(&self) -> Vec<Report> {
        let mut all: Vec<_> = self.all().iter().filter(|report| !report.retired).cloned().collect();
        all.sort_by_key(|report| report.beside);
        all
    }

    pub(super) fn begin<'a>(&self, children: impl Iterator<Item = (&'a Child, &'a Arc<Progress>)>) {
        let report = |(place, (child, progress))| Report::new(child, progress, place);
        *self.all() = children.enumerate().map(report).collect();
    }

    /// There is no such child any more, unless another takes its place.
    pub(super) fn retire(&self, child: usize) {
        self.change(child, |report| report.retired = true);
    }

    /// A child is in the place of another, of the same name, or in a new one.
    pub(super) fn replace(&self, place: usize, child: &Child, progress: &Arc<Progress>) {
        let mut all = self.all();
        match all.get_mut(place) {
            Some(report) => {
                report.enter(ChildPhase::Waiting);
                (report.used, report.retired) = (0, false);
            }
            None => {
                let beside = all.iter().rev().find(|report| report.group == child.group).map_or(place, |report| report.beside);
                all.push(Report::new(child, progress, beside));
            }
        }
    }

    pub(super) fn started(&self, child: usize, life: u64, progress: &Arc<Progress>) {
        self.change(child, |report| {
            report.enter(ChildPhase::Starting);
            report.life = life;
            report.progress = Arc::clone(progress);
        });
    }

    /// It has entered a phase.
    pub(super) fn entered(&self, child: usize, phase: ChildPhase, kind: ChildEventKind, what: impl FnOnce() -> String) {
        self.change(child, |report| {
            report.enter(phase);
            report.note(kind, what());
        });
    }

    /// It has failed, and is in this phase now.
    pub(super) fn failed(&self, child: usize, cause: &Cause, phase: ChildPhase, used: usize) {
        self.change(child, |report| {
            report.enter(phase);
            report.used = used;
            if let Some(count) = report.failures.get_mut(cause.place()) {
                *count += 1;
            }
            report.note(ChildEventKind::Failed, cause.to_string());
        });
    }

    fn change(&self, child: usize, change: impl FnOnce(&mut Report)) {
        self.all().get_mut(child).map(change);
    }

    fn all(&self) -> MutexGuard<'_, Vec<Report>> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn new(child: &Child, progress: &Arc<Progress>, beside: usize) -> Self {
        Self {
            name: child.name.clone(),
            thread: match &child.thread {
                Thread::Supervisors => "supervisor".to_owned(),
                Thread::Named(name) => name.clone(),
            },
            phase: ChildPhase::Waiting,
            since: Instant::now(),
            life: 0,
            failures: Default::default(),
            used: 0,
            events: VecDeque::new(),
            progress: Arc::clone(progress),
            group: child.group,
            beside,
            retired: false,
        }
    }

    fn enter(&mut self, phase: ChildPhase) {
        (self.phase, self.since) = (phase, Instant::now());
    }

    fn note(&mut self, kind: ChildEventKind, what: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(ChildEvent { at: SystemTime::now(), kind, what });
    }
}
