//! How many batches are written at once, and how large they are: what this destination takes fastest, found by trying.
//!
//! One setting does not fit all: a database beside the agent is busy with a few requests, one that is far away needs many
//! under way, and one on a slow disk prefers them large. So while messages queue up, now and then another setting is tried
//! for as long as the present one is watched before and after it, and is kept if it wrote more than both times. Where less at
//! once is as quick, less it is. When answers take long there is half as much at once.
//!
//! It begins with [`WORKERS_AT_FIRST`] at once, and again after an outage: an agent without a backlog needs no more, and of those that come
//! back together each must want little. Nothing is learned from a time in which nobody waits: how much is written then is up to
//! the clients. How much is tried right after failures is the [`Ramp`](super::ramp::Ramp)'s business. Pure but for the place
//! that a batch takes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::batching::Limits;

/// How many batches are written at once before anything is known: one is encoded while the other is written.
pub const WORKERS_AT_FIRST: usize = 2;

/// How long a setting is watched at least while there is more at once each time, and for how many batches of each worker.
const GLANCE: (Duration, usize) = (Duration::from_millis(20), 2);

/// How much of the rate before must be left for that to go on.
const STEADY: f64 = 0.9;

/// How long a setting is watched at least, and for how many batches of each worker. Shorter, and a pause of anybody's on the same
/// machine decides.
const WINDOW: (Duration, usize) = (Duration::from_millis(250), 4);

/// By how much more at once must be quicker.
const WORTH: f64 = 1.02;

/// By how much less at once may be slower: what a clock cannot tell.
const AS_QUICK: f64 = 0.998;

/// An answer that takes longer is late: the destination has more than enough to do, and what waits for an answer longer than
/// `publisher.influxdb.timeout`, by default five times this, is written in vain.
const LATE: Duration = Duration::from_secs(1);

/// How often a batch is halved at the most.
const HALVINGS: u32 = 3;

/// For how many windows nothing is tried, after everything was tried in vain. It doubles each time.
const REST: (u32, u32) = (8, 512);

/// How much is written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// How many batches.
    pub(super) workers: usize,
    /// How often a batch is halved.
    pub(super) halvings: u32,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrote {
    /// How many points.
    pub(super) points: usize,
    /// Whether more was waiting: the batch was as large as it may be.
    pub(super) full: bool,
    /// When the destination was first asked to.
    pub(super) begun: Instant,
    /// When it had done it.
    pub(super) done: Instant,
    /// How long it took for one request at the most: a large batch has several.
    pub(super) slowest: Duration,
}

/// A way from one setting to another.
#[derive(Clone, Copy, Debug)]
enum Step {
    More,
    Larger,
    Fewer,
    Smaller,
}

const STEPS: [Step; 4] = [Step::More, Step::Larger, Step::Fewer, Step::Smaller];

impl Step {
    fn from(self, Setting { workers, halvings }: Setting, most: usize) -> Option<Setting> {
        let (workers, halvings) = match self {
            Self::More => (workers + 1, halvings),
            Self::Larger => (workers, halvings.checked_sub(1)?),
            Self::Fewer => (workers - 1, halvings),
            Self::Smaller => (workers, halvings + 1),
        };
        ((1..=most).contains(&workers) && halvings <= HALVINGS).then_some(Setting { workers, halvings })
    }

    /// How often it must be better, and by how much. Of less, chance must not make a habit.
    fn wanted(self) -> (u32, f64) {
        match self {
            Self::More | Self::Larger => (1, WORTH),
            Self::Fewer | Self::Smaller => (2, AS_QUICK),
        }
    }
}

/// Another setting is being tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    step: Step,
    home: Setting,
    tried: Setting,
    /// Points a second with the setting before it.
    before: f64,
    /// Points a second with the tried one, when that was watched.
    with: Option<f64>,
    /// How often that was better.
    better: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    setting: Setting,
    /// Since when it is this.
    since: Instant,
    /// How many points were written in how many batches since the window began.
    window: (usize, usize, Instant),
    /// While there is more at once each time, as long as it is no slower: points a second before.
    climb: Option<f64>,
    trial: Option<Trial>,
    /// What is tried next, how many steps were in vain since one was not, and how many windows are left without a trial.
    next: usize,
    vain: usize,
    rest: (u32, u32),
}

impl Pace {
    /// Of up to so many workers.
    fn new(most: usize, now: Instant) -> Self {
        let setting = Setting { workers: WORKERS_AT_FIRST.min(most), halvings: 0 };
        let window = (0, 0, now);
        Self { most, setting, since: now, window, climb: Some(0.0), trial: None, next: 0, vain: 0, rest: (0, REST.0) }
    }

    /// The destination could not be written to for a while: what was known about it may not be so any more.
    fn outage(&mut self, now: Instant) {
        let workers = self.setting.workers.min(WORKERS_AT_FIRST);
        *self = Self { setting: Setting { workers, ..self.setting }, ..Self::new(self.most, now) };
    }

    /// What a batch may have. One that waits for its time has all of it.
    fn limits(&self, limits: Limits) -> Limits {
        if !limits.interval.is_zero() {
            return limits;
        }
        let part = |whole: usize| (whole >> self.setting.halvings).max(1);
        Limits { max_messages: part(limits.max_messages), max_bytes: part(limits.max_bytes), ..limits }
    }

