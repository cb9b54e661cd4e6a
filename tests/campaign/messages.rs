//! Numbered messages: what each is, and where it must be found in the end. A number says all of it.

use jiff::Timestamp;

use super::publishers::Kind as Database;
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
    /// A dimension that only InfluxDB knows to refuse: a dead letter, found by bisecting where it does not say which point it is.
    /// VictoriaMetrics takes it.
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
    pub(crate) fn points(self, database: Database) -> (usize, usize) {
        match self {
            Self::Plain | Self::Big => (1, 1),
            Self::Half => (1, 0),
            Self::Refused if database == Database::Victoriametrics => (1, 1),
            Self::Garbage | Self::Refused => (0, 0),
        }
    }

    pub(crate) fn is_dead(self, database: Database) -> bool {
        match self {
            Self::Plain | Self::Big => false,
            Self::Refused => database != Database::Victoriametrics,
            Self::Garbage | Self::Half => true,
        }
    }

    /// The name of its dimension.
    pub(crate) fn dimension(self) -> &'static str {
        if self == Self::Refused { "time" } else { "host" }
    }
}

/// The bytes that are queued for a number below [`PYTHON`].
pub(crate) fn message(number: u64) -> Vec<u8> {
    let plain = with_time(number);
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

/// A numbered message with a millisecond of its own: VictoriaMetrics keeps one number for a series and a millisecond, and which one is
/// not known any more to an agent that was killed.
fn with_time(number: u64) -> String {
    let text = numbered(number);
    let time = Timestamp::from_microsecond(time(number)).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let (_, after) = text.split_once("\"timestamp\": \"").unwrap();
    let (before, _) = after.split_once('"').unwrap();
    text.replace(before, &time)
}

/// When that message says it was, in µs.
pub(crate) fn time(number: u64) -> i64 {
    EPOCH + 1000 * i64::try_from(number).unwrap()
}
