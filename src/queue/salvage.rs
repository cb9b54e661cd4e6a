//! Takes out of a queue's file what can be read of it, into a new file with which an agent can start.
//!
//! The file itself is never changed: what is read is a copy of it beside the new one, since SQLite may write to what it opens.
//! The new file gets its name last, so that one that was cut off is not taken for a queue.

mod consumers;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Row, params};

use self::consumers::Consumers;
use super::{
    chunks::{Chunks, Next},
    errors::{Problem, StoreError},
    file::{self, Owned},
    settings::Durability,
    sibling::{private, sibling},
};

/// How many bytes of chunks are one commit: what the log of the new file may take.
const COMMIT: usize = 16 << 20;

/// What was taken out of a file, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// Messages that wait in the new file.
    pub(crate) messages: u64,
    /// Messages that are known to have waited and cannot be read.
    pub(crate) unreadable: u64,
    /// Parts of the file of which not even that can be told.
    pub(crate) unknown: u64,
    /// Dead letters in the new file.
    pub(crate) letters: u64,
    /// Dead letters that cannot be read.
    pub(crate) unreadable_letters: u64,
    /// Not everything can be read of what the file says is published already: of the messages, some may be published again.
    pub(crate) may_repeat: bool,
}

/// Files that are made on the way, and go with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-lock"] {
            drop(fs::remove_file(sibling(&self.0, suffix)));
        }
    }
}

/// See the module. Takes out of `from` what can be read, into the new file `to`.
///
/// # Errors
/// When `from` is no queue, a running agent's or so damaged that nothing can be read, when `to` is there already, or cannot be
/// made. There is no new file then.
pub(crate) fn salvage(from: &Path, to: &Path) -> Result<Salvaged, StoreError> {
    let source = File::open(from).map_err(|why| StoreError::io("open", from, &why))?;
    file::plain(from)?;
    // To be kept until the end, so that no agent starts with it meanwhile.
    file::lock_alone(&source, from, from)?;
    file::header(from)?;
    for suffix in ["", "-wal"] {
        let there = sibling(to, suffix);
        if fs::symlink_metadata(&there).is_ok() {
            return Err(StoreError::new(&there, Problem::Exists));
        }
    }
    let copy = Temporary(sibling(to, "-copy"));
    let new = Temporary(sibling(to, "-new"));
    for suffix in ["", "-wal", "-shm", "-lock"] {
        drop((fs::remove_file(sibling(&copy.0, suffix)), fs::remove_file(sibling(&new.0, suffix))));
    }
    for suffix in ["", "-wal"] {
        let target = sibling(&copy.0, suffix);
        copy_file(&sibling(from, suffix), &target).map_err(|why| StoreError::io("copy what is to be read to", &target, &why))?;
    }
    let old = open_copy(&copy.0).map_err(|why| unreadable(from, &why))?;
    let owned = Owned::take(&new.0)?;
    let (connection, _) = file::open(&owned, Durability::Process)?;
    let taken = take_out(&old, &connection).map_err(|why| StoreError::sqlite("keep what is read", to, &why))?;
    let rested =
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").and_then(|()| connection.close().map_err(|(_, why)| why));
    rested.map_err(|why| StoreError::sqlite("keep what is read", to, &why))?;
    let named = owned.file.sync_all().and_then(|()| fs::rename(&new.0, to)).and_then(|()| sync_folder(to));
    named.map_err(|why| StoreError::io("give what was read the name", to, &why))?;
    Ok(taken)
}

fn unreadable(path: &Path, why: &rusqlite::Error) -> StoreError {
    StoreError::new(path, Problem::Unreadable { found: why.to_string() })
}

/// A copy for this user alone; of what is not there, none.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    match File::open(from) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        source => {
            let mut copy = private(to)?;
            let bytes = io::copy(&mut source?, &mut copy)?;
            // SQLite takes a file that was cut off within a page for one that its disk fails to read.
            copy.set_len(bytes.next_multiple_of(file::PAGE))
        }
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

