//! Why the log cannot be written, for the person who must mend it.

use std::{fs, io};

use crate::limits;

/// Why the log cannot be written, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, with the system's words.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl Refusal {
    /// There is no standard error.
    pub(super) fn missing() -> Self {
        Self {
            what: "cannot write the log: the agent was started without a standard error".to_owned(),
            mend: "start the agent again, with a standard error (2>/dev/null, should nobody want to see it)".to_owned(),
        }
    }
}

impl From<&io::Error> for Refusal {
    fn from(error: &io::Error) -> Self {
        // A pipe, a socket and what was deleted have no path; what has one is a file or a device that can be looked at.
        let log = fs::read_link("/proc/self/fd/2").ok().filter(|path| path.is_absolute() && path.exists());
        let named = log.as_ref().map(|path| format!(" to {}", path.display())).unwrap_or_default();
        let mend = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room on the disk that the log is on; the agent goes on by itself".to_owned()
            }
            io::ErrorKind::FileTooLarge => {
                format!("empty the log's file, or {}; the agent goes on by itself", limits::file_size())
            }
            io::ErrorKind::BrokenPipe => {
                "start the agent again, with something that reads its standard error: what did has ended".to_owned()
            }
            _ => "start the agent again, with a standard error that can be written".to_owned(),
        };
        Self { what: format!("cannot write the log{named}: {error}"), mend }
    }
}
