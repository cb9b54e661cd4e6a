//! What is wrong with a configuration, in sentences for the person who must mend it.

use std::fmt;

use crate::quote::cut;

/// One thing wrong: where it stands, which key, its value, what was expected. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    origin: String,
    key: Option<String>,
    value: Option<String>,
    sentence: String,
}

impl Problem {
    /// About an origin as a whole: a file that cannot be read, a variable that does not exist.
    pub(super) fn at(origin: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { origin: origin.into(), key: None, value: None, sentence: sentence.into() }
    }

    /// About a key there.
    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// About a key's value, already made fit to be shown; a line stays a line, so what is very long is cut.
    pub(super) fn value(mut self, shown: impl Into<String>) -> Self {
        const LONGEST: usize = 200;
        self.value = Some(cut(&shown.into(), LONGEST).into_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.sentence)
    }
}

/// Everything that is wrong with a configuration; prints one line a problem, without a newline at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems: the file's first, then the environment's, then those between keys.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
