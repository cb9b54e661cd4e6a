//! The configuration that holds, as `kadabra check --show` prints it.

use std::fmt;

use super::schema::{Fallback, SECTIONS, Section};
use super::values::Values;

/// The configuration that holds, as TOML: each value that is not a default with its origin, secrets hidden.
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
        for section in SECTIONS {
            match self.values.chooser(section.path) {
                Some((chooser, false)) => {
                    let chosen = self.values.found(chooser).shown();
                    writeln!(f, "\n# [{}] is not used, since {chooser} = {chosen}", section.path)?;
                }
                _ => self.section(f, section)?,
            }
        }
        Ok(())
    }
}

impl Effective<'_> {
    fn section(&self, f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
        writeln!(f, "\n[{}]", section.path)?;
        for key in section.keys {
            let found = self.values.found(key);
            if found.text.is_none() {
                continue;
            }
            write!(f, "{} = {}", key.name(), found.shown())?;
            match (&found.origin, key.default) {
                (Some(origin), _) => writeln!(f, "  # from {origin}")?,
                (None, Fallback::StateFile(_)) => writeln!(f, "  # where this user's programs keep their state")?,
                (None, Fallback::HostName) => writeln!(f, "  # the host's name")?,
                (None, _) => writeln!(f)?,
            }
        }
        Ok(())
    }
}
