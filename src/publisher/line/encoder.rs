//! A point as a line of InfluxDB's line protocol.

use std::collections::BTreeSet;

use super::{
    escape::{self, Backslashes},
    lines::Place,
    window::Form,
};
use crate::{
    failpoint::fail_point,
    quote::cut_name,
    wire::{Field, Kind, Message, MessageSet, Point, Scalar},
};

/// What InfluxDB puts between the tags and the field's key when it counts.
const KEY_SEPARATOR: usize = 4;

/// What a destination does not take as line protocol, and what its points are given.
#[derive(Clone, Copy, Debug)]
pub(in crate::publisher) struct Rules {
    /// The destination in the reasons of refusals: `InfluxDB 1.x`.
    pub(in crate::publisher) name: &'static str,
    /// The longest name with its tags and one field's key, in bytes as they are written.
    pub(in crate::publisher) max_key: usize,
    /// Whether points of one series and one microsecond are kept apart by an [`offset`].
    pub(in crate::publisher) unique_timestamps: bool,
    /// What it stores of backslashes in names and tags.
    pub(in crate::publisher) backslashes: Backslashes,
}

/// Encodes; keep one for its buffers.
#[derive(Debug)]
pub(in crate::publisher) struct Encoder {
    /// `,key=value` for each tag of the message at hand.
    tags: Vec<u8>,
    /// Whether the tags alone are longer than a key may be; then not all of them are in `tags`.
    tags_too_long: bool,
    /// The order of its dimensions.
    order: Vec<usize>,
    number: Number,
    rules: Rules,
    /// The digest of the message at hand, if its points get one.
    digest: Option<u32>,
    /// Whether [`escape::reads_as_one_line`] must look at its lines.
    look_closer: bool,
}

/// Writes numbers.
#[derive(Default)]
pub(in crate::publisher) struct Number {
    pub(in crate::publisher) int: itoa::Buffer,
    float: ryu::Buffer,
}

impl Number {
    /// Appends a finite float, the shortest text that reads back the same.
    pub(in crate::publisher) fn float(&mut self, line: &mut Vec<u8>, value: f64) {
        let whole = value as i64;
        // Counters mostly count whole things. Ryu would write the same, for several times the work; -0.0 has other bits.
        if whole.unsigned_abs() < WHOLE && (whole as f64).to_bits() == value.to_bits() {
            line.extend_from_slice(self.int.format(whole).as_bytes());
            line.extend_from_slice(b".0");
        } else {
            line.extend_from_slice(self.float.format_finite(value).as_bytes());
        }
    }
}

/// Below this, a float has no exponent as Ryu writes it.
const WHOLE: u64 = 1_000_000_000_000_000;

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Number")
    }
}

/// The nanoseconds, 0 to 999, that are added to the time of a point.
///
/// Clients stamp in microseconds, and two points of one series in one microsecond are one point to the database: the
/// second overwrites the first. The offset, the message's digest plus the point's index in the message, modulo 1000, moves
/// them apart. It depends on nothing but the message, so a message that is written again, after a restart or by another
/// agent, still overwrites only itself. It does not separate two messages that are the same byte for byte, which is what a
/// message written again looks like, nor the one pair in a thousand whose offsets are equal, nor two points of one message
/// whose indices differ by a multiple of 1000.
fn offset(digest: u32, point: usize) -> i64 {
    ((u64::from(digest) + point as u64) % 1000).cast_signed()
}

impl Form for Encoder {
    fn begin(&mut self, set: &MessageSet, message: &Message<'_>) {
        self.look_closer = self.tags(set, message);
        // A Python agent may have written adopted messages already, without an offset.
        self.digest = (self.rules.unique_timestamps && !message.is_adopted()).then(|| message.digest());
    }

