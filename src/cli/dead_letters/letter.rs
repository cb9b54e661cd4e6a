//! What is shown of a dead letter, and which are meant: for people, on lines that drive no terminal, or as JSON.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};
use wildmatch::WildMatch;

use super::super::time::time;
use crate::{
    channel::redis::StoredLetter,
    codes::Code,
    plural::count,
    quote::{cut, printable, printable_json},
};

/// So many names of metrics stand on a line.
const NAMES: usize = 3;
/// So many characters of a name or of a reason.
const LONGEST: usize = 200;

/// Which dead letters are meant; all that is said must fit.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub(super) struct Filter {
    /// Whose reason, or that of a point, has this in it, or fits it where it has * or ?; or whose code it is, such as K301
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With a refused metric of this name, or of any name that fits it where it has * or ?
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// That this one of several publishers has set aside
    #[arg(long, value_name = "NAME")]
    publisher: Option<String>,
    /// Set aside since then: 2026-03-01T12:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Set aside until then
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Filter {
    /// Those with a refused metric of exactly this name, unless it is a pattern.
    pub(super) fn of_metric(name: &str) -> Self {
        Self { metric: Some(name.to_owned()), ..Self::default() }
    }

    pub(super) fn fits(&self, letter: &StoredLetter) -> bool {
        let refused = refused(letter);
        let reasons = || reasons(&refused, letter);
        let at = || letter.time.parse::<Timestamp>().ok();
        let by_code = |text: &str| Code::named(text).is_some_and(|code| code == code_of(&refused, letter));
        let by_text = |text: &str| reasons().any(|reason| fits(text, reason, reason.contains(text)));
        self.reason.as_ref().is_none_or(|text| by_code(text) || by_text(text))
            && self.metric.as_ref().is_none_or(|text| metrics(letter).iter().any(|name| fits(text, name, name == text)))
            && self.publisher.as_ref().is_none_or(|name| letter.publisher.as_ref() == Some(name))
            && self.since.is_none_or(|since| at().is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at().is_some_and(|at| at <= until))
    }
}

/// Whether a pattern fits, or what has none does `otherwise`.
fn fits(text: &str, found: &str, otherwise: bool) -> bool {
    if text.contains(['*', '?']) { WildMatch::new(text).matches(found) } else { otherwise }
}

/// The refused points; none where the whole message was refused.
fn refused(letter: &StoredLetter) -> Vec<Value> {
    serde_json::from_str(&letter.refused).unwrap_or_default()
}

/// The reasons of the points, and that of the whole.
fn reasons<'a>(refused: &'a [Value], letter: &'a StoredLetter) -> impl Iterator<Item = &'a str> {
    refused.iter().filter_map(|point| of(point, "reason")).chain([letter.reason.as_str()])
}

/// What kind of reason it is: a guard names its key in its sentence, and all others do not.
fn code_of(refused: &[Value], letter: &StoredLetter) -> Code {
    let names = |key: &str| reasons(refused, letter).any(|reason| reason.contains(key));
    if names("guards.max_age") || names("guards.max_future") {
        Code::Times
    } else if names("guards.max_new_series") {
        Code::NewSeries
    } else {
        Code::DeadLetter
    }
}

/// The names of the refused metrics: of all that can be read, where the whole message was refused.
fn metrics(letter: &StoredLetter) -> Vec<String> {
    let refused: Vec<_> = refused(letter).iter().filter_map(|point| of(point, "metric").map(ToOwned::to_owned)).collect();
    if !refused.is_empty() {
        return refused;
    }
    let message: Value = letter.payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok()).unwrap_or_default();
    let all = ["counters", "timers"].into_iter().filter_map(|kind| message.get(kind)?.as_array()).flatten();
    all.filter_map(|metric| of(metric, "name").map(ToOwned::to_owned)).collect()
}

/// Why a metric was refused.
pub(super) fn reason(letter: &StoredLetter, metric: &str) -> String {
    let refused = refused(letter);
    let of_metric = refused.iter().find(|point| of(point, "metric") == Some(metric)).and_then(|point| of(point, "reason"));
    of_metric.unwrap_or(&letter.reason).to_owned()
}

fn of<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

fn size(letter: &StoredLetter) -> String {
    letter.payload.as_ref().map_or_else(|| "too large to be read".to_owned(), |payload| count(payload.len() as u64, "byte"))
}

/// On one line.
pub(super) fn line(letter: &StoredLetter) -> String {
    let names = metrics(letter);
    let mut metrics = names.iter().take(NAMES).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        metrics += &format!(" and {} more", names.len() - NAMES);
    }
    let refused = refused(letter);
    let reason = refused.iter().find_map(|point| of(point, "reason").map(shown));
    let StoredLetter { id, time, agent, publisher, .. } = letter;
    let publisher = publisher.as_ref().map(|name| format!("  {}", shown(name))).unwrap_or_default();
    format!(
        "{}  {}  {}{publisher}  {}  {}  {} {}",
        shown(id),
        shown(time),
        shown(agent),
        size(letter),
        if metrics.is_empty() { "-" } else { &metrics },
        code_of(&refused, letter),
        reason.unwrap_or_else(|| shown(&letter.reason))
    )
}

fn shown(text: &str) -> String {
    printable(&cut(text, LONGEST))
}

