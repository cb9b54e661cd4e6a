//! What there is to configure: sections, and in them keys. Each is declared in `sections`, in a file of its own.

use std::fmt;

use super::cross_checks::CrossChecks;
use super::value_type::quoted;
pub use super::{sections::SECTIONS, value_type::ValueType};

/// A section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// As a file has it between brackets: `channel.redis`.
    pub path: &'static str,
    /// What it is for, for operators.
    pub doc: &'static str,
    /// Its keys, in the order in which they are documented.
    pub keys: &'static [&'static Key],
    /// When a change takes effect of those of them that say nothing else.
    pub(super) reload: Reload,
    /// Checks its values, each right by itself, against each other and against those of other sections.
    pub(super) check: fn(&mut CrossChecks<'_>),
}

/// A key of the configuration; displays as its path.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands, from the outermost section on: `channel.redis.url`.
    pub path: &'static str,
    /// What it takes.
    pub value_type: ValueType,
    /// With what there is such a key, if not always.
    pub only: Option<Only>,
    /// What it is when no source has it.
    pub default: Fallback,
    /// When a change of it takes effect in an agent that runs.
    pub reload: Reload,
    /// What it does, and when to change it: one paragraph for operators.
    pub doc: &'static str,
}

/// That there is a key only where another of its section is one of some words.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    /// The other key's name within the section.
    pub chooser: &'static str,
    /// The words.
    pub words: &'static [&'static str],
}

/// When a change takes effect in an agent that is told to reload its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At once.
    AtOnce,
    /// At once, for which the pipelines that it concerns are drained and built anew.
    Rebuilds,
    /// When the agent is started again.
    Restart,
}

/// What a key is when no source has it.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This, as the environment would have it.
    Is(&'static str),
    /// The host's name.
    HostName,
    /// A file of that name where the host keeps a program's state; absent when the environment says nothing of where that is.
    StateFile(&'static str),
    /// Nothing; the key is optional, and a value might look like this.
    Unset(&'static str),
}

impl Key {
    /// The section it stands in: `channel.redis` for `channel.redis.url`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section: `url` for `channel.redis.url`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Its path where it is said of one of several publishers: `publishers.eu.influxdb.url` for `publisher.influxdb.url`, and
    /// `publishers.eu.batch.interval` for `batch.interval`. As it is declared where there is none.
    #[must_use]
    pub fn path_of(&self, publisher: Option<&str>) -> String {
        let Some(publisher) = publisher else { return self.path.to_owned() };
        let within = self.path.strip_prefix("publisher.").or_else(|| self.path.strip_prefix("publishers.NAME."));
        format!("publishers.{publisher}.{}", within.unwrap_or(self.path))
    }

    /// The environment variable that sets it: `KADABRA_CHANNEL__REDIS__URL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.to_uppercase().replace('.', "__"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// What the name of every environment variable of the configuration starts with.
pub const PREFIX: &str = "KADABRA_";

/// Every key, section by section.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().copied())
}

/// The key at a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

/// Whether something at a path is said of one publisher, so that each of several has its own.
pub(super) fn is_of_a_publisher(path: &str) -> bool {
    matches!(path.split('.').next(), Some("publisher" | "publishers" | "batch"))
}

/// Where `publishers.eu.influxdb.url`, a key or a section, is declared, and of which publisher it is.
///
/// # Errors
/// When it is said of one of several publishers and of none that can be: a sentence.
pub(super) fn declared(path: &str) -> Result<(Option<&str>, String), String> {
    let Some((name, rest)) = path.strip_prefix("publishers.").map(|rest| rest.split_once('.').unwrap_or((rest, ""))) else {
        return Ok((None, path.to_owned()));
    };
    let fits = (1..=32).contains(&name.len()) && name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if !fits || name.contains("__") {
        return Err(format!("{PUBLISHER_NAMES}, since it names keys and variables, not {}", quoted(name)));
    }
    let declared = |path: &String| find(path).is_some() || find_section(path).is_some();
    let own = if rest.is_empty() { "publisher".to_owned() } else { format!("publisher.{rest}") };
    let candidates = [own.clone(), format!("publishers.NAME.{rest}"), rest.to_owned()];
    let path = candidates.into_iter().find(|path| is_of_a_publisher(path) && declared(path));
    Ok((Some(name), path.unwrap_or(own)))
}

/// A sentence about the keys of the one publisher, said of one of several. What only looks like a key, such as a host or a file, stays.
pub(crate) fn said_of(publisher: &str, sentence: &str) -> String {
    const ONE: &str = "publisher.";
    let is_declared = |rest: &str| {
        let paths = SECTIONS.iter().map(|section| section.path).chain(keys().map(|key| key.path));
        paths.filter_map(|path| path.strip_prefix(ONE)).any(|own| rest.starts_with(own))
    };
    let (mut said, mut rest) = (String::new(), sentence);
    while let Some((before, behind)) = rest.split_once(ONE) {
        said.push_str(before);
        let is_path = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || "_./-".contains(c)) && is_declared(behind);
        said.push_str(&if is_path { format!("publishers.{publisher}.") } else { ONE.to_owned() });
        rest = behind;
    }
    (said + rest).replace("[publisher]", &format!("[publishers.{publisher}]"))
}

/// The section of a publisher, which has no name where it is the only one.
pub(super) fn said_of_section(publisher: Option<&str>) -> String {
    publisher.map_or_else(|| "[publisher]".to_owned(), |name| format!("[publishers.{name}]"))
}

/// What a publisher may be called.
const PUBLISHER_NAMES: &str = "expected a publisher's name of 1 to 32 small letters, digits, single _ and -";

/// The section at a path.
pub(super) fn find_section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_said_of_a_publisher_with_its_keys_and_everything_else_as_it_is() {
        for (one, of_several) in [
            ("set publisher.type, publisher.influxdb.url", "set publishers.eu.type, publishers.eu.influxdb.url"),
            ("a key of [publisher.influxdb] and [publisher]", "a key of [publishers.eu.influxdb] and [publishers.eu]"),
            ("http://publisher.example.com/publisher.toml", "http://publisher.example.com/publisher.toml"),
            ("http://my-publisher.type.example", "http://my-publisher.type.example"),
            ("publisher", "publisher"),
        ] {
            assert_eq!(said_of("eu", one), of_several);
        }
    }

    #[test]
    fn every_key_stands_there_once_and_takes_its_own_default() {
        for key in keys() {
            assert_eq!(keys().filter(|other| other.path == key.path).count(), 1, "{key} twice");
            if let Fallback::Is(text) | Fallback::Unset(text) = key.default {
                assert!(key.value_type.check(text).is_ok(), "{key}: {text}");
            }
        }
    }
}
