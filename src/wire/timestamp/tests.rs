use super::*;
use serde_json::Value;

/// Formats, texts and what CPython 3.11 made of them: microseconds, null for a refused text, and for a format that Python
/// does not take at all, no key `micros`.
const TABLE: &str = include_str!("../../../tests/data/strptime.jsonl");

#[test]
fn every_format_means_what_it_means_to_python() {
    let mut cache = FormatCache::default();
    for line in TABLE.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (format, text) = (case["format"].as_str().unwrap(), case["text"].as_str().unwrap());
        let compiled = cache.get(format);
        match case.get("micros") {
            None => assert!(compiled.is_err(), "{line}"),
            Some(micros) => assert_eq!(compiled.unwrap().parse(text).ok(), micros.as_i64(), "{line}"),
        }
    }
}

#[test]
fn a_format_error_names_the_directive() {
    let sentence = |format: &str| Format::compile(format).unwrap_err().to_string();
    assert_eq!(sentence("%Q"), "has the unknown directive %Q");
    assert_eq!(sentence("%\u{c}"), "has the unknown directive %\\u{c}");
    assert_eq!(sentence("%é"), "has the unknown directive %é");
    assert_eq!(sentence("%Y %"), "ends in a lone %");
    assert_eq!(sentence("%H %c"), "has the directive %H more than once");
}

#[test]
fn a_hostile_format_and_text_take_no_exponential_time() {
    let format = Format::compile("%d%m%H%I%j%M%S%U%W%V%w%u%y%f%Y%G!").unwrap();
    assert_eq!(format.parse(&"1".repeat(60)), Err(TimestampError::Mismatch));
    let spaces = Format::compile(&format!("{}%d!", " x".repeat(1000))).unwrap();
    assert_eq!(spaces.parse(&format!("{}   1", "   x".repeat(1000))), Err(TimestampError::Mismatch));
}

#[test]
fn more_formats_than_are_remembered_still_work() {
    let mut cache = FormatCache::default();
    for round in 0..3 {
        for literal in 0..REMEMBERED + 3 {
            let format = format!("%Y {literal} %m");
            assert_eq!(cache.get(&format).unwrap().parse(&format!("1970 {literal} 01")), Ok(0), "{round}");
        }
        assert!(cache.entries.len() <= REMEMBERED);
    }
    let long = format!("%Y{}", "x".repeat(LONGEST_REMEMBERED));
    assert_eq!(cache.get(&long).unwrap().parse(&long.replace("%Y", "1970")), Ok(0));
    assert!(cache.entries.iter().all(|(format, _)| format.len() <= LONGEST_REMEMBERED));
}

proptest::proptest! {
    #[test]
    fn no_format_and_no_text_panic(format in "([%a-zA-Z :]|\\PC){0,20}", text in "\\PC{0,30}") {
        if let Ok(format) = Format::compile(&format) {
            let _ = format.parse(&text);
        }
    }

    #[test]
    fn the_fast_way_and_the_general_way_agree(text in "[0-3][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{6}Z") {
        let format = Format::compile(DEFAULT_FORMAT).unwrap();
        let general = Format { pattern: Pattern::compile(DEFAULT_FORMAT).unwrap(), default: None };
        proptest::prop_assert_eq!(format.parse(&text), general.parse(&text));
    }

    #[test]
    fn the_second_that_is_remembered_is_the_one_that_is_read(
        texts in proptest::collection::vec(
            "(1970-01-01|2026-0[23]-(28|29))T(00:00|12:5[09]):(00|59|60)[.,][0-9]{5}[0-9x]Z?", 1..20,
        ),
    ) {
        let format = Format::compile(DEFAULT_FORMAT).unwrap();
        let general = Format { pattern: Pattern::compile(DEFAULT_FORMAT).unwrap(), default: None };
        for text in texts {
            proptest::prop_assert_eq!(format.parse(&text), general.parse(&text), "{}", text);
        }
    }
}
