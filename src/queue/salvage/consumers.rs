//! Several consumers of a file from which messages are taken out: for whom each message waits stays as it is.

use rusqlite::{Connection, Row};

use super::from_both_ends;
use crate::queue::{
    consumers::{self, make},
    deleting::INSERT_DONE,
    intervals::{IntervalSet, Offset},
};

/// What all of them have done, of a file that has them.
pub(super) struct Consumers(Option<IntervalSet>);

impl Consumers {
    /// Takes them out. Returns with them whether everything can be read of what they have done.
    pub(super) fn take_out(old: &Connection, new: &Connection) -> rusqlite::Result<(Self, bool)> {
        let version: i64 = old.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version < consumers::VERSION {
            return Ok((Self(None), true));
        }
        let known = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (known, all_known) = from_both_ends::<(i64, String)>(old, "SELECT id, name FROM consumers", "id", known);
        let row = |row: &Row<'_>| {
            let ends: (i64, u32, i64, u32) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, ends))
        };
        let select = "SELECT consumer, chunk, message, to_chunk, to_message FROM done_by";
        let (done, all_done) = from_both_ends::<(i64, (i64, u32, i64, u32))>(old, select, "consumer", row);
        let all = all_known && all_done;
        if known.is_empty() {
            return Ok((Self(None), all));
        }
        make(new)?;
        let mut by_all = IntervalSet::default();
        by_all.insert(Offset::start(i64::MIN), Offset::start(i64::MAX));
        for (id, name) in known {
            new.execute("INSERT INTO consumers (id, name) VALUES (?1, ?2)", (id, name))?;
            let mut of_this = IntervalSet::default();
            for &(_, (chunk, message, to_chunk, to_message)) in done.iter().filter(|(consumer, _)| *consumer == id) {
                new.execute(INSERT_DONE, (id, chunk, message, to_chunk, to_message))?;
                of_this.insert(Offset { chunk, message }, Offset { chunk: to_chunk, message: to_message });
            }
            by_all = by_all.intersection(&of_this);
        }
        Ok((Self(Some(by_all)), all))
    }

    /// How many messages of a chunk that has so many all have done.
    pub(super) fn done_of(&self, chunk: i64, of: u32) -> u64 {
        let ends = (Offset::start(chunk), Offset::start(chunk.saturating_add(1)));
        let done = self.0.iter().flat_map(|done| done.within(ends.0, ends.1));
        let messages =
            |(from, to): (Offset, Offset)| (if to.chunk > chunk { of } else { to.message }).saturating_sub(from.message);
        done.map(messages).map(u64::from).sum()
    }

    /// Names the consumer of a dead letter.
    pub(super) fn take_out_letter(&self, old: &Connection, new: &Connection, letter: i64) -> rusqlite::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let of = old.query_row("SELECT consumer FROM dead WHERE id = ?1", [letter], |row| row.get::<_, Option<String>>(0));
        new.execute("UPDATE dead SET consumer = ?1 WHERE id = ?2", (of.ok().flatten(), letter)).map(drop)
    }
}
