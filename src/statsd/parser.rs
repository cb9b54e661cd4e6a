//! The lines of a datagram: statsd's protocol with what DogStatsD adds to it. A pure function of the bytes.
//!
//! ```text
//! name:value[:value…]|type[|@rate][|#tag:value,tag,…][|Ttime][|anything else]
//! ```
//!
//! What each part becomes is in `docs/statsd.md`.

use super::Reason;

/// What a line of a datagram is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// A metric.
    Metric(Metric<'a>),
    /// An event or a service check of DogStatsD, for which there is no metric.
    Ignored,
    /// Nothing that is understood.
    Refused(Reason),
}

/// A metric whose every part is sound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Numbers with colons between them, or the member of a set.
    values: &'a str,
    /// Above 0, and at most 1.
    pub(super) rate: f64,
    /// Behind the `#`.
    tags: &'a str,
    /// In seconds since 1970.
    pub(super) time: Option<u64>,
}

/// What is made of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `s`
    Set,
    /// `ms`
    Timer,
    /// `h` and `d`
    Distribution,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    /// Whether it is written with a plus or a minus.
    pub(super) signed: bool,
}

/// The latest second of which there are nanoseconds in 64 bits.
const LAST_SECOND: u64 = 9_223_372_036;

/// What a tag without a value has for one.
const PRESENT: &str = "true";

/// The lines of a datagram with their bytes; empty ones are none.
pub(super) fn lines(datagram: &[u8]) -> impl Iterator<Item = (&[u8], Line<'_>)> {
    let lines = datagram.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(|line| (line, read(line)))
}

fn read(line: &[u8]) -> Line<'_> {
    let Ok(text) = str::from_utf8(line) else { return Line::Refused(Reason::NotUtf8) };
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Line::Refused(Reason::ControlCharacter);
    }
    if text.starts_with("_e{") || text.starts_with("_sc|") {
        return Line::Ignored;
    }
    metric(text).map_or_else(Line::Refused, Line::Metric)
}

fn metric(line: &str) -> Result<Metric<'_>, Reason> {
    let (name, rest) = line.split_once(':').ok_or(Reason::Value)?;
    if name.is_empty() || name.contains('|') {
        return Err(Reason::Name);
    }
    let mut parts = rest.split('|');
    let values = parts.next().filter(|values| !values.is_empty()).ok_or(Reason::Value)?;
    let kind = match parts.next() {
        Some("c") => Kind::Counter,
        Some("g") => Kind::Gauge,
        Some("s") => Kind::Set,
        Some("ms") => Kind::Timer,
        Some("h" | "d") => Kind::Distribution,
        _ => return Err(Reason::Type),
    };
    if kind != Kind::Set && !values.split(':').all(|value| number(value).is_some()) {
        return Err(Reason::Number);
    }
    let mut metric = Metric { name, kind, values, rate: 1.0, tags: "", time: None };
    for part in parts {
        if let Some(rate) = part.strip_prefix('@') {
            let rate = rate.parse().ok().filter(|rate| *rate > 0.0 && *rate <= 1.0);
            metric.rate = rate.ok_or(Reason::Rate)?;
        } else if let Some(tags) = part.strip_prefix('#') {
            metric.tags = tags;
        } else if let Some(time) = part.strip_prefix('T') {
            let digits = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
            let time = time.parse().ok().filter(|time| digits && *time <= LAST_SECOND);
            metric.time = Some(time.ok_or(Reason::Time)?);
        }
        // Anything else is of a client that is newer than this, or of no use here: `c:` and `e:` name its container.
    }
    Ok(metric)
}

fn number(text: &str) -> Option<Number> {
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(Number { value, signed: text.starts_with(['+', '-']) })
}

