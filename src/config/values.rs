//! What holds for each key after built-in defaults < file < environment, and who said so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, ConfigError};

use super::kind::Checked;
use super::place::Place;
use super::schema::{self, Fallback, KEYS, Key};
use super::source::{Said, What};

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
pub(super) struct Values(BTreeMap<&'static str, Found>);

/// The value that holds for one key.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: &'static Key,
    /// What its key accepts; absent for an optional key that nobody set.
    pub(super) text: Option<String>,
    /// Absent for a default.
    pub(super) place: Option<Place>,
    /// Whether a source said something wrong, so that nothing can be concluded from the value.
    wrong: bool,
}

impl Values {
    /// What the sources said, the later over the earlier, over the defaults.
    ///
    /// # Errors
    /// When the path of a key is none, which no source can cause.
    pub(super) fn merge(host: &Host, sources: [&[Said]; 2]) -> Result<Self, ConfigError> {
        let mut merged = Config::builder();
        for key in KEYS {
            merged = merged.set_default(key.path, host.default(key))?;
        }
        let mut places = BTreeMap::new();
        let mut wrong = BTreeSet::new();
        for Said { key, what, place } in sources.into_iter().flatten() {
            match what {
                What::Value(text) => {
                    merged = merged.set_override(key.path, text.as_str())?;
                    places.insert(key.path, place);
                }
                What::Unset => {
                    merged = merged.set_override(key.path, host.default(key))?;
                    places.remove(key.path);
                }
                What::Wrong => drop(wrong.insert(key.path)),
            }
        }
        let merged = merged.build()?;
        let found = |key: &'static Key| {
            let place = places.get(key.path).map(|place| (*place).clone());
            let text = merged.get::<Option<String>>(key.path)?;
            Ok((key.path, Found { key, text, place, wrong: wrong.contains(key.path) }))
        };
        KEYS.iter().map(found).collect::<Result<_, _>>().map(Self)
    }

    /// What was found for a key of the schema.
    pub(super) fn found(&self, path: &str) -> Option<&Found> {
        self.0.get(path)
    }

    /// The variables of the environment that hold.
    pub(super) fn variables(&self) -> Vec<&str> {
        self.0.values().filter_map(|found| found.place.as_ref()?.as_variable()).collect()
    }

    /// The value of a key, unless it is unset, wrong or of another type.
    pub(super) fn get<T: TryFrom<Checked>>(&self, path: &str) -> Option<T> {
        let found = self.found(path).filter(|found| !found.wrong)?;
        found.key.kind.check(found.text.as_deref()?).ok()?.try_into().ok()
    }

    /// Whether a section is in use: `channel.redis` is when `channel.type` is `redis`.
    pub(super) fn uses(&self, section: &str) -> bool {
        self.chooser(section).is_none_or(|(_, chosen)| chosen)
    }

    /// The key that chooses between a section and others, and whether it chooses this one.
    pub(super) fn chooser(&self, section: &str) -> Option<(&'static Key, bool)> {
        let (parent, name) = section.rsplit_once('.')?;
        let key = schema::find(&format!("{parent}.type"))?;
        Some((key, self.get::<String>(key.path).is_some_and(|chosen| chosen == name)))
    }
}

impl Found {
    /// Whether nobody said anything of it, right or wrong, and it has no default.
    pub(super) fn is_unset(&self) -> bool {
        self.text.is_none() && !self.wrong
    }

    /// The value as TOML, fit to be seen.
    pub(super) fn shown(&self) -> String {
        self.key.kind.shown(self.text.as_deref().unwrap_or_default())
    }
}
