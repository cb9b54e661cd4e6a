//! What no message can do; see [`crate::fuzzing`].

use std::mem::size_of;

use super::raw::{RawDimension, RawField, RawMetric};
use super::shape::Reader;
use super::{Decoder, Entry, quick, read, validate};
use crate::wire::build::{Contents, Value};
use crate::wire::memory_budget::MemoryBudget;
use crate::wire::timestamp::FormatCache;
use crate::wire::{Dimension, Field, MessageSet, Payloads, Point, Refusal};

/// A sound message, to stand before and behind the one in question.
const NEIGHBOUR: &[u8] = br#"{"dimensions": [{"name": "d", "value": "1"}], "timers": [], "timestamp_format": "%Y",
    "counters": [{"name": "c", "metadata": {"\u00e9": [-0]}, "timestamp": "1970", "value": 1}]}"#;

/// The quick reader gives up only at its end.
const GIVEN_UP_ON: &str = concat!(
    r#"{"timestamp_format": "%Y", "dimensions": [{"name": "d", "value": 1.5}], "timers": [{"unit": {"name": "s"}}], "#,
    r#""counters": [{"name": "c", "metadata": {"m": null}, "timestamp": "1970", "value": 1}"#
);

/// The longest reason: two quotes of 100 characters, each written as an escape of ten bytes, and the words around them.
const LONGEST_REASON: usize = 2 * 10 * 100 + 200;

/// The most memory that a byte of a message takes.
const GROWTH: usize = 8;

/// Memory for any message, and for the refusals.
const KEPT: usize = 1 << 20;

pub(crate) fn decode(payload: &[u8]) {
    let (mut decoder, mut alone) = (Decoder::new(), MessageSet::new());
    let refusals = decoder.decode(payload, &mut alone);
    assert_eq!(alone.len(), 1, "an entry a message");
    let taken = footprint(&decoder, &alone, &refusals);
    assert!(taken <= KEPT + GROWTH * payload.len(), "{taken} bytes for a message of {}", payload.len());
    let contents = alone.contents();
    sound(&contents, &refusals);
    if let Ok(text) = str::from_utf8(payload) {
        quick_is_as_general(text);
    }
    if refusals.iter().any(|refusal| refusal.metric.is_none()) {
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let left = alone.text.len() + alone.dimensions.len() + alone.fields.len() + alone.points.len();
        assert_eq!(left, 0, "a refused message left something behind");
    }

    // Whatever was decoded before and comes behind it, in the same set and by the same decoder.
    let mut among = MessageSet::new();
    let mut beside = Vec::new();
    for payload in [NEIGHBOUR, payload, NEIGHBOUR] {
        beside.push(decoder.decode(payload, &mut among));
    }
    assert_eq!(beside, [vec![], refusals.clone(), vec![]]);
    let mut alone_beside = MessageSet::new();
    decoder.decode(NEIGHBOUR, &mut alone_beside);
    let neighbour = alone_beside.contents();
    assert_eq!(neighbour.first().map(|(_, metrics)| metrics.len()), Some(1));
    assert_eq!(among.contents(), [neighbour.clone(), contents.clone(), neighbour.clone()].concat());

    // Whoever asks first, and whoever asks again.
    let payloads = Payloads::of(vec![NEIGHBOUR.to_vec(), payload.to_vec()]);
    for _ in 0..2 {
        let decoded = payloads.decoded(&mut decoder);
        assert_eq!(decoded.set.contents(), [neighbour.clone(), contents.clone()].concat());
        assert_eq!(decoded.refusals, refusals.iter().map(|refusal| (1, refusal.clone())).collect::<Vec<_>>());
    }
}

/// A message that the quick reader takes is one that the general reader takes without a doubt and without repairs, to the same
/// end. Returns whether it takes it.
pub(super) fn quick_is_as_general(text: &str) -> bool {
    let mut quick = Reader::default();
    // Nothing may be left of a message on which it gave up.
    let begun = GIVEN_UP_ON;
    assert!(!quick::read(begun, MemoryBudget::of(begun.len()), &mut quick), "it is not at its end");
    if !quick::read(text, MemoryBudget::of(text.len()), &mut quick) {
        return false;
    }
    let mut general = Reader::default();
    let is_read = read::read(text, Vec::new(), MemoryBudget::of(text.len()), &mut general).is_ok();
    assert!(is_read && !general.doubtful && !quick.doubtful && !quick.full, "only the quick reader takes {text:?}");
    // Without doubt there is no -0.0, and NaN is never a float: equal floats are so to the bit.
    assert_eq!(quick.raw, general.raw, "{text:?}");

    let mut generally = MessageSet::new();
    let validated = validate::validate(text, &general.raw, &mut FormatCache::default(), 0, &mut generally);
    let mut quickly = MessageSet::new();
    let refusals = Decoder::new().decode(text.as_bytes(), &mut quickly);
    let validated = validated.unwrap_or_else(|reason| vec![Refusal { metric: None, reason }]);
    assert_eq!(refusals, validated);
    if generally.is_empty() {
        assert_eq!(quickly.point_count(), 0);
    } else {
        assert_eq!(quickly.contents(), generally.contents());
    }
    true
}

/// What every set promises to those who read it.
fn sound(contents: &[Contents], refusals: &[Refusal]) {
    for (dimensions, metrics) in contents {
        assert!(dimensions.iter().all(|(name, _)| !name.is_empty()));
        for metric in metrics {
            assert!(!metric.name.is_empty() && metric.value.is_finite(), "{metric:?}");
            let mut names: Vec<_> = metric.metadata.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), metric.metadata.len(), "a name came twice: {metric:?}");
            for (name, value) in &metric.metadata {
                assert!(!name.is_empty() && name != "value" && (name != "unit" || metric.unit.is_none()), "{metric:?}");
                assert!(!matches!(value, Value::Float(float) if !float.is_finite()), "{metric:?}");
            }
        }
    }
    for refusal in refusals {
        let reason = &refusal.reason;
        assert!(!reason.is_empty() && reason.len() <= LONGEST_REASON, "{} bytes: {reason}", reason.len());
        assert!(!reason.contains(char::is_control), "not one printable line: {reason:?}");
    }
}

/// How much memory is held, in bytes.
fn footprint(decoder: &Decoder, set: &MessageSet, refusals: &[Refusal]) -> usize {
    let raw = &decoder.reader.raw;
    let metrics = raw.counters.items.capacity() + raw.timers.items.capacity();
    let reading = raw.scratch.capacity()
        + raw.dimensions.items.capacity() * size_of::<RawDimension>()
        + metrics * size_of::<RawMetric>()
        + raw.fields.capacity() * size_of::<RawField>();
    let decoded = set.text.capacity()
        + set.dimensions.capacity() * size_of::<Dimension>()
        + set.fields.capacity() * size_of::<Field>()
        + set.points.capacity() * size_of::<Point>()
        + set.entries.capacity() * size_of::<Entry>();
    let refused = refusals
        .iter()
        .map(|refusal| size_of::<Refusal>() + refusal.reason.capacity() + refusal.metric.as_ref().map_or(0, String::capacity));
    reading + decoded + refused.sum::<usize>()
}
