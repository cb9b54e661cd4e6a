//! Makes room for what comes by dropping what has waited longest, where the settings say so.
//!
//! The oldest chunks go, for all consumers for which they wait, since only then is their room free. A chunk of which anything is
//! leased stays, and so do dead letters: these have a room of their own.

use std::sync::{Arc, atomic::Ordering};

use rusqlite::Connection;

use super::Writer;
use crate::queue::{
    Shared,
    file::PAGE,
    intervals::{IntervalSet, Offset},
    packing::on_disk,
    space::Pages,
};

/// Of the room that the file may have, this part is made at once, so that it is not with every push; but not more than a millisecond
/// or two are spent on.
const MADE_AT_ONCE: u64 = 64;
const MOST_AT_ONCE: u64 = 1 << 20;
/// In so many intervals of each consumer at most.
const FRAGMENTS: usize = 1000;

impl Writer {
    /// Makes room within the size that the file may have.
    pub(super) fn make_room(&mut self, needed: u64) {
        let shared = Arc::clone(&self.shared);
        loop {
            match self.space.room(&self.connection, &shared, needed) {
                Ok(room) if room < needed && self.drop_chunks(&shared, needed, needed - room) => {}
                _ => return,
            }
        }
    }

    /// Makes room within the size that the file has, where the disk has none to make it larger. Returns whether there is some.
    pub(super) fn make_room_inside(&mut self, needed: u64) -> bool {
        let shared = Arc::clone(&self.shared);
        loop {
            let Ok(Pages { all, used }) = Pages::of(&self.connection) else { return false };
            let free = all.saturating_sub(used) * PAGE;
            if free >= needed {
                return true;
            }
            if !self.drop_chunks(&shared, needed, needed - free) {
                return false;
            }
        }
    }

    /// Drops chunks of so many bytes, and some more. Returns whether there were any; none are dropped for what finds no room even in an
    /// empty file.
    fn drop_chunks(&mut self, shared: &Shared, needed: u64, missing: u64) -> bool {
        if shared.damage.is_known() || needed > shared.max_bytes.saturating_sub(shared.max_dead_bytes) {
            return false;
        }
        let bytes = missing.max((shared.max_bytes / MADE_AT_ONCE).min(MOST_AT_ONCE));
        let droppable = shared.state().droppable(FRAGMENTS);
        let dropped = first_chunks(&self.connection, &droppable, bytes).and_then(|chunks| {
            let taken_off = shared.state().begin_dropping(&chunks);
            if taken_off.is_empty() { Ok(Vec::new()) } else { self.delete(&taken_off) }
        });
        match dropped {
            Ok(messages) => {
                let most = messages.iter().max().copied().unwrap_or_default();
                shared.dropped_oldest.fetch_add(most, Ordering::Relaxed);
                most > 0
            }
            Err(why) => {
                drop(self.error("drop messages", &why));
                false
            }
        }
    }
}

/// The first of these chunks, of so many bytes together.
fn first_chunks(connection: &Connection, of: &IntervalSet, mut bytes: u64) -> rusqlite::Result<IntervalSet> {
    let sql = "SELECT id, length(body) FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id";
    let mut chunks = connection.prepare_cached(sql)?;
    let mut first = IntervalSet::default();
    for (from, to) in of.iter() {
        let mut rows = chunks.query((from.chunk, to.chunk))?;
        while let Some(row) = rows.next()? {
            let (chunk, length): (i64, u32) = (row.get(0)?, row.get(1)?);
            first.insert(Offset::start(chunk), Offset::start(chunk.saturating_add(1)));
            bytes = bytes.saturating_sub(on_disk(length as usize));
            if bytes == 0 {
                return Ok(first);
            }
        }
    }
    Ok(first)
}
