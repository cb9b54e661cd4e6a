//! `[guards]`

use std::time::Duration;

use super::{HOUR, secs};
use crate::config::{schema::Fallback::Is, value_type::ValueType};

const DAY: u64 = 24 * HOUR;

section! {
    /// What is looked at before points are published, wherever they go: a time that cannot be right, and dimensions that make more and
    /// more series. Both are off by default.
    "guards" pub struct Guards derives Eq {
        /// How old a point may be; 0s is as old as it likes. A database with a retention policy drops or refuses what is older
        /// than that.
        max_age: Option<Duration> = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(36_500 * DAY) };
        /// How far ahead of this machine's clock the time of a point may be; 0s is as far as it likes.
        max_future: Option<Duration> = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(36_500 * DAY) };
        /// What becomes of points beyond these two. park: they become dead letters. write: they are published, counted and
        /// warned of.
        on_time: OnGuard = Is("park"), OnGuard::WORDS;
        /// How many series of one metric, each with other dimensions than all before, may be new in an hour; 0 is any number. After a
        /// start all are, so set it above what the metric has with the most. The warning names the dimension that has the
        /// most values. The agent remembers 200,000 series at most, in some 8MB, and does not judge those beyond.
        max_new_series: usize = Is("0"), ValueType::Number { min: 0, max: 200_000 };
        /// What becomes of points of further new series in that hour, as with on_time.
        on_new_series: OnGuard = Is("write"), OnGuard::WORDS;
    }
    on reload Rebuilds;
}

choice! {
    /// `guards.on_time` and `guards.on_new_series`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum OnGuard {
        /// Dead letters.
        Park = "park",
        /// Published.
        Write = "write",
    }
}
