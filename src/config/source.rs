//! What a file and the environment say, each checked by itself: shape, names and values. Merging is not done here.

use std::ffi::OsString;
use std::path::Path;

use config::{FileFormat, Format as _, Map, Value, ValueKind};

use super::error::Problem;
use super::kind::Kind;
use super::nearest;
use super::schema::{self, Fallback, KEYS, Key, PREFIX, SECTIONS};

/// What one source says of a key.
pub(super) struct Said {
    pub(super) key: &'static Key,
    pub(super) what: What,
    /// The file's path or the variable's name.
    pub(super) place: String,
}

pub(super) enum What {
    /// This text, which its key accepts.
    Value(String),
    /// That it has no value, whatever was said before.
    Unset,
    /// Something wrong, for which there is a [`Problem`]. Still kept: what depends on it cannot be judged.
    Wrong,
}

/// Reads a file; `None` if it cannot be read or is not TOML.
pub(super) fn file(path: &Path, problems: &mut Vec<Problem>) -> Option<Vec<Said>> {
    let place = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                problems.push(Problem::at(place, format!("line {line}: expected UTF-8 text")));
                return None;
            }
        },
        Err(error) => {
            problems.push(Problem::at(place, format!("cannot be read: {error}")));
            return None;
        }
    };
    match FileFormat::Toml.parse(Some(&place), &text) {
        Ok(table) => {
            let mut reading = Reading { place, said: Vec::new(), problems };
            reading.table("", &table);
            Some(reading.said)
        }
        Err(error) => {
            problems.push(Problem::at(place, syntax(&error.to_string())));
            None
        }
    }
}

/// Where and why a text is not TOML, from a parser's message that quotes the line, which may hold a password.
fn syntax(message: &str) -> String {
    let mut lines = message.lines();
    match lines.next().and_then(|first| first.strip_prefix("TOML parse error at ")) {
        // A gutter, the line and a row of carets, then the reason.
        Some(position) => {
            let reason = lines.skip(3).collect::<Vec<_>>().join(", ");
            // What a word without quotes is taken for.
            let unquoted = ["`inf`", "`nan`", "`true`", "`false`"].iter().any(|word| reason.ends_with(word));
            format!("not TOML at {position}: {reason}{}", if unquoted { "; text stands in quotes" } else { "" })
        }
        // Only a number can still be wrong when the text is TOML, and then the parser does not say where.
        None => "a number in it does not fit into 64 bits".to_owned(),
    }
}

struct Reading<'a> {
    place: String,
    said: Vec<Said>,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, table: &Map<String, Value>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in entries {
            let path = if section.is_empty() { spelled(name) } else { format!("{section}.{}", spelled(name)) };
            match (schema::find(&path), &value.kind) {
                (Some(key), ValueKind::Table(_)) => self.wrong(key, "expected a key, not a section"),
                (Some(key), kind) => self.value(key, kind),
                (None, ValueKind::Table(inner)) if is_section(&path) => self.table(&path, inner),
                (None, ValueKind::Table(_)) => self.unknown_section(&path),
                (None, _) if is_section(&path) => {
                    let example = KEYS.iter().find(|key| key.section() == path).map_or("", Key::name);
                    self.problem(&path, format!("expected a section, [{path}] with keys such as {example}"));
                }
                (None, _) => self.unknown_key(section, &path),
            }
        }
    }

    fn value(&mut self, key: &'static Key, value: &ValueKind) {
        let text = key.kind.text(value).and_then(|text| key.kind.check(&text).map(|_| text));
        let what = match text {
            Ok(text) => What::Value(text),
            Err(sentence) => {
                let problem = Problem::at(&self.place, sentence).key(key.path).value(key.kind.shown_value(value));
                self.problems.push(problem);
                What::Wrong
            }
        };
        self.said.push(Said { key, what, place: self.place.clone() });
    }

    fn wrong(&mut self, key: &'static Key, sentence: &str) {
        self.problem(key.path, sentence.to_owned());
        self.said.push(Said { key, what: What::Wrong, place: self.place.clone() });
    }

    fn unknown_key(&mut self, section: &str, path: &str) {
        let hint = match nearest::path(path, &paths()) {
            Some(name) => format!("did you mean {name}?"),
            None if section.is_empty() => format!("the sections are {}", section_names()),
            None => format!("[{section}] has {}", names_in(section)),
        };
        self.problem(path, format!("unknown key; {hint}"));
    }

    fn unknown_section(&mut self, path: &str) {
        let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        let hint = match nearest::path(path, &names) {
            Some(name) => format!("did you mean [{name}]?"),
            None => format!("the sections are {}", section_names()),
        };
        self.problem(&format!("[{path}]"), format!("unknown section; {hint}"));
    }

    fn problem(&mut self, key: &str, sentence: String) {
        self.problems.push(Problem::at(&self.place, sentence).key(key));
    }
}

