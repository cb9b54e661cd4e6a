//! What comes in: pushes, and what is imported.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rusqlite::{ErrorCode, MAIN_DB, blob::ZeroBlob, params};

use super::{Import, Job, Writer};
use crate::{
    failpoint::fail_point,
    queue::{
        Shared,
        accepted::Mark,
        answers::{Push, answer, refuse},
        body::{self, Body, PER_MESSAGE},
        errors::{PushError, is_damage},
        file::PAGE,
        letters::Letter,
        packing::{in_order, on_disk, packed},
        region::Region,
        space::{SpaceAccounting, cover},
        transaction::Transaction,
    },
};

/// A message of more bytes is written into its row piece by piece: on the usual way it would be in memory two times more.
const LARGE: usize = 128 << 10;
/// What is kept free for what comes in besides messages.
pub(super) const SPARE: u64 = 4 * PAGE;

/// Pushes that could not be stored, and why.
type NotStored = (Vec<Push>, rusqlite::Error);

impl Writer {
    /// Stores the pushes that wait.
    pub(super) fn push(&mut self) {
        let shared = Arc::clone(&self.shared);
        if !shared.writer.has(Job::is_push) {
            return;
        }
        shared.stall.goes_on();
        // What is left of the log's own room is for settling: it must go on when the disk is full.
        if let Some(why) = shared.refusing() {
            return refuse(shared.writer.take_pushes(), &why);
        }
        if let Err(why) = self.keep_log_short() {
            return refuse(shared.writer.take_pushes(), &why.into());
        }
        shared.stall.goes_on();
        match self.store(shared.writer.take_pushes()) {
            Ok(stored) => answer(stored),
            Err((pushes, why)) => self.refuse_unless_room(pushes, &why),
        }
        self.drop_oldest();
    }

