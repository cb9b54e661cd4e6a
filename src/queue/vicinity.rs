//! Whether what lies round chunks that are to be deleted is as it was written.
//!
//! Deleting joins pages that have become too empty with those beside them, and goes by what all of them say that they have. A
//! damaged one takes messages along that could be read until then, and with each deletion more. So before anything is deleted,
//! the table and its index must say the same of what lies there: hardly ever are both damaged in the same way.

use rusqlite::{CachedStatement, Connection, Row};

use super::{errors::misplaced, file::PAGE};

/// A page is joined with two others on one side at most.
const BESIDE: u64 = 3 * PAGE;
/// What a row has on its page at least, when that has no room for all of its bytes.
const LEAST: u64 = 489;
/// What a row has in a page of the index, but for the first 127 rows and those of one message.
const INDEXED: u64 = 10;

/// Fails when what lies round these chunks, from the first to the last, is not as it was written, or what is among them is not.
pub(super) fn check(connection: &Connection, (first, last): (i64, i64)) -> rusqlite::Result<()> {
    let table = connection.prepare_cached("SELECT id, length(body) FROM chunks NOT INDEXED WHERE id >= ?1 ORDER BY id")?;
    let index = connection.prepare_cached("SELECT id FROM chunks INDEXED BY counts WHERE id >= ?1 ORDER BY id")?;
    compare(table, index, first, |id| id > last)?;
    let table = connection.prepare_cached("SELECT id, length(body) FROM chunks NOT INDEXED WHERE id < ?1 ORDER BY id DESC")?;
    let index = connection.prepare_cached("SELECT id FROM chunks INDEXED BY counts WHERE id < ?1 ORDER BY id DESC")?;
    compare(table, index, first, |_| true)
}

/// Goes through both from a chunk on, until enough was seen of what is `beside` those that are to be deleted.
fn compare(
    mut table: CachedStatement<'_>,
    mut index: CachedStatement<'_>,
    from: i64,
    beside: impl Fn(i64) -> bool,
) -> rusqlite::Result<()> {
    let (mut rows, mut entries) = (table.query([from])?, index.query([from])?);
    let id = |row: &Row<'_>| row.get::<_, i64>(0);
    let (mut on_pages, mut indexed) = (0, 0);
    let mut before = None;
    while on_pages < BESIDE || indexed < BESIDE {
        let entry = entries.next()?.map(id).transpose()?;
        if on_pages < BESIDE {
            let row =
                rows.next()?.map(|row| Ok::<_, rusqlite::Error>((id(row)?, row.get::<_, i64>(1)?.unsigned_abs()))).transpose()?;
            if row.map(|(id, _)| id) != entry {
                return Err(misplaced());
            }
            if let Some((_, bytes)) = row.filter(|(id, _)| beside(*id)) {
                on_pages += bytes.min(LEAST);
            }
        }
        let Some(entry) = entry else { return Ok(()) };
        // No two have the same number, and on either way there is an order.
        if before.is_some_and(|before: i64| before.cmp(&entry) != from.cmp(&entry)) {
            return Err(misplaced());
        }
        before = Some(entry);
        if beside(entry) {
            indexed += INDEXED;
        }
    }
    Ok(())
}
