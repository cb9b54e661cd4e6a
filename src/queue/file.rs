//! The file: whose it is, what must be in it, and how it is opened. Nothing that is not ours is changed.
//!
//! Synchronous NORMAL in WAL mode means: a commit is a write to the log, in the system's hands when it returns, so that it
//! outlives the process; the log is synced before anything of it goes into the file, and the file before the log begins
//! anew. So a power cut loses at most what was not synced yet, from the end, and never leaves a damaged file. FULL syncs the
//! log with every commit as well. (OFF would leave out the syncs round a checkpoint, and so risk the file.)

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{
    chunks::Chunks,
    consumers,
    errors::{Instead, Problem, StoreError, is_damage, misplaced, words},
    found::Found,
    intervals::Part,
    region::ADOPTED_BELOW,
    settings::Durability,
    sibling::{private, sibling},
};
use crate::limits;

/// What marks the file as a queue of Kadabra's: "Kdbr".
const APPLICATION: i64 = 0x4b64_6272;
/// The version of what is in it; it is [another](consumers::VERSION) once it has consumers.
const VERSION: i64 = 1;
/// The newest version that can be read.
const NEWEST: i64 = consumers::VERSION;
/// The first 16 bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Every commit writes whole pages, so a small one; what a chunk needs is many of them in either case.
pub(super) const PAGE: u64 = 4096;

/// How long the log is from the start, and is made again when it was longer: room that it has when the disk is full.
pub(super) const LOG_BYTES: u64 = 16 << 20;
/// What the writing connection keeps of the file, and never gives back; making the file smaller takes as much again, which is the
/// agent's peak. As much as the completion of a usual lease touches, since what is changed, pushed out to the log and then freed
/// was written for nothing.
const CACHE_KIB: u64 = 2 << 10;
/// How long the lock of another program is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What is in it. The index answers how many messages there are without a look at them. `done` has the ranges of chunks of
/// which not everything is done.
/// `imports` names what came from another channel and may not come a second time; `identity` is the file's own name there.
const SCHEMA: [&str; 7] = [
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX counts ON chunks (id, count)",
    "CREATE TABLE done (chunk INTEGER NOT NULL, first INTEGER NOT NULL, behind INTEGER NOT NULL, PRIMARY KEY (chunk, first)) WITHOUT ROWID",
    "CREATE TABLE dead (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, time TEXT NOT NULL, agent TEXT NOT NULL, reason TEXT NOT NULL, refused TEXT NOT NULL, payload BLOB NOT NULL)",
    "CREATE INDEX letters ON dead (id, bytes)",
    "CREATE TABLE imports (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE identity (id TEXT NOT NULL)",
];

/// In which words the file was found to be damaged. Not among the others, as `accepted`.
const DAMAGE: &str = "CREATE TABLE IF NOT EXISTS damage (found TEXT NOT NULL)";

/// When the chunks from this one on were accepted, in ms since 1970. Not among the others: files of older versions lack it, and
/// those versions do not mind it.
const ACCEPTED: &str = "CREATE TABLE IF NOT EXISTS accepted (chunk INTEGER PRIMARY KEY, time INTEGER NOT NULL)";

/// The file, ours alone for as long as this is kept. To be dropped after every connection: who closes a file gives up all
/// locks that its process has on it, SQLite's too.
#[derive(Debug)]
pub(super) struct Owned {
    /// Without symbolic links.
    pub(super) path: PathBuf,
    /// Locked as a whole, which SQLite's own locks do not meet, since the file may have several names.
    pub(super) file: Arc<File>,
    /// Locked as well, so that it can be told without touching the file whether a process has it.
    _lock: File,
}

