//! Dead letters: kept beside the queue, only so many, and only so many bytes of them.

use std::{collections::BTreeSet, io::Write as _, time::Instant};

use rusqlite::{MAIN_DB, Row, blob::ZeroBlob, params};

use super::{Shared, transaction::Transaction};

/// A dead letter on its way into the file.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) payload: Vec<u8>,
    pub(crate) reason: String,
    /// The refused points as JSON.
    pub(crate) refused: String,
    /// When and by whom it was set aside, if not now and here.
    pub(crate) origin: Option<Origin>,
    /// Which of several consumers could not do anything with it.
    pub(crate) consumer: Option<String>,
}

/// When and by whom a message was set aside.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) time: String,
    pub(crate) agent: String,
}

/// How many there are, as long as no other program changes the file; an operator may have deleted some with sqlite3.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    /// SQLite's mark for changes by others.
    version: Option<i64>,
    count: u64,
    bytes: u64,
}

/// The number of a dead letter, how many bytes it counts as, and the letter, of a row with all columns.
pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<(i64, u64, Letter)> {
    let letter = Letter {
        payload: row.get("payload")?,
        reason: row.get("reason")?,
        refused: row.get("refused")?,
        origin: Some(Origin { time: row.get("time")?, agent: row.get("agent")? }),
        // A file of one publisher lacks the column.
        consumer: row.get("consumer").ok().flatten(),
    };
    Ok((row.get("id")?, row.get::<_, i64>("bytes")?.unsigned_abs(), letter))
}

impl Letters {
    /// One of so many bytes was taken out.
    pub(super) fn taken_out(&mut self, bytes: u64) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Puts letters in, and drops the oldest while there are too many. Returns how many.
    pub(super) fn keep<'a>(
        &mut self,
        transaction: &Transaction<'_>,
        shared: &Shared,
        letters: impl IntoIterator<Item = &'a Letter>,
    ) -> rusqlite::Result<u64> {
        let version = transaction.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0))?;
        if self.version != Some(version) {
            let count = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?));
            let (count, bytes) =
                transaction.query_row("SELECT count(*), total(bytes) FROM dead INDEXED BY letters", [], count)?;
            *self = Self { version: Some(version), count: count.unsigned_abs(), bytes: bytes as u64 };
        }
        let mut insert = transaction
            .prepare("INSERT INTO dead (bytes, time, agent, reason, refused, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut of_consumer = None;
        let time = jiff::Timestamp::now().to_string();
        let mut consumers = BTreeSet::new();
        for Letter { payload, reason, refused, origin, consumer } in letters {
            let bytes = payload.len() + reason.len() + refused.len();
            let (time, agent) = origin.as_ref().map_or((&time, &shared.agent), |origin| (&origin.time, &origin.agent));
            if let Some(consumer) = consumer {
                // The name stands behind the payload, and would have the row written anew if it came later.
                let insert = match &mut of_consumer {
                    Some(insert) => insert,
                    none => none.insert(transaction.prepare(
                        "INSERT INTO dead (bytes, time, agent, reason, refused, payload, consumer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?),
                };
                insert.execute(params![bytes as i64, time, agent, reason, refused, payload, consumer])?;
            } else {
                // Written into its row piece by piece: on the usual way it would be in memory two times more.
                insert.execute(params![bytes as i64, time, agent, reason, refused, ZeroBlob(payload.len() as u64)])?;
                let mut blob = transaction.blob_open(MAIN_DB, "dead", "payload", transaction.last_insert_rowid(), false)?;
                blob.write_all(payload).map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))?;
            }
            consumers.insert(consumer.as_deref());
            self.count += 1;
            self.bytes += bytes as u64;
        }
        if shared.several && !shared.damage.is_known() {
            return self.drop_oldest_of(transaction, shared, &consumers);
        }
        let mut oldest = transaction.prepare("DELETE FROM dead WHERE id = (SELECT min(id) FROM dead) RETURNING bytes")?;
        let mut dropped = 0;
        // Letters must not take the messages' room; the newest stays whatever it takes. A damaged file takes no messages any more,
        // and nothing of it is deleted.
        while !shared.damage.is_known()
            && (self.count > shared.max_dead_letters || (self.bytes > shared.max_dead_bytes && self.count > 1))
        {
            let bytes: i64 = oldest.query_row([], |row| row.get(0))?;
            self.count -= 1;
            self.bytes = self.bytes.saturating_sub(bytes.unsigned_abs());
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Drops the oldest letters of those consumers that have too many: none must take another's room. Returns how many.
    fn drop_oldest_of(
        &mut self,
        transaction: &Transaction<'_>,
        shared: &Shared,
        consumers: &BTreeSet<Option<&str>>,
    ) -> rusqlite::Result<u64> {
        let mut count =
            transaction.prepare("SELECT count(*), total(bytes) FROM dead INDEXED BY letters_of WHERE consumer IS ?1")?;
        let mut oldest = transaction.prepare(
            "DELETE FROM dead WHERE id = (SELECT min(id) FROM dead INDEXED BY letters_of WHERE consumer IS ?1) RETURNING bytes",
        )?;
        let all = shared.state().consumers(Instant::now()).len() as u64;
        let mut dropped = 0;
        for consumer in consumers {
            let (letters, bytes) = count.query_row([consumer], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?)))?;
            let (mut letters, mut bytes) = (letters.unsigned_abs(), bytes as u64);
            while letters > shared.max_dead_letters || (bytes > shared.max_dead_bytes / all.max(1) && letters > 1) {
                let of_one: i64 = oldest.query_row([consumer], |row| row.get(0))?;
                letters -= 1;
                bytes = bytes.saturating_sub(of_one.unsigned_abs());
                self.count = self.count.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(of_one.unsigned_abs());
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}
