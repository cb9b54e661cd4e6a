//! From the sources to valid settings, or to everything that is wrong.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::effective::Effective;
use super::error::{ConfigErrors, Problem};
use super::schema::find;
use super::values::Values;
use super::{Settings, contradictions, password_file, settings, source};

/// The file that is read, if it exists, when none is named.
pub const DEFAULT_FILE: &str = "/etc/kadabra/kadabra.toml";

/// Valid settings, and where they came from.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    values: Values,
}

impl Loaded {
    /// The configuration that holds, as TOML, with where each value came from and without secrets.
    #[must_use]
    pub fn effective(&self) -> Effective<'_> {
        Effective { values: &self.values, file: self.file.as_deref() }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("settings", &self.settings).field("file", &self.file).finish_non_exhaustive()
    }
}

/// Loads the configuration: built-in defaults, over them `file` (or [`DEFAULT_FILE`] if it exists), over that the variables of the
/// environment that start with `KADABRA_`, usually [`std::env::vars_os`].
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load<K, V>(file: Option<&Path>, environment: impl IntoIterator<Item = (K, V)>) -> Result<Loaded, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    load_or(Path::new(DEFAULT_FILE), file, environment)
}

/// As [`load`], with `default_file` in the place of [`DEFAULT_FILE`].
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_or<K, V>(
    default_file: &Path,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Loaded, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let mut problems = Vec::new();
    let path = file.or_else(|| default_file.try_exists().unwrap_or(true).then_some(default_file));
    let from_file = path.map_or_else(|| Some(Vec::new()), |path| source::file(path, &mut problems));
    let from_environment = source::environment(environment, &mut problems);
    let host_name = gethostname::gethostname().to_string_lossy().into_owned();

    let merged = Values::merge(&host_name, [from_file.as_deref().unwrap_or_default(), &from_environment]);
    let values = match merged {
        Ok(values) => values,
        Err(error) => {
            problems.push(Problem::at("configuration", format!("cannot be merged: {error}")));
            return Err(ConfigErrors::new(problems));
        }
    };
    problems.extend(unusable_host_name(&values));
    // Of a file that cannot be read nobody knows what its values would contradict.
    if from_file.is_some() {
        problems.extend(contradictions::all(&values));
    }
    let mut password = |section: &str| {
        let path = format!("{section}.password_file");
        values.uses(section).then(|| password_file::read(&values, &path, &mut problems)).flatten()
    };
    let passwords = settings::Passwords { redis: password("channel.redis"), influxdb: password("publisher.influxdb") };
    if !problems.is_empty() {
        return Err(ConfigErrors::new(problems));
    }
    match settings::build(&values, passwords) {
        Some(settings) => Ok(Loaded { settings, file: path.map(Path::to_owned), values }),
        None => Err(ConfigErrors::new(vec![Problem::at(
            "configuration",
            "a key's kind does not fit its setting; this is a bug in kadabra",
        )])),
    }
}

/// The host's name is not the operator's to choose for our sake, but the agent's name is.
fn unusable_host_name(values: &Values) -> Option<Problem> {
    let found = values.found("agent.name").filter(|found| found.place.is_none())?;
    let sentence = find("agent.name")?.kind.check(found.text.as_deref()?).err()?;
    Some(Problem::at("host name", format!("{sentence}; set agent.name")).key("agent.name").value(found.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_that_cannot_name_an_agent_asks_for_one() {
        let values = Values::merge("my host", [&[], &[]]).unwrap();
        let problem = unusable_host_name(&values).unwrap().to_string();
        assert!(problem.starts_with("host name: agent.name = \"my host\": expected a name of 1 to 100 characters"), "{problem}");
        assert!(problem.ends_with("; set agent.name"), "{problem}");
        assert_eq!(unusable_host_name(&Values::merge("web-1.example.com", [&[], &[]]).unwrap()), None);
    }
}
