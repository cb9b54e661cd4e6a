//! A point as samples of VictoriaMetrics: a line of which each field becomes one, under the name of metric and field.
//!
//! How its parser reads names was seen on 1.79.5: a backslash before a backslash, comma, equals sign or space is an escape, everywhere.
//! <https://docs.victoriametrics.com/victoriametrics/integrations/influxdb/>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::times::Times;
use crate::{
    config::{TextMetadata, Victoriametrics as Config},
    publisher::line::{Form, Number, Place, last_of_each, stored_key},
    quote::cut_name,
    wire::{Field, Kind, Message, MessageSet, Point, Scalar},
};

/// The longest label's name and value, in bytes. Newer versions drop the sample of a longer one without a word.
const LONGEST_NAME: usize = 256;
const LONGEST_VALUE: usize = 4096;

/// The longest line of 1.79.5; newer versions take longer ones.
const LONGEST_LINE: usize = 256 << 10;

/// How far ahead a sample may be; one further is dropped without a word.
const AHEAD: Duration = Duration::from_secs(2 * 24 * 3600);

/// The largest integer of which none is rounded.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Encodes; keep one for its buffers.
pub(super) struct Samples {
    /// `,name=value` for each label of the message at hand.
    labels: Vec<u8>,
    /// How many those are, with those that the server adds.
    count: usize,
    /// Why no point of the message can be written, where that is so.
    unfit: Option<String>,
    digest: u32,
    /// The last millisecond that is taken.
    latest: i64,
    number: Number,
    extra_labels: usize,
    max_labels: usize,
    text_metadata: TextMetadata,
    times: Option<Times>,
}

impl Samples {
    pub(super) fn new(config: &Config, times: Times) -> Self {
        Self {
            labels: Vec::new(),
            count: 0,
            unfit: None,
            digest: 0,
            latest: i64::MAX,
            number: Number::default(),
            extra_labels: config.labels_of_all().count(),
            max_labels: config.max_labels,
            text_metadata: config.text_metadata,
            times: config.unique_timestamps.then_some(times),
        }
    }

