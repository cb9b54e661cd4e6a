//! What SQLite and the file system say, as a sentence for the person who must act, with what to do.

use std::{fs, io, path::Path};

use rusqlite::{Error, ErrorCode};

use super::file::{beside, private};
use crate::{
    channel::{
        ChannelError,
        embedded::{Cause, PushError},
    },
    limits,
    quote::quote,
};

/// What a file must be able to grow by, or its disk counts as full: SQLite wants half as much beside it to open it.
const ROOM: usize = 64 << 10;

/// A sentence: what cannot be done on which file and why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) mend: String,
    disk: Disk,
    /// By which a push that is refused for it is counted.
    cause: Cause,
}

/// Whether the disk is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Full,
    /// It may be full: SQLite has one word for that and for other things.
    Unclear,
    NotToBlame,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into(), disk: Disk::NotToBlame, cause: Cause::Unwritable }
    }

    /// The same, by this cause.
    pub(super) fn by(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// The same, by this cause unless a better one is known.
    pub(super) fn or_by(self, cause: Cause) -> Self {
        if self.cause == Cause::Unwritable { self.by(cause) } else { self }
    }

    /// What SQLite said. `doing` is a verb with its object: "queue messages".
    pub(super) fn sqlite(doing: &str, path: &Path, error: &Error) -> Self {
        let shown = path.display();
        let what = format!("cannot {doing} in {shown}: {}", quote(&words(error)));
        // SQLite has no word for the limit on the size of a file.
        let limited = match error.sqlite_error_code() {
            Some(ErrorCode::TooBig) => true,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
                limits::keeps_small([path, &beside(path, "-wal"), &beside(path, "-shm")], ROOM as u64)
            }
            _ => false,
        };
        let mend = match error.sqlite_error_code() {
            _ if limited => limits::file_size(),
            Some(ErrorCode::DiskFull) => make_room(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("end the program that has {shown} open besides the agent, such as an sqlite3 in a transaction")
            }
            _ if is_damage(error) => damaged(path),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                format!("let the agent's user write to {shown} and to its folder, on a disk that is not mounted read-only")
            }
            Some(ErrorCode::SystemIoFailure) => {
                format!("see whether the disk that {shown} is on is full or failing; the system's log (dmesg) says more")
            }
            _ => "see what the words say; a restart of the agent reads the file anew".to_owned(),
        };
        let disk = match error.sqlite_error_code() {
            _ if limited => Disk::Full,
            Some(ErrorCode::DiskFull) => Disk::Full,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Disk::Unclear,
            _ => Disk::NotToBlame,
        };
        let cause = match disk {
            _ if is_damage(error) => Cause::Damaged,
            _ if limited => Cause::FileSizeLimit,
            Disk::Full => Cause::DiskFull,
            Disk::Unclear | Disk::NotToBlame => Cause::Unwritable,
        };
        Self { what, mend, disk, cause }
    }

    /// What showed that the file is damaged where it cannot be stepped over. `doing` is as in [`Trouble::sqlite`].
    pub(super) fn damage(doing: &str, path: &Path, words: &str) -> Self {
        let shown = path.display();
        let what = format!("{shown} is damaged, so nothing more is queued in it: cannot {doing}: {}", quote(words));
        Self { what, mend: damaged(path), disk: Disk::NotToBlame, cause: Cause::Damaged }
    }

    /// What the file system said.
    pub(super) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        let full = is_full(error);
        let mend = match error.kind() {
            io::ErrorKind::FileTooLarge => limits::file_size(),
            // No further thread.
            io::ErrorKind::WouldBlock => limits::THREADS.to_owned(),
            _ if full => make_room(path),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                format!("let the agent's user write to {shown} and to its folder, or set channel.embedded.path to where it may")
            }
            _ => "set channel.embedded.path to a file in a folder on a disk of this machine".to_owned(),
        };
        let (disk, cause) = match error.kind() {
            io::ErrorKind::FileTooLarge => (Disk::Full, Cause::FileSizeLimit),
            _ if full => (Disk::Full, Cause::DiskFull),
            _ => (Disk::NotToBlame, Cause::Unwritable),
        };
        Self { what: format!("cannot {doing} {shown}: {error}"), mend, disk, cause }
    }

    /// Whether it is for want of room, so that it works as soon as there is some: `Err` with the trouble when it is not. Where
    /// SQLite's words leave that open, it is tried whether a file can grow beside `path`.
    pub(super) fn for_want_of_room(self, path: &Path) -> Result<Self, Self> {
        match self.disk {
            Disk::Full => Ok(self),
            Disk::Unclear if is_disk_full(path) => {
                Ok(Self { mend: make_room(path), disk: Disk::Full, ..self.or_by(Cause::DiskFull) })
            }
            Disk::Unclear | Disk::NotToBlame => Err(self),
        }
    }

    /// Waiting may mend it, or somebody.
    pub(super) fn refused(self) -> ChannelError {
        ChannelError::Refused { what: self.what, mend: self.mend }
    }

    /// As long as it is so, there is no use in going on.
    pub(super) fn unusable(self) -> ChannelError {
        ChannelError::Unusable { what: self.what, mend: self.mend }
    }

    /// Why a push is refused.
    pub(super) fn push_error(self) -> PushError {
        PushError::Failed { cause: self.cause, why: self.sentence() }
    }

    /// In one sentence.
    pub(super) fn sentence(self) -> String {
        format!("{}; {}", self.what, self.mend)
    }
}

fn make_room(path: &Path) -> String {
    format!("make room on the disk that {} is on", path.display())
}

/// Whether a file cannot be made or written for want of room: on the disk, of the user's share of it, or of what a process may
/// write into one file.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn is_disk_full(path: &Path) -> bool {
    let path = beside(path, "-room");
    let written = private(&path).and_then(|mut file| io::Write::write_all(&mut file, &[0; ROOM]));
    drop(fs::remove_file(&path));
    written.is_err_and(|why| is_full(&why))
}

/// Whether what was read or written shows that the file is not as it was written.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) | Error::FromSqlConversionFailure(..)
        )
}

/// What the index has is not in the table where it should be: that page of the table is damaged, though SQLite sees nothing wrong
/// with it.
pub(super) fn misplaced() -> Error {
    Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(MISPLACED.to_owned()))
}

/// The words for that.
pub(super) const MISPLACED: &str = "a row is not where it should be";

/// What to do about a file that is not as it was written.
pub(super) fn damaged(path: &Path) -> String {
    let shown = path.display();
    format!(
        "stop the agent, move the file out of the way (mv {shown} {shown}.damaged, and mv {shown}-wal {shown}.damaged-wal if \
         there is one) and start the agent anew, with an empty one; sqlite3 {shown}.damaged .dump shows what can be read of \
         the old one, dead letters as they are and messages many to a row"
    )
}

pub(super) fn words(error: &Error) -> String {
    match error {
        Error::SqliteFailure(code, None) => code.to_string(),
        Error::SqliteFailure(_, Some(words)) => words.clone(),
        other => other.to_string(),
    }
}