impl Owned {
    /// Makes the file ours, and itself if it is missing.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|why| StoreError::io("make the folder", folder, &why))?;
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) && !path.exists() {
            // A link to what is not there yet leads nowhere until it is.
            private(path).map_err(|why| StoreError::io("make what this is a link to:", path, &why))?;
        }
        let path = real(path).map_err(|why| StoreError::io("open", path, &why))?;
        let exists = plain(&path)?;
        let lock_path = sibling(&path, "-lock");
        let lock = match private(&lock_path) {
            Ok(lock) => lock,
            Err(why) => {
                // No lock, so no agent has the file, and what is no queue is not waited for.
                if exists && !lock_path.exists() {
                    header(&path)?;
                }
                return Err(StoreError::io("open", &lock_path, &why));
            }
        };
        lock_alone(&lock, &lock_path, &path)?;
        // Not before the file is ours: who closes a file gives up all locks that its process has on it.
        if exists {
            header(&path)?;
        }
        if limits::file_bytes() < LEAST {
            return Err(StoreError::io("keep the queue in", &path, &io::ErrorKind::FileTooLarge.into()));
        }
        // What it makes itself, SQLite makes readable for all; what it makes beside it is as this.
        let file = private(&path).map_err(|why| StoreError::io("open", &path, &why))?;
        lock_alone(&file, &path, &path)?;
        Ok(Self { path, file: Arc::new(file), _lock: lock })
    }
}

/// Locks a file, or says that another agent has `path`.
pub(super) fn lock_alone(file: &File, named: &Path, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::new(path, Problem::InUse)),
        Err(TryLockError::Error(why)) => Err(StoreError::io("lock", named, &why)),
    }
}

/// The files that are open, to be told from what has their names later.
#[derive(Debug)]
pub(super) struct Opened(Vec<(PathBuf, (u64, u64))>);

impl Opened {
    pub(super) fn new<'a>(files: impl IntoIterator<Item = (&'a Path, &'a File)>) -> io::Result<Self> {
        let known = |(path, file): (&Path, &File)| Ok((path.to_owned(), inode(&file.metadata()?)));
        files.into_iter().map(known).collect::<io::Result<_>>().map(Self)
    }

    /// Fails when one of them has lost its name: what is written goes where the next start does not look.
    pub(super) fn still_there(&self) -> Result<(), StoreError> {
        let lost = |(path, known): &&(PathBuf, (u64, u64))| !fs::metadata(path).is_ok_and(|found| inode(&found) == *known);
        let Some((path, _)) = self.0.iter().find(lost) else { return Ok(()) };
        Err(StoreError::new(path, Problem::Gone))
    }
}

fn inode(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Whether another process has made the file its own. Nothing is made or changed.
pub(crate) fn is_in_use(path: &Path) -> bool {
    let lock = real(path).and_then(|path| File::open(sibling(&path, "-lock")));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A path without links, though there may be nothing yet.
fn real(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
            Ok(fs::canonicalize(folder)?.join(name))
        }
        found => found,
    }
}

/// Whether there is something, and a plain file.
pub(super) fn plain(path: &Path) -> Result<bool, StoreError> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(why) => return Err(StoreError::io("open", path, &why)),
    };
    let instead = match () {
        () if kind.is_file() => return Ok(true),
        () if kind.is_dir() => Instead::Folder,
        () if kind.is_socket() => Instead::Socket,
        () => Instead::NoPlainFile,
    };
    Err(StoreError::new(path, Problem::NoQueue(instead)))
}

/// Whether what is there is a queue, before SQLite has touched it.
pub(super) fn header(path: &Path) -> Result<(), StoreError> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut header));
    read.map_err(|why| StoreError::io("read", path, &why))?;
    if header.is_empty() {
        return Ok(());
    }
    let number = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    match (number(60), number(68)) {
        (Some(version), Some(application)) if header.starts_with(MAGIC) => {
            if i64::from(application) == APPLICATION {
                newer(path, version.into())
            } else {
                Err(StoreError::new(path, Problem::NoQueue(Instead::OtherDatabase)))
            }
        }
        _ => Err(StoreError::new(path, Problem::NoQueue(Instead::OtherContent))),
    }
}

fn newer(path: &Path, version: i64) -> Result<(), StoreError> {
    if version <= NEWEST {
        return Ok(());
    }
    Err(StoreError::new(path, Problem::Newer { version, knows: NEWEST }))
}

