//! From the sources to valid settings, or to everything that is wrong.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::cross_checks::CrossChecks;
use super::effective::Effective;
use super::error::{ConfigErrors, Problem};
use super::schema::{self, Key, SECTIONS, keys};
use super::sections::ChannelSection;
use super::value_type::{ValueType, quoted};
use super::values::{Host, Values};
use super::{Agent, Channel, Embedded, Settings, Status, folder, path::Folders, proxy, secret_file, source, tls};

/// The file that is read, if it exists, when none is named.
pub const DEFAULT_FILE: &str = "/etc/kadabra/kadabra.toml";

/// Where systemd puts what it hands to the unit that is in `conf/systemd`.
const CREDENTIALS: &str = "/run/credentials/kadabra.service";

/// Valid settings, and where they came from.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The files that were read: the one that is named or found, if any, and those of the folder beside it, in their order.
    pub files: Vec<PathBuf>,
    pub(super) values: Values,
}

impl Loaded {
    /// Where the configuration comes from, from the weakest to the strongest, for people.
    #[must_use]
    pub fn sources(&self) -> String {
        let file = if self.files.is_empty() {
            format!("no file, since there is no {DEFAULT_FILE}")
        } else {
            self.files.iter().map(|path| format!("then {}", path.display())).collect::<Vec<_>>().join(", ")
        };
        let variables = self.values.variables().join(", ");
        let environment = if variables.is_empty() { String::new() } else { format!(", then the environment ({variables})") };
        format!("built-in defaults, {file}{environment}")
    }

    /// Whether the queue's file is where the user who runs this keeps state, or the unit that systemd started: no source sets it.
    #[must_use]
    pub fn has_default_queue(&self) -> bool {
        self.values.found(Embedded::path).origin.is_none()
    }

    /// The configuration that holds, as TOML, with where each value came from and without secrets.
    #[must_use]
    pub fn effective(&self) -> Effective<'_> {
        Effective { values: &self.values, sources: self.sources() }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("settings", &self.settings).field("files", &self.files).finish_non_exhaustive()
    }
}

/// Loads the configuration: built-in defaults, over them `file` (or [`DEFAULT_FILE`] if it exists), over that each `*.toml` in the folder
/// beside it (`kadabra.d` for `kadabra.toml`), and over all of them the variables of the environment that start with `KADABRA_`, usually
/// [`std::env::vars_os`].
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
    let (values, files) = judged(default_file, file, environment, Purpose::Run)?;
    Ok(Loaded { settings: Settings::build(&values).ok_or_else(unfit)?, files, values })
}

/// Loads, from the same sources as [`load`], what a program needs that only pushes messages: it need not be able to read the
/// database's password, nor have a folder for a queue. An embedded channel's `path` is no file where no source sets it.
///
/// # Errors
/// Everything that is wrong in the channel's sections, and in any other key by itself.
pub fn load_channel<K, V>(file: Option<&Path>, environment: impl IntoIterator<Item = (K, V)>) -> Result<Channel, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let (values, _) = judged(Path::new(DEFAULT_FILE), file, environment, Purpose::Push)?;
    ChannelSection::build(&values).map(|section| section.kind).ok_or_else(unfit)
}

/// Loads, from the same sources as [`load`], what a program needs that asks an agent how it is. The password is read only where the
/// agent is not reached by a socket in the file system, which needs none.
///
/// # Errors
/// Everything that is wrong in `[status]`, and in any other key by itself.
pub(crate) fn load_status<K, V>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Status, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let (values, _) = judged(Path::new(DEFAULT_FILE), file, environment, Purpose::Look)?;
    Status::build(&values).ok_or_else(unfit)
}

/// What a configuration is loaded for.
#[derive(PartialEq)]
enum Purpose {
    Run,
    Push,
    Look,
}

