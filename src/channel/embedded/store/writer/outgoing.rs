//! What goes out: what is done, deleted or set aside.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::Writer;
use crate::{
    channel::embedded::store::{
        erasing::{delete, write_down},
        errors::Trouble,
        letters::Letter,
        settlement::Settlement,
        shelf::Rest,
        spans::Part,
    },
    failpoint::fail_point,
};

impl Writer {
    pub(super) fn settle(&mut self, settlements: Vec<(Settlement, oneshot::Sender<Result<u64, Trouble>>)>) {
        let (settlements, answers): (Vec<_>, Vec<_>) = settlements.into_iter().unzip();
        // If that fails, the rest of the log may do.
        drop(self.keep_log_short());
        match self.finish(settlements) {
            Ok(dropped) => {
                // Each is counted once.
                let counts = std::iter::once(dropped).chain(std::iter::repeat(0));
                answers.into_iter().zip(counts).for_each(|(answer, dropped)| drop(answer.send(Ok(dropped))));
            }
            Err(why) => {
                let trouble = self.trouble("complete messages", &why);
                answers.into_iter().for_each(|answer| drop(answer.send(Err(trouble.clone()))));
            }
        }
    }

    /// Writes down what is done and the dead letters, in one transaction, and says so to the shelf: nothing may come between,
    /// as when what came in is written. Returns how many letters were dropped. When it fails, the leases are held as before.
    fn finish(&mut self, mut settlements: Vec<Settlement>) -> rusqlite::Result<u64> {
        let shared = Arc::clone(&self.shared);
        let parts: Vec<Part> = settlements.iter().flat_map(|settlement| settlement.parts.iter().copied()).collect();
        let letters: Vec<_> = settlements.iter_mut().flat_map(|settlement| std::mem::take(&mut settlement.letters)).collect();
        let rests = shared.shelf().rests(parts);
        if rests.is_empty() && letters.is_empty() {
            Settlement::settled(settlements, &shared, rests);
            return Ok(0);
        }
        let mut book = self.letters.clone();
        let transaction = self.begin()?;
        write_down(&transaction, &rests)?;
        let dropped = if letters.is_empty() { 0 } else { book.keep(&transaction, &shared, letters)? };
        fail_point!("queue.settle");
        transaction.commit()?;
        Settlement::settled(settlements, &shared, rests);
        self.letters = book;
        self.freed = true;
        fail_point!("queue.settled");
        Ok(dropped)
    }

    pub(super) fn clear(&mut self) -> Result<bool, Trouble> {
        let spans = self.shared.shelf().clear();
        if spans.is_empty() {
            return Ok(false);
        }
        let shared = Arc::clone(&self.shared);
        let deleted = self.begin().and_then(|transaction| {
            let deleted = delete(&transaction, &shared, &spans)?;
            transaction.commit()?;
            Ok(deleted)
        });
        match deleted {
            Ok((rests, messages)) => {
                let mut shelf = self.shared.shelf();
                shelf.written(rests);
                shelf.cleared(messages);
                drop(shelf);
                self.freed = true;
                Ok(messages > 0)
            }
            Err(why) => {
                self.shared.shelf().uncleared(&spans);
                self.shared.arrived.notify_waiters();
                Err(self.trouble("delete messages", &why))
            }
        }
    }

    /// Sets a chunk aside that is damaged, so that what is behind it can be published. It fails silently: it is found again.
    pub(super) fn set_aside(&mut self, chunk: i64) {
        let shared = Arc::clone(&self.shared);
        let mut book = self.letters.clone();
        let done = BTreeMap::from([(chunk, Rest::Nothing)]);
        let kept = self.begin().and_then(|transaction| {
            let select = "SELECT count, body FROM chunks WHERE id = ?1";
            let (count, body): (u32, Vec<u8>) = transaction.query_row(select, [chunk], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let reason = format!("the queue's file is damaged here; these are the bytes in which {count} messages were");
            book.keep(&transaction, &shared, vec![Letter { payload: body, reason, refused: "[]".to_owned(), origin: None }])?;
            write_down(&transaction, &done)?;
            transaction.commit()
        });
        if kept.is_ok() {
            self.shared.shelf().written(done);
            self.letters = book;
            self.freed = true;
        }
    }
}