    #[inline]
    fn line(&mut self, set: &MessageSet, place: Place, point: &Point, body: &mut Vec<u8>) -> Result<Option<String>, String> {
        let begin = body.len();
        let note = self.write(set, point, self.digest.map_or(0, |digest| offset(digest, place.point)), body)?;
        let line = body.get(begin..).unwrap_or_default();
        if self.look_closer && !escape::reads_as_one_line(line) {
            return Err([self.rules.name, NOT_ONE_LINE].concat());
        }
        Ok(note)
    }
}

impl Encoder {
    pub(in crate::publisher) fn new(rules: Rules) -> Self {
        let (tags, order, number) = (Vec::new(), Vec::new(), Number::default());
        Self { tags, tags_too_long: false, order, number, rules, digest: None, look_closer: false }
    }

    /// Encodes a message's tags: sorted by key, the last of a key wins, empty ones left out.
    fn tags(&mut self, set: &MessageSet, message: &Message<'_>) -> bool {
        let dimensions = message.dimensions();
        let name = |index: usize| dimensions.get(index).map_or("", |dimension| set.text(dimension.name));
        self.order.clear();
        self.order.extend(0..dimensions.len());
        self.order.sort_unstable_by(|a, b| name(*a).cmp(name(*b)).then(a.cmp(b)));
        let (look_closer, may_be_equal) = self.tags_in_order(set, message, None);
        if !may_be_equal {
            return look_closer;
        }
        let last = last_of_each(dimensions.iter().map(|dimension| set.text(dimension.name)), escape::stored_tag_key);
        self.tags_in_order(set, message, Some(&last)).0
    }

    /// Encodes the tags of these dimensions, or of all. Returns whether somebody must look closer at the line, and whether two
    /// names may have become equal.
    fn tags_in_order(&mut self, set: &MessageSet, message: &Message<'_>, these: Option<&BTreeSet<usize>>) -> (bool, bool) {
        let dimensions = message.dimensions();
        let name = |index: usize| dimensions.get(index).map_or("", |dimension| set.text(dimension.name));
        self.tags.clear();
        self.tags_too_long = false;
        let (mut look_closer, mut may_be_equal) = (false, false);
        let mut order = self.order.iter().copied().peekable();
        while let Some(index) = order.next() {
            let key = name(index);
            fail_point!("encoder.tags", key);
            let value = dimensions.get(index).map_or("", |dimension| set.text(dimension.value));
            let is_repeated = order.peek().is_some_and(|next| name(*next) == key);
            // An empty value, too, takes the place of those before it.
            may_be_equal |= dimensions.len() > 1 && escape::has_another_form(key);
            if value.is_empty() || is_repeated || these.is_some_and(|these| !these.contains(&index)) {
                continue;
            }
            // Escaped they are not shorter.
            if self.tags.len() + key.len() + value.len() > self.rules.max_key {
                self.tags_too_long = true;
                continue;
            }
            self.tags.push(b',');
            look_closer |= escape::tag(&mut self.tags, key, self.rules.backslashes);
            self.tags.push(b'=');
            look_closer |= escape::tag(&mut self.tags, value, self.rules.backslashes);
        }
        (look_closer, may_be_equal)
    }

