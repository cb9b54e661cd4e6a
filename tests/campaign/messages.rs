//! Numbered messages: what each is, and where it must be found in the end. A number says all of it.

use crate::support::pipeline::numbered;

/// The first number of those that the Python client sends.
pub(crate) const PYTHON: u64 = 900_000_000;

/// 2026-03-01T12:00:00Z in µs, the time of message 0.
const EPOCH: i64 = 1_772_366_400_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Two points.
    Plain,
    /// Two points, of which one is larger than many batches.
    Big,
    /// No JSON: a dead letter.
    Garbage,
    /// A counter that is written, and a timer that is not a number: a point and a dead letter.
    Half,
    /// A dimension that only InfluxDB knows to refuse: a dead letter, found by bisecting.
    Refused,
}

impl Kind {
    pub(crate) fn of(number: u64) -> Self {
        if number >= PYTHON {
            return Self::Plain;
        }
        match number % 50 {
            7 => Self::Garbage,
            17 => Self::Half,
            27 => Self::Refused,
            37 => Self::Big,
            _ => Self::Plain,
        }
    }

    /// How many points of these measurements it leaves: its counter, its timer.
    pub(crate) fn points(self) -> (usize, usize) {
        match self {
            Self::Plain | Self::Big => (1, 1),
            Self::Half => (1, 0),
            Self::Garbage | Self::Refused => (0, 0),
        }
    }

    pub(crate) fn is_dead(self) -> bool {
        matches!(self, Self::Garbage | Self::Half | Self::Refused)
    }
}

/// The bytes that are queued for a number below [`PYTHON`].
pub(crate) fn message(number: u64) -> Vec<u8> {
    let plain = numbered(number);
    let text = match Kind::of(number) {
        Kind::Plain => plain,
        Kind::Big => plain.replace("/index", &"/index".repeat(3000)),
        Kind::Garbage => format!("{{not json {number}"),
        Kind::Half => {
            let value = format!("\"value\": {number}.0");
            let (before, after) = plain.rsplit_once(&value).unwrap();
            format!("{before}\"value\": NaN{after}")
        }
        Kind::Refused => plain.replace("\"host\"", "\"time\""),
    };
    text.into_bytes()
}

/// When that message says it was, in µs.
pub(crate) fn time(number: u64) -> i64 {
    let (minutes, seconds, micros) = (number / 6_000_000 % 60, number / 100_000 % 60, number % 100_000);
    EPOCH + i64::try_from((minutes * 60 + seconds) * 1_000_000 + micros).unwrap()
}