/// The values that hold, if they are right, and the files that were read.
fn judged<K, V>(
    default_file: &Path,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
    purpose: Purpose,
) -> Result<(Values, Vec<PathBuf>), ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let environment: Vec<(OsString, OsString)> =
        environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let folder = |name| source::absolute_path(name, &environment);
    // Whoever asks or pushes is started by no unit: where systemd has put what it handed to that of the agent.
    let handed_over = || (purpose != Purpose::Run).then(|| CREDENTIALS.into());
    let folders = Folders { home: folder("HOME"), credentials: folder("CREDENTIALS_DIRECTORY").or_else(handed_over) };
    let mut problems = Vec::new();
    let (files, are_all) = files(default_file, file, &mut problems);
    let from_files: Vec<_> = files.iter().map(|path| source::file(path, &folders, &mut problems)).collect();
    let state = if purpose == Purpose::Run { state_folder(&environment) } else { Some("/nonexistent".into()) };
    let host = Host { name: gethostname::gethostname().to_string_lossy().into_owned(), state };
    let from_environment = source::environment(&environment, &folders, &mut problems);
    let mut sources: Vec<_> = from_files.iter().map(|values| values.as_deref().unwrap_or_default()).collect();
    sources.push(&from_environment);
    let merged = Values::merge(&host, &sources);
    let mut values = match merged {
        Ok(values) => values,
        Err(error) => {
            problems.push(Problem::at("configuration", format!("cannot be merged: {error}")));
            return Err(ConfigErrors::new(problems));
        }
    };
    if purpose == Purpose::Run {
        values.for_each(&mut |values| proxy::choose(values, &environment, &mut problems));
        problems.extend(unusable_host_name(&values));
        problems.extend(nowhere_for_the_queue(&values, &environment));
    }
    let is_concerned = |section: &str| match purpose {
        Purpose::Run => true,
        Purpose::Push => section.split('.').next() == Some(ChannelSection::SECTION.path),
        Purpose::Look => section == Status::SECTION.path,
    };
    let concerns = |values: &Values, section: &str| values.uses(section) && is_concerned(section);
    // A file that cannot be read may have the values that would be right beside these.
    if are_all && from_files.iter().all(Option::is_some) {
        problems.extend(one_and_several(&values));
        cross_check(&values, concerns, &mut problems);
    }
    values.take_files(&mut |values| {
        let holds_secret = |value_type| matches!(value_type, ValueType::PasswordFile | ValueType::TokenFile);
        let needs_none = purpose == Purpose::Look && !values.found(Status::unix_socket).is_unset();
        let is_file = |key: &&'static Key| holds_secret(key.value_type) && values.has_key(key) && !needs_none;
        let files = keys().filter(is_file).filter(|key| concerns(values, key.section()));
        let read = |key: &'static Key| Some((key.section(), secret_file::read(values, key, &mut problems)?));
        let secrets = files.filter_map(read).collect();
        let used = SECTIONS.iter().filter(|section| concerns(values, section.path));
        let tls = used.filter_map(|section| Some((section.path, tls::read(values, section, &mut problems)?))).collect();
        (secrets, tls)
    });
    if problems.is_empty() { Ok((values, files)) } else { Err(ConfigErrors::new(problems)) }
}

/// Checks values that are each right against each other, in the sections that are `concerned`.
pub(super) fn cross_check(values: &Values, concerned: impl Fn(&Values, &str) -> bool, problems: &mut Vec<Problem>) {
    for values in values.all() {
        for section in SECTIONS.iter().filter(|section| concerned(values, section.path)) {
            (section.check)(&mut CrossChecks::new(values, problems));
        }
    }
}

/// The files to read, in their order, and whether these are all.
fn files(default_file: &Path, file: Option<&Path>, problems: &mut Vec<Problem>) -> (Vec<PathBuf>, bool) {
    let main = file.or_else(|| default_file.try_exists().unwrap_or(true).then_some(default_file));
    let mut files: Vec<_> = main.map(Path::to_owned).into_iter().collect();
    match folder::beside(file.unwrap_or(default_file)) {
        Ok(beside) => {
            files.extend(beside);
            (files, true)
        }
        Err((folder, error)) => {
            problems.push(Problem::at(folder.display().to_string(), format!("cannot be read: {error}")));
            (files, false)
        }
    }
}

pub(super) fn unfit() -> ConfigErrors {
    let sentence = "a key's value type does not fit its setting; this is a bug in kadabra";
    ConfigErrors::new(vec![Problem::at("configuration", sentence)])
}

/// That there is one publisher or several, and not one beside them.
fn one_and_several(values: &Values) -> Option<Problem> {
    let several = values.of_publishers().next()?.publisher()?;
    let mut of_one = keys().filter(|key| key.path.starts_with("publisher.")).map(|key| values.found(key));
    let of_one = of_one.find(|found| found.origin.is_some())?;
    let instead = schema::said_of("NAME", of_one.key.path);
    Some(of_one.problem(format!("not together with [publishers.{several}]; expected {instead} with a name of its own")))
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
        // systemd never sets a relative one, so the variable is an operator's.
        let variable = format!("STATE_DIRECTORY = {}", quoted(folder));
        return Some(Problem::at(
            variable,
            "expected an absolute path; a relative one would depend on where the agent is started",
        ));
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
