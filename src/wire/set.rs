//! Decoded messages of one batch, flat: one text buffer and one vector for each kind of thing.

use std::ops::Range;

/// A piece of the set's text buffer; read it with [`MessageSet::text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    start: u32,
    len: u32,
}

/// A dimension: becomes a tag of every point of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// The tag's key; never empty.
    pub name: Text,
    /// The tag's value; may be empty, and is then left out of the point.
    pub value: Text,
}

/// A metadata value, of the type that the client sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A string, or the JSON text of a nested list or object.
    Text(Text),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// A metadata entry: becomes a field of its point. Nulls never get here; an empty string is a field, as for the
/// Python agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The field's key; never empty.
    pub name: Text,
    /// The field's value.
    pub value: Scalar,
}

/// What a point was in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counted things.
    Counter,
    /// A duration, already multiplied by its unit's `seconds_offset` on the wire.
    Timer {
        /// The unit's name, such as `milliseconds`.
        unit: Text,
    },
}

/// One counter or timer of a message, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Counter or timer.
    pub kind: Kind,
    /// The metric's name; never empty.
    pub name: Text,
    /// The metric's value; always finite.
    pub value: f64,
    /// Nanoseconds since 1970 in UTC; clients stamp in microseconds, so it is a multiple of 1000.
    pub time: i64,
    /// Its metadata, in the set's fields.
    pub(super) fields: Range<u32>,
}

/// A metric, or a whole message, that cannot be written, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The metric's name as far as it is known; `None` when the whole message is meant.
    pub metric: Option<String>,
    /// A sentence for the person who reads the dead letter: lowercase start, no full stop.
    pub reason: String,
}

/// Where one message's parts are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) dimensions: Range<u32>,
    pub(super) points: Range<u32>,
    pub(super) digest: u32,
    pub(super) adopted: bool,
}

/// How much was in a set, so that it can be brought back to that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    text: usize,
    dimensions: usize,
    fields: usize,
    points: usize,
    entries: usize,
}

impl Lengths {
    pub(super) fn of(set: &MessageSet) -> Self {
        Self {
            text: set.text.len(),
            dimensions: set.dimensions.len(),
            fields: set.fields.len(),
            points: set.points.len(),
            entries: set.entries.len(),
        }
    }

    pub(super) fn restore(self, set: &mut MessageSet) {
        set.text.truncate(self.text);
        set.dimensions.truncate(self.dimensions);
        set.fields.truncate(self.fields);
        set.points.truncate(self.points);
        set.entries.truncate(self.entries);
    }
}

/// Every message of a batch, decoded. Indices of messages are the order in which they were decoded; a message
/// that was refused whole keeps its index and has no points.
#[derive(Clone, Debug, Default)]
pub struct MessageSet {
    pub(super) text: String,
    pub(super) dimensions: Vec<Dimension>,
    pub(super) fields: Vec<Field>,
    pub(super) points: Vec<Point>,
    pub(super) entries: Vec<Entry>,
}

/// One message of a set.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    set: &'a MessageSet,
    entry: &'a Entry,
}

impl MessageSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the set and keeps its memory for the next batch.
    pub fn clear(&mut self) {
        self.text.clear();
        self.dimensions.clear();
        self.fields.clear();
        self.points.clear();
        self.entries.clear();
    }

    /// How many messages are in it, those that were refused whole included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no message is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many points all its messages have.
    #[must_use]
    pub fn point_count(&self) -> usize {
        self.points.len()
    }

    /// The characters of a piece of text.
    #[must_use]
    pub fn text(&self, text: Text) -> &str {
        let start = text.start as usize;
        self.text.get(start..start + text.len as usize).unwrap_or_default()
    }

    /// The metadata of a point.
    #[must_use]
    pub fn fields(&self, point: &Point) -> &[Field] {
        slice(&self.fields, &point.fields)
    }

    /// The messages in the order in which they were decoded.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.entries.iter().map(|entry| Message { set: self, entry })
    }

    /// Marks the messages from the index `first` on as adopted, see [`Message::is_adopted`].
    pub fn mark_adopted(&mut self, first: usize) {
        for entry in self.entries.iter_mut().skip(first) {
            entry.adopted = true;
        }
    }

    /// Takes every point that is not to be kept out of the messages from the index `first` on. `keep` is given the set for its texts.
    pub fn retain_points(&mut self, first: usize, mut keep: impl FnMut(&Self, &Message<'_>, &Point) -> bool) {
        let (mut points, mut entries) = (std::mem::take(&mut self.points), std::mem::take(&mut self.entries));
        let with_points = |entries: &[Entry]| entries.iter().skip(first).find(|entry| !entry.points.is_empty()).cloned();
        if let Some(from) = with_points(&entries).map(|entry| entry.points.start) {
            let tail = points.split_off((from as usize).min(points.len()));
            // There are no more of them than before, whose number fitted.
            let index = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            for entry in entries.iter_mut().skip(first).filter(|entry| !entry.points.is_empty()) {
                let (range, start) = (entry.points.start - from..entry.points.end - from, points.len());
                let message = Message { set: self, entry };
                points.extend(slice(&tail, &range).iter().filter(|point| keep(self, &message, point)).cloned());
                entry.points = index(start)..index(points.len());
            }
        }
        (self.points, self.entries) = (points, entries);
    }

    /// Appends a piece of text. `None` when the set's text would pass 4 GiB.
    pub(super) fn push_text(&mut self, text: &str) -> Option<Text> {
        let start = u32::try_from(self.text.len()).ok()?;
        let len = u32::try_from(text.len()).ok()?;
        start.checked_add(len)?;
        self.text.push_str(text);
        Some(Text { start, len })
    }
}

impl<'a> Message<'a> {
    /// Its dimensions in the order of the message; a name may come twice, and the last wins.
    #[must_use]
    pub fn dimensions(&self) -> &'a [Dimension] {
        slice(&self.set.dimensions, &self.entry.dimensions)
    }

    /// The CRC-32 of the message's bytes as they are in the channel. It never changes, so whatever a publisher makes from it, such
    /// as a key or an offset, is the same when the message is written again: after a restart, by another agent, years later.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.entry.digest
    }

    /// Whether the message was adopted from a Python agent, which may have written it already, and then without anything that is
    /// made from the digest.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.entry.adopted
    }

    /// Its counters and then its timers, each in the order of the message.
    #[must_use]
    pub fn points(&self) -> &'a [Point] {
        slice(&self.set.points, &self.entry.points)
    }
}

fn slice<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    all.get(range.start as usize..range.end as usize).unwrap_or_default()
}
