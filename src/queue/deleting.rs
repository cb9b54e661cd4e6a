//! How what is done, or deleted, goes out of the file.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{
    Shared,
    errors::misplaced,
    intervals::{Offset, Part},
    state::Rest,
    transaction::Transaction,
};

/// Deletes the chunks that are done, and writes down the ranges of those that are not or are kept.
pub(super) fn write_down(transaction: &Transaction<'_>, rests: &BTreeMap<i64, Rest>) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare("DELETE FROM done WHERE chunk BETWEEN ?1 AND ?2")?;
    let mut insert = transaction.prepare("INSERT INTO done (chunk, first, behind) VALUES (?1, ?2, ?3)")?;
    let whole = rests.iter().filter(|(_, rest)| **rest == Rest::Nothing).map(|(&chunk, _)| chunk);
    for run in runs(whole) {
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
fn delete_run(transaction: &Transaction<'_>, run: (i64, i64)) -> rusqlite::Result<()> {
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

/// Deletes all in these intervals. Returns what remains of the chunks at their ends, and how many messages it were.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    shared: &Shared,
    intervals: &[(Offset, Offset)],
) -> rusqlite::Result<(BTreeMap<i64, Rest>, u64)> {
    let (mut parts, mut messages) = (Vec::new(), 0);
    for &(from, to) in intervals {
        // Chunks that wait as a whole, and then those at the ends of which only a part does.
        let whole = (from.chunk + i64::from(from.message > 0), to.chunk);
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
            let part = Part {
                chunk,
                from: if chunk == from.chunk { from.message } else { 0 },
                to: if chunk == to.chunk { to.message } else { of },
                of,
            };
            if part.from < part.to {
                messages += part.count();
                parts.push(part);
            }
        }
    }
    let rests = shared.state().rests(parts);
    write_down(transaction, &rests)?;
    Ok((rests, messages))
}