/// Opens a file that may be cut off, which SQLite does for who could write its schema.
fn open_copy(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.execute_batch("PRAGMA writable_schema = ON; PRAGMA trusted_schema = OFF;")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Reads a table from its one end and, where that fails, from the other. Returns what was read, and whether it was everything.
fn from_both_ends<T: Ord>(
    connection: &Connection,
    select: &str,
    order: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> (BTreeSet<T>, bool) {
    let mut all = BTreeSet::new();
    for direction in ["ASC", "DESC"] {
        let mut read_to_the_end = || {
            let mut statement = connection.prepare(&format!("{select} ORDER BY {order} {direction}"))?;
            for row in statement.query_map([], &read)? {
                all.insert(row?);
            }
            Ok::<_, rusqlite::Error>(())
        };
        if read_to_the_end().is_ok() {
            return (all, direction == "ASC");
        }
    }
    (all, false)
}

fn take_out(old: &Connection, new: &Connection) -> rusqlite::Result<Salvaged> {
    let mut taken = Salvaged::default();
    new.execute_batch("BEGIN")?;
    if let Ok(identity) = old.query_row("SELECT id FROM identity LIMIT 1", [], |row| row.get::<_, String>(0)) {
        new.execute("UPDATE identity SET id = ?1", [identity])?;
    }
    let (imports, _) = from_both_ends(old, "SELECT name FROM imports", "name", |row| row.get::<_, String>(0));
    for name in imports {
        new.execute("INSERT OR IGNORE INTO imports (name) VALUES (?1)", [name])?;
    }
    let (accepted, _) = from_both_ends(old, "SELECT chunk, time FROM accepted", "chunk", |row| Ok((row.get(0)?, row.get(1)?)));
    for mark in accepted {
        new.execute::<(i64, i64)>("INSERT OR IGNORE INTO accepted (chunk, time) VALUES (?1, ?2)", mark)?;
    }
    let (consumers, all) = Consumers::take_out(old, new)?;
    taken.may_repeat = !all;
    take_out_messages(old, new, &consumers, &mut taken)?;
    take_out_letters(old, new, &consumers, &mut taken)?;
    new.execute_batch("COMMIT")?;
    Ok(taken)
}

fn take_out_messages(old: &Connection, new: &Connection, consumers: &Consumers, taken: &mut Salvaged) -> rusqlite::Result<()> {
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let (done, all) = from_both_ends::<(i64, u32, u32)>(old, "SELECT chunk, first, behind FROM done", "chunk", row);
    taken.may_repeat |= !all;
    let chunks = Chunks(old);
    let (mut at, mut bytes) = (i64::MIN, 0);
    loop {
        let (id, count) = match chunks.next(at, i64::MAX)? {
            Next::Chunk { id, count } => (id, count),
            Next::Unknown { until } => {
                taken.unknown += 1;
                at = until;
                continue;
            }
            Next::End => return Ok(()),
        };
        at = id.saturating_add(1);
        let done: Vec<(u32, u32)> =
            done.range((id, 0, 0)..(at, 0, 0)).map(|&(_, from, to)| (from, to)).filter(|(from, to)| from < to).collect();
        // Ranges of a chunk neither meet nor overlap.
        let is_done: u64 = done.iter().map(|(from, to)| u64::from(to - from)).sum();
        let not_done = |of: u32| u64::from(of).saturating_sub(is_done).saturating_sub(consumers.done_of(id, of));
        let Some((of, checked)) = chunks.read(id)? else {
            match count {
                Some(count) => taken.unreadable += not_done(count),
                None => taken.unknown += 1,
            }
            continue;
        };
        let waiting = not_done(of);
        if waiting == 0 {
            continue;
        }
        let body = [&crc32fast::hash(&checked).to_le_bytes(), checked.as_slice()].concat();
        bytes += body.len();
        new.prepare_cached("INSERT INTO chunks (id, count, body) VALUES (?1, ?2, ?3)")?.execute(params![id, of, body])?;
        for (from, to) in done {
            new.execute("INSERT OR IGNORE INTO done (chunk, first, behind) VALUES (?1, ?2, ?3)", (id, from, to))?;
        }
        taken.messages += waiting;
        if bytes >= COMMIT {
            bytes = 0;
            new.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); BEGIN")?;
        }
    }
}

fn take_out_letters(old: &Connection, new: &Connection, consumers: &Consumers, taken: &mut Salvaged) -> rusqlite::Result<()> {
    let (mut ids, all) = from_both_ends::<i64>(old, "SELECT id FROM dead NOT INDEXED", "id", |row| row.get(0));
    if !all {
        ids.append(&mut from_both_ends(old, "SELECT id FROM dead INDEXED BY letters", "id", |row| row.get(0)).0);
    }
    let mut read = old.prepare("SELECT bytes, time, agent, reason, refused, payload FROM dead WHERE id = ?1")?;
    for id in ids {
        let letter = read.query_row([id], |row| {
            let texts: (String, String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get::<_, i64>(0)?, texts, row.get::<_, Vec<u8>>(5)?))
        });
        let Ok((bytes, (time, agent, reason, refused), payload)) = letter else {
            taken.unreadable_letters += 1;
            continue;
        };
        let insert = "INSERT INTO dead (id, bytes, time, agent, reason, refused, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        new.prepare_cached(insert)?.execute(params![id, bytes, time, agent, reason, refused, payload])?;
        consumers.take_out_letter(old, new, id)?;
        taken.letters += 1;
    }
    Ok(())
}
