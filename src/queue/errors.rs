//! Why something could not be done: typed reasons with their facts. How an operator mends each is said where the
//! configuration is known.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Error, ErrorCode};

use super::sibling::{private, sibling};
use crate::{limits, plural::messages_wait, quote::quote};

/// What a file must be able to grow by, or its disk counts as full: SQLite wants half as much beside it to open it.
const ROOM: usize = 64 << 10;

/// Why messages were not queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The file has as many bytes as it may.
    Full,
    /// As many messages wait for a required consumer as may.
    Backlog { consumer: String, most: u64 },
    /// A message has more bytes than `limit`.
    TooLarge { limit: usize },
    /// What was queued before cannot be synced or moved out of the log, so that it is not safe.
    Unsynced(StoreError),
    /// The disk stalls, and nothing more may wait for it.
    Stalled(StoreError),
    /// This failed.
    Failed(StoreError),
}

impl From<StoreError> for PushError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What is wrong with which file. Its `Display` says that in words, as a sentence without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    pub(crate) path: PathBuf,
    pub(crate) problem: Problem,
}

/// See [`StoreError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// SQLite or the system did not do this. `doing` is what stands before the file's path: "queue messages in".
    Failed { doing: String, words: String, failure: Failure },
    /// The file is damaged, and nothing more is queued in it.
    Damaged { found: String },
    /// The file is so damaged that it cannot be opened.
    Unreadable { found: String },
    /// There is something else than a queue.
    NoQueue(Instead),
    /// A newer Kadabra wrote it; `knows` is the newest version that this one can read.
    Newer { version: i64, knows: i64 },
    /// Another process has it.
    InUse,
    /// There must not be such a file, and there is.
    Exists,
    /// Its file system has no shared memory for SQLite's log.
    NoSharedMemory,
    /// It has lost its name while it is open.
    Gone,
    /// It was never opened.
    NotOpen,
    /// A fault in the agent has taken along what was asked.
    Interrupted,
    /// A write to it takes long.
    Stalled,
    /// A fault in the agent keeps it from being synced.
    NeverSynced,
    /// Messages wait in it for consumers, with how many each, and it was to be opened by one without a name.
    Consumers { waiting: Vec<(String, u64)> },
    /// It knows no such consumer; those that it knows.
    NoConsumer { name: String, known: Vec<String> },
    /// A range of messages has more than this many bytes.
    LargeRange { limit: usize },
}

/// What there is instead of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    Folder,
    Socket,
    NoPlainFile,
    OtherContent,
    OtherDatabase,
}

/// Why SQLite or the system did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The disk, or a user's share of it.
    DiskFull,
    /// The limit on the size of a file.
    FileSizeLimit,
    /// The disk failed, or is full: SQLite has one word for both.
    Disk,
    /// SQLite cannot open it: the disk may be full, or a right be missing.
    CannotOpen,
    /// A right is missing, or the disk is mounted read-only.
    NotPermitted,
    /// Another program has it locked.
    Locked,
    /// There can be no further thread.
    Threads,
    /// Such a file cannot be there.
    Path,
    Other,
}

impl StoreError {
    pub(super) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// What SQLite said. `doing` is a verb with its object: "queue messages".
    pub(super) fn sqlite(doing: &str, path: &Path, error: &Error) -> Self {
        if is_damage(error) {
            return Self::damaged(path, &format!("cannot {doing}: {}", words(error)));
        }
        let failure = match error.sqlite_error_code() {
            Some(ErrorCode::TooBig) => Failure::FileSizeLimit,
            // SQLite has no word for the limit on the size of a file.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
                if limits::keeps_small([path, &sibling(path, "-wal"), &sibling(path, "-shm")], ROOM as u64) =>
            {
                Failure::FileSizeLimit
            }
            Some(ErrorCode::DiskFull) => Failure::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Locked,
            Some(ErrorCode::CannotOpen) => Failure::CannotOpen,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Failure::NotPermitted,
            Some(ErrorCode::SystemIoFailure) => Failure::Disk,
            _ => Failure::Other,
        };
        Self::new(path, Problem::Failed { doing: format!("{doing} in"), words: quote(&words(error)), failure })
    }

    /// What SQLite said when a file was opened. One that shows damage then cannot be.
    pub(super) fn opening(path: &Path, error: &Error) -> Self {
        if is_damage(error) {
            return Self::new(path, Problem::Unreadable { found: error.to_string() });
        }
        Self::sqlite("open the queue", path, error)
    }