/// Opens the file for the one connection that writes messages, makes what must be in it, and says what is.
pub(super) fn open(owned: &Owned, durability: Durability) -> Result<(Connection, Found), StoreError> {
    let path = owned.path.as_path();
    let unreadable = |found: String| StoreError::new(path, Problem::Unreadable { found });
    let failed = |error: rusqlite::Error| StoreError::opening(path, &error);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    // A table that a column was added to ends with that.
    let names = "SELECT count(*) FROM sqlite_schema WHERE sql = ?1 OR sql = rtrim(?1, ')') || ', consumer TEXT)'";
    let has = |sql: &&str| connection.query_row(names, [sql], |row| row.get::<_, i64>(0)).map(|count| count > 0);
    let objects = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).map_err(failed)?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if objects == 0 => make(&connection).map_err(failed)?,
        (APPLICATION, version) => newer(path, version)?,
        _ => return Err(StoreError::new(path, Problem::NoQueue(Instead::OtherDatabase))),
    }
    for sql in &SCHEMA {
        if !has(sql).map_err(failed)? {
            let missing = sql.split(' ').nth(2).unwrap_or_default();
            return Err(unreadable(format!("it has no {missing} as it should be")));
        }
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::new(path, Problem::NoSharedMemory));
    }
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Fsync => "FULL",
    };
    let settings = format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {LOG_BYTES}; PRAGMA cache_size = -{CACHE_KIB};"
    );
    connection.execute_batch(&settings).map_err(failed)?;
    let mut found = find(&connection).map_err(failed)?;
    found.damage = found.damage.or_else(|| damage(&connection));
    // Without it, ages begin with this process.
    found.accepted = accepted(&connection, &found).unwrap_or_default();
    Ok((connection, found))
}

/// How long the log may be: less than usual where no file can be as long.
pub(super) fn log_room() -> u64 {
    LOG_BYTES.min(limits::file_bytes())
}

/// Where no file can be longer than this, there is no queue: its log has to have room for what settling writes.
const LEAST: u64 = 1 << 20;

/// Gives the log, opened for appending, its room on the disk. SQLite takes what it has not written for the end of it, so zeros
/// are as good as nothing, and what is appended never lies over what it has written. Without room for it, it grows as it can.
pub(super) fn reserve_log(log: &mut File, room: u64) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    let mut length = log.metadata()?.len();
    while length + zeros.len() as u64 <= room {
        log.write_all(&zeros)?;
        length += zeros.len() as u64;
    }
    Ok(())
}

/// Another connection to an open file.
pub(super) fn join(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = connect(path, flags)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -1000;")?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // Neither a path that begins with "file:" nor a lock of its own for what one thread alone uses.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    // More than there are: one that is dropped for another would be prepared anew with each push, or end a snapshot.
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// All in one transaction, before there is a log: an interrupted one leaves nothing, and the header that [`header`] reads is right.
fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE}; PRAGMA synchronous = EXTRA; BEGIN EXCLUSIVE;"))?;
    connection.execute_batch(&SCHEMA.join(";"))?;
    connection.execute_batch(ACCEPTED)?;
    connection.execute_batch(DAMAGE)?;
    connection.execute("INSERT INTO identity (id) VALUES (lower(hex(randomblob(8))))", [])?;
    connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"))
}

fn find(connection: &Connection) -> rusqlite::Result<Found> {
    let (done, damage) = done(connection)?;
    let ends = |condition: &str| {
        let sql = format!("SELECT min(id), max(id), total(count) FROM chunks INDEXED BY counts WHERE id {condition} ?1");
        connection.query_row(&sql, [ADOPTED_BELOW], |row| {
            let ends = row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?);
            // A float since it never overflows; exact far beyond what a disk holds.
            Ok((ends, row.get::<_, f64>(2)? as u64))
        })
    };
    let ((adopted, old), (regular, new)) = (ends("<")?, ends(">=")?);
    let (adopted, regular) = (wider(adopted, in_table(connection, "<")?), wider(regular, in_table(connection, ">=")?));
    let identity = connection.query_row("SELECT min(id) FROM identity", [], |row| row.get::<_, Option<String>>(0))?;
    Ok(Found {
        identity: identity.unwrap_or_default(),
        adopted,
        regular,
        messages: old + new,
        done,
        damage,
        accepted: Vec::new(),
        consumers: Vec::new(),
    })
}

