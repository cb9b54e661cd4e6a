//! The values of a file and of the environment, each checked by itself: shape, names and values. Merging is not done here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::origin::Origin;
use super::python_agent;
use super::schema::{self, Fallback, Key, PREFIX, SECTIONS, keys};
use super::sections::Consumer;
use super::service_links::is_service_link;
use super::value_type::{ValueType, quoted};
use super::{nearest, path, path::Folders, syntax};

/// What one source has for a key.
pub(super) struct SourceValue {
    pub(super) key: &'static Key,
    /// Of which of several publishers it is said.
    pub(super) publisher: Option<String>,
    pub(super) content: Content,
    pub(super) origin: Origin,
}

pub(super) enum Content {
    /// This text, which its key accepts.
    Value(String),
    /// That it has no value, whatever an earlier source has.
    Unset,
    /// Something wrong, for which there is a [`Problem`]. Still kept: what depends on it cannot be judged.
    Wrong,
}

/// Reads a file; `None` if it cannot be read or is not TOML. `folders` are what paths may begin with.
pub(super) fn file(path: &Path, folders: &Folders, problems: &mut Vec<Problem>) -> Option<Vec<SourceValue>> {
    let shown = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                problems.push(Problem::at(format!("{shown}, line {line}"), "expected UTF-8 text"));
                return None;
            }
        },
        Err(error) => {
            problems.push(Problem::at(shown, format!("cannot be read: {error}")));
            return None;
        }
    };
    match DeTable::parse(&text) {
        Ok(table) => {
            let mut reading = Reading { path: &shown, text: &text, folders, values: Vec::new(), problems };
            reading.table("", table.get_ref());
            Some(reading.values)
        }
        Err(error) => {
            let (line, sentence) = syntax::error(&text, &error);
            problems.push(Problem::at(format!("{shown}, line {line}"), sentence));
            None
        }
    }
}

struct Reading<'a> {
    path: &'a str,
    text: &'a str,
    folders: &'a Folders,
    values: Vec<SourceValue>,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let origin = Origin::in_file(self.path, self.text, name.span().start);
            let name = spelled(name.get_ref());
            let path = if section.is_empty() { name } else { format!("{section}.{name}") };
            match (path.as_str(), value.get_ref()) {
                ("publishers", DeValue::Table(inner)) => self.table(&path, inner),
                ("publishers", _) => {
                    self.problem(
                        &origin,
                        &path,
                        "expected sections, such as [publishers.main] with keys such as type".to_owned(),
                    );
                }
                _ => match schema::declared(&path) {
                    Ok((publisher, declared)) => self.entry((&path, publisher), &declared, value.get_ref(), origin),
                    Err(sentence) => self.problem(&origin, &path, sentence),
                },
            }
        }
    }

    fn entry(&mut self, (path, publisher): (&str, Option<&str>), declared: &str, value: &DeValue<'_>, origin: Origin) {
        // What is wrong is told of the keys as they are declared.
        let told =
            |sentence: String| publisher.map_or_else(|| sentence.clone(), |publisher| schema::said_of(publisher, &sentence));
        let section = declared.rsplit_once('.').map_or("", |(section, _)| section);
        match (schema::find(declared), value) {
            (Some(key), value) => self.value(key, publisher, value, origin),
            (None, DeValue::Table(inner)) if is_section(declared) => {
                if publisher.is_some() && path.split('.').count() == 2 {
                    // It is a publisher though it sets nothing.
                    let publisher = publisher.map(ToOwned::to_owned);
                    self.values.push(SourceValue { key: Consumer::max_backlog, publisher, content: Content::Unset, origin });
                }
                self.table(path, inner);
            }
            (None, DeValue::Table(inner)) if has_only_sections(declared) => self.table(path, inner),
            (None, DeValue::Table(_)) => self.problem(&origin, &format!("[{path}]"), told(unknown_section(declared))),
            (None, _) if is_section(declared) => {
                let example =
                    schema::find_section(declared).and_then(|section| section.keys.first()).map_or("", |key| key.name());
                self.problem(&origin, path, format!("expected a section, [{path}] with keys such as {example}"));
            }
            (None, _) => self.problem(&origin, path, told(unknown_key(section, declared))),
        }
    }

    fn value(&mut self, key: &'static Key, publisher: Option<&str>, value: &DeValue<'_>, origin: Origin) {
        let text = match value {
            DeValue::Table(_) => Err(format!("expected a value, not a section; {} takes {}", key.name(), key.value_type.takes())),
            value => key.value_type.text(value).and_then(|text| accepted(key, text, self.folders)),
        };
        let content = match text {
            Ok(text) => Content::Value(text),
            Err(sentence) => {
                let problem = Problem::at(origin.to_string(), sentence).key(key.path_of(publisher));
                let shown = !value.is_table();
                self.problems.push(if shown { problem.value(key.value_type.shown_value(value)) } else { problem });
                Content::Wrong
            }
        };
        self.values.push(SourceValue { key, publisher: publisher.map(ToOwned::to_owned), content, origin });
    }

    fn problem(&mut self, origin: &Origin, key: &str, sentence: String) {
        self.problems.push(Problem::at(origin.to_string(), sentence).key(key));
    }
}

/// The text that holds for a key, if the key takes it.
fn accepted(key: &Key, text: String, folders: &Folders) -> Result<String, String> {
    match key.value_type {
        ValueType::Path => path::absolute(&text, folders.home.as_deref()),
        ValueType::PasswordFile | ValueType::TokenFile | ValueType::PemFile => path::of_a_secret(&text, folders),
        value_type => value_type.check(&text).map(|_| text),
    }
}

