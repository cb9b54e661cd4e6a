//! What goes out: what is done or deleted.

use std::{ops::Range, sync::Arc};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::Writer;
use crate::{
    failpoint::fail_point,
    queue::{
        deleting::{count, delete, delete_run, write_down},
        errors::{StoreError, is_damage},
        intervals::{Offset, Part, places},
        settlement::Settlement,
        state::Change,
    },
};

/// Of a consumer for which too many messages wait, this part of what may is dropped with what is too much.
const DROPPED_AT_ONCE: u64 = 64;
/// How many chunks are deleted while a push may have to wait for it: some 300 µs.
const SLICE: i64 = 64;
/// In so many intervals at most.
const FRAGMENTS: usize = 1000;

impl Writer {
    pub(super) fn settle(&mut self, settlements: Vec<(Settlement, oneshot::Sender<Result<u64, StoreError>>)>) {
        let (mut settlements, answers): (Vec<_>, Vec<_>) = settlements.into_iter().unzip();
        // If that fails, the rest of the log may do.
        drop(self.keep_log_short());
        let mut finished = self.finish(&mut settlements);
        if finished.as_ref().is_err_and(|why| why.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)) && self.rest().is_ok()
        {
            // The log had no room left, where no file can be as long as it usually is.
            finished = self.finish(&mut settlements);
        }
        match finished {
            Ok(dropped) => {
                // Each is counted once.
                let counts = std::iter::once(dropped).chain(std::iter::repeat(0));
                answers.into_iter().zip(counts).for_each(|(answer, dropped)| drop(answer.send(Ok(dropped))));
            }
            Err(why) if is_damage(&why) => {
                // From here on nothing is deleted, which may be all that failed.
                drop(self.error("complete messages", &why));
                for (settlement, answer) in settlements.into_iter().zip(answers) {
                    drop(answer.send(self.finish_anyhow(settlement)));
                }
            }
            Err(why) => {
                let error = self.error("complete messages", &why);
                answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
            }
        }
    }

    /// Writes down what is done and the dead letters, in one transaction, and updates the state: nothing may come between,
    /// as when what came in is written. Returns how many letters were dropped. When it fails, the leases are held as before.
    fn finish(&mut self, settlements: &mut Vec<Settlement>) -> rusqlite::Result<u64> {
        let shared = Arc::clone(&self.shared);
        let letters: Vec<_> = settlements.iter().flat_map(|settlement| &settlement.letters).collect();
        // A message must not go before its dead letter is there.
        if letters.is_empty() && settlements.iter().flat_map(Settlement::done).count() > SLICE as usize {
            self.delete_in_slices(settlements)?;
        }
        let change = shared.state().change(settlements.iter().flat_map(Settlement::done));
        if change.is_empty() && letters.is_empty() {
            Settlement::settled(std::mem::take(settlements), &shared, change);
            return Ok(0);
        }
        let mut letters_after = self.letters.clone();
        let transaction = self.begin()?;
        write_down(&transaction, &change)?;
        let dropped = if letters.is_empty() { 0 } else { letters_after.keep(&transaction, &shared, letters)? };
        fail_point!("queue.settle");
        transaction.commit()?;
        Settlement::settled(std::mem::take(settlements), &shared, change);
        self.letters = letters_after;
        self.freed = true;
        fail_point!("queue.settled");
        Ok(dropped)
    }

    /// Deletes the chunks that are done as a whole, a slice after the other, and stores what is pushed meanwhile in between, so that no
    /// push waits until all are deleted. Should it end half-way, what is left is published once more, as if nothing were settled.
    fn delete_in_slices(&mut self, settlements: &[Settlement]) -> rusqlite::Result<()> {
        let change = self.shared.state().change(settlements.iter().flat_map(Settlement::done));
        for slice in slices(change.deleted()) {
            let transaction = self.begin()?;
            delete_run(&transaction, slice)?;
            fail_point!("queue.slice");
            transaction.commit()?;
            self.push();
        }
        Ok(())
    }

    /// Finishes one in a damaged file. What cannot be written down is done nevertheless, as far as this agent is concerned: held,
    /// it would keep a publisher for good, and given back, it would be published over and over. The next agent finds it in the
    /// file and publishes it once more, dead letters among it once more too.
    fn finish_anyhow(&mut self, settlement: Settlement) -> Result<u64, StoreError> {
        let mut settlement = vec![settlement];
        match self.finish(&mut settlement) {
            Err(why) if is_damage(&why) => {
                let parts: Vec<(usize, Part)> = settlement.iter().flat_map(Settlement::done).collect();
                self.shared.damage.unmarked(parts.iter().map(|(_, part)| part.count()).sum());
                let change = self.shared.state().change(parts);
                Settlement::settled(settlement, &self.shared, change);
                Ok(0)
            }
            finished => finished.map_err(|why| self.error("complete messages", &why)),
        }
    }

    pub(super) fn clear(&mut self) -> Result<bool, StoreError> {
        if let Some(error) = self.shared.damaged() {
            return Err(error);
        }
        let intervals = self.shared.state().clear();
        if intervals.is_empty() {
            return Ok(false);
        }
        match self.delete(&intervals) {
            Ok(messages) => Ok(messages.iter().any(|messages| *messages > 0)),
            Err(why) => Err(self.error("delete messages", &why)),
        }
    }

    /// Deletes what was taken off what waits, of each consumer. Returns how many messages of each it
    /// were; when that fails, they wait again.
    pub(super) fn delete(&mut self, taken_off: &[(usize, Vec<(Offset, Offset)>)]) -> rusqlite::Result<Vec<u64>> {
        let deleted = self.write_deleted(taken_off);
        let mut state = self.shared.state();
        match deleted {
            Ok((change, messages)) => {
                state.written(change);
                for (&(consumer, _), &messages) in taken_off.iter().zip(&messages) {
                    state.of_mut(consumer).cleared(messages);
                }
                drop(state);
                self.freed = true;
                Ok(messages)
            }
            Err(why) => {
                taken_off.iter().for_each(|(consumer, intervals)| state.of_mut(*consumer).uncleared(intervals));
                drop(state);
                self.shared.arrived.notify_waiters();
                Err(why)
            }
        }
    }

    /// In one transaction. Returns how many messages of each consumer it were.
    fn write_deleted(&mut self, taken_off: &[(usize, Vec<(Offset, Offset)>)]) -> rusqlite::Result<(Change, Vec<u64>)> {
        let shared = Arc::clone(&self.shared);
        let transaction = self.begin()?;
        let deleted = match taken_off {
            [(_, intervals)] if !shared.several => {
                let (change, messages) = delete(&transaction, &shared, intervals)?;
                (change, vec![messages])
            }
            taken_off => {
                let messages = taken_off.iter().map(|(_, intervals)| count(&transaction, intervals.iter().copied()));
                let messages = messages.collect::<rusqlite::Result<Vec<_>>>()?;
                let done = taken_off.iter().flat_map(|(consumer, of)| of.iter().map(|&(from, to)| (*consumer, from, to)));
                let change = Change::OfSeveral(shared.state().changes(done));
                write_down(&transaction, &change)?;
                (change, messages)
            }
        };
        transaction.commit()?;
        Ok(deleted)
    }

    /// Drops the oldest messages of consumers that are not required and for which too many wait. Some more are dropped than are too
    /// many, so that it is not with every push; what cannot be dropped now is after the next one.
    pub(super) fn drop_oldest(&mut self) {
        if !self.shared.bounded || self.shared.damage.is_known() {
            return;
        }
        let too_long = self.shared.state().too_long(self.shared.drops_oldest);
        for (consumer, over, most) in too_long {
            let (waiting, mark) = self.shared.state().of(consumer).oldest(FRAGMENTS);
            let dropped = first_messages(&self.connection, &waiting, over + most / DROPPED_AT_ONCE).and_then(|intervals| {
                let begun = self.shared.state().of_mut(consumer).begin_dropping(&intervals, mark);
                if begun { self.delete(&[(consumer, intervals)]).map(drop) } else { Ok(()) }
            });
            if let Err(why) = dropped {
                drop(self.error("drop messages", &why));
            }
        }
    }

    /// Has the next start know that the file is damaged. Where that cannot be written, the next start finds the damage anew.
    pub(super) fn mark_damaged(&mut self, found: &str) {
        let marked = self.begin().and_then(|transaction| {
            transaction.execute("INSERT INTO damage (found) VALUES (?1)", [found])?;
            transaction.commit()
        });
        drop(marked);
    }
}

