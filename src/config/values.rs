//! What holds for each key after built-in defaults < file < environment, and who said so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::kind::Checked;
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
    /// The file or the variable; absent for a default.
    pub(super) place: Option<String>,
    /// Whether a source said something wrong, so that nothing can be concluded from the value.
    wrong: bool,
}

impl Values {
    /// Merges what the sources said, the later over the earlier, over the defaults.
    pub(super) fn merge(host: &Host, sources: [&[Said]; 2]) -> Result<Self, ConfigError> {
        let mut builder = Config::builder().add_source(Layer::defaults(host));
        for said in sources {
            builder = builder.add_source(Layer::said(host, said));
        }
        let merged = builder.build()?.collect()?;
        let wrong = |key: &Key| {
            sources.iter().copied().flatten().any(|said| said.key.path == key.path && matches!(said.what, What::Wrong))
        };
        Ok(Self(
            KEYS.iter()
                .map(|key| {
                    let value = at(&merged, key.path);
                    let text =
                        value.and_then(|value| if let ValueKind::String(text) = &value.kind { Some(text.clone()) } else { None });
                    let place = value.and_then(|value| value.origin().map(str::to_owned));
                    (key.path, Found { key, text, place, wrong: wrong(key) })
                })
                .collect(),
        ))
    }

    /// What was found for a key of the schema.
    pub(super) fn found(&self, path: &str) -> Option<&Found> {
        self.0.get(path)
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

fn at<'a>(table: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => match &table.get(section)?.kind {
            ValueKind::Table(inner) => at(inner, rest),
            _ => None,
        },
    }
}

/// One source in the form that the merger takes. Passwords pass through it, so it does not print.
#[derive(Clone)]
struct Layer(Map<String, Value>);

impl Layer {
    fn defaults(host: &Host) -> Self {
        let default = |key: &Key| Some((key.path.to_owned(), Value::from(host.default(key)?)));
        Self(KEYS.iter().filter_map(default).collect())
    }

    fn said(host: &Host, said: &[Said]) -> Self {
        let value = |said: &Said| match (&said.what, said.key.default) {
            (What::Value(text), _) => Some((said.key.path.to_owned(), Value::new(Some(&said.place), text.as_str()))),
            (What::Unset, Fallback::Unset(_)) => Some((said.key.path.to_owned(), Value::new(Some(&said.place), ValueKind::Nil))),
            (What::Unset, Fallback::HostName | Fallback::StateFile(_)) => {
                Some((said.key.path.to_owned(), host.default(said.key).map_or_else(|| Value::from(ValueKind::Nil), Value::from)))
            }
            (What::Unset, Fallback::Is(_)) | (What::Wrong, _) => None,
        };
        Self(said.iter().filter_map(value).collect())
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer(***)")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
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
