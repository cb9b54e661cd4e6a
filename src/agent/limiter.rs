//! Adaptive concurrency: how many batches are in flight to one destination, and how little is tried after an outage.
//!
//! A database beside the agent is busy with a few requests, one that is far away needs many in flight, an overloaded one answers
//! late or with 503, and one that comes back finds many agents with long backlogs. One state machine finds what each takes, from
//! three things that it is told: a request was answered ([`Limiter::answered`]), a request failed ([`Limiter::failed`]), a batch
//! is written ([`Limiter::wrote`]). It has two outputs: the **limit** of batches in flight, and the **divisor** of their size.
//!
//! ```text
//!  Slow start ──> Comparison <──> Rest
//!
//!  from anywhere:  an outage ──> Slow start, with a divisor of 64        a late answer ──> Rest, with half the limit
//! ```
//!
//! - **Slow start**: the limit begins at [`LIMIT_AT_FIRST`] and, once connections are warm, doubles every other round trip, as long
//!   as the last doubling brought [more than half](DOUBLING) of what it can bring.
//! - **Comparison**: what is written in a second is what is in flight divided by its round-trip time (Little's law), so the rate of
//!   points shows whether more in flight gains anything, or only waits there. The limit and one that is a third smaller take turns, a
//!   window each, until it is nearly sure which is better ([`comparison`]); then the limit and one that is half as large again. The
//!   smaller one wins if it is about as good: what is in flight is memory here and load there. A winner is compared with the next one
//!   in its direction: one more or less where the limit is small, in proportion where it is large.
//! - **Rest**: nothing is tried for [`REST`] windows, since neither fewer nor more in flight are better.
//! - **Multiplicative decrease**: an answer that takes longer than [`LATE`] halves the limit, once for all that were in flight
//!   together. At a limit of 1 it halves the batches, down to an eighth.
//! - **Outage**: two failed attempts in a row, of any batch, or one that no waiting mends. While a request without points is refused,
//!   too, nothing is in flight. Then one request at a time is tried, with a 64th of the lines, and each prompt answer doubles them. Late
//!   answers do so only after [`LATE_ANSWERS`] of them: a destination that is far away is slow with little, too, and must get everything
//!   in the end.
//!
//! Nothing is learned about the limit from a batch that was not full, since how much is written is then up to the clients, nor from
//! one that began before the last change.
//!
//! Why not a well-known controller: TCP Vegas, Netflix's Gradient2 and Vector's AIMD compare a round-trip time with that of an idle
//! destination, or of a while ago. With a backlog no moment is idle, and what they compare with grows with the limit: on the models of
//! the tests, with up to 6 in flight, all three held 6 where one was as good, and where 6 were half as fast as one. Why not the size of
//! batches as well: half of it cost the agent 7 % more CPU, and was no quicker into InfluxDB.
//!
//! Pure: the time is told. What is in flight, and what waits, is counted by [`permits`].

mod comparison;
pub(super) mod permits;

use std::time::Duration;

use tokio::time::Instant;

use self::comparison::{Comparison, Verdict};
use super::batching::Limits;

/// How many batches are in flight before anything is known: one is encoded while the other is written. An agent without a backlog
/// needs no more, and of many that come back together each must want little.
pub const LIMIT_AT_FIRST: usize = 2;

/// How many times as much twice the limit must write for slow start to go on: half of a doubling, as a logarithm. A destination with
/// time to spare, or far away, writes more than that. One that is busy seems to by noise now and then, often on a loaded machine: then
/// up to the most batches are in flight until a comparison takes them back. Every batch in flight is 2.4 MB of memory with batches
/// as they are by default, so what a few more gain where a doubling gains less is found by comparison.
const DOUBLING: f64 = std::f64::consts::SQRT_2;

/// How long, and for how many round trips, a limit is watched in slow start, and afterwards. Shorter, and a pause of any process
/// on the same machine decides.
const GLANCE: (Duration, usize) = (Duration::from_millis(20), 2);
const WINDOW: (Duration, usize) = (Duration::from_millis(250), 4);

/// An answer that takes longer is late: the destination has more than enough to do, and what waits for an answer longer than
/// `publisher.influxdb.timeout`, by default five times this, is written in vain.
const LATE: Duration = Duration::from_secs(1);

/// How many late answers count as a prompt one after an outage.
const LATE_ANSWERS: u32 = 16;

/// How many attempts must fail in a row, with no answer to any between them, to be an outage: one may be a connection that was
/// closed, or a batch that the destination cannot bear, and no other batch is slowed down by that.
const OUTAGE: u32 = 2;

/// How often what is tried is halved after an outage, and by late answers.
const OUTAGE_HALVINGS: u32 = 6;
const LATE_HALVINGS: u32 = 3;

/// How long nothing is tried, in windows: after everything was, and after a late answer.
const REST: u32 = 100;
const REST_AFTER_LATE: u32 = 8;

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later.
    Retry,
    /// The destination takes nothing before an operator has mended something, so the failure is not about one batch.
    Hold,
}

/// A batch that was written.
#[derive(Clone, Copy, Debug)]
pub struct Wrote {
    /// How many points, at least one.
    pub points: usize,
    /// Whether more was waiting: the batch was as large as it may be.
    pub full: bool,
    /// When its first attempt began.
    pub begun: Instant,
    /// When it was written.
    pub done: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Connections are new and the destination's caches are cold: how fast this is says nothing.
    WarmUp,
    /// Points a second with half the limit.
    SlowStart(f64),
    /// The other limit.
    Compare(usize, Comparison),
    /// How many windows are left of it.
    Rest(u32),
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    max: usize,
    /// The best limit so far, and the one that is used now.
    home: usize,
    limit: usize,
    /// How often batches and requests are halved.
    halvings: u32,
    /// Failures since the last answer, and late answers since a prompt one or a failure.
    failures: u32,
    late: u32,
    phase: Phase,
    /// Whether the limit is compared with a larger one, or with a smaller one.
    up: bool,
    /// When the limit was set.
    since: Instant,
    /// Points and batches that were written, since when.
    window: (usize, usize, Instant),
}

