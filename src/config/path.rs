//! One rule for every path that a configuration or the command line takes: it never depends on where the agent is started,
//! and no folder is ever called `~`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The words in which a path is expected.
pub(super) const EXPECTED: &str = "the absolute path of a file";

/// The same of a file that may be one of systemd's credentials.
pub(super) const EXPECTED_OF_A_SECRET: &str = "the absolute path of a file, or credential:NAME for one that systemd hands over";

/// The folders that a path may begin with by another name.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// `~`
    pub(super) home: Option<PathBuf>,
    /// `credential:`, which is where systemd puts what `LoadCredential=` names.
    pub(super) credentials: Option<PathBuf>,
}

/// As [`absolute`], of a file that may be one of systemd's credentials.
pub(super) fn of_a_secret(text: &str, folders: &Folders) -> Result<String, String> {
    let Some(name) = text.strip_prefix("credential:") else { return absolute(text, folders.home.as_deref()) };
    if name.is_empty() || name == "." || name == ".." || name.contains(|c: char| c == '/' || c.is_control()) {
        return Err("expected the name that LoadCredential= of the unit gives it, as in credential:redis-password".to_owned());
    }
    let folder = folders.credentials.as_ref().ok_or_else(|| {
        format!(
            "there is no CREDENTIALS_DIRECTORY, in which systemd hands it over; expected to be started by a unit with \
             LoadCredential={name}:/PATH, or the absolute path of a file"
        )
    })?;
    folder.join(name).to_str().map(str::to_owned).ok_or_else(|| "expected a CREDENTIALS_DIRECTORY that is UTF-8 text".to_owned())
}

/// The absolute path that a key's text stands for; the error is a sentence.
///
/// `~/` is the folder `home`, if that is known. A relative path is refused, since a file of configuration is read by processes
/// that systemd, supervisord and people start in different folders.
pub(super) fn absolute(text: &str, home: Option<&Path>) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("expected {EXPECTED}"));
    }
    let path = match of_home(text.as_ref(), home)? {
        Some(path) => path.to_str().ok_or("expected a HOME that is UTF-8 text")?.to_owned(),
        None if text.starts_with('/') => text.to_owned(),
        None => {
            let replaced = if text.contains(['$', '%']) { "; variables in it are not replaced" } else { "" };
            return Err(format!(
                "expected {EXPECTED}, or one that begins with ~/; a relative one would depend on where the agent is \
                 started{replaced}"
            ));
        }
    };
    let is_folder = path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."));
    if is_folder { Err(format!("expected {EXPECTED}, not of a folder")) } else { Ok(path) }
}

/// The path of a command line, where a relative one starts in the folder of the shell; the error is a
/// sentence. Shells leave the `~` of `--config=~/kadabra.toml` as it is.
pub(crate) fn of_a_command_line(text: &OsStr) -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match of_home(text, home.as_deref())? {
        Some(path) => Ok(path),
        None => std::path::absolute(text).map_err(|why| format!("expected a path: {why}")),
    }
}

/// The path of a text that begins with `~`, which only a file in the user's own folder may.
fn of_home(text: &OsStr, home: Option<&Path>) -> Result<Option<PathBuf>, String> {
    let path = Path::new(text);
    let Some(first) = path.components().next().filter(|first| first.as_os_str().as_encoded_bytes().starts_with(b"~")) else {
        return Ok(None);
    };
    if first.as_os_str() != "~" {
        return Err(
            "expected an absolute path; of the folders that ~ stands for only ~/ is known, and no other user's".to_owned()
        );
    }
    let home = home.ok_or("expected an absolute path, since HOME does not say which folder ~ is")?;
    Ok(Some(home.join(path.strip_prefix("~").unwrap_or(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "/home/a";

    #[test]
    fn a_key_takes_an_absolute_path_or_one_of_the_users_own_folder() {
        let path = |text: &str| absolute(text, Some(Path::new(HOME)));
        for (text, expected) in
            [("/q.db", "/q.db"), ("~/q.db", "/home/a/q.db"), ("~/a/../q.db", "/home/a/a/../q.db"), ("/~/q", "/~/q")]
        {
            assert_eq!(path(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "q.db",
            "./q.db",
            "../q.db",
            "~",
            "~/",
            "~b/q.db",
            "~b",
            "/",
            "/folder/",
            "/folder/.",
            "/folder/..",
            "/a\0b",
            " /q",
        ] {
            assert!(path(text).is_err(), "{text:?} is taken for {:?}", path(text));
        }
        assert!(absolute("~/q.db", None).unwrap_err().contains("HOME"));
        for text in ["$HOME/q.db", "%h/q.db", "${CREDENTIALS_DIRECTORY}/password"] {
            assert!(path(text).unwrap_err().ends_with("variables in it are not replaced"), "{text}");
        }
    }

    #[test]
    fn a_credential_is_a_file_in_the_folder_that_systemd_names() {
        let under_systemd = Folders { home: None, credentials: Some("/run/credentials/kadabra.service".into()) };
        let path = of_a_secret("credential:redis-password", &under_systemd);
        assert_eq!(path.as_deref(), Ok("/run/credentials/kadabra.service/redis-password"));
        assert_eq!(of_a_secret("/etc/password", &under_systemd).as_deref(), Ok("/etc/password"));
        for wrong in ["credential:", "credential:..", "credential:../shadow", "credential:/etc/shadow", "credential:a\0"] {
            assert!(of_a_secret(wrong, &under_systemd).is_err(), "{wrong}");
        }
        let elsewhere = of_a_secret("credential:redis-password", &Folders::default()).unwrap_err();
        assert!(elsewhere.contains("LoadCredential=redis-password:/PATH"), "{elsewhere}");
    }

    #[test]
    fn a_relative_path_of_a_command_line_starts_in_the_folder_of_the_shell() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(of_a_command_line(OsStr::new("k.toml")), Ok(here.join("k.toml")));
        assert_eq!(of_a_command_line(OsStr::new("./~/k.toml")), Ok(here.join("~/k.toml")));
        assert_eq!(of_a_command_line(OsStr::new("/k.toml")), Ok("/k.toml".into()));
        assert!(of_a_command_line(OsStr::new("~nobody/k.toml")).is_err());
    }
}
