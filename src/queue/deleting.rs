//! How what is done, or deleted, goes out of the file.

use std::{collections::BTreeMap, ops::Range};

use rusqlite::{Connection, params};

use super::{
    Shared,
    errors::misplaced,
    intervals::{Offset, Part, places},
    state::{Change, Changes, ConsumerChange, Rest},
    transaction::Transaction,
};

/// What one of several consumers has done, as an interval.
pub(super) const INSERT_DONE: &str =
    "INSERT INTO done_by (consumer, chunk, message, to_chunk, to_message) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Deletes the chunks that are done, and writes down what is done of those that are not or are kept.
pub(super) fn write_down(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::OfTheOnly(rests) => write_rests(transaction, rests),
        Change::OfSeveral(changes) => write_changes(transaction, changes),
    }
}

fn write_changes(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut remove = transaction.prepare_cached("DELETE FROM done_by WHERE consumer = ?1 AND chunk = ?2 AND message = ?3")?;
    let mut insert = transaction.prepare_cached(INSERT_DONE)?;
    for ConsumerChange { id, gone, now, .. } in &changes.consumers {
        gone.iter().try_for_each(|begin| remove.execute((id, begin.chunk, begin.message)).map(drop))?;
        for (from, to) in now.iter() {
            insert.execute((id, from.chunk, from.message, to.chunk, to.message))?;
        }
    }
    changes.deleted.iter().try_for_each(|&run| delete_run(transaction, run))
}

fn write_rests(transaction: &Transaction<'_>, rests: &BTreeMap<i64, Rest>) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare_cached("DELETE FROM done WHERE chunk BETWEEN ?1 AND ?2")?;
    let mut insert = transaction.prepare_cached("INSERT INTO done (chunk, first, behind) VALUES (?1, ?2, ?3)")?;
    for run in whole(rests) {
        delete_run(transaction, run)?;
        forget.execute(run)?;
    }
    for (&chunk, rest) in rests {
        let whole;
        let ranges = match rest {
            Rest::Nothing => continue,
            Rest::Kept(of) => {
                whole = [(0, *of)];
                &whole[..]
            }
            Rest::Done(ranges) => ranges,
        };
        forget.execute((chunk, chunk))?;
        ranges.iter().try_for_each(|(first, behind)| insert.execute(params![chunk, first, behind]).map(drop))?;
    }
    Ok(())
}

impl Change {
    /// Runs of chunks of which nothing is left to do, each from its first to its last.
    pub(super) fn deleted(&self) -> Vec<(i64, i64)> {
        match self {
            Self::OfTheOnly(rests) => whole(rests),
            Self::OfSeveral(changes) => changes.deleted.clone(),
        }
    }
}

fn whole(rests: &BTreeMap<i64, Rest>) -> Vec<(i64, i64)> {
    runs(rests.iter().filter(|(_, rest)| **rest == Rest::Nothing).map(|(&chunk, _)| chunk))
}

/// Runs of chunks, each from its first to its last.
fn runs(chunks: impl IntoIterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for chunk in chunks {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(chunk) => *last = chunk,
            _ => runs.push((chunk, chunk)),
        }
    }
    runs
}

/// Deletes the chunks of a run as a whole.
///
/// # Errors
/// When one is not where it should be, whether or not SQLite notices: it would be there again at the next start.
pub(super) fn delete_run(transaction: &Connection, run: (i64, i64)) -> rusqlite::Result<()> {
    // By the table itself: what a damaged index has lost would stay unnoticed.
    let mut delete = transaction.prepare_cached("DELETE FROM chunks NOT INDEXED WHERE id BETWEEN ?1 AND ?2")?;
    let all = run.1.abs_diff(run.0).saturating_add(1);
    if u64::try_from(delete.execute(run)?) != Ok(all) {
        // Another program may have deleted some, and so taken them out of the index too.
        let mut left = transaction.prepare_cached("SELECT 1 FROM chunks INDEXED BY counts WHERE id BETWEEN ?1 AND ?2")?;
        if left.exists(run)? {
            return Err(misplaced());
        }
    }
    Ok(())
}

/// How many messages are in these intervals.
pub(super) fn count(connection: &Connection, intervals: impl IntoIterator<Item = (Offset, Offset)>) -> rusqlite::Result<u64> {
    let mut sum = connection.prepare_cached("SELECT total(count) FROM chunks INDEXED BY counts WHERE id >= ?1 AND id < ?2")?;
    let mut of = |from: i64, to: i64| sum.query_row((from, to), |row| row.get::<_, f64>(0)).map(|count| count as u64);
    let mut messages = 0;
    for (from, to) in intervals {
        // Whole chunks, as if the first one were, and what there is of the last one.
        messages += of(from.chunk, to.chunk)? + u64::from(to.message);
        messages = messages.saturating_sub(u64::from(from.message));
    }
    Ok(messages)
}

/// Deletes all in these intervals of the only consumer's. Returns what remains of the chunks at their ends, and how many messages it
/// were.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    shared: &Shared,
    intervals: &[(Offset, Offset)],
) -> rusqlite::Result<(Change, u64)> {
    let (mut parts, mut messages) = (Vec::new(), 0);
    for &(from, to) in intervals {
        // Chunks that wait as a whole, and then those at the ends of which only a part does.
        let whole = (from.next_chunk(), to.chunk);
        if whole.0 < whole.1 {
            let sum = "SELECT total(count) FROM chunks WHERE id >= ?1 AND id < ?2";
            messages += transaction.query_row(sum, whole, |row| row.get::<_, f64>(0))? as u64;
            delete_run(transaction, (whole.0, whole.1 - 1))?;
        }
        let ends = [(from.message > 0).then_some(from.chunk), (to.message > 0).then_some(to.chunk)];
        let one = ends[0] == ends[1];
        for chunk in ends.into_iter().take(if one { 1 } else { 2 }).flatten() {
            let of = "SELECT coalesce(max(count), 0) FROM chunks WHERE id = ?1";
            let of: u32 = transaction.query_row(of, [chunk], |row| row.get(0))?;
            let Range { start, end } = places(chunk, of, from, to);
            let part = Part { chunk, from: start, to: end, of };
            if part.from < part.to {
                messages += part.count();
                parts.push(part);
            }
        }
    }
    let change = shared.state().change(parts.into_iter().map(|part| (0, part)));
    write_down(transaction, &change)?;
    Ok((change, messages))
}
