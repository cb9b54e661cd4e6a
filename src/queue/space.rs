//! How large the file is.
//!
//! SQLite locks the file for that question outside of a transaction, so it is not asked with every commit: what a push can add at
//! most is counted, and the question asked only where that could make a difference.

use std::io;

use rusqlite::Connection;

use super::{
    Shared,
    file::{LOG_BYTES, PAGE},
};

/// What a row takes at most besides the pages that its bytes fill: one that is not full, and for each of six levels of the
/// table and of its index two pages that are split off, and one more level. (Of 4096 bytes, four levels are 64 GiB.)
const PER_CHUNK: u64 = 1 + 2 * (6 * 2 + 1);
/// How many bytes a page has for those that its row's own page has no room for.
const FILLED: u64 = PAGE - 4;

/// How many there are at most, as far as that is known; see the module.
#[derive(Debug, Default)]
pub(super) struct SpaceAccounting(Option<Pages>);

/// How many pages the file has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) all: u64,
    /// Those that are not free.
    pub(super) used: u64,
}

impl Pages {
    /// As SQLite says it.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let all = page_count(connection)?;
        Ok(Self { all, used: all.saturating_sub(number(connection, "PRAGMA freelist_count")?) })
    }

    pub(super) fn room(self, shared: &Shared) -> u64 {
        let log = shared.log_bytes().saturating_sub(LOG_BYTES);
        shared.max_bytes.saturating_sub(self.used * PAGE).saturating_sub(log)
    }
}

impl SpaceAccounting {
    /// Something else than chunks is written.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// How many more bytes the file may get or has free: at least so many, and exactly when they are fewer than what is
    /// `needed`.
    pub(super) fn room(&mut self, connection: &Connection, shared: &Shared, needed: u64) -> rusqlite::Result<u64> {
        if let Some(room) = self.0.map(|pages| pages.room(shared)).filter(|room| *room >= needed) {
            return Ok(room);
        }
        let pages = Pages::of(connection)?;
        self.0 = Some(pages);
        Ok(pages.room(shared))
    }

    /// Does as [`cover`] when so many chunks were written, of so many bytes altogether, unless it is known not to be necessary.
    pub(super) fn cover(&mut self, connection: &Connection, shared: &Shared, chunks: u64, bytes: u64) -> rusqlite::Result<()> {
        let more = at_most(chunks, bytes);
        if let Some(pages) = &mut self.0 {
            pages.all += more;
            pages.used += more;
            if shared.preallocation().covers(pages.all * PAGE) {
                return Ok(());
            }
        }
        let all = cover(connection, shared)?;
        if let Some(pages) = &mut self.0 {
            pages.all = all;
        }
        Ok(())
    }
}

/// How many pages so many chunks of so many bytes altogether need at most.
fn at_most(chunks: u64, bytes: u64) -> u64 {
    bytes / FILLED + chunks * PER_CHUNK
}

/// Sees to it that what was written has room in the file when it is moved there from the log. Returns how many pages the file
/// has.
pub(super) fn cover(connection: &Connection, shared: &Shared) -> rusqlite::Result<u64> {
    let all = page_count(connection)?;
    // SQLite makes the file larger only when none of its pages is free.
    let grows = number(connection, "PRAGMA freelist_count")? == 0;
    shared.preallocation().cover(all * PAGE, grows).map_err(|why| {
        // SQLite has no word for the limit on the size of a file, and nothing here that is too big otherwise.
        let limited = why.kind() == io::ErrorKind::FileTooLarge;
        let code = if limited { rusqlite::ffi::SQLITE_TOOBIG } else { rusqlite::ffi::SQLITE_FULL };
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(why.to_string()))
    })?;
    Ok(all)
}

fn page_count(connection: &Connection) -> rusqlite::Result<u64> {
    number(connection, "PRAGMA page_count")
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::blob::ZeroBlob;

    use super::*;
    use crate::queue::{Durability, file};

    fn size() -> impl Strategy<Value = u64> {
        prop_oneof![0..200u64, 0..9000u64, 0..300_000u64]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_commit_makes_the_file_larger_than_is_counted(
            commits in prop::collection::vec(prop::collection::vec((0..3usize, size()), 1..4), 1..200),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let owned = file::Owned::take(&folder.path().join("q.db")).unwrap();
            let (mut connection, _) = file::open(&owned, Durability::Process).unwrap();
            // As the regions grow: to the one end, to the other, and between what is there.
            let mut next = [(i64::MIN, 1), (0, -1), (1, 1)];
            for commit in commits {
                let before = page_count(&connection).unwrap();
                let (mut chunks, mut bytes) = (0, 0);
                let transaction = connection.transaction().unwrap();
                for (region, size) in commit {
                    let (id, step) = &mut next[region];
                    transaction.execute("INSERT INTO chunks VALUES (?1, ?2, ?3)", (*id, 1 << (size % 31), ZeroBlob(size))).unwrap();
                    *id += *step;
                    chunks += 1;
                    bytes += size;
                }
                transaction.commit().unwrap();
                prop_assert!(page_count(&connection).unwrap() - before <= at_most(chunks, bytes));
            }
        }
    }
}
