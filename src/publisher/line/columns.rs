//! Which types the columns of a database have, and what of the messages that wait conflicts with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::stored_key;
use crate::{
    plural::count,
    publisher::Caution,
    quote::cut_name,
    wire::{Kind, MessageSet, Scalar},
};

/// How many conflicts are said one by one.
const MOST_SAID: usize = 20;

/// For how many measurements a database is asked, whose names are at most so long.
const MOST_MEASUREMENTS: usize = 1000;
const LONGEST_NAME: usize = 1000;
/// About how long the URL of a question may be: servers and proxies read 8 KiB at least (RFC 9110, section 4.1).
const LONGEST_QUESTION: usize = 6000;

/// What a column of a measurement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::publisher) enum ColumnType {
    Float,
    Integer,
    Unsigned,
    Text,
    Boolean,
    /// Where a tag is a column, too.
    Tag,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "a float",
            Self::Integer => "an integer",
            Self::Unsigned => "an unsigned integer",
            Self::Text => "a string",
            Self::Boolean => "a boolean",
            Self::Tag => "a tag",
        })
    }
}

/// The columns that a database has, by measurement and name: of several types where those of different times differ.
#[derive(Debug, Default)]
pub(in crate::publisher) struct Columns(BTreeMap<(String, String), BTreeSet<ColumnType>>);

impl Columns {
    pub(in crate::publisher) fn add(&mut self, measurement: &str, column: &str, of: ColumnType) {
        self.0.entry((measurement.to_owned(), column.to_owned())).or_default().insert(of);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }
}

/// A metric's name as that of a measurement.
pub(super) fn stored(name: &str) -> String {
    String::from_utf8_lossy(&stored_key(name).collect::<Vec<_>>()).into_owned()
}

/// The columns that messages would write, each with in how many of the messages it is, by measurement.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: usize,
    measurements: BTreeMap<String, BTreeMap<(String, ColumnType), usize>>,
}

impl Waiting {
    /// Names are as they are stored. Dimensions count where a tag is a column.
    pub(super) fn of(set: &MessageSet, with_tags: bool) -> Self {
        let mut waiting = Self { messages: set.len(), ..Self::default() };
        for message in set.messages() {
            let mut columns = BTreeSet::new();
            for point in message.points() {
                let name = set.text(point.name);
                columns.insert((name, "value", ColumnType::Float));
                let is_timer = matches!(point.kind, Kind::Timer { .. });
                if is_timer {
                    columns.insert((name, "unit", ColumnType::Text));
                }
                // As the encoder: these are the metric's own, or not written.
                let written = |key: &str| key != "value" && key != "time" && !(is_timer && key == "unit");
                for field in set.fields(point).iter().filter(|field| written(set.text(field.name))) {
                    let of = match field.value {
                        Scalar::Text(_) => ColumnType::Text,
                        Scalar::Int(_) => ColumnType::Integer,
                        Scalar::Float(_) => ColumnType::Float,
                        Scalar::Bool(_) => ColumnType::Boolean,
                    };
                    columns.insert((name, set.text(field.name), of));
                }
                let tags = message.dimensions().iter().filter(|tag| with_tags && !set.text(tag.value).is_empty());
                columns.extend(tags.map(|tag| (name, set.text(tag.name), ColumnType::Tag)));
            }
            for (measurement, column, of) in columns {
                let columns = waiting.measurements.entry(stored(measurement)).or_default();
                *columns.entry((stored(column), of)).or_default() += 1;
            }
        }
        waiting
    }

    /// How many messages were looked at.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// What is measured, as it is stored, in as much as fits a question each.
    pub(super) fn portions(&self) -> Vec<Vec<&str>> {
        let mut portions: Vec<Vec<&str>> = Vec::new();
        let mut room = 0;
        for name in self.measurements.keys().filter(|name| name.len() <= LONGEST_NAME).take(MOST_MEASUREMENTS) {
            // Each byte may be escaped, for the language and for the URL.
            let takes = 6 * (name.len() + 4);
            match portions.last_mut().filter(|_| takes <= room) {
                Some(portion) => portion.push(name),
                None => {
                    portions.push(vec![name]);
                    room = LONGEST_QUESTION;
                }
            }
            room = room.saturating_sub(takes);
        }
        portions
    }

