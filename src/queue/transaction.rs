//! A transaction that writes.
//!
//! rusqlite has one too, which has its BEGIN and its COMMIT prepared anew each time: nearly a tenth of a usual push.

use std::ops::Deref;

use rusqlite::{Connection, ErrorCode};

use super::snapshot;

/// See the module. Undone when it is dropped before [`Transaction::commit`].
#[derive(Debug)]
pub(super) struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    /// Begins one, and waits for as long as the connection does for another writer.
    pub(super) fn begin(connection: &'a mut Connection) -> rusqlite::Result<Self> {
        let begin = |connection: &Connection| connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop);
        match begin(connection) {
            // SQLite waits for no other writer with a snapshot that is older than what that one writes.
            Err(why) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && snapshot::end(connection)? => {
                begin(connection)?;
            }
            begun => begun?,
        }
        Ok(Self(connection))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        // Undone by what follows, when it fails.
        self.0.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors undo it themselves.
        if !self.0.is_autocommit() {
            drop(self.0.execute_batch("ROLLBACK"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn only_what_is_committed_is_kept() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a PRIMARY KEY)").unwrap();
        for _ in 0..3 {
            let transaction = Transaction::begin(&mut connection).unwrap();
            transaction.execute("INSERT INTO t VALUES (1)", []).unwrap();
            drop(transaction);
            assert!(rows(&connection) == 0 && connection.is_autocommit());
        }
        for count in 1..4 {
            let transaction = Transaction::begin(&mut connection).unwrap();
            transaction.execute("INSERT INTO t VALUES (?1)", [count]).unwrap();
            transaction.commit().unwrap();
            assert!(rows(&connection) == count && connection.is_autocommit());
        }
    }

    #[test]
    fn what_cannot_be_committed_is_undone() {
        let mut connection = Connection::open_in_memory().unwrap();
        let tables = "PRAGMA foreign_keys = ON; CREATE TABLE p (a PRIMARY KEY);
            CREATE TABLE t (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)";
        connection.execute_batch(tables).unwrap();
        let transaction = Transaction::begin(&mut connection).unwrap();
        transaction.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert!(transaction.commit().is_err() && connection.is_autocommit());
        assert_eq!(rows(&connection), 0);
    }
}