    /// Refuses pushes for which there was no room on the disk, unless the file itself has some in the place of older messages.
    fn refuse_unless_room(&mut self, pushes: Vec<Push>, why: &rusqlite::Error) {
        let no_room = matches!(why.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::TooBig));
        if no_room && self.shared.drops_oldest && self.make_room_inside(pushes.iter().map(needed).sum::<u64>() + SPARE) {
            match self.store(pushes) {
                Ok(stored) => answer(stored),
                Err((pushes, why)) => self.refuse(pushes, &why),
            }
        } else {
            self.refuse(pushes, why);
        }
    }

    /// Stores pushes as [`Writer::push`] does, unless another program is in the way: then it returns them. To be asked only of
    /// who [is quick](Writer::is_quick).
    pub(in super::super) fn push_at_once(&mut self, pushes: Vec<Push>) -> Vec<Push> {
        if let Err(why) = self.connection.busy_timeout(Duration::ZERO) {
            self.refuse(pushes, &why);
            return Vec::new();
        }
        match self.store(pushes) {
            Ok(stored) => answer(stored),
            Err((pushes, why)) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return pushes,
            Err((pushes, why)) => self.refuse_unless_room(pushes, &why),
        }
        self.drop_oldest();
        self.committed();
        Vec::new()
    }

    fn refuse(&self, pushes: Vec<Push>, why: &rusqlite::Error) {
        refuse(pushes, &self.error("queue messages", why).into());
    }

    /// Stores what there is room for, in one transaction, and refuses the rest. Returns whom to answer, with how many wait then.
    fn store(&mut self, pushes: Vec<Push>) -> Result<Vec<(Push, u64)>, NotStored> {
        let shared = Arc::clone(&self.shared);
        let pushes = if shared.bounded && !shared.drops_oldest { within_backlogs(&shared, pushes) } else { pushes };
        if pushes.is_empty() {
            return Ok(Vec::new());
        }
        let all = pushes.iter().map(needed).sum::<u64>() + SPARE;
        if shared.drops_oldest {
            self.make_room(all);
        }
        let transaction = match Transaction::begin(&mut self.connection) {
            Ok(transaction) => transaction,
            Err(why) => return Err((pushes, why)),
        };
        let mut room = match self.space.room(&transaction, &shared, all) {
            Ok(room) => room,
            Err(why) => return Err((pushes, why)),
        };
        let (fitting, full): (Vec<_>, Vec<_>) = pushes.into_iter().partition(|push| {
            let needed = needed(push);
            let fits = needed + SPARE <= room;
            if fits {
                room -= needed;
            }
            fits
        });
        refuse(full, &PushError::Full);
        if fitting.is_empty() {
            return Ok(Vec::new());
        }
        match write(transaction, &shared, &mut self.space, &fitting) {
            Ok(mut length) => {
                fail_point!("queue.pushed");
                let lengths = fitting.into_iter().map(|push| {
                    length += push.messages.len() as u64;
                    (push, length)
                });
                Ok(lengths.collect())
            }
            Err(why) => Err((fitting, why)),
        }
    }

    pub(super) fn import(&mut self, import: Import) {
        let Import { name, region, messages, letters, answer } = import;
        if let Some(why) = self.shared.refusing() {
            return drop(answer.send(Err(why)));
        }
        let needed = messages.iter().map(|message| on_disk(message.len()));
        let needed = needed.chain(letters.iter().map(|letter| on_disk(letter.payload.len()))).sum::<u64>();
        let imported = match self.keep_log_short().map(|()| self.space.room(&self.connection, &self.shared, needed + SPARE)) {
            Ok(Ok(room)) if needed + SPARE > room => Err(PushError::Full),
            Ok(Ok(_)) => self
                .take_in(&name, region, &messages, letters)
                .map_err(|why| PushError::Failed(self.error("import messages", &why)))
                .and_then(|new| new.ok_or(PushError::Full)),
            Ok(Err(why)) => Err(PushError::Failed(self.error("import messages", &why))),
            Err(why) => Err(why.into()),
        };
        drop(answer.send(imported));
        self.drop_oldest();
    }

    pub(super) fn forget_imports(&mut self, names: &[String]) -> rusqlite::Result<()> {
        let transaction = self.begin()?;
        let mut delete = transaction.prepare_cached("DELETE FROM imports WHERE name = ?1")?;
        for name in names {
            delete.execute([name])?;
        }
        drop(delete);
        transaction.commit()
    }

    /// Stores what comes from elsewhere and that it has come, in one transaction. Returns whether it is new; `None` when dead
    /// letters would be dropped for it, and nothing was stored.
    fn take_in(
        &mut self,
        name: &str,
        region: Region,
        messages: &[Bytes],
        letters: Vec<Letter>,
    ) -> rusqlite::Result<Option<bool>> {
        let shared = Arc::clone(&self.shared);
        let mut letters_after = self.letters.clone();
        let transaction = self.begin()?;
        if transaction.execute("INSERT OR IGNORE INTO imports (name) VALUES (?1)", [name])? == 0 {
            return Ok(Some(false));
        }
        let Written { chunks, mark, .. } = insert(&transaction, &shared, region, &messages.iter().collect::<Vec<_>>())?;
        if !letters.is_empty() && letters_after.keep(&transaction, &shared, &letters)? > 0 {
            return Ok(None);
        }
        cover(&transaction, &shared)?;
        transaction.commit()?;
        self.letters = letters_after;
        if chunks > 0 {
            let awaited = shared.state().stored(region, chunks, messages.len() as u64, mark);
            if awaited {
                shared.arrived.notify_waiters();
            }
        }
        Ok(Some(true))
    }
}

/// How much a push takes in the file at most.
fn needed(push: &Push) -> u64 {
    push.messages.iter().map(|message| on_disk(message.len())).sum()
}

/// Refuses pushes by which too many messages would wait for a required consumer. Returns the others.
fn within_backlogs(shared: &Shared, pushes: Vec<Push>) -> Vec<Push> {
    let (mut fitting, mut coming) = (Vec::with_capacity(pushes.len()), 0);
    for push in pushes {
        let messages = coming + push.messages.len() as u64;
        let full = shared.state().no_backlog_for(messages);
        if let Some((consumer, most)) = full {
            refuse(vec![push], &PushError::Backlog { consumer, most });
        } else {
            coming = messages;
            fitting.push(push);
        }
    }
    fitting
}