/// A name as TOML would spell it; so one with a dot in it is not taken for a path.
fn spelled(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { super::kind::quoted(name) }
}

fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|(name, _)| *name == path)
}

fn paths() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.path).collect()
}

fn names_in(section: &str) -> String {
    KEYS.iter().filter(|key| key.section() == section).map(Key::name).collect::<Vec<_>>().join(", ")
}

fn section_names() -> String {
    SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Reads every variable whose name starts with [`PREFIX`], but for Kubernetes' own.
///
/// A variable is the key's path in capitals, with two underscores for each dot. An empty one unsets an optional key, whatever the
/// file says; for any other key it is a problem.
pub(super) fn environment<K, V>(variables: impl IntoIterator<Item = (K, V)>, problems: &mut Vec<Problem>) -> Vec<Said>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .map(|(name, value)| (name.into().to_string_lossy().into_owned(), value.into()))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_service_link(name))
        .collect();
    ours.sort();
    ours.into_iter().filter_map(|(name, value)| variable(name, value, problems)).collect()
}

/// What Kubernetes puts into every container's environment for a Service that is called kadabra.
fn is_service_link(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest == "PORT" || rest.starts_with("PORT_")
}

fn variable(name: String, value: OsString, problems: &mut Vec<Problem>) -> Option<Said> {
    let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
        let path = name.strip_prefix(PREFIX).unwrap_or_default().replace("__", ".");
        let hint = nearest::path(&path, &paths()).and_then(schema::find).map_or_else(
            || format!("a variable is {PREFIX}, a key's path in capitals and __ for each dot, such as {PREFIX}LOG__LEVEL"),
            |key| format!("did you mean {}?", key.variable()),
        );
        problems.push(Problem::at(name.escape_debug().to_string(), format!("unknown variable; {hint}")));
        return None;
    };
    let wrong = |sentence| Problem::at(&name, sentence).key(key.path);
    let what = match value.into_string().map(|text| listed(key, text)) {
        Ok(empty) if empty.is_empty() && !matches!(key.default, Fallback::Is(_)) => What::Unset,
        Ok(text) => match key.kind.check(&text) {
            Ok(_) => What::Value(text),
            Err(sentence) => {
                problems.push(wrong(sentence).value(key.kind.shown(&text)));
                What::Wrong
            }
        },
        Err(_) => {
            problems.push(wrong("expected UTF-8 text".to_owned()));
            What::Wrong
        }
    };
    Some(Said { key, what, place: name })
}

/// What a file would have as a list, such as `[]`, as text of the same meaning. An address in brackets is no such list.
fn listed(key: &Key, text: String) -> String {
    if !matches!(key.kind, Kind::Addresses) || !text.starts_with('[') {
        return text;
    }
    let table = FileFormat::Toml.parse(None, &format!("list = {text}")).ok();
    let list = table.and_then(|table| key.kind.text(&table.get("list")?.kind).ok());
    list.unwrap_or(text)
}