fn unknown_key(section: &str, path: &str) -> String {
    if let Some(meant) = python_agent::instead_of(path) {
        return format!("unknown key; {meant}");
    }
    match nearest::path(path, &paths()).as_slice() {
        [] if section.is_empty() || has_only_sections(section) => {
            format!("unknown key; the sections are {}", sections().join(", "))
        }
        [] => format!("unknown key; [{section}] has {}", names_in(section)),
        names => format!("unknown key; did you mean {}?", names.join(" or ")),
    }
}

fn unknown_section(path: &str) -> String {
    if let Some(meant) = python_agent::instead_of(path) {
        return format!("unknown section; {meant}");
    }
    match nearest::path(path, &sections()).as_slice() {
        [] => format!("unknown section; the sections are {}", sections().join(", ")),
        names => format!(
            "unknown section; did you mean {}?",
            names.iter().map(|name| format!("[{name}]")).collect::<Vec<_>>().join(" or ")
        ),
    }
}

/// A name as TOML would spell it; so one with a dot in it is not taken for a path.
fn spelled(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { quoted(name) }
}

fn is_section(path: &str) -> bool {
    schema::find_section(path).is_some()
}

/// Whether it has no keys of its own.
fn has_only_sections(path: &str) -> bool {
    let inside = |section: &str| section.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    !is_section(path) && sections().into_iter().any(inside)
}

fn paths() -> Vec<&'static str> {
    keys().map(|key| key.path).collect()
}

fn names_in(section: &str) -> String {
    keys().filter(|key| key.section() == section).map(Key::name).collect::<Vec<_>>().join(", ")
}

fn sections() -> Vec<&'static str> {
    SECTIONS.iter().map(|section| section.path).collect()
}

/// Reads every variable whose name starts with [`PREFIX`], but for those of [`is_service_link`]. `folders` are what
/// paths may begin with.
///
/// A variable is the key's path in capitals, with two underscores for each dot. An empty one unsets an optional key, whatever the
/// file says; for any other key it is a problem.
pub(super) fn environment(
    variables: &[(OsString, OsString)],
    folders: &Folders,
    problems: &mut Vec<Problem>,
) -> Vec<SourceValue> {
    let mut ours: Vec<(String, &OsString)> = variables
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_service_link(name, value))
        .collect();
    ours.sort();
    ours.into_iter().filter_map(|(name, value)| variable(&name, value, folders, problems)).collect()
}

/// The path in a variable of the environment that is not ours; a relative one says nothing.
pub(super) fn absolute_path(name: &str, variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    let (_, value) = variables.iter().find(|(other, _)| other == name)?;
    Some(PathBuf::from(value)).filter(|path| path.is_absolute())
}

fn variable(name: &str, value: &OsString, folders: &Folders, problems: &mut Vec<Problem>) -> Option<SourceValue> {
    let Some((key, publisher)) = set_by(name) else {
        problems.push(Problem::at(name.escape_debug().to_string(), format!("unknown variable; {}", instead_of_variable(name))));
        return None;
    };
    let path = key.path_of(publisher.as_deref());
    let wrong = |sentence| Problem::at(name, sentence).key(path.clone());
    let content = match value.to_str().map(|text| listed(key, text.to_owned())) {
        Some(empty) if empty.is_empty() && !matches!(key.default, Fallback::Is(_)) => Content::Unset,
        Some(text) => {
            let shown = key.value_type.shown(&text);
            match accepted(key, text, folders) {
                Ok(text) => Content::Value(text),
                Err(sentence) => {
                    problems.push(wrong(sentence).value(shown));
                    Content::Wrong
                }
            }
        }
        None => {
            problems.push(wrong("expected UTF-8 text".to_owned()));
            Content::Wrong
        }
    };
    Some(SourceValue { key, publisher, content, origin: Origin::variable(name) })
}

/// The key that a variable sets, and of which of several publishers.
fn set_by(name: &str) -> Option<(&'static Key, Option<String>)> {
    let path = name.strip_prefix(PREFIX)?.replace("__", ".");
    let (publisher, declared) = match path.split_once('.') {
        Some(("PUBLISHERS", _)) => {
            let path = path.to_lowercase();
            let (publisher, declared) = schema::declared(&path).ok()?;
            (Some(publisher?.to_owned()), declared)
        }
        _ => return Some((keys().find(|key| key.variable() == name && key.section() != Consumer::SECTION.path)?, None)),
    };
    // Only as it is written, in capitals.
    Some((schema::find(&declared)?, publisher)).filter(|_| path == path.to_uppercase())
}

fn instead_of_variable(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    if let Some(meant) = python_agent::instead_of(rest) {
        return meant;
    }
    let names = nearest::path(&rest.replace("__", "."), &paths());
    let variables: Vec<_> = names.into_iter().filter_map(schema::find).map(Key::variable).collect();
    if variables.is_empty() {
        return format!("a variable is {PREFIX}, a key's path in capitals and __ for each dot, such as {PREFIX}LOG__LEVEL");
    }
    format!("did you mean {}?", variables.join(" or "))
}

/// What a file would have as a list, such as `[]`, as text of the same meaning. An address in brackets is no such list.
fn listed(key: &Key, text: String) -> String {
    if !matches!(key.value_type, ValueType::Addresses | ValueType::List { .. }) || !text.starts_with('[') {
        return text;
    }
    DeValue::parse(&text).ok().and_then(|list| key.value_type.text(list.get_ref()).ok()).unwrap_or(text)
}