/// All of it, on several lines.
pub(super) fn whole(letter: &StoredLetter) -> String {
    let StoredLetter { id, payload, reason, agent, time, publisher, .. } = letter;
    let mut lines = vec![("id", id.clone()), ("time", time.clone()), ("agent", agent.clone())];
    lines.extend(publisher.clone().map(|publisher| ("publisher", publisher)));
    let refused = refused(letter);
    lines.push(("code", code_of(&refused, letter).name().to_owned()));
    lines.push(("reason", reason.clone()));
    for point in refused {
        let of = |field: &str| of(&point, field).unwrap_or_default();
        lines.push(("refused", format!("{}: {}", of("metric"), of("reason"))));
    }
    lines.push(match payload.as_deref().map(std::str::from_utf8) {
        Some(Ok(text)) => ("message", text.to_owned()),
        Some(Err(_)) => ("message in base64", BASE64_STANDARD.encode(payload.as_deref().unwrap_or_default())),
        None => ("message", size(letter)),
    });
    lines.iter().map(|(name, text)| format!("{name}: {}", printable(text))).collect::<Vec<_>>().join("\n")
}

/// As JSON on one line, with the message's own bytes where they are wanted.
pub(super) fn json(letter: &StoredLetter, with_payload: bool) -> String {
    let StoredLetter { id, payload, reason, agent, time, publisher, .. } = letter;
    let refused = refused(letter);
    let mut object = json!({
        "id": id, "time": time, "agent": agent, "publisher": publisher, "code": code_of(&refused, letter).name(), "reason": reason,
        "refused": refused,
        "metrics": metrics(letter), "bytes": payload.as_ref().map(Vec::len),
    });
    if let Some(payload) = payload.as_ref().filter(|_| with_payload)
        && let Some(fields) = object.as_object_mut()
    {
        let (name, text) = match std::str::from_utf8(payload) {
            Ok(text) => ("payload", text.to_owned()),
            Err(_) => ("payload_base64", BASE64_STANDARD.encode(payload)),
        };
        fields.insert(name.to_owned(), text.into());
    }
    printable_json(&object.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::is_treacherous;

    fn letter() -> StoredLetter {
        StoredLetter {
            id: "17".to_owned(),
            payload: Some(br#"{"counters": [{"name": "c"}, {"name": "d"}], "timers": [{"name": "t\u001b[2J"}]}"#.to_vec()),
            reason: "points were refused".to_owned(),
            refused: r#"[{"metric": "c", "reason": "field type conflict\u009b2J\u202e"}]"#.to_owned(),
            agent: "here".to_owned(),
            time: "2026-03-01T12:00:00.5Z".to_owned(),
            publisher: Some("two".to_owned()),
        }
    }

    #[test]
    fn all_that_is_said_of_a_letter_must_fit() {
        let text = |text: &str| Some(text.to_owned());
        let at = |text: &str| Some(time(text).unwrap());
        let fits = |filter: Filter| filter.fits(&letter());
        assert!(fits(Filter::default()));
        for reason in ["conflict", "points were", "field*", "* refused", "K303"] {
            assert!(fits(Filter { reason: text(reason), ..Filter::default() }), "{reason}");
        }
        for reason in ["Conflict", "conflict*", "x", "K301"] {
            assert!(!fits(Filter { reason: text(reason), ..Filter::default() }), "{reason}");
        }
        assert!(fits(Filter { metric: text("c"), publisher: text("two"), ..Filter::default() }));
        assert!(fits(Filter { metric: text("?"), since: at("2026-03-01T12:00:00Z"), ..Filter::default() }));
        assert!(!fits(Filter { metric: text("d"), ..Filter::default() }), "it was written");
        assert!(!fits(Filter { metric: text("c"), publisher: text("one"), ..Filter::default() }));
        assert!(!fits(Filter { since: at("2026-03-01T12:00:01Z"), ..Filter::default() }));
        assert!(!fits(Filter { until: at("2026-03-01T12:00:00Z"), ..Filter::default() }));
        let whole = StoredLetter { refused: "[]".to_owned(), ..letter() };
        assert_eq!(metrics(&whole), ["c", "d", "t\u{1b}[2J"]);
        assert!(time("yesterday").is_err() && time("2h").is_ok());
    }

    #[test]
    fn nothing_that_is_shown_drives_a_terminal() {
        let whole_message = StoredLetter { refused: "[]".to_owned(), ..letter() };
        for letter in [letter(), whole_message, StoredLetter { refused: "\u{1b}".to_owned(), payload: None, ..letter() }] {
            for text in [line(&letter), json(&letter, true)] {
                assert!(!text.chars().any(is_treacherous), "{text:?}");
            }
            assert!(!whole(&letter).chars().any(|c| c != '\n' && is_treacherous(c)));
        }
    }

    #[test]
    fn the_bytes_of_an_exported_message_can_be_had_back_exactly() {
        for payload in [&b"{\"a\": \"\\u001b \xc2\x9b\"}"[..], b"\xff\x00{", b""] {
            let letter = StoredLetter { payload: Some(payload.to_vec()), ..letter() };
            let exported: Value = serde_json::from_str(&json(&letter, true)).unwrap();
            let back = match exported["payload"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => BASE64_STANDARD.decode(exported["payload_base64"].as_str().unwrap()).unwrap(),
            };
            assert_eq!(back, payload);
        }
    }
}
