//! What goes out: what is done or deleted.

use std::sync::Arc;

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::Writer;
use crate::{
    failpoint::fail_point,
    queue::{
        deleting::{delete, write_down},
        errors::{StoreError, is_damage},
        intervals::Part,
        settlement::Settlement,
    },
};

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
        let parts: Vec<Part> = settlements.iter().flat_map(|settlement| settlement.parts.iter().copied()).collect();
        let letters: Vec<_> = settlements.iter().flat_map(|settlement| &settlement.letters).collect();
        let rests = shared.state().rests(parts);
        if rests.is_empty() && letters.is_empty() {
            Settlement::settled(std::mem::take(settlements), &shared, rests);
            return Ok(0);
        }
        let mut letters_after = self.letters.clone();
        let transaction = self.begin()?;
        write_down(&transaction, &rests)?;
        let dropped = if letters.is_empty() { 0 } else { letters_after.keep(&transaction, &shared, letters)? };
        fail_point!("queue.settle");
        transaction.commit()?;
        Settlement::settled(std::mem::take(settlements), &shared, rests);
        self.letters = letters_after;
        self.freed = true;
        fail_point!("queue.settled");
        Ok(dropped)
    }

    /// Finishes one in a damaged file. What cannot be written down is done nevertheless, as far as this agent is concerned: held,
    /// it would keep a publisher for good, and given back, it would be published over and over. The next agent finds it in the
    /// file and publishes it once more, dead letters among it once more too.
    fn finish_anyhow(&mut self, settlement: Settlement) -> Result<u64, StoreError> {
        let mut settlement = vec![settlement];
        match self.finish(&mut settlement) {
            Err(why) if is_damage(&why) => {
                let parts: Vec<Part> = settlement.iter().flat_map(|settlement| settlement.parts.iter().copied()).collect();
                self.shared.damage.unmarked(parts.iter().map(Part::count).sum());
                let rests = self.shared.state().rests(parts);
                Settlement::settled(settlement, &self.shared, rests);
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
        let shared = Arc::clone(&self.shared);
        let deleted = self.begin().and_then(|transaction| {
            let deleted = delete(&transaction, &shared, &intervals)?;
            transaction.commit()?;
            Ok(deleted)
        });
        match deleted {
            Ok((rests, messages)) => {
                let mut state = self.shared.state();
                state.written(rests);
                state.cleared(messages);
                drop(state);
                self.freed = true;
                Ok(messages > 0)
            }
            Err(why) => {
                self.shared.state().uncleared(&intervals);
                self.shared.arrived.notify_waiters();
                Err(self.error("delete messages", &why))
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