    /// In these words, the file shows that it is damaged.
    pub(super) fn damaged(path: &Path, found: &str) -> Self {
        Self::new(path, Problem::Damaged { found: quote(found) })
    }

    /// What the file system said. `doing` is as in [`Problem::Failed`].
    pub(super) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let failure = match error.kind() {
            io::ErrorKind::FileTooLarge => Failure::FileSizeLimit,
            // No further thread.
            io::ErrorKind::WouldBlock => Failure::Threads,
            _ if is_full(error) => Failure::DiskFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::NotPermitted,
            _ => Failure::Path,
        };
        Self::new(path, Problem::Failed { doing: doing.to_owned(), words: error.to_string(), failure })
    }

    /// Whether it is for want of room, so that it works as soon as there is some: `Err` with the error when it is not. Where
    /// SQLite's words leave that open, it is tried whether a file can grow beside `path`.
    pub(super) fn for_want_of_room(mut self, path: &Path) -> Result<Self, Self> {
        let Problem::Failed { failure, .. } = &mut self.problem else { return Err(self) };
        match failure {
            Failure::DiskFull | Failure::FileSizeLimit => Ok(self),
            Failure::Disk | Failure::CannotOpen if is_disk_full(path) => {
                *failure = Failure::DiskFull;
                Ok(self)
            }
            _ => Err(self),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.path.display();
        match &self.problem {
            Problem::Failed { doing, words, .. } => write!(f, "cannot {doing} {shown}: {words}"),
            Problem::Damaged { found } => write!(f, "{shown} is damaged, so nothing more is queued in it: {found}"),
            Problem::Unreadable { found } => write!(f, "{shown} is damaged: {found}"),
            Problem::NoQueue(instead) => write!(f, "cannot keep the queue in {shown}: it {instead}"),
            Problem::Newer { version, knows } => {
                write!(f, "{shown} was written by a newer Kadabra: its version is {version}, this one knows {knows}")
            }
            Problem::InUse => write!(f, "{shown} is another agent's that is running"),
            Problem::Exists => write!(f, "{shown} is there already"),
            Problem::NoSharedMemory => {
                write!(f, "cannot keep the queue in {shown}: the file system has no shared memory for SQLite's log")
            }
            Problem::Gone => write!(
                f,
                "{shown} was deleted, moved or replaced under the running agent, so that what is queued now would be gone with its end"
            ),
            Problem::NotOpen => write!(f, "the queue in {shown} is not open"),
            Problem::Interrupted => write!(f, "a fault in the agent itself interrupted the work on {shown}"),
            Problem::Stalled => write!(f, "a write to {shown} does not end, and no more may wait for that"),
            Problem::NeverSynced => write!(f, "a fault in the agent itself keeps {shown} from being synced"),
            Problem::Consumers { waiting } => {
                let waiting = waiting.iter().map(|(name, messages)| format!("{} for {name}", messages_wait(*messages)));
                let waiting = waiting.collect::<Vec<_>>().join(", ");
                write!(f, "{shown} is the queue of several publishers, which [publisher] is none of: {waiting}")
            }
            Problem::NoConsumer { name, known } if known.is_empty() => {
                write!(f, "{shown} knows no publisher by the name of {name}, as it is the queue of one publisher")
            }
            Problem::NoConsumer { name, known } => {
                write!(f, "{shown} knows no publisher by the name of {name}, but {}", known.join(", "))
            }
            Problem::LargeRange { limit } => write!(f, "the messages in this range have more than {limit} bytes together"),
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "is a folder",
            Self::Socket => "is a socket",
            Self::NoPlainFile => "is no plain file",
            Self::OtherContent => "holds something else",
            Self::OtherDatabase => "is another program's SQLite file",
        })
    }
}

/// Whether a file cannot be made or written for want of room: on the disk, of the user's share of it, or of what a process may
/// write into one file.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn is_disk_full(path: &Path) -> bool {
    let path = sibling(path, "-room");
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

/// A row is not where the index or the order of the table say that it is, though SQLite sees nothing wrong.
pub(super) fn misplaced() -> Error {
    damage("a row is not where it should be")
}

/// The bytes of a row are not those that were written, though SQLite sees nothing wrong.
pub(super) fn changed() -> Error {
    damage("the checksum of a row is wrong")
}

fn damage(words: &str) -> Error {
    Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(words.to_owned()))
}

pub(super) fn words(error: &Error) -> String {
    match error {
        Error::SqliteFailure(code, None) => code.to_string(),
        Error::SqliteFailure(_, Some(words)) => words.clone(),
        other => other.to_string(),
    }
}