    /// Encodes a message's labels: the last of a name wins, empty ones are left out.
    fn labels(&mut self, set: &MessageSet, message: &Message<'_>) -> Result<(), String> {
        let dimensions = message.dimensions();
        let last = last_of_each(dimensions.iter().map(|dimension| set.text(dimension.name)), stored_key);
        let mut labels: Vec<(&str, &str)> = last
            .into_iter()
            .filter_map(|index| dimensions.get(index))
            .map(|dimension| (set.text(dimension.name), set.text(dimension.value)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        labels.sort_unstable();
        for (name, value) in labels {
            self.count += 1;
            label(&mut self.labels, name, value)?;
        }
        Ok(())
    }

    /// Appends the labels that this point has besides those of its message. Returns what had to be left out.
    fn own_labels(&self, set: &MessageSet, point: &Point, has: &[u8], body: &mut Vec<u8>) -> Result<Option<String>, String> {
        let mut note = None;
        let mut count = self.count;
        if let Kind::Timer { unit } = point.kind
            && !set.text(unit).is_empty()
        {
            if has_label(has, "unit") {
                note = Some(UNIT_IS_TAKEN.to_owned());
            } else {
                count += 1;
                label(body, "unit", set.text(unit))?;
            }
        }
        let mut texts: Vec<(&str, &str)> = set
            .fields(point)
            .iter()
            .filter_map(|field| match field.value {
                Scalar::Text(text) => Some((set.text(field.name), set.text(text))),
                _ => None,
            })
            .collect();
        texts.sort_unstable();
        for (name, text) in texts {
            match self.text_metadata {
                TextMetadata::Drop => {}
                TextMetadata::Park => note = Some([NUMBERS_ONLY, &cut_name(name)].concat()),
                TextMetadata::Label if has_label(has, name) || name == "unit" => {
                    note = Some([NAME_IS_TAKEN, &cut_name(name)].concat());
                }
                TextMetadata::Label if text.is_empty() => {}
                TextMetadata::Label => {
                    count += 1;
                    label(body, name, text)?;
                }
            }
        }
        if count > self.max_labels {
            let most = self.max_labels;
            return Err(format!("it has {count} labels, and publisher.victoriametrics.max_labels lets it have {most}"));
        }
        Ok(note)
    }

    /// Appends a number of the metadata as a field. Returns why it had to be left out or changed.
    fn field(&mut self, set: &MessageSet, field: &Field, name: usize, body: &mut Vec<u8>) -> Option<String> {
        let key = set.text(field.name);
        if matches!(field.value, Scalar::Text(_)) {
            return None;
        }
        // It would take the rest of the line for a string.
        if key.contains('"') {
            return Some([UNREADABLE_KEY, &cut_name(key)].concat());
        }
        if name + key.len() >= LONGEST_VALUE {
            return Some([LONG_KEY, &cut_name(key)].concat());
        }
        body.push(b',');
        text(body, key);
        body.push(b'=');
        match field.value {
            Scalar::Int(int) => {
                body.extend_from_slice(self.number.int.format(int).as_bytes());
                body.push(b'i');
                return (int.unsigned_abs() > EXACT).then(|| [ROUNDED, &cut_name(key)].concat());
            }
            Scalar::Float(float) => self.number.float(body, float),
            Scalar::Bool(bool) => body.extend_from_slice(if bool { b"true" } else { b"false" }),
            Scalar::Text(_) => {}
        }
        None
    }
}

impl Form for Samples {
    fn begin(&mut self, set: &MessageSet, message: &Message<'_>) {
        self.labels.clear();
        self.count = self.extra_labels;
        self.digest = message.digest();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.latest = i64::try_from((now + AHEAD).as_millis()).unwrap_or(i64::MAX);
        self.unfit = self.labels(set, message).err();
    }

    fn line(&mut self, set: &MessageSet, place: Place, point: &Point, body: &mut Vec<u8>) -> Result<Option<String>, String> {
        if let Some(why) = &self.unfit {
            return Err(why.clone());
        }
        let millisecond = point.time.div_euclid(NANOS_PER_MILLI);
        if millisecond <= 0 {
            return Err(BEFORE_1970.to_owned());
        }
        if millisecond > self.latest {
            return Err(FAR_AHEAD.to_owned());
        }
        let is_number = |field: &Field| !matches!(field.value, Scalar::Float(float) if !float.is_finite());
        if !point.value.is_finite() || !set.fields(point).iter().all(is_number) {
            return Err(NOT_FINITE.to_owned());
        }
        let name = set.text(point.name);
        if name.len() + "_value".len() > LONGEST_VALUE {
            return Err(format!("VictoriaMetrics takes no name of a metric that is longer than {LONGEST_VALUE} bytes"));
        }
        let begin = body.len();
        // Or it would be a comment.
        if name.starts_with('#') {
            body.push(b'\\');
        }
        text(body, name);
        body.extend_from_slice(&self.labels);
        let mut note = self.own_labels(set, point, &self.labels, body)?;
        let series = body.len();
        body.extend_from_slice(b" value=");
        self.number.float(body, point.value);
        for field in set.fields(point) {
            match set.text(field.name) {
                // The metric's own, as in Kadabra.
                "value" => {}
                "unit" if matches!(point.kind, Kind::Timer { .. }) => {}
                _ => note = self.field(set, field, name.len(), body).or(note),
            }
        }
        let time = match &self.times {
            Some(times) => {
                let series = body.get(begin..series).unwrap_or_default();
                times.give(series, millisecond, (self.digest, place.point)).ok_or(CROWDED)?
            }
            None => millisecond,
        };
        body.push(b' ');
        body.extend_from_slice(self.number.int.format(time).as_bytes());
        if body.len() - begin >= LONGEST_LINE {
            return Err(format!("VictoriaMetrics takes no more than {LONGEST_LINE} bytes of a point"));
        }
        Ok(note)
    }
}

/// Appends a label, or says why VictoriaMetrics would not keep it.
fn label(line: &mut Vec<u8>, name: &str, value: &str) -> Result<(), String> {
    if name == "__name__" {
        return Err("VictoriaMetrics has no label called __name__, which is the metric's name".to_owned());
    }
    let (longest, what) =
        if name.len() > LONGEST_NAME { (LONGEST_NAME, "name of a label") } else { (LONGEST_VALUE, "label's value") };
    if name.len() > LONGEST_NAME || value.len() > LONGEST_VALUE {
        return Err(format!("VictoriaMetrics takes no {what} that is longer than {longest} bytes: {}", cut_name(name)));
    }
    line.push(b',');
    text(line, name);
    line.push(b'=');
    text(line, value);
    Ok(())
}

/// Whether a label of that name is among these, as they are written.
fn has_label(labels: &[u8], name: &str) -> bool {
    let mut written = vec![b','];
    text(&mut written, name);
    written.push(b'=');
    labels.windows(written.len()).any(|window| window == written)
}

/// Appends a name or a value. A newline, which no escape keeps in its line, becomes the two characters `\n`.
fn text(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\n' => line.extend_from_slice(b"\\\\n"),
            b'\\' | b',' | b'=' | b' ' => line.extend_from_slice(&[b'\\', byte]),
            _ => line.push(byte),
        }
    }
}

const BEFORE_1970: &str = "VictoriaMetrics takes no time before 1970";
const FAR_AHEAD: &str = "VictoriaMetrics takes no time that is more than two days ahead, and would drop it without a word";
const NOT_FINITE: &str = "VictoriaMetrics keeps no NaN and no infinity";
const CROWDED: &str = "its series has more points than milliseconds; give its messages a dimension that tells them apart, or set \
                       publisher.victoriametrics.unique_timestamps = false";
const NUMBERS_ONLY: &str = "VictoriaMetrics stores numbers only: the point was written without this metadata, see \
                            publisher.victoriametrics.text_metadata: ";
const NAME_IS_TAKEN: &str = "the point was written without this metadata, since there is a label of that name: ";
const UNIT_IS_TAKEN: &str = "the point was written without its unit, since there is a dimension called unit";
const UNREADABLE_KEY: &str = "VictoriaMetrics cannot read this key: the point was written without this metadata: ";
const LONG_KEY: &str = "VictoriaMetrics takes no name that long: the point was written without this metadata: ";
const ROUNDED: &str = "VictoriaMetrics keeps integers up to 2^53 as they are: this metadata was written rounded: ";

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
