//! A bucket: its points, the types of fields by shard, and how long points are kept. What 2.x says of points that it cannot store is in
//! `tsdb/shard.go`, `tsdb/field_validator.go` and `v1/coordinator/points_writer.go` of v2.9.1.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::stored::{FieldValue, Line, Stored},
    SECOND, series,
};

/// The longest string of a field, in bytes.
const MAX_STRING: usize = 1_048_576;

pub(super) struct Bucket {
    pub(super) id: String,
    /// How long points are kept; zero is for ever.
    pub(super) retention: Duration,
    shards: BTreeMap<i64, Shard>,
    pub(super) stored: Stored,
}

/// The points from a time on and before another; the types of fields hold within it.
#[derive(Default)]
struct Shard {
    end: i64,
    types: BTreeMap<(String, String), &'static str>,
}

impl Bucket {
    pub(super) fn new(id: String, retention: Duration) -> Self {
        Self { id, retention, shards: BTreeMap::new(), stored: Stored::default() }
    }

    /// How long a group of shards is, in nanoseconds: <https://docs.influxdata.com/influxdb/v2/reference/internals/shards/>.
    pub(super) fn shard_duration(&self) -> i64 {
        const DAY: u64 = 24 * 3600;
        SECOND
            * match self.retention.as_secs() {
                0 => 7 * 24 * 3600,
                seconds if seconds < 2 * DAY => 3600,
                seconds if seconds <= 180 * DAY => 24 * 3600,
                _ => 7 * 24 * 3600,
            }
    }

    /// The shard that a time is in, if there is one.
    fn shard_of(&self, time: i64) -> Option<i64> {
        let (start, shard) = self.shards.range(..=time).next_back()?;
        (time < shard.end).then_some(*start)
    }

    /// Stores what can be stored. Otherwise says of the rest what 2.x says: one reason, and how many of that kind.
    pub(super) fn write(&mut self, lines: Vec<Line>, now: i64, strips_silently: bool) -> Option<String> {
        let bound = if self.retention.is_zero() { i64::MIN } else { now - i64::try_from(self.retention.as_nanos()).unwrap() };
        let mut expired = Vec::new();
        let mut by_shard: BTreeMap<i64, Vec<Line>> = BTreeMap::new();
        let length = self.shard_duration();
        for line in lines {
            let found = self.shard_of(line.time);
            if found.is_none() && line.time < bound {
                expired.push(line);
                continue;
            }
            let start = found.unwrap_or_else(|| line.time.div_euclid(length).saturating_mul(length));
            self.shards.entry(start).or_default().end = start.saturating_add(length);
            by_shard.entry(start).or_default().push(line);
        }
        let names = format!(" for database: {} for retention policy: autogen", self.id);
        let mut of_shards = None;
        for (start, lines) in by_shard {
            let refused = self.write_to_shard(start, lines, &names, strips_silently);
            of_shards = of_shards.or(refused);
        }
        of_shards.or_else(|| (!expired.is_empty()).then(|| summary(&expired, bound, self.retention) + &names))
    }

    fn write_to_shard(&mut self, start: i64, lines: Vec<Line>, names: &str, strips_silently: bool) -> Option<String> {
        let types = &mut self.shards.get_mut(&start).unwrap().types;
        let (mut first, mut dropped, mut stripped) = (None, 0, None);
        for mut line in lines {
            let measurement = line.measurement.clone();
            if line.fields.iter().all(|(name, _)| name == "time") {
                first.get_or_insert_with(|| {
                    format!("invalid field name: input field \"time\" on measurement {measurement:?} is invalid")
                });
                dropped += 1;
                continue;
            }
            match line.fields.iter().find_map(|field| unfit(&measurement, field, types)) {
                Some(reason) => {
                    first.get_or_insert(reason);
                    dropped += 1;
                }
                None => {
                    let before = line.fields.len();
                    line.fields.retain(|(name, _)| name != "time");
                    if line.fields.len() < before {
                        stripped = Some(format!(
                            "invalid field name: input field \"time\" on measurement {measurement:?} is invalid. Field \"time\" has been stripped from point. dropped=0{names}"
                        ));
                    }
                    self.stored.write(line);
                }
            }
        }
        match first {
            Some(reason) => Some(format!("{reason} dropped={dropped}")),
            None => stripped.filter(|_| !strips_silently),
        }
    }

    /// The rest of a result of `SHOW FIELD KEYS`.
    pub(super) fn field_keys(&self, named: Option<&[String]>) -> String {
        let mut measurements: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let mut types: Vec<_> = self.shards.values().flat_map(|shard| &shard.types).collect();
        types.sort_unstable();
        types.dedup();
        let named = |measurement: &String| named.is_none_or(|named| named.contains(measurement));
        for ((measurement, field), kind) in types.into_iter().filter(|((measurement, _), _)| named(measurement)) {
            measurements.entry(measurement).or_default().push(json!([field, kind]));
        }
        let all = measurements.into_iter().map(|(name, values)| series(name, &["fieldKey", "fieldType"], values));
        let all: Vec<String> = all.collect();
        if all.is_empty() { String::new() } else { format!(",\"series\":[{}]", all.join(",")) }
    }
}

/// Why a field's point cannot be stored; a field that is new gets its type.
fn unfit(
    measurement: &str,
    (name, value): &(String, FieldValue),
    types: &mut BTreeMap<(String, String), &'static str>,
) -> Option<String> {
    if let FieldValue::Text(text) = value
        && text.len() > MAX_STRING
    {
        return Some(format!("input field {name:?} on measurement {measurement:?} is too long, {} > {MAX_STRING}", text.len()));
    }
    if name == "time" {
        return None;
    }
    let kind = match value {
        FieldValue::Float(_) => "float",
        FieldValue::Integer(_) => "integer",
        FieldValue::Unsigned(_) => "unsigned",
        FieldValue::Text(_) => "string",
        FieldValue::Boolean(_) => "boolean",
    };
    let known = *types.entry((measurement.to_owned(), name.clone())).or_insert(kind);
    (known != kind).then(|| {
        format!(
            "field type conflict: input field {name:?} on measurement {measurement:?} is type {kind}, already exists as type {known}"
        )
    })
}

/// What is said of points that are older than their bucket keeps them.
fn summary(expired: &[Line], bound: i64, retention: Duration) -> String {
    let point = |line: &Line| {
        let escaped = |text: &str| text.replace(',', "\\,").replace(' ', "\\ ").replace('=', "\\=");
        let tags: String = line.tags.iter().map(|(key, value)| format!(",{}={}", escaped(key), escaped(value))).collect();
        let measurement = line.measurement.replace(',', "\\,").replace(' ', "\\ ");
        format!(
            "point {measurement}{tags} at {} dropped because it violates a Retention Policy Lower Bound at {}",
            date(line.time),
            date(bound)
        )
    };
    // The first of equally old ones.
    let oldest = expired.iter().min_by_key(|line| line.time).unwrap();
    let newest = expired.iter().rev().max_by_key(|line| line.time).unwrap();
    let (count, seconds) = (expired.len(), retention.as_secs());
    let duration = match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    };
    format!(
        "dropped {count} points outside retention policy of duration {duration} - oldest {}, newest {} dropped={count}",
        point(oldest),
        point(newest)
    )
}

fn date(time: i64) -> String {
    Timestamp::from_nanosecond(i128::from(time)).unwrap().to_string()
}
