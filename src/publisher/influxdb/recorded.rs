//! What real servers were asked and answered, as `tests/data` has it, for the tests of the tables of answers.

use serde::Deserialize;

use crate::publisher::{http::Answer, line::Sent};

/// A write and what was answered to it.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) case: String,
    #[serde(default)]
    method: Option<String>,
    target: String,
    #[serde(default)]
    encoding: Option<String>,
    #[serde(default)]
    body: String,
    status: Option<u16>,
    #[serde(default)]
    answer: String,
    at: String,
}

/// The writes to a path that were answered, of a file's lines.
pub(super) fn writes(file: &str, path: &str) -> Vec<Case> {
    let cases = file.lines().map(|line| serde_json::from_str(line).unwrap());
    cases
        .filter(|case: &Case| case.method.is_none() && case.target.starts_with(&[path, "?"].concat()) && case.status.is_some())
        .collect()
}

impl Case {
    pub(super) fn answer(&self) -> Answer {
        answer(self.status.unwrap(), &self.answer)
    }

    /// Whether its body is text.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding.is_none()
    }

    /// What is tried and where that is documented.
    pub(super) fn name(&self) -> String {
        format!("{} ({}): {:?} {}", self.case, self.at, self.status, self.answer)
    }

    /// Its lines, as a server tells them from each other; without blank ones and comments, which are never sent.
    pub(super) fn lines(&self) -> Vec<&str> {
        let (mut lines, mut start, mut quoted) = (Vec::new(), 0, false);
        for (at, letter) in self.body.char_indices() {
            match letter {
                '"' => quoted = !quoted,
                '\n' if !quoted => {
                    lines.push(&self.body[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        lines.push(&self.body[start..]);
        lines.retain(|line| !line.trim().is_empty() && !line.starts_with('#'));
        lines
    }
}

pub(super) fn answer(status: u16, body: &str) -> Answer {
    Answer { status, body: body.to_owned(), ..Answer::default() }
}

/// Has lines sent.
pub(super) fn with_sent<T>(lines: &[&str], then: impl FnOnce(Sent<'_>) -> T) -> T {
    let body: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let ends = || {
        let mut end = 0;
        lines
            .iter()
            .map(|line| {
                end += line.len() + 1;
                end
            })
            .collect()
    };
    then(Sent::new(body.as_bytes(), &ends))
}
