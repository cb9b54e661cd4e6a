//! What SQLite and the file system say, as a sentence for the person who must act, with what to do.

use std::{io, path::Path};

use rusqlite::{Error, ErrorCode};

use crate::{channel::ChannelError, quote::quote};

/// A sentence: what cannot be done on which file and why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) mend: String,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }

    /// What SQLite said. `doing` is a verb with its object: "queue messages".
    pub(super) fn sqlite(doing: &str, path: &Path, error: &Error) -> Self {
        let shown = path.display();
        let what = format!("cannot {doing} in {shown}: {}", quote(&words(error)));
        let mend = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => format!("make room on the disk that {shown} is on"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("end the program that has {shown} open besides the agent, such as an sqlite3 in a transaction")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                format!("let the agent's user write to {shown} and to its folder, on a disk that is not mounted read-only")
            }
            Some(ErrorCode::SystemIoFailure) => {
                format!("see whether the disk that {shown} is on is full or failing; the system's log (dmesg) says more")
            }
            _ => "see what the words say; a restart of the agent reads the file anew".to_owned(),
        };
        Self { what, mend }
    }

    /// What the file system said.
    pub(super) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        let mend = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("make room on the disk that {shown} is on"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                format!("let the agent's user write to {shown} and to its folder, or set channel.embedded.path to where it may")
            }
            _ => "set channel.embedded.path to a file in a folder on a disk of this machine".to_owned(),
        };
        Self { what: format!("cannot {doing} {shown}: {error}"), mend }
    }

    /// Waiting may mend it, or somebody.
    pub(super) fn refused(self) -> ChannelError {
        ChannelError::Refused { what: self.what, mend: self.mend }
    }

    /// As long as it is so, there is no use in going on.
    pub(super) fn unusable(self) -> ChannelError {
        ChannelError::Unusable { what: self.what, mend: self.mend }
    }

    /// In one sentence.
    pub(super) fn sentence(self) -> String {
        format!("{}; {}", self.what, self.mend)
    }
}

/// What to do about a file that is not as it was written.
pub(super) fn damaged(path: &Path) -> String {
    let shown = path.display();
    format!(
        "move it out of the way (mv {shown} {shown}.damaged, and {shown}-wal with it) and start the agent anew; \
         sqlite3 {shown}.damaged .recover shows what can be saved"
    )
}

fn words(error: &Error) -> String {
    match error {
        Error::SqliteFailure(code, None) => code.to_string(),
        Error::SqliteFailure(_, Some(words)) => words.clone(),
        other => other.to_string(),
    }
}
