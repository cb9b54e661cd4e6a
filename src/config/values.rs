//! The value that holds for each key after built-in defaults < files < environment, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, ConfigError};

use super::error::Problem;
use super::origin::Origin;
use super::schema::{self, Fallback, Key, is_of_a_publisher, keys};
use super::sections::Consumer;
use super::setting::Setting;
use super::source::{Content, SourceValue};
use super::value_type::Checked;
use super::{Secret, Tls};

/// What defaults are taken from the host and from whoever started the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// Its name.
    pub(super) name: String,
    /// The folder for a program's state, if the environment says where that is.
    pub(super) state: Option<PathBuf>,
}

impl Host {
    fn default(&self, key: &Key) -> Option<String> {
        match key.default {
            Fallback::Is(text) => Some(text.to_owned()),
            Fallback::HostName => Some(self.name.clone()),
            Fallback::StateFile(name) => Some(self.state.as_ref()?.join(name).to_str()?.to_owned()),
            Fallback::Unset(_) => None,
        }
    }
}

/// What was read from files, by the section that names them.
type Files = (BTreeMap<&'static str, Secret>, BTreeMap<&'static str, Tls>);

/// The values that hold.
#[derive(Clone)]
pub(super) struct Values {
    found: BTreeMap<&'static str, Found>,
    /// By section, the password in the file that it names.
    secrets: BTreeMap<&'static str, Secret>,
    /// By section, what it says of TLS.
    tls: BTreeMap<&'static str, Tls>,
    /// Of which of several publishers they are.
    publisher: Option<String>,
    /// Those of each of several publishers, by its name.
    of_publishers: BTreeMap<String, Values>,
}

/// The value that holds for one key.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: &'static Key,
    /// Of which of several publishers it is.
    publisher: Option<String>,
    /// What its key accepts; absent for an optional key that no source sets.
    pub(super) text: Option<String>,
    /// Absent for a default.
    pub(super) origin: Option<Origin>,
    /// Whether a source has something wrong, so that nothing can be concluded from the value.
    wrong: bool,
}

impl Values {
    /// What the sources have, the later over the earlier, over the defaults.
    ///
    /// # Errors
    /// When the path of a key is none, which no source can cause.
    pub(super) fn merge(host: &Host, sources: &[&[SourceValue]]) -> Result<Self, ConfigError> {
        let all = || sources.iter().copied().flatten();
        let of_all = || all().filter(|value| value.publisher.is_none());
        let mut values = Self::merge_into(host, None, of_all())?;
        for name in all().filter_map(|value| value.publisher.as_deref()).collect::<BTreeSet<_>>() {
            // What is said of one holds over what is said of all, whatever says it.
            let common = of_all().filter(|value| !value.key.path.starts_with("publisher."));
            let own = all().filter(|value| value.publisher.as_deref() == Some(name));
            let its = Self::merge_into(host, Some(name), common.chain(own))?;
            values.of_publishers.insert(name.to_owned(), its);
        }
        Ok(values)
    }

