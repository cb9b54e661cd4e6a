//! The configuration that holds, as `kadabra check --show` prints it.

use std::fmt;

use super::schema::{Fallback, KEYS, SECTIONS};
use super::values::{Found, Values};

/// The configuration that holds, as TOML: each value that is not a default with the place it came from, secrets hidden.
///
/// Sections that are not in use and optional keys that are unset are left out.
#[derive(Clone)]
pub struct Effective<'a> {
    pub(super) values: &'a Values,
    pub(super) sources: String,
}

impl fmt::Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", self.sources)?;
        for (section, _) in SECTIONS {
            match self.values.chooser(section) {
                Some((chooser, false)) => {
                    let found = self.values.found(chooser.path).map(Found::shown).unwrap_or_default();
                    writeln!(f, "\n# [{section}] is not used, since {} = {found}", chooser.path)?;
                }
                _ => self.section(f, section)?,
            }
        }
        Ok(())
    }
}

impl Effective<'_> {
    fn section(&self, f: &mut fmt::Formatter<'_>, section: &str) -> fmt::Result {
        writeln!(f, "\n[{section}]")?;
        for key in KEYS.iter().filter(|key| key.section() == section) {
            let Some(found) = self.values.found(key.path).filter(|found| found.text.is_some()) else { continue };
            write!(f, "{} = {}", key.name(), found.shown())?;
            match (&found.place, key.default) {
                (Some(place), _) => writeln!(f, "  # from {place}")?,
                (None, Fallback::StateFile(_)) => writeln!(f, "  # where this user's programs keep their state")?,
                (None, Fallback::HostName) => writeln!(f, "  # the host's name")?,
                (None, _) => writeln!(f)?,
            }
        }
        Ok(())
    }
}
