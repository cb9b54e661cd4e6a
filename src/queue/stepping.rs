//! Steps over what cannot be read of a damaged file, chunk by chunk, so that everything that can be read is.
//!
//! Both the table and its index know which chunks there are. Where one of them is damaged the other is asked; where both are,
//! it is looked for where they can be read again.

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    body::{checked, counted},
    errors::is_damage,
};

/// The chunks of a connection's file, one at a time.
pub(super) struct Chunks<'a>(pub(super) &'a Connection);

/// A chunk by its number, and with how many messages if the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) count: Option<u32>,
}

/// How many messages a chunk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Known(u32),
    Unknown,
}

/// What is found from a chunk's number on.
#[derive(Debug)]
pub(super) enum Next {
    Chunk(Known),
    /// It cannot be told up to this one, and why.
    Unknown {
        until: i64,
        why: rusqlite::Error,
    },
    End,
}

impl Chunks<'_> {
    /// The first chunk from `at` on and before `end`.
    pub(super) fn next(&self, at: i64, end: i64) -> rusqlite::Result<Next> {
        match self.seek(at, end) {
            Ok(Some(known)) => Ok(Next::Chunk(known)),
            Ok(None) => Ok(Next::End),
            Err(why) if is_damage(&why) => Ok(Next::Unknown { until: self.beyond(at, end), why }),
            Err(why) => Err(why),
        }
    }

    /// Fails when neither the table nor the index can tell.
    fn seek(&self, at: i64, end: i64) -> rusqlite::Result<Option<Known>> {
        let index = "SELECT id, count FROM chunks INDEXED BY counts WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
        let table = "SELECT id, NULL FROM chunks NOT INDEXED WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
        match (self.first(index, at, end), self.first(table, at, end)) {
            (Ok(Some(index)), Ok(Some(table))) => Ok(Some(if table.id < index.id { table } else { index })),
            (Ok(one), Ok(other)) => Ok(one.or(other)),
            (Err(why), _) | (_, Err(why)) if !is_damage(&why) => Err(why),
            (Ok(known), Err(_)) | (Err(_), Ok(known)) => Ok(known),
            (Err(why), Err(_)) => Err(why),
        }
    }

    fn first(&self, sql: &str, at: i64, end: i64) -> rusqlite::Result<Option<Known>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let known = |row: &rusqlite::Row<'_>| Ok(Known { id: row.get(0)?, count: row.get::<_, Option<u32>>(1).ok().flatten() });
        let found = statement.query_row((at, end), known).optional()?;
        // A damaged tree may lead anywhere.
        Ok(found.filter(|known| (at..end).contains(&known.id)))
    }

    /// From where on it can be told again: damage lies in one place, so that is found by halving.
    fn beyond(&self, at: i64, end: i64) -> i64 {
        let (mut unknown, mut known, mut step) = (at, end, 1_i64);
        while let Some(probe) = at.checked_add(step).filter(|probe| *probe < end) {
            if self.seek(probe, end).is_ok() {
                known = probe;
                break;
            }
            unknown = probe;
            step = step.saturating_mul(2);
        }
        while known.saturating_sub(unknown) > 1 {
            let middle = unknown.midpoint(known);
            if self.seek(middle, end).is_ok() { known = middle } else { unknown = middle }
        }
        known
    }

    /// A chunk's bytes behind their checksum, and how many messages they are; `None` when they are not as they were written.
    pub(super) fn read(&self, chunk: i64) -> rusqlite::Result<Option<(u32, Vec<u8>)>> {
        let mut statement = self.0.prepare_cached("SELECT body FROM chunks WHERE id = ?1")?;
        let sound = |row: &rusqlite::Row<'_>| {
            let checked = checked(row.get_ref(0)?.as_blob()?).ok();
            Ok(checked.and_then(|checked| Some((counted(checked)?, checked.to_vec()))))
        };
        match statement.query_row([chunk], sound).optional() {
            Ok(body) => Ok(body.flatten()),
            Err(why) if is_damage(&why) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// How many messages a chunk has; `None` when neither the index nor the table has it.
    pub(super) fn count(&self, chunk: i64) -> rusqlite::Result<Option<Count>> {
        match self.counts(chunk) {
            (Err(why), _) | (_, Err(why)) if !is_damage(&why) => Err(why),
            (Ok(None), Ok(None)) => Ok(None),
            (Ok(Some(index)), Ok(Some(table))) if index == table => Ok(Some(Count::Known(index))),
            // One of them is damaged. Its bytes have a checksum.
            _ => Ok(Some(self.read(chunk)?.map_or(Count::Unknown, |(count, _)| Count::Known(count)))),
        }
    }

    /// Whether the table has a chunk's row as the index says, whatever its bytes are.
    pub(super) fn is_in_place(&self, chunk: i64) -> rusqlite::Result<bool> {
        match self.counts(chunk) {
            (Ok(index), Ok(table)) => Ok(index == table),
            (Err(why), _) | (_, Err(why)) if !is_damage(&why) => Err(why),
            _ => Ok(false),
        }
    }

    /// How many messages a chunk has by the index, and by the table.
    fn counts(&self, chunk: i64) -> (rusqlite::Result<Option<u32>>, rusqlite::Result<Option<u32>>) {
        let count = |sql| self.0.prepare_cached(sql)?.query_row([chunk], |row| row.get(0)).optional();
        let index = count("SELECT count FROM chunks INDEXED BY counts WHERE id = ?1");
        (index, count("SELECT count FROM chunks NOT INDEXED WHERE id = ?1"))
    }

    /// Whether the index has a chunk here that the table has not shown.
    pub(super) fn has_any(&self, from: i64, end: i64) -> rusqlite::Result<bool> {
        Ok(!matches!(self.next(from, end)?, Next::End))
    }
}

/// How many bytes are read at once of what cannot be read as a whole.
const STEP: usize = 256;
/// And at most so many, since a damaged chunk may seem to have no end.
const MOST: usize = 16 << 20;

/// A chunk's bytes, as many as can be read from its beginning, and whether those are all.
pub(super) fn legible(connection: &Connection, chunk: i64) -> (Vec<u8>, bool) {
    let whole =
        connection.query_row("SELECT body FROM chunks WHERE id = ?1", [chunk], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()));
    if let Ok(whole) = whole {
        return (whole, true);
    }
    let mut bytes = Vec::new();
    if let Ok(blob) = connection.blob_open("main", "chunks", "body", chunk, true) {
        let mut piece = [0; STEP];
        while let Ok(read) = blob.read_at(&mut piece, bytes.len()) {
            bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
            if read < STEP || bytes.len() >= MOST {
                break;
            }
        }
    }
    (bytes, false)
}
