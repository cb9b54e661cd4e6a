//! What no format and no text can do; see [`crate::fuzzing`].

use super::{DEFAULT_FORMAT, Format, FormatCache, Pattern, civil};

/// Formats that a client may well use, so that a text meets more than the format beside it.
const OTHERS: [&str; 3] = [DEFAULT_FORMAT, "%a, %d %b %Y %I:%M:%S %p %z", "%G-W%V-%u %X"];

/// The ends of the years 1 and 9999, a day further for an offset from UTC.
const DAYS: std::ops::RangeInclusive<i64> = -719_163..=2_932_897;

pub(crate) fn timestamp(bytes: &[u8]) {
    let whole = String::from_utf8_lossy(bytes);
    let (format, text) = whole.split_once('\0').unwrap_or((&whole, ""));
    let mut cache = FormatCache::default();
    for format in [format].into_iter().chain(OTHERS) {
        let compiled = Format::compile(format);
        // Twice, since what is remembered is another branch.
        for _ in 0..2 {
            match (&compiled, cache.get(format)) {
                (Ok(one), Ok(other)) => assert_eq!(one.parse(text), other.parse(text)),
                (one, other) => assert_eq!(one.as_ref().err(), other.err()),
            }
        }
        let Ok(compiled) = compiled else { continue };
        if let Ok(micros) = compiled.parse(text) {
            reads_back(micros);
        }
    }
    the_fast_way_is_the_general_way(text);
}

/// A time is one of the calendar, and the same when it is written and read again.
fn reads_back(micros: i64) {
    let days = micros.div_euclid(86_400_000_000);
    assert!(DAYS.contains(&days), "{micros}");
    // An offset may lead out of the years that can be written.
    let Some((year, month, day)) = civil::date_of(days) else { return };
    let rest = micros.rem_euclid(86_400_000_000);
    let (second, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z");
    let format = Format::compile(DEFAULT_FORMAT);
    assert_eq!(format.map(|format| format.parse(&text)), Ok(Ok(micros)), "{text}");
}

fn the_fast_way_is_the_general_way(text: &str) {
    let fast = Format::compile(DEFAULT_FORMAT).map(|format| format.parse(text));
    let general = Pattern::compile(DEFAULT_FORMAT).map(|pattern| Format { pattern, default: None }.parse(text));
    assert_eq!(fast, general);
}
