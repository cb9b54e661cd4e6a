//! Reads a damaged file chunk by chunk, past what cannot be read.
//!
//! Both the table and its index know which chunks there are. Where one of them is damaged the other is asked; where both are,
//! reading goes on at the first chunk that can be reached from the end.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    body::{checked, counted},
    errors::is_damage,
};

/// The chunks of a connection's file, one at a time.
pub(super) struct Chunks<'a>(pub(super) &'a Connection);

/// What is found from a chunk's number on.
#[derive(Debug)]
pub(super) enum Next {
    /// A chunk, with how many messages it has if the index knows that.
    Chunk {
        id: i64,
        count: Option<u32>,
    },
    /// Neither the table nor the index can be read before this one.
    Unknown {
        until: i64,
    },
    End,
}

/// A chunk by its number, and with how many messages if the index knows it.
type Known = (i64, Option<u32>);

impl Chunks<'_> {
    /// The first chunk from `at` on and before `end`.
    pub(super) fn next(&self, at: i64, end: i64) -> rusqlite::Result<Next> {
        if at >= end {
            return Ok(Next::End);
        }
        let index = "SELECT id, count FROM chunks INDEXED BY counts WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
        let table = "SELECT id, NULL FROM chunks NOT INDEXED WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
        let known = match (self.first(index, at, end), self.first(table, at, end)) {
            (Ok(Some(index)), Ok(Some(table))) => Some(if table.0 < index.0 { table } else { index }),
            (Ok(one), Ok(other)) => one.or(other),
            (Err(why), _) | (_, Err(why)) if !is_damage(&why) => return Err(why),
            (Ok(Some(known)), Err(_)) | (Err(_), Ok(Some(known))) => Some(known),
            // What can be read of the one has nothing more, and the other cannot be read.
            (Ok(None), Err(_)) | (Err(_), Ok(None)) | (Err(_), Err(_)) => {
                return Ok(Next::Unknown { until: self.reached_from(end, at)? });
            }
        };
        Ok(known.map_or(Next::End, |(id, count)| Next::Chunk { id, count }))
    }

    fn first(&self, sql: &str, at: i64, end: i64) -> rusqlite::Result<Option<Known>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let known = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Option<u32>>(1).ok().flatten()));
        let found: Option<Known> = statement.query_row((at, end), known).optional()?;
        // A damaged tree may lead anywhere.
        Ok(found.filter(|(id, _)| (at..end).contains(id)))
    }

    /// The first chunk behind `at` that can be reached from `end`; `end` when none can.
    fn reached_from(&self, end: i64, at: i64) -> rusqlite::Result<i64> {
        let mut reached = end;
        for source in ["INDEXED BY counts", "NOT INDEXED"] {
            let sql = format!("SELECT id FROM chunks {source} WHERE id > ?1 AND id < ?2 ORDER BY id DESC");
            let mut statement = self.0.prepare_cached(&sql)?;
            let ids = statement.query_map((at, end), |row| row.get::<_, i64>(0))?;
            let mut last = end;
            for id in ids {
                match id {
                    Ok(id) if id > at && id < last => last = id,
                    Err(why) if !is_damage(&why) => return Err(why),
                    _ => break,
                }
            }
            reached = reached.min(last);
        }
        Ok(reached)
    }

    /// A chunk's bytes behind their checksum, and how many messages they are; `None` when they are not as they were written.
    pub(super) fn read(&self, chunk: i64) -> rusqlite::Result<Option<(u32, Vec<u8>)>> {
        let mut statement = self.0.prepare_cached("SELECT body FROM chunks WHERE id = ?1")?;
        let sound = |row: &Row<'_>| {
            let checked = checked(row.get_ref(0)?.as_blob()?).ok();
            Ok(checked.and_then(|checked| Some((counted(checked)?, checked.to_vec()))))
        };
        match statement.query_row([chunk], sound).optional() {
            Ok(body) => Ok(body.flatten()),
            Err(why) if is_damage(&why) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// How many messages a chunk has by the index, and by the table.
    pub(super) fn counts(&self, chunk: i64) -> (rusqlite::Result<Option<u32>>, rusqlite::Result<Option<u32>>) {
        let count = |sql| self.0.prepare_cached(sql)?.query_row([chunk], |row| row.get(0)).optional();
        let index = count("SELECT count FROM chunks INDEXED BY counts WHERE id = ?1");
        (index, count("SELECT count FROM chunks NOT INDEXED WHERE id = ?1"))
    }
}
