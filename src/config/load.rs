//! From the sources to valid settings, or to everything that is wrong.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::cross_checks::CrossChecks;
use super::effective::Effective;
use super::error::{ConfigErrors, Problem};
use super::schema::{SECTIONS, keys};
use super::value_type::{ValueType, quoted};
use super::values::{Host, Values};
use super::{Agent, Embedded, Settings, password_file, source};

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
    /// Where the configuration comes from, from the weakest to the strongest, for people.
    #[must_use]
    pub fn sources(&self) -> String {
        let file = match &self.file {
            Some(path) => format!("then {}", path.display()),
            None => format!("no file, since there is no {DEFAULT_FILE}"),
        };
        let variables = self.values.variables().join(", ");
        let environment = if variables.is_empty() { String::new() } else { format!(", then the environment ({variables})") };
        format!("built-in defaults, {file}{environment}")
    }

    /// The configuration that holds, as TOML, with where each value came from and without secrets.
    #[must_use]
    pub fn effective(&self) -> Effective<'_> {
        Effective { values: &self.values, sources: self.sources() }
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
    let environment: Vec<(OsString, OsString)> =
        environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let home = source::absolute_path("HOME", &environment);
    let mut problems = Vec::new();
    let path = file.or_else(|| default_file.try_exists().unwrap_or(true).then_some(default_file));
    let from_file = path.map_or_else(|| Some(Vec::new()), |path| source::file(path, home.as_deref(), &mut problems));
    let host = Host { name: gethostname::gethostname().to_string_lossy().into_owned(), state: state_folder(&environment) };
    let from_environment = source::environment(&environment, home.as_deref(), &mut problems);
    let merged = Values::merge(&host, &[from_file.as_deref().unwrap_or_default(), &from_environment]);
    let mut values = match merged {
        Ok(values) => values,
        Err(error) => {
            problems.push(Problem::at("configuration", format!("cannot be merged: {error}")));
            return Err(ConfigErrors::new(problems));
        }
    };
    problems.extend(unusable_host_name(&values));
    problems.extend(nowhere_for_the_queue(&values, &environment));
    // A file that cannot be read may have the values that would be right beside these.
    if from_file.is_some() {
        for section in SECTIONS.iter().filter(|section| values.uses(section.path)) {
            (section.check)(&mut CrossChecks::new(&values, &mut problems));
        }
    }
    for key in keys().filter(|key| matches!(key.value_type, ValueType::PasswordFile)) {
        if values.uses(key.section())
            && let Some(password) = password_file::read(&values, key, &mut problems)
        {
            values.keep_password(key.section(), password);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigErrors::new(problems));
    }
    match Settings::build(&values) {
        Some(settings) => Ok(Loaded { settings, file: path.map(Path::to_owned), values }),
        None => Err(ConfigErrors::new(vec![Problem::at(
            "configuration",
            "a key's value type does not fit its setting; this is a bug in kadabra",
        )])),
    }
}

/// The host's name is not the operator's to choose for our sake, but the agent's name is.
fn unusable_host_name(values: &Values) -> Option<Problem> {
    let found = values.found(Agent::name);
    let sentence = found.key.value_type.check(found.text.as_deref().filter(|_| found.origin.is_none())?).err()?;
    Some(Problem::at("host name", format!("{sentence}; set {}", found.key)).key(found.key.path).value(found.shown()))
}

/// Where a program that was started like this one keeps its state: systemd says so, or the XDG Base Directory Specification.
fn state_folder(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let absolute = |name: &str| source::absolute_path(name, environment);
    of_systemd(environment).map(PathBuf::from).or_else(|| {
        let home = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(home.join("kadabra"))
    })
}

/// The first of the folders, with colons between them, that systemd has made for the state of a unit.
fn of_systemd(environment: &[(OsString, OsString)]) -> Option<&str> {
    let (_, value) = environment.iter().find(|(name, _)| name == "STATE_DIRECTORY")?;
    value.to_str()?.split(':').next().filter(|folder| !folder.is_empty())
}

fn nowhere_for_the_queue(values: &Values, environment: &[(OsString, OsString)]) -> Option<Problem> {
    let path = Some(values.found(Embedded::path)).filter(|path| values.uses(path.key.section()))?;
    let relative = of_systemd(environment).filter(|folder| !folder.starts_with('/') && path.origin.is_none());
    if let Some(folder) = relative {
        // systemd's never is, so somebody else has set it.
        let place = format!("STATE_DIRECTORY = {}", quoted(folder));
        return Some(Problem::at(place, "expected an absolute path; a relative one would depend on where the agent is started"));
    }
    let sentence = format!(
        "expected {}, since none of STATE_DIRECTORY, XDG_STATE_HOME and HOME says where state is kept",
        super::path::EXPECTED
    );
    path.is_unset().then(|| Problem::at("environment", sentence).key(path.key.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_that_cannot_name_an_agent_asks_for_one() {
        let host = |name: &str| Host { name: name.to_owned(), state: None };
        let values = Values::merge(&host("my host"), &[]).unwrap();
        let problem = unusable_host_name(&values).unwrap().to_string();
        assert!(problem.starts_with("host name: agent.name = \"my host\": expected a name of 1 to 100 characters"), "{problem}");
        assert!(problem.ends_with("; set agent.name"), "{problem}");
        assert_eq!(unusable_host_name(&Values::merge(&host("web-1.example.com"), &[]).unwrap()), None);
    }

    #[test]
    fn the_queue_is_kept_where_systemd_says_else_where_the_users_programs_keep_their_state() {
        let folder = |environment: &[(&str, &str)]| {
            let environment: Vec<_> = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            state_folder(&environment).map(|path| path.display().to_string())
        };
        let (systemd, xdg, home) =
            (("STATE_DIRECTORY", "/var/lib/kadabra:/other"), ("XDG_STATE_HOME", "/s"), ("HOME", "/home/a"));
        assert_eq!(folder(&[home, xdg, systemd]).as_deref(), Some("/var/lib/kadabra"));
        assert_eq!(folder(&[home, xdg]).as_deref(), Some("/s/kadabra"));
        assert_eq!(folder(&[home]).as_deref(), Some("/home/a/.local/state/kadabra"));
        // To be ignored by its specification, since it is relative.
        assert_eq!(
            folder(&[home, ("XDG_STATE_HOME", "s"), ("STATE_DIRECTORY", "")]).as_deref(),
            Some("/home/a/.local/state/kadabra")
        );
        assert_eq!(folder(&[]), None);
    }
}