    /// What conflicts with columns of the database at `place`, which refuses such a point `always` or only at some times.
    pub(super) fn conflicts(&self, columns: &Columns, place: &str, always: bool) -> Vec<Caution> {
        let mut conflicts = Vec::new();
        for (measurement, waiting) in &self.measurements {
            for ((column, of), messages) in waiting {
                let known = columns.0.get(&(measurement.clone(), column.clone()));
                if let Some(known) = known.filter(|known| !known.contains(of)) {
                    conflicts.push(self.conflict(place, always, (measurement, column), known, *of, *messages));
                }
            }
        }
        let further = conflicts.len().saturating_sub(MOST_SAID);
        conflicts.truncate(MOST_SAID);
        if further > 0 {
            conflicts.push(Caution {
                what: format!("{} of types with {place} were found", count(further, "further conflict")),
                mend: "mend those above and look again".to_owned(),
            });
        }
        conflicts
    }

    fn conflict(
        &self,
        place: &str,
        always: bool,
        (measurement, column): (&str, &str),
        known: &BTreeSet<ColumnType>,
        of: ColumnType,
        messages: usize,
    ) -> Caution {
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        let then = if always {
            "it refuses those points"
        } else {
            "it refuses those points where their time falls into a shard that has the other type"
        };
        let own = column == "value" || column == "unit" && of == ColumnType::Text;
        let what = if own { "give the metric another name" } else { "have the program send that type again, or another name" };
        Caution {
            what: format!(
                "{} of the metric {} is {} in {place}, and {of} in {messages} of the {} looked at: {then}",
                cut_name(column),
                cut_name(measurement),
                known.join(" and "),
                count(self.messages, "waiting message"),
            ),
            mend: format!("{what}, or publish to a database without that type; the points that are refused become dead letters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    fn set(messages: &[&str]) -> MessageSet {
        let (mut set, mut decoder) = (MessageSet::new(), Decoder::new());
        for metric in messages {
            let message = format!(
                r#"{{"dimensions": [{{"name": "host", "value": "a"}}, {{"name": "empty", "value": ""}}], "counters": [{{"name": "m", "metadata": {metric}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}}], "timers": [{{"name": "t\n", "metadata": {{"unit": 1, "value": "x", "time": 1}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0, "unit": {{"name": "seconds", "seconds_offset": 1}}}}], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#
            );
            assert!(decoder.decode(message.as_bytes(), &mut set).is_empty(), "{message}");
        }
        set
    }

    #[test]
    fn each_type_that_waits_is_counted_once_a_message_as_it_would_be_stored() {
        let waiting = Waiting::of(&set(&[r#"{"f": 1}"#, r#"{"f": 1}"#, r#"{"f": "x", "host": true}"#]), true);
        assert_eq!(waiting.portions(), [["m", "t\\n"]]);
        let of = |measurement: &str| {
            let columns = waiting.measurements[measurement].iter();
            columns.map(|((name, of), messages)| format!("{name}: {of}, {messages}")).collect::<Vec<_>>()
        };
        let counter = ["f: an integer, 2", "f: a string, 1", "host: a boolean, 1", "host: a tag, 3", "value: a float, 3"];
        assert_eq!(of("m"), counter);
        assert_eq!(of("t\\n"), ["host: a tag, 3", "unit: a string, 3", "value: a float, 3"]);
        let without_tags = Waiting::of(&set(&["{}"]), false);
        assert_eq!(without_tags.measurements["m"].len(), 1);
    }

    #[test]
    fn only_a_type_that_the_database_does_not_have_there_is_a_conflict() {
        let waiting = Waiting::of(&set(&[r#"{"f": 1}"#, r#"{"f": "x"}"#, r#"{"f": "x", "g": 1}"#]), true);
        let mut columns = Columns::default();
        for (measurement, column, of) in [
            ("m", "f", ColumnType::Integer),
            ("m", "g", ColumnType::Integer),
            ("m", "g", ColumnType::Text),
            ("m", "host", ColumnType::Text),
            ("other", "value", ColumnType::Text),
        ] {
            columns.add(measurement, column, of);
        }
        let said: Vec<_> = waiting.conflicts(&columns, "there", true).into_iter().map(|conflict| conflict.what).collect();
        let expected = [
            "f of the metric m is an integer in there, and a string in 2 of the 3 waiting messages looked at: it refuses those points",
            "host of the metric m is a string in there, and a tag in 3 of the 3 waiting messages looked at: it refuses those points",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_crowd_of_conflicts_is_counted() {
        let keys: Vec<String> = (0..50).map(|key| format!("\"k{key}\": 1")).collect();
        let waiting = Waiting::of(&set(&[&format!("{{{}}}", keys.join(", "))]), false);
        let mut columns = Columns::default();
        (0..50).for_each(|key| columns.add("m", &format!("k{key}"), ColumnType::Boolean));
        let said = waiting.conflicts(&columns, "there", false);
        assert_eq!(said.len(), MOST_SAID + 1);
        assert!(said[0].what.ends_with("a shard that has the other type") && said[20].what.starts_with("30 further conflicts"));
    }
}