/// Messages that were written, but not committed.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) chunks: i64,
    /// With what the chunks take besides.
    bytes: u64,
    pub(super) mark: Option<Mark>,
}

/// Writes messages into chunks of a region.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    shared: &Shared,
    region: Region,
    messages: &[&Bytes],
) -> rusqlite::Result<Written> {
    if messages.is_empty() {
        return Ok(Written::default());
    }
    let mut insert = transaction.prepare_cached("INSERT INTO chunks (id, count, body) VALUES (?1, ?2, ?3)")?;
    let mut body = Body::new();
    let ends = packed(messages);
    let chunks = ends.len() as i64;
    let first = shared.state().numbers(region, chunks);
    let mark = shared.state().mark(region, chunks, Instant::now());
    if let Some(mark) = &mark {
        write_mark(transaction, mark)?;
    }
    let mut bytes = 0;
    let mut rest = messages;
    for (id, count) in (first..).zip(ends) {
        let (these, others) = rest.split_at(count.min(rest.len()));
        rest = others;
        if let [message] = these
            && message.len() > LARGE
        {
            insert.execute(params![id, 1, ZeroBlob(body::alone(message))])?;
            bytes += body::alone(message);
            let mut blob = transaction.blob_open(MAIN_DB, "chunks", "body", id, false)?;
            body::write_alone(message, &mut blob).map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))?;
            continue;
        }
        body.clear();
        body.reserve(these.iter().map(|message| message.len() + PER_MESSAGE).sum());
        these.iter().for_each(|message| body.push(message));
        let (count, body) = (body.count(), body.finish());
        insert.execute(params![id, count, body])?;
        bytes += body.len() as u64;
    }
    Ok(Written { chunks, bytes, mark })
}

/// Writes down when messages were accepted. What cannot be, since that table is damaged or missing, is known until the end only.
fn write_mark(transaction: &Transaction<'_>, mark: &Mark) -> rusqlite::Result<()> {
    let write = || {
        let mut delete = transaction.prepare_cached("DELETE FROM accepted WHERE chunk = ?1")?;
        mark.superfluous.iter().try_for_each(|chunk| delete.execute([chunk]).map(drop))?;
        let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO accepted (chunk, time) VALUES (?1, ?2)")?;
        insert.execute((mark.chunk, jiff::Timestamp::now().as_millisecond())).map(drop)
    };
    match write() {
        // Neither undoes the transaction.
        Err(why) if is_damage(&why) || why.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(()),
        written => written,
    }
}

/// Writes pushes down, and updates the state. Returns how many messages waited before.
///
/// Nothing may come between the commit and the state: what is in the file and not in the state is found by nobody before the
/// next start, and its numbers would be given again.
fn write(transaction: Transaction<'_>, shared: &Shared, space: &mut SpaceAccounting, pushes: &[Push]) -> rusqlite::Result<u64> {
    let mut stored = [Region::Adopted, Region::Oldest, Region::Newest].map(|region| (region, Written::default(), 0));
    let mut bytes = 0;
    let mut rows = 0;
    for (region, written, count) in &mut stored {
        let messages = in_order(pushes, *region);
        *written = insert(&transaction, shared, *region, &messages)?;
        bytes += written.bytes;
        rows += written.chunks.unsigned_abs() + u64::from(written.mark.is_some());
        *count = messages.len() as u64;
    }
    space.cover(&transaction, shared, rows, bytes)?;
    fail_point!("queue.push");
    transaction.commit()?;
    let mut state = shared.state();
    let before = state.messages();
    let mut awaited = false;
    for (region, Written { chunks, mark, .. }, count) in stored {
        if chunks > 0 {
            awaited |= state.stored(region, chunks, count, mark);
        }
    }
    drop(state);
    if awaited {
        shared.arrived.notify_waiters();
    }
    Ok(before)
}