    fn merge_into<'a>(
        host: &Host,
        publisher: Option<&str>,
        sources: impl Iterator<Item = &'a SourceValue>,
    ) -> Result<Self, ConfigError> {
        let mut merged = Config::builder();
        for key in keys() {
            merged = merged.set_default(key.path, host.default(key))?;
        }
        let mut origins = BTreeMap::new();
        let mut wrong = BTreeSet::new();
        for SourceValue { key, content, origin, publisher } in sources {
            match content {
                Content::Value(text) => {
                    merged = merged.set_override(key.path, text.as_str())?;
                    origins.insert(key.path, (origin, publisher));
                }
                Content::Unset => {
                    merged = merged.set_override(key.path, host.default(key))?;
                    origins.remove(key.path);
                }
                Content::Wrong => drop(wrong.insert(key.path)),
            }
        }
        let merged = merged.build()?;
        let found = |key: &'static Key| {
            let text = merged.get::<Option<String>>(key.path)?;
            let (origin, said_of) = match origins.get(key.path) {
                Some((origin, said_of)) => (Some((*origin).clone()), (*said_of).clone()),
                None => (None, publisher.filter(|_| key.path.starts_with("publisher")).map(ToOwned::to_owned)),
            };
            Ok((key.path, Found { key, publisher: said_of, text, origin, wrong: wrong.contains(key.path) }))
        };
        let found = keys().map(found).collect::<Result<_, _>>()?;
        let (secrets, tls, publisher) = (BTreeMap::new(), BTreeMap::new(), publisher.map(ToOwned::to_owned));
        Ok(Self { found, secrets, tls, publisher, of_publishers: BTreeMap::new() })
    }

    /// What holds for a key.
    pub(super) fn found(&self, key: &'static Key) -> Found {
        self.found.get(key.path).cloned().unwrap_or(Found { key, publisher: None, text: None, origin: None, wrong: false })
    }

    /// Has a value hold for a key.
    pub(super) fn set(&mut self, key: &'static Key, text: String, origin: Origin) {
        self.found.insert(key.path, Found { text: Some(text), origin: Some(origin), ..self.found(key) });
    }

    /// Has the values of these keys and sections be as they are in others, whatever holds here.
    pub(super) fn keep(&mut self, others: &Self, is_kept: impl Fn(&Key) -> bool, is_section_kept: impl Fn(&str) -> bool) {
        for key in keys().filter(|key| is_kept(key)) {
            self.found.insert(key.path, others.found(key));
        }
        keep(&mut self.secrets, &others.secrets, &is_section_kept);
        keep(&mut self.tls, &others.tls, &is_section_kept);
    }

    /// Those of each of several publishers, to change them.
    pub(super) fn of_publishers_mut(&mut self) -> &mut BTreeMap<String, Self> {
        &mut self.of_publishers
    }

    /// Changes these values, and where there are several publishers, those of each.
    pub(super) fn for_each(&mut self, change: &mut impl FnMut(&mut Self)) {
        change(self);
        self.of_publishers.values_mut().for_each(|values| values.for_each(change));
    }

    /// The variables of the environment that hold.
    pub(super) fn variables(&self) -> Vec<&str> {
        let all = self.found.values().chain(self.of_publishers.values().flat_map(|values| values.found.values()));
        let variables: BTreeSet<_> = all.filter_map(|found| found.origin.as_ref()?.as_variable()).collect();
        variables.into_iter().collect()
    }

    /// The value of a key, unless it is unset or wrong.
    pub(super) fn checked(&self, key: &'static Key) -> Option<Checked> {
        let found = self.found.get(key.path).filter(|found| !found.wrong)?;
        key.value_type.check(found.text.as_deref()?).ok()
    }

    /// The password or token in the file that a section names.
    pub(super) fn secret_of(&self, section: &str) -> Option<Secret> {
        self.secrets.get(section).cloned()
    }

    /// What a section says of TLS.
    pub(super) fn tls_of(&self, section: &str) -> Tls {
        self.tls.get(section).cloned().unwrap_or_default()
    }

    /// Takes in what is in files that sections name; `read` reads those of some values: secrets, and what is said of TLS.
    pub(super) fn take_files(&mut self, read: &mut impl FnMut(&Self) -> Files) {
        self.for_each(&mut |values| (values.secrets, values.tls) = read(values));
    }

    /// These values, and where there are several publishers, those of each.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.of_publishers.values())
    }

    /// Of which of several publishers these are.
    pub(super) fn publisher(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// Those of each of several publishers.
    pub(super) fn of_publishers(&self) -> impl Iterator<Item = &Self> {
        self.of_publishers.values()
    }

    /// Whether a section is said here, be it in use or not: where there are several publishers, each has its own.
    pub(super) fn has(&self, section: &str) -> bool {
        match &self.publisher {
            Some(_) => is_of_a_publisher(section),
            None => section != Consumer::SECTION.path && (self.of_publishers.is_empty() || !section.starts_with("publisher")),
        }
    }

    /// Whether there is such a key beside what other keys of its section are.
    pub(super) fn has_key(&self, key: &Key) -> bool {
        key.only.is_none_or(|only| {
            let chooser = schema::find(&format!("{}.{}", key.section(), only.chooser));
            let chosen = chooser.and_then(|chooser| String::of(self, chooser));
            chosen.is_none_or(|chosen| only.words.contains(&chosen.as_str()))
        })
    }

    /// Whether a section is in use: `channel.redis` is when `channel.type` is `redis`.
    pub(super) fn uses(&self, section: &str) -> bool {
        self.has(section) && self.chooser(section).is_none_or(|(_, chosen)| chosen)
    }

    /// The key that chooses between a section and others, and whether it chooses this one.
    pub(super) fn chooser(&self, section: &str) -> Option<(&'static Key, bool)> {
        let (parent, name) = section.rsplit_once('.')?;
        let key = schema::find(&format!("{parent}.type"))?;
        Some((key, String::of(self, key).is_some_and(|chosen| chosen == name)))
    }
}

/// Takes what `others` have in these sections for what is there.
fn keep<T: Clone>(own: &mut BTreeMap<&'static str, T>, others: &BTreeMap<&'static str, T>, is_kept: &impl Fn(&str) -> bool) {
    own.retain(|section, _| !is_kept(section));
    let kept = others.iter().filter(|(section, _)| is_kept(section));
    own.extend(kept.map(|(section, value)| (*section, value.clone())));
}

impl Found {
    /// Whether no source has anything for it, right or wrong, and it has no default.
    pub(super) fn is_unset(&self) -> bool {
        self.text.is_none() && !self.wrong
    }

    /// Its key's path, as it is said.
    pub(super) fn path(&self) -> String {
        self.key.path_of(self.publisher.as_deref())
    }

    /// The value as TOML, fit to be seen.
    pub(super) fn shown(&self) -> String {
        self.key.value_type.shown(self.text.as_deref().unwrap_or_default())
    }
    /// That something is wrong with this value.
    pub(super) fn problem(&self, sentence: impl Into<String>) -> Problem {
        let origin = self.origin.as_ref().map_or_else(|| "built-in default".to_owned(), ToString::to_string);
        Problem::at(origin, sentence).key(self.path()).value(self.shown())
    }

    /// The value in a sentence about another, with its origin unless that is the same line.
    pub(super) fn described_to(&self, other: &Self) -> String {
        let origin = match &self.origin {
            None => "by default".to_owned(),
            Some(origin) => origin.relative_to(other.origin.as_ref()),
        };
        format!("{} = {} ({origin})", self.path(), self.shown())
    }
}