/// In which words the file was found to be damaged, if it was.
fn damage(connection: &Connection) -> Option<String> {
    let found = connection
        .execute_batch(DAMAGE)
        .and_then(|()| connection.query_row("SELECT found FROM damage LIMIT 1", [], |row| row.get(0)).optional());
    match found {
        Err(why) if is_damage(&why) => Some(format!("cannot look for what is known of damage: {}", words(&why))),
        // Where that cannot be read for another reason, nothing can be written either, which is said then.
        found => found.ok().flatten(),
    }
}

/// Reads how many ms ago chunks were accepted, by this machine's clock then and now. What is said of chunks that are not there is
/// forgotten, since their numbers are given anew. Files of older versions have no such table.
fn accepted(connection: &Connection, found: &Found) -> rusqlite::Result<Vec<(i64, u64)>> {
    connection.execute_batch(ACCEPTED)?;
    let last_adopted = found.adopted.map_or(i64::MIN, |(_, last)| last);
    let (first, last) = found.regular.unwrap_or((1, ADOPTED_BELOW - 1));
    connection.execute(
        "DELETE FROM accepted WHERE CASE WHEN chunk < ?1 THEN chunk > ?2 ELSE chunk > ?3 OR (chunk <= 0 AND chunk < ?4) END",
        (ADOPTED_BELOW, last_adopted, last, first),
    )?;
    let now = jiff::Timestamp::now().as_millisecond();
    let mut marks = connection.prepare("SELECT chunk, time FROM accepted")?;
    let ago = |time: i64| now.saturating_sub(time).max(0).unsigned_abs();
    marks.query_map([], |row| Ok((row.get(0)?, ago(row.get(1)?))))?.collect()
}

/// The first and the last chunk that the table has, where it can be read: its index may have lost them.
fn in_table(connection: &Connection, condition: &str) -> rusqlite::Result<Option<(i64, i64)>> {
    let end = |order: &str| {
        let sql = format!("SELECT id FROM chunks NOT INDEXED WHERE id {condition} ?1 ORDER BY id {order} LIMIT 1");
        match connection.query_row(&sql, [ADOPTED_BELOW], |row| row.get(0)).optional() {
            Err(why) if is_damage(&why) => Ok(None),
            end => end,
        }
    };
    let (first, last): (Option<i64>, Option<i64>) = (end("ASC")?, end("DESC")?);
    Ok(first.or(last).zip(last.or(first)))
}

fn wider(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (one, other) {
        (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
        (one, other) => one.or(other),
    }
}

/// What is done of chunks that are still there, and in which words that shows damage.
fn done(connection: &Connection) -> rusqlite::Result<(Vec<Part>, Option<String>)> {
    let mut statement = connection.prepare("SELECT chunk, first, behind FROM done ORDER BY chunk, first")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows = rows.collect::<rusqlite::Result<Vec<(i64, u32, u32)>>>()?;
    let mut forget = connection.prepare("DELETE FROM done WHERE chunk = ?1")?;
    let chunks = Chunks(connection);
    let (mut done, mut damage) = (Vec::new(), None);
    for (chunk, from, to) in rows {
        let of = match chunks.counts(chunk) {
            (Err(why), _) | (_, Err(why)) if !is_damage(&why) => return Err(why),
            // Numbers are given anew once the chunks that had them are gone.
            (Ok(None), Ok(None)) => {
                forget.execute([chunk])?;
                continue;
            }
            (Ok(Some(index)), Ok(Some(table))) if index == table => index,
            _ => {
                damage = Some(format!("cannot read what is done: {}", words(&misplaced())));
                chunks.read(chunk)?.map_or(to, |(of, _)| of)
            }
        };
        if from < to && to <= of {
            done.push(Part { chunk, from, to, of });
        }
    }
    Ok((done, damage))
}
