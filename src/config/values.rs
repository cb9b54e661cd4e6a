//! The value that holds for each key after built-in defaults < file < environment, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, ConfigError};

use super::error::Problem;
use super::origin::Origin;
use super::schema::{self, Fallback, Key, keys};
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

/// The values that hold.
#[derive(Clone)]
pub(super) struct Values {
    found: BTreeMap<&'static str, Found>,
    /// By section, the password in the file that it names.
    passwords: BTreeMap<&'static str, Secret>,
    /// By section, what it says of TLS.
    tls: BTreeMap<&'static str, Tls>,
}

/// The value that holds for one key.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: &'static Key,
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
        let mut merged = Config::builder();
        for key in keys() {
            merged = merged.set_default(key.path, host.default(key))?;
        }
        let mut origins = BTreeMap::new();
        let mut wrong = BTreeSet::new();
        for SourceValue { key, content, origin } in sources.iter().copied().flatten() {
            match content {
                Content::Value(text) => {
                    merged = merged.set_override(key.path, text.as_str())?;
                    origins.insert(key.path, origin);
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
            let origin = origins.get(key.path).map(|origin| (*origin).clone());
            let text = merged.get::<Option<String>>(key.path)?;
            Ok((key.path, Found { key, text, origin, wrong: wrong.contains(key.path) }))
        };
        let found = keys().map(found).collect::<Result<_, _>>()?;
        Ok(Self { found, passwords: BTreeMap::new(), tls: BTreeMap::new() })
    }

    /// What holds for a key.
    pub(super) fn found(&self, key: &'static Key) -> Found {
        self.found.get(key.path).cloned().unwrap_or(Found { key, text: None, origin: None, wrong: false })
    }

    /// The variables of the environment that hold.
    pub(super) fn variables(&self) -> Vec<&str> {
        self.found.values().filter_map(|found| found.origin.as_ref()?.as_variable()).collect()
    }

    /// The value of a key, unless it is unset or wrong.
    pub(super) fn checked(&self, key: &'static Key) -> Option<Checked> {
        let found = self.found.get(key.path).filter(|found| !found.wrong)?;
        key.value_type.check(found.text.as_deref()?).ok()
    }

    /// The password in the file that a section names.
    pub(super) fn password_of(&self, section: &str) -> Option<Secret> {
        self.passwords.get(section).cloned()
    }

    /// What a section says of TLS.
    pub(super) fn tls_of(&self, section: &str) -> Tls {
        self.tls.get(section).cloned().unwrap_or_default()
    }

    /// With what was read, by section, from the files that sections name.
    pub(super) fn with_files(self, passwords: BTreeMap<&'static str, Secret>, tls: BTreeMap<&'static str, Tls>) -> Self {
        Self { passwords, tls, ..self }
    }

    /// Whether a section is in use: `channel.redis` is when `channel.type` is `redis`.
    pub(super) fn uses(&self, section: &str) -> bool {
        self.chooser(section).is_none_or(|(_, chosen)| chosen)
    }

    /// The key that chooses between a section and others, and whether it chooses this one.
    pub(super) fn chooser(&self, section: &str) -> Option<(&'static Key, bool)> {
        let (parent, name) = section.rsplit_once('.')?;
        let key = schema::find(&format!("{parent}.type"))?;
        Some((key, String::of(self, key).is_some_and(|chosen| chosen == name)))
    }
}

impl Found {
    /// Whether no source has anything for it, right or wrong, and it has no default.
    pub(super) fn is_unset(&self) -> bool {
        self.text.is_none() && !self.wrong
    }

    /// The value as TOML, fit to be seen.
    pub(super) fn shown(&self) -> String {
        self.key.value_type.shown(self.text.as_deref().unwrap_or_default())
    }
    /// That something is wrong with this value.
    pub(super) fn problem(&self, sentence: impl Into<String>) -> Problem {
        let origin = self.origin.as_ref().map_or_else(|| "built-in default".to_owned(), ToString::to_string);
        Problem::at(origin, sentence).key(self.key.path).value(self.shown())
    }

    /// The value in a sentence about another, with its origin unless that is the same line.
    pub(super) fn described_to(&self, other: &Self) -> String {
        let origin = match &self.origin {
            None => "by default".to_owned(),
            Some(origin) => origin.relative_to(other.origin.as_ref()),
        };
        format!("{} = {} ({origin})", self.key, self.shown())
    }
}
