//! Dead letters that an operator has queued anew or deletes, each in one transaction: at any instant it is either a dead letter or a
//! message that waits.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::OptionalExtension as _;
use tokio::sync::oneshot;

use super::{Writer, incoming};
use crate::{
    failpoint::fail_point,
    queue::{
        deleting::write_down,
        errors::{PushError, StoreError},
        intervals::Offset,
        letters,
        packing::on_disk,
        region::Region,
        space::{Pages, cover},
        state::Change,
    },
};

/// What is to be done with a dead letter.
#[derive(Debug)]
pub(in super::super) struct LetterOrder {
    pub(in super::super) id: i64,
    /// When it was set aside: the number of one that was the newest is given again once that is gone.
    pub(in super::super) time: String,
    /// Whether to queue it anew for the consumer that set it aside, or for all where none is named. Otherwise it is gone.
    pub(in super::super) replay: bool,
    /// Answered with whether it was there.
    pub(in super::super) answer: oneshot::Sender<Result<bool, PushError>>,
}

/// Why it was not done.
enum NotDone {
    Sqlite(rusqlite::Error),
    Other(PushError),
}

impl From<rusqlite::Error> for NotDone {
    fn from(why: rusqlite::Error) -> Self {
        Self::Sqlite(why)
    }
}

impl From<StoreError> for NotDone {
    fn from(why: StoreError) -> Self {
        Self::Other(why.into())
    }
}

impl Writer {
    pub(super) fn take_out_letter(&mut self, LetterOrder { id, time, replay, answer }: LetterOrder) {
        let done = self.try_to_take_out(id, &time, replay).map_err(|why| match why {
            NotDone::Sqlite(why) => PushError::Failed(self.error("take a dead letter out of", &why)),
            NotDone::Other(why) => why,
        });
        // Who does not wait any more finds out by asking for it.
        drop(answer.send(done));
        self.drop_oldest();
    }

    fn try_to_take_out(&mut self, id: i64, time: &str, replay: bool) -> Result<bool, NotDone> {
        if let Some(why) = self.shared.refusing() {
            return Err(NotDone::Other(why));
        }
        self.keep_log_short()?;
        let shared = Arc::clone(&self.shared);
        let mut letters_after = self.letters.clone();
        let transaction = self.begin()?;
        let row = transaction.query_row("SELECT * FROM dead WHERE id = ?1 AND time = ?2", (id, time), letters::of_row);
        let Some((_, bytes, letter)) = row.optional()? else { return Ok(false) };
        transaction.execute("DELETE FROM dead WHERE id = ?1", [id])?;
        letters_after.taken_out(bytes);
        if !replay {
            transaction.commit()?;
            self.letters = letters_after;
            self.freed = true;
            return Ok(true);
        }
        let only = letter.consumer.as_ref().map(|name| shared.state().place_of(name)).transpose();
        let only = only.map_err(|problem| StoreError::new(&shared.path, problem))?;
        // Pages of the letter are free by now.
        if Pages::of(&transaction)?.room(&shared) < on_disk(letter.payload.len()) + incoming::SPARE {
            return Err(NotDone::Other(PushError::Full));
        }
        let payload = Bytes::from(letter.payload);
        let first = shared.state().numbers(Region::Newest, 1);
        let written = incoming::insert(&transaction, &shared, Region::Newest, &[&payload])?;
        let others = shared.state().others(only);
        let change = (!others.is_empty()).then(|| {
            let chunk = (Offset::start(first), Offset::start(first + written.chunks));
            Change::OfSeveral(shared.state().changes(others.into_iter().map(|other| (other, chunk.0, chunk.1))))
        });
        change.iter().try_for_each(|change| write_down(&transaction, change))?;
        cover(&transaction, &shared)?;
        fail_point!("queue.replay");
        transaction.commit()?;
        self.letters = letters_after;
        let mut state = shared.state();
        state.stored_for(only, Region::Newest, written.chunks, 1, written.mark);
        if let Some(change) = change {
            state.written(change);
        }
        drop(state);
        shared.arrived.notify_waiters();
        Ok(true)
    }
}