/// Runs of chunks, cut so that no piece has more than [`SLICE`].
fn slices(runs: Vec<(i64, i64)>) -> impl Iterator<Item = (i64, i64)> {
    runs.into_iter().flat_map(|(first, last)| {
        let starts = std::iter::successors(Some(first), move |start| start.checked_add(SLICE).filter(|start| *start <= last));
        starts.map(move |start| (start, start.saturating_add(SLICE - 1).min(last)))
    })
}

/// Where the first so many messages of these intervals are.
fn first_messages(
    connection: &Connection,
    intervals: &[(Offset, Offset)],
    mut messages: u64,
) -> rusqlite::Result<Vec<(Offset, Offset)>> {
    let sql = "SELECT id, count FROM chunks INDEXED BY counts WHERE id >= ?1 AND id <= ?2 ORDER BY id";
    let mut chunks = connection.prepare_cached(sql)?;
    let mut first = Vec::new();
    for &(from, to) in intervals {
        let mut end = from;
        let mut rows = chunks.query((from.chunk, to.chunk))?;
        while let Some(row) = rows.next()? {
            let (chunk, count): (i64, u32) = (row.get(0)?, row.get(1)?);
            let Range { start: begin, end: behind } = places(chunk, count, from, to);
            let here = u64::from(behind.saturating_sub(begin));
            end = if here > messages {
                // Which is less than a chunk has.
                Offset { chunk, message: begin + u32::try_from(messages).unwrap_or(u32::MAX) }
            } else if behind == count {
                Offset::start(chunk.saturating_add(1))
            } else {
                Offset { chunk, message: behind }
            };
            messages = messages.saturating_sub(here);
            if messages == 0 {
                break;
            }
        }
        if end > from {
            first.push((from, end));
        }
        if messages == 0 {
            break;
        }
    }
    Ok(first)
}