    /// Appends one line without its newline. Returns what had to be left out of it, or why it cannot be one.
    fn write(&mut self, set: &MessageSet, point: &Point, offset: i64, body: &mut Vec<u8>) -> Result<Option<String>, String> {
        let begin = body.len();
        let name = set.text(point.name);
        if escape::is_unreadable(name, self.rules.backslashes) {
            return Err([self.rules.name, UNREADABLE_NAME].concat());
        }
        // Before anything is copied that may be as large as the message.
        if self.tags_too_long || name.len() + self.tags.len() > self.rules.max_key {
            return Err(self.too_long());
        }
        escape::measurement(body, name, self.rules.backslashes);
        fail_point!("encoder.line", name);
        body.extend_from_slice(&self.tags);
        let room = (self.rules.max_key - KEY_SEPARATOR).saturating_sub(body.len() - begin);
        let keys = set.fields(point).iter().map(|field| set.text(field.name).len());
        if keys.max().unwrap_or(0).max("value".len()) > room {
            return Err(self.too_long());
        }
        body.extend_from_slice(b" value=");
        if !point.value.is_finite() {
            return Err(NOT_FINITE.to_owned());
        }
        self.number.float(body, point.value);
        let is_timer = if let Kind::Timer { unit } = point.kind {
            body.extend_from_slice(b",unit=");
            escape::string(body, set.text(unit));
            true
        } else {
            false
        };
        let mut note = None;
        let fields = set.fields(point);
        let names = || fields.iter().map(|field| set.text(field.name));
        let may_be_equal = fields.len() > 1 && names().any(escape::has_another_form);
        let last = may_be_equal.then(|| last_of_each(names(), escape::stored_key));
        for (index, field) in fields.iter().enumerate() {
            if last.as_ref().is_some_and(|last| !last.contains(&index)) {
                continue;
            }
            match set.text(field.name) {
                // The metric's own, as in Kadabra.
                "value" => {}
                "unit" if is_timer => {}
                // InfluxDB would leave it out without a word.
                "time" => note = Some(TIME_FIELD.to_owned()),
                key => self.field(set, key, field, body)?,
            }
        }
        body.push(b' ');
        let time = point.time.checked_add(offset).ok_or(TOO_LATE)?;
        body.extend_from_slice(self.number.int.format(time).as_bytes());
        Ok(note)
    }

    fn too_long(&self) -> String {
        let Rules { name, max_key, .. } = self.rules;
        format!("{name} takes no more than {max_key} bytes of name, tags and a field's key")
    }

    fn field(&mut self, set: &MessageSet, key: &str, field: &Field, body: &mut Vec<u8>) -> Result<(), String> {
        if escape::is_unreadable(key, self.rules.backslashes) {
            return Err([self.rules.name, UNREADABLE_KEY, &cut_name(key)].concat());
        }
        body.push(b',');
        escape::key(body, key, self.rules.backslashes);
        body.push(b'=');
        match field.value {
            Scalar::Text(text) => escape::string(body, set.text(text)),
            Scalar::Int(int) => {
                body.extend_from_slice(self.number.int.format(int).as_bytes());
                body.push(b'i');
            }
            Scalar::Float(float) if float.is_finite() => self.number.float(body, float),
            Scalar::Float(_) => return Err(NOT_FINITE.to_owned()),
            Scalar::Bool(bool) => body.extend_from_slice(if bool { b"true" } else { b"false" }),
        }
        Ok(())
    }
}

/// Of names that are stored alike, each time the last. Nothing of a name is copied, since one may be as large as its message.
pub(in crate::publisher) fn last_of_each<'a, S: Iterator<Item = u8>>(
    names: impl Iterator<Item = &'a str>,
    stored: impl Fn(&'a str) -> S,
) -> BTreeSet<usize> {
    let mut names: Vec<(usize, &str)> = names.enumerate().collect();
    // Stable, so that equal ones stay in their order.
    names.sort_by(|(_, one), (_, other)| stored(one).cmp(stored(other)));
    let alike = names.chunk_by(|(_, one), (_, other)| stored(one).eq(stored(other)));
    alike.filter_map(|names| names.last()).map(|(index, _)| *index).collect()
}

const NOT_FINITE: &str = "line protocol has no NaN and no infinity";
const NOT_ONE_LINE: &str = " would not find the end of its line: a tag has a backslash before a space, comma or equals sign, \
                            and another a double quote";
const TOO_LATE: &str = "its time is outside the years 1677 to 2262 that a 64-bit count of nanoseconds holds";
const TIME_FIELD: &str = "InfluxDB has no field called time: the point was written without this metadata";
const UNREADABLE_NAME: &str = " would store it under a name that no query finds: the metric's name has a backslash before a \
                               space, comma, equals sign or double quote, or at its end";
const UNREADABLE_KEY: &str = " cannot read a key with a backslash before a space, comma, equals sign or double quote, or at \
                              its end: ";

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