impl Limiter {
    /// With at most so many batches in flight.
    #[must_use]
    pub fn new(max: usize, now: Instant) -> Self {
        let limit = LIMIT_AT_FIRST.min(max);
        Self {
            max,
            home: limit,
            limit,
            halvings: 0,
            failures: 0,
            late: 0,
            phase: Phase::WarmUp,
            up: false,
            since: now,
            window: (0, 0, now),
        }
    }

    /// How many batches may be in flight.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// By how much batches and requests are divided; 1 while the destination works.
    #[must_use]
    pub fn divisor(&self) -> usize {
        1 << self.halvings
    }

    /// Whether the destination was away when it was asked last: one attempt at a time shows whether it still is.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.halvings == OUTAGE_HALVINGS
    }

    /// What a batch may have now.
    #[must_use]
    pub fn limits(&self, limits: Limits) -> Limits {
        let part = |whole: usize| (whole / self.divisor()).max(1);
        Limits { max_messages: part(limits.max_messages), max_bytes: part(limits.max_bytes), ..limits }
    }

    /// An attempt failed.
    pub fn failed(&mut self, failure: Failure, now: Instant) {
        let failures = self.failures.saturating_add(1);
        if failure == Failure::Hold || failures >= OUTAGE {
            *self = Self { halvings: OUTAGE_HALVINGS, ..Self::new(self.max, now) };
        }
        (self.failures, self.late) = (failures, 0);
        // What was in flight meanwhile is no measure.
        self.set(self.limit, now);
    }

    /// A request that was sent at `begun` was answered.
    pub fn answered(&mut self, begun: Instant, now: Instant) {
        let late = now.duration_since(begun) > LATE;
        self.failures = 0;
        self.late = if late { self.late + 1 } else { LATE_ANSWERS };
        if self.late >= LATE_ANSWERS {
            self.late = 0;
            if self.halvings > 0 {
                self.halvings -= 1;
                self.set(self.limit, now);
            }
        } else if begun >= self.since && self.halvings < LATE_HALVINGS {
            self.decrease(now);
        }
    }

    /// Less in flight, and nothing else for a while.
    fn decrease(&mut self, now: Instant) {
        let limit = self.home.min(self.limit);
        self.late = 0;
        self.halvings += u32::from(limit == 1);
        self.home = (limit / 2).max(1);
        self.up = true;
        self.rest(REST_AFTER_LATE, now);
    }

    /// A batch was written.
    pub fn wrote(&mut self, Wrote { points, full, begun, done }: Wrote) {
        if begun < self.since || self.halvings > 0 {
            self.window = (0, 0, done);
            return;
        }
        if !full {
            self.window = (0, 0, done);
            if let Phase::Compare(_, comparison) = &mut self.phase {
                *comparison = Comparison::default();
                self.set(self.home, done);
            }
            return;
        }
        let (written, batches, start) = self.window;
        // The time before a backlog is not part of it.
        let start = if batches == 0 { start.max(begun) } else { start };
        self.window = (written + points, batches + 1, start);
        let took = done.duration_since(start);
        let (long, round_trips) = if matches!(self.phase, Phase::WarmUp | Phase::SlowStart(_)) { GLANCE } else { WINDOW };
        if took >= long && batches + 1 >= round_trips * self.limit {
            self.watched((written + points) as f64 / took.as_secs_f64(), done);
        }
    }

    /// The limit was watched for a window, in which so many points a second were written.
    fn watched(&mut self, rate: f64, now: Instant) {
        self.window = (0, 0, now);
        match &mut self.phase {
            Phase::WarmUp => self.phase = Phase::SlowStart(0.0),
            Phase::SlowStart(before) if rate > *before * DOUBLING && self.limit < self.max => {
                *before = rate;
                self.home = (2 * self.limit).min(self.max);
                self.set(self.home, now);
            }
            Phase::SlowStart(_) | Phase::Rest(0) => self.compare(now),
            Phase::Rest(windows) => *windows -= 1,
            Phase::Compare(other, comparison) => {
                let (smaller, larger) = (self.home.min(*other), self.home.max(*other));
                match comparison.add(self.limit == larger, rate) {
                    Verdict::SameAgain => {}
                    Verdict::OtherNext => self.set(smaller + larger - self.limit, now),
                    Verdict::Smaller => self.decide(smaller, now),
                    Verdict::Larger => self.decide(larger, now),
                }
            }
        }
    }

    fn decide(&mut self, winner: usize, now: Instant) {
        if winner != self.home {
            self.home = winner;
            self.compare(now);
        } else if self.up {
            self.up = false;
            self.rest(REST, now);
        } else {
            self.up = true;
            self.compare(now);
        }
    }

    fn compare(&mut self, now: Instant) {
        let home = self.home;
        let other = if self.up { (home + (home / 2).max(1)).min(self.max) } else { home - (home / 3).max(1).min(home - 1) };
        if other == home {
            return self.decide(home, now);
        }
        self.phase = Phase::Compare(other, Comparison::default());
        self.set(home, now);
    }

    fn rest(&mut self, windows: u32, now: Instant) {
        self.phase = Phase::Rest(windows);
        self.set(self.home, now);
    }

    fn set(&mut self, limit: usize, now: Instant) {
        (self.limit, self.since, self.window) = (limit, now, (0, 0, now));
    }
}

#[cfg(test)]
mod tests;