impl<'a> Metric<'a> {
    /// Its values, where they are numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> + Clone + use<'a> {
        self.values.split(':').filter_map(number)
    }

    /// Which member of the set was seen, where it is one.
    pub(super) fn member(&self) -> &'a str {
        self.values
    }

    /// Its tags with their values, as they come: a name may come twice.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let tag = |tag: &'a str| match tag.split_once(':') {
            Some((name, value)) if !value.is_empty() => (name, value),
            Some((name, _)) => (name, PRESENT),
            None => (tag, PRESENT),
        };
        self.tags.split(',').map(tag).filter(|(name, _)| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Metric<'_> {
        match lines(line.as_bytes()).next() {
            Some((_, Line::Metric(metric))) => metric,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> Reason {
        match lines(line.as_bytes()).next() {
            Some((_, Line::Refused(reason))) => reason,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_type_is_understood_with_what_it_may_carry() {
        for (line, kind) in [
            ("a:1|c", Kind::Counter),
            ("a:1|g", Kind::Gauge),
            ("a:1|s", Kind::Set),
            ("a:1|ms", Kind::Timer),
            ("a:1|h", Kind::Distribution),
            ("a:1|d", Kind::Distribution),
        ] {
            assert_eq!(one(line), Metric { name: "a", kind, values: "1", rate: 1.0, tags: "", time: None });
        }
        let all =
            one("page.views:1:2.5:-3|c|@0.25|#env:prod,url:http://x:80,flag,empty:,,:no|T1656581400|c:ci-9|e:x|card:low|new");
        assert_eq!((all.rate, all.time), (0.25, Some(1_656_581_400)));
        assert_eq!(all.numbers().map(|number| number.value).collect::<Vec<_>>(), [1.0, 2.5, -3.0]);
        let tags = [("env", "prod"), ("url", "http://x:80"), ("flag", "true"), ("empty", "true")];
        assert_eq!(all.tags().collect::<Vec<_>>(), tags);
        assert_eq!(one("ids:a:b c|s").member(), "a:b c");
        assert_eq!(one("é ü:.5|g").name, "é ü");
        let signs: Vec<_> = one("a:+1:-1:1|g").numbers().map(|number| number.signed).collect();
        assert_eq!(signs, [true, true, false]);
    }

    #[test]
    fn what_is_wrong_has_its_reason() {
        for (line, reason) in [
            ("a", Reason::Value),
            ("a:|c", Reason::Value),
            (":1|c", Reason::Name),
            ("a|c:1|c", Reason::Name),
            ("a:1", Reason::Type),
            ("a:1|", Reason::Type),
            ("a:1|x", Reason::Type),
            ("a:1|c:2|ms", Reason::Type),
            ("a:x|c", Reason::Number),
            ("a:1:|c", Reason::Number),
            ("a:nan|g", Reason::Number),
            ("a:inf|g", Reason::Number),
            ("a:1e999|g", Reason::Number),
            ("a:1|c|@", Reason::Rate),
            ("a:1|c|@0", Reason::Rate),
            ("a:1|c|@1.1", Reason::Rate),
            ("a:1|c|@nan", Reason::Rate),
            ("a:1|c|T", Reason::Time),
            ("a:1|c|T+1", Reason::Time),
            ("a:1|c|T9223372037", Reason::Time),
            ("a\tb:1|c", Reason::ControlCharacter),
        ] {
            assert_eq!(refused(line), reason, "{line}");
        }
        assert!(matches!(lines(b"a\xff:1|c").next(), Some((_, Line::Refused(Reason::NotUtf8)))));
    }

    #[test]
    fn a_bad_line_costs_no_other_and_what_is_no_metric_is_ignored() {
        let datagram = b"a:1|c\r\n\nb:x|c\n_e{5,4}:title|text\n_sc|check|0|m:fine\nc:1|ms\n";
        let kinds: Vec<_> = lines(datagram)
            .map(|(_, line)| match line {
                Line::Metric(metric) => metric.name,
                Line::Ignored => "ignored",
                Line::Refused(_) => "refused",
            })
            .collect();
        assert_eq!(kinds, ["a", "refused", "ignored", "ignored", "c"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_takes_is_sound(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (_, line) in lines(&datagram) {
                if let Line::Metric(metric) = line {
                    prop_assert!(!metric.name.is_empty() && metric.rate > 0.0 && metric.rate <= 1.0);
                    prop_assert!(metric.kind == Kind::Set || metric.numbers().all(|number| number.value.is_finite()));
                }
            }
        }

        #[test]
        fn what_a_client_writes_is_what_is_read(
            name in "[a-zA-Z_.][a-zA-Z0-9_. ]{0,20}",
            values in proptest::collection::vec(-1e12..1e12_f64, 1..5),
            rate in 0.001..=1.0_f64,
            tags in proptest::collection::vec(("[a-z]{1,5}", "[a-z0-9:/.]{1,9}"), 0..5),
            time in proptest::option::of(0..LAST_SECOND),
        ) {
            let values_text: Vec<_> = values.iter().map(ToString::to_string).collect();
            let tags_text: Vec<_> = tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            let time_text = time.map(|time| format!("|T{time}")).unwrap_or_default();
            let line = format!("{name}:{}|ms|@{rate}|#{}{time_text}", values_text.join(":"), tags_text.join(","));
            let metric = one(&line);
            prop_assert_eq!(metric.name, name);
            prop_assert_eq!(metric.numbers().map(|number| number.value).collect::<Vec<_>>(), values);
            prop_assert_eq!(metric.rate, rate);
            prop_assert_eq!(metric.tags().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>(), tags);
            prop_assert_eq!(metric.time, time);
        }
    }
}
