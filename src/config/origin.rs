//! Where a value stands.

use std::fmt;

/// A line of a file, or a variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The file's path or the variable's name.
    source: String,
    /// Counted from one; of a file only.
    line: Option<usize>,
}

impl Origin {
    pub(super) fn variable(name: &str) -> Self {
        Self { source: name.to_owned(), line: None }
    }

    /// The line of a file in which a byte of its text stands.
    pub(super) fn in_file(path: &str, text: &str, byte: usize) -> Self {
        Self { source: path.to_owned(), line: Some(line(text, byte)) }
    }

    pub(super) fn as_variable(&self) -> Option<&str> {
        self.line.is_none().then_some(self.source.as_str())
    }

    /// For a sentence that has just named another origin.
    pub(super) fn relative_to(&self, other: Option<&Self>) -> String {
        match (self.line, other) {
            (Some(line), Some(other)) if other.source == self.source => format!("on line {line}"),
            _ => format!("in {self}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match self.line {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

/// The line, counted from one, in which a byte of a text stands.
pub(super) fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
