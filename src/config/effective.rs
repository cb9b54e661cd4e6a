//! The configuration that holds, as `kadabra check --show` prints it.

use std::fmt;

use super::schema::{Fallback, SECTIONS, Section};
use super::sections::{Batch, Consumer, Publisher};
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
        for values in self.values.all() {
            for section in SECTIONS.iter().filter(|section| values.has(section.path)) {
                match values.chooser(section.path) {
                    Some((chooser, false)) => {
                        let (path, chooser) = (said(values, section.path), values.found(chooser));
                        writeln!(f, "\n# [{path}] is not used, since {} = {}", chooser.path(), chooser.shown())?;
                    }
                    _ => self::section(f, values, section)?,
                }
            }
        }
        Ok(())
    }
}

/// A section's path, as it is said of these values' publisher.
fn said(values: &Values, section: &str) -> String {
    let Some(publisher) = values.publisher() else { return section.to_owned() };
    match section.strip_prefix("publisher.") {
        Some(within) => format!("publishers.{publisher}.{within}"),
        None if section == Batch::SECTION.path => format!("publishers.{publisher}.{section}"),
        None => format!("publishers.{publisher}"),
    }
}

fn section(f: &mut fmt::Formatter<'_>, values: &Values, section: &Section) -> fmt::Result {
    // The keys of [publisher] and those that only one of several has are in one section.
    let of_several = values.publisher().is_some();
    if of_several && section.path == Consumer::SECTION.path {
        return Ok(());
    }
    writeln!(f, "\n[{}]", said(values, section.path))?;
    let more = if of_several && section.path == Publisher::SECTION.path { Consumer::SECTION.keys } else { &[] };
    for key in section.keys.iter().chain(more) {
        let found = values.found(key);
        if found.text.is_none() || !values.has_key(key) {
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
