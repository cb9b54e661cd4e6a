//! Keeps what a connection sees of the file from one of its transactions to the next.
//!
//! SQLite ends a connection's snapshot with each transaction and has the next begin another, for which it locks the file four times,
//! each a system call. Where one connection alone writes, its own snapshot is still the newest one then, so a query that is left
//! unfinished keeps it. Other programs may read the file nevertheless, and when one writes, the next transaction
//! [begins](super::transaction::Transaction::begin) with another snapshot.
//!
//! While a snapshot is kept, only what was in the log when it was begun can be moved into the file, and the log cannot begin anew. So it
//! is to be ended before the log gets long.

use std::mem;

use rusqlite::Connection;

/// What is left unfinished: it has a row, and looks at nothing that is written to.
const QUERY: &str = "SELECT EXISTS (SELECT 1 FROM identity)";

/// Has a connection keep what it sees from now on, if it does not yet. Where that fails, it goes on as without.
pub(super) fn keep(connection: &Connection) {
    if !connection.is_busy() {
        drop(leave_unfinished(connection));
    }
}

fn leave_unfinished(connection: &Connection) -> rusqlite::Result<()> {
    let mut query = connection.prepare_cached(QUERY)?;
    let mut rows = query.query([])?;
    rows.next()?;
    // Dropped, the rows would finish the query. They own nothing: the query itself goes back among the connection's prepared ones.
    mem::forget(rows);
    Ok(())
}

/// Has a connection keep it no longer. Returns whether it did.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<bool> {
    let kept = connection.is_busy();
    if kept {
        // The rows finish the query when they are dropped.
        drop(connection.prepare_cached(QUERY)?.query([])?);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use rusqlite::OpenFlags;

    use super::*;
    use crate::queue::{Durability, checkpointer::checkpoint, file, transaction::Transaction};

    fn identities(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM identity", [], |row| row.get(0)).unwrap()
    }

    fn write(connection: &mut Connection) {
        let transaction = Transaction::begin(connection).unwrap();
        transaction.execute("INSERT INTO imports (name) VALUES (hex(randomblob(8)))", []).unwrap();
        transaction.execute("INSERT INTO identity (id) VALUES ('x')", []).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn a_snapshot_is_kept_over_transactions_until_it_is_ended_and_others_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let owned = file::Owned::take(&folder.path().join("q.db")).unwrap();
        let (mut connection, _) = file::open(&owned, Durability::Process).unwrap();
        let other = file::join(&owned.path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let mut moved = 0;
        for turn in 0..3 {
            write(&mut connection);
            keep(&connection);
            let kept = checkpoint(&other, "PASSIVE").unwrap().unwrap();
            assert!(kept > moved, "what was there before the snapshot");
            moved = kept;
            for more in 1..10 {
                write(&mut connection);
                // As many prepared ones as this connection ever has.
                connection.prepare_cached(&format!("SELECT {more}")).unwrap();
                keep(&connection);
                assert_eq!(identities(&other), 1 + turn * 10 + 1 + more);
                assert_eq!(checkpoint(&other, "PASSIVE").unwrap(), Some(moved), "another snapshot was begun");
            }
            assert!(end(&connection).unwrap() && !end(&connection).unwrap());
        }
        assert!(checkpoint(&other, "PASSIVE").unwrap() > Some(moved));
    }

    #[test]
    fn one_that_is_older_than_what_another_program_has_written_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let owned = file::Owned::take(&folder.path().join("q.db")).unwrap();
        let (mut connection, _) = file::open(&owned, Durability::Process).unwrap();
        let mut other = file::join(&owned.path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        for turn in 0..3 {
            keep(&connection);
            write(&mut other);
            write(&mut connection);
            assert_eq!(identities(&connection), 1 + (turn + 1) * 2);
        }
    }
}
