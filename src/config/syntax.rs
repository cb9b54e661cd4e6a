//! Why a text is not TOML, without the text: a line of it may hold a password.

use toml::de::{DeTable, DeValue, Error};

use super::origin::line;

/// The line, and a sentence.
pub(super) fn error(text: &str, error: &Error) -> (usize, String) {
    let mut span = error.span().unwrap_or(text.len()..text.len());
    // What is missing at the end is missing behind what was written last.
    span.start = span.start.min(text.trim_end().len());
    let at = line(text, span.start);
    if error.message() == "duplicate key" {
        return (at, duplicate(text, span.start, span.end));
    }
    let (reason, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let column = text.get(..span.start).and_then(|before| before.rsplit('\n').next()).map_or(0, |line| line.chars().count()) + 1;
    // What the parser expects of a value is a guess: a word without quotes is an attempt at nan or inf to it.
    let expected =
        if matches!(expected, "" | "nothing" | "literal string") { String::new() } else { format!(", expected {expected}") };
    let is_missing = text.get(span.start..).is_none_or(|rest| rest.is_empty() || rest.starts_with(['\n', '\r', '#']));
    let hint = match reason {
        "string values must be quoted" if is_missing => {
            return (at, format!("not TOML at column {column}: the value is missing"));
        }
        "string values must be quoted" => "; text, durations and sizes stand in quotes",
        "unexpected leading zero" => "; permissions stand in quotes, as in \"0660\", and a number has no leading zero",
        _ if ["`inf`", "`nan`", "`true`", "`false`"].iter().any(|word| expected.ends_with(word)) => "; text stands in quotes",
        _ => "",
    };
    (at, format!("not TOML at column {column}: {reason}{expected}{hint}"))
}

/// That a key or a section stands there twice, which it is, and where it stood first.
fn duplicate(text: &str, start: usize, end: usize) -> String {
    let name = text.get(start..end).unwrap_or_default();
    let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    // As far as it is spelled on this line: `channel.type`, `[channel.redis`.
    let written = text.get(line_start..end).unwrap_or_default().trim_start();
    let (what, path) = match written.strip_prefix('[') {
        Some(header) => ("section", header.trim_start_matches('[')),
        None => ("key", written),
    };
    let segments: Vec<_> = path.split('.').map(str::trim).collect();
    let plain = |segment: &str| !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !segments.iter().all(|segment| plain(segment)) {
        return "not TOML: a name stands there twice; expected each once".to_owned();
    }
    let (before, _) = DeTable::parse_recoverable(text.get(..line_start).unwrap_or_default());
    let mut firsts = Vec::new();
    places(before.get_ref(), &mut Vec::new(), &mut |path, at| {
        if path.ends_with(&segments) {
            firsts.push(at);
        }
    });
    // Of the keys of that name the last is the one in the same section.
    let first = firsts.into_iter().max().map_or_else(String::new, |at| format!(", first on line {}", line(text, at)));
    let advice = if what == "section" { "put the keys of both under one" } else { "expected it once" };
    let shown = if what == "section" { format!("[{path}]") } else { segments.last().copied().unwrap_or(name).to_owned() };
    format!("not TOML: the {what} {shown} stands there twice{first}; {advice}")
}

/// Every key and section of a table, with its path and where it begins.
fn places<'t>(table: &'t DeTable<'_>, path: &mut Vec<&'t str>, found: &mut impl FnMut(&[&str], usize)) {
    for (name, value) in table {
        path.push(name.get_ref());
        found(path, name.span().start);
        if let DeValue::Table(inner) = value.get_ref() {
            places(inner, path, found);
        }
        path.pop();
    }
}