    /// Learns from a batch that was written.
    fn wrote(&mut self, Wrote { points, full, begun, done, slowest }: Wrote) {
        if begun < self.since {
            // With another setting; what was begun with this one is still to come.
            self.window = (0, 0, done);
            return;
        }
        if slowest > LATE {
            return self.late(done);
        }
        if !full {
            if let Some(trial) = self.trial.take() {
                self.set(trial.home, done);
            }
            self.window = (0, 0, done);
            return;
        }
        let (written, batches, start) = self.window;
        self.window = (written + points, batches + 1, start);
        let took = done.duration_since(start);
        let (long, rounds) = if self.climb.is_some() { GLANCE } else { WINDOW };
        if took >= long && batches + 1 >= rounds * self.setting.workers {
            self.watched((written + points) as f64 / took.as_secs_f64(), done);
        }
    }

    /// The setting was watched for long enough, and so many points a second were written.
    fn watched(&mut self, rate: f64, now: Instant) {
        self.window = (0, 0, now);
        if let Some(before) = self.climb.take() {
            return self.climbed(before, rate, now);
        }
        match self.trial.take() {
            None if self.rest.0 > 0 => self.rest.0 -= 1,
            None => self.try_another(rate, now),
            Some(trial) => match trial.with {
                None => {
                    self.trial = Some(Trial { with: Some(rate), ..trial });
                    self.set(trial.home, now);
                }
                Some(with) => self.judge(trial, with, rate, now),
            },
        }
    }

    /// One more, until that is slower or there are no more.
    fn climbed(&mut self, before: f64, rate: f64, now: Instant) {
        let Setting { workers, .. } = self.setting;
        if rate < before * STEADY {
            self.set(Setting { workers: workers.saturating_sub(1).max(1), ..self.setting }, now);
        } else if workers < self.most {
            self.climb = Some(rate);
            self.set(Setting { workers: workers + 1, ..self.setting }, now);
        }
    }

    fn try_another(&mut self, before: f64, now: Instant) {
        for _ in STEPS {
            let step = STEPS.get(self.next % STEPS.len()).copied().unwrap_or(Step::More);
            if let Some(tried) = step.from(self.setting, self.most) {
                self.trial = Some(Trial { step, home: self.setting, tried, before, with: None, better: 0 });
                return self.set(tried, now);
            }
            self.in_vain();
        }
    }

    fn judge(&mut self, trial: Trial, with: f64, after: f64, now: Instant) {
        let (times, by) = trial.step.wanted();
        if with < trial.before.max(after) * by {
            return self.in_vain();
        }
        if trial.better + 1 < times {
            self.trial = Some(Trial { before: after, with: None, better: trial.better + 1, ..trial });
        } else {
            // The same way further, next.
            (self.vain, self.rest) = (0, (0, REST.0));
        }
        self.set(trial.tried, now);
    }

    fn in_vain(&mut self) {
        self.next = (self.next + 1) % STEPS.len();
        self.vain += 1;
        if self.vain >= STEPS.len() {
            self.vain = 0;
            let rest = self.rest.1;
            self.rest = (rest, (rest * 2).min(REST.1));
        }
    }

    /// Half as much, and quiet for a while.
    fn late(&mut self, now: Instant) {
        self.climb = None;
        let home = self.trial.take().map_or(self.setting, |trial| trial.home);
        let workers = home.workers.min(self.setting.workers);
        let setting = if workers > 1 {
            Setting { workers: workers / 2, ..home }
        } else {
            Setting { workers, halvings: (home.halvings + 1).min(HALVINGS) }
        };
        self.rest.0 = self.rest.0.max(REST.0);
        self.set(setting, now);
    }

    fn set(&mut self, setting: Setting, now: Instant) {
        // What was begun before tells nothing about it.
        (self.setting, self.since, self.window) = (setting, now, (0, 0, now));
    }
}

/// The [`Pace`] of all workers, and who has a place at the moment.
#[derive(Debug)]
pub(super) struct Places(Mutex<State>);

#[derive(Debug)]
struct State {
    pace: Pace,
    /// How many bytes of messages may be written at once, where it is more than [`WORKERS_AT_FIRST`] batches.
    room: usize,
    taken: usize,
    bytes: usize,
}

/// A batch's place among those that are written at once; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    bytes: usize,
}

impl Places {
    /// For up to so many workers, with batches of up to so many bytes of messages.
    pub(super) fn new(most: usize, max_bytes: usize) -> Self {
        let room = most.saturating_mul(max_bytes);
        Self(Mutex::new(State { pace: Pace::new(most.max(1), Instant::now()), room, taken: 0, bytes: 0 }))
    }

    /// Whether another batch may be written now. Where messages are larger than a batch should be, there are fewer places, so that
    /// memory stays within its bound.
    pub(super) fn is_one_free(&self) -> bool {
        let state = self.state();
        state.taken < state.pace.setting.workers && (state.taken < WORKERS_AT_FIRST || state.bytes < state.room)
    }

    /// Takes a place for so many bytes of messages, also beyond what there are: a batch that is there must go on.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Place {
        let mut state = self.state();
        state.taken += 1;
        state.bytes = state.bytes.saturating_add(bytes);
        Place { places: Arc::clone(self), bytes }
    }

    /// The destination cannot be written to. Returns whether more batches wait for it than should: then this one is better off
    /// in the channel, where another agent can have it.
    pub(super) fn outage(&self) -> bool {
        let mut state = self.state();
        state.pace.outage(Instant::now());
        state.taken > state.pace.setting.workers
    }

    /// What a batch may have now.
    pub(super) fn limits(&self, limits: Limits) -> Limits {
        self.state().pace.limits(limits)
    }

    /// Learns from a batch that was written. Returns the setting if that has changed it.
    pub(super) fn wrote(&self, wrote: Wrote) -> Option<Setting> {
        let pace = &mut self.state().pace;
        let before = pace.setting;
        pace.wrote(wrote);
        (pace.setting != before).then_some(pace.setting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.taken -= 1;
        state.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests;
