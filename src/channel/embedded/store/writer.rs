//! The thread that writes: everything that waits goes into one commit, and only then is anybody answered.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{
    Shared,
    answers::{Push, answer, refuse},
    body::Body,
    erasing::{delete, write_down},
    errors::Trouble,
    file::{LOG_BYTES, PAGE, PATIENCE},
    keeper::checkpoint,
    letters::{Letter, Letters},
    packing::{in_order, on_disk, packed},
    settlement::Settlement,
    shelf::{Region, Rest},
    spans::Part,
};
use crate::{channel::embedded::PushError, failpoint::fail_point};

/// A log longer than this is emptied before messages come in, however long that takes.
const LONG_LOG: u64 = LOG_BYTES / 4 * 3;
/// A file is made smaller when it has so many pages of which nearly none is in use.
const LARGE: u64 = (64 << 20) / PAGE;
const NEARLY_NONE: u64 = (16 << 20) / PAGE;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Job {
    Push(Push),
    /// Answered with how many dead letters were dropped.
    Settle(Settlement, oneshot::Sender<Result<u64, Trouble>>),
    Clear(oneshot::Sender<Result<bool, Trouble>>),
    Import(Import),
    /// Forgets what was imported: it is gone where it came from.
    ForgetImports(oneshot::Sender<Result<(), Trouble>>),
    /// A chunk that cannot be read: its bytes become a dead letter.
    SetAside(i64),
    /// Answered when all before it was.
    Flush(oneshot::Sender<()>),
    /// Moves the log into the file, as if nothing were to come.
    Rest(oneshot::Sender<Result<(), Trouble>>),
}

/// Pushes that could not be stored, and why.
type NotStored = (Vec<Push>, rusqlite::Error);

/// What comes from another channel, under a name by which it is known there. It is stored once, however often it comes.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) name: String,
    pub(super) region: Region,
    pub(super) messages: Vec<Bytes>,
    pub(super) letters: Vec<Letter>,
    /// Answered with whether it was new.
    pub(super) answer: oneshot::Sender<Result<bool, PushError>>,
}

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) letters: Letters,
    /// When somebody reads what is in the log, it is of no use to try to empty it again at once.
    pub(super) no_checkpoint_before: Instant,
    /// Whether something was deleted since it was last looked whether the file can be made smaller.
    pub(super) freed: bool,
}

impl Writer {
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(jobs) = shared.writer.take() {
            // Whoever waits for an answer that a fault of ours has taken along is told by that; the transaction is undone.
            drop(catch_unwind(AssertUnwindSafe(|| self.work(jobs))));
            if self.freed && shared.writer.is_empty() {
                self.freed = false;
                self.shrink();
            }
        }
    }

    /// Settling goes first, since it makes room; what waits at the same time has no order.
    fn work(&mut self, jobs: Vec<Job>) {
        let (mut pushes, mut settlements, mut flushes, mut rests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Push(push) => pushes.push(push),
                Job::Settle(settlement, answer) => settlements.push((settlement, answer)),
                Job::Flush(answer) => flushes.push(answer),
                Job::Rest(answer) => rests.push(answer),
                Job::Clear(answer) => drop(answer.send(self.clear())),
                Job::SetAside(chunk) => self.set_aside(chunk),
                Job::Import(import) => self.import(import),
                Job::ForgetImports(answer) => {
                    let forgotten = self.connection.execute("DELETE FROM imports", []).map(drop);
                    drop(answer.send(forgotten.map_err(|why| self.trouble("forget what was imported", &why))));
                }
            }
        }
        if !settlements.is_empty() {
            self.settle(settlements);
        }
        if !pushes.is_empty() {
            self.push(pushes);
        }
        for answer in flushes {
            // Who does not wait any more need not hear.
            let _ = answer.send(());
        }
        self.shared.keeper.committed(self.shared.log_bytes());
        for answer in rests {
            let moved = self.rest();
            drop(answer.send(moved.map_err(|why| self.trouble("move messages from the log", &why))));
        }
    }

    /// Whoever reads the file meanwhile keeps the log; then nothing is lost but its emptiness.
    fn rest(&self) -> rusqlite::Result<()> {
        let _one_at_a_time = self.shared.keeper.checkpointing();
        self.connection.busy_timeout(Duration::from_millis(250))?;
        let busy = checkpoint(&self.connection, "TRUNCATE");
        self.connection.busy_timeout(PATIENCE)?;
        if !busy? {
            self.shared.log.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn push(&mut self, pushes: Vec<Push>) {
        // What is left of the log's own room is for settling: it must go on when the disk is full.
        if let Some(trouble) = self.shared.keeper.failed() {
            return refuse(pushes, &PushError::Failed(trouble.sentence()));
        }
        if let Err(why) = self.keep_log_short() {
            return refuse(pushes, &PushError::Failed(why.sentence()));
        }
        match self.store(pushes) {
            Ok(stored) => answer(stored),
            Err((pushes, why)) => refuse(pushes, &PushError::Failed(self.trouble("queue messages", &why).sentence())),
        }
    }

    /// Stores what there is room for, in one transaction, and refuses the rest. Returns whom to answer, with how many wait then.
    fn store(&mut self, pushes: Vec<Push>) -> Result<Vec<(Push, u64)>, NotStored> {
        let shared = Arc::clone(&self.shared);
        let transaction = match self.begin() {
            Ok(transaction) => transaction,
            Err(why) => return Err((pushes, why)),
        };
        let mut room = match room(&transaction, &shared) {
            Ok(room) => room,
            Err(why) => return Err((pushes, why)),
        };
        let (fitting, full): (Vec<_>, Vec<_>) = pushes.into_iter().partition(|push| {
            let needed = push.messages.iter().map(|message| on_disk(message.len())).sum::<u64>();
            let fits = needed.saturating_add(4 * PAGE) <= room;
            if fits {
                room -= needed;
            }
            fits
        });
        refuse(full, &PushError::Full);
        if fitting.is_empty() {
            return Ok(Vec::new());
        }
        match write(transaction, &shared, &fitting) {
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

    fn import(&mut self, import: Import) {
        let Import { name, region, messages, letters, answer } = import;
        if let Some(trouble) = self.shared.keeper.failed() {
            return drop(answer.send(Err(PushError::Failed(trouble.sentence()))));
        }
        let needed = messages.iter().map(|message| on_disk(message.len()));
        let needed = needed.chain(letters.iter().map(|letter| on_disk(letter.payload.len()))).sum::<u64>();
        let imported = match self.keep_log_short().map(|()| room(&self.connection, &self.shared)) {
            Ok(Ok(room)) if needed.saturating_add(4 * PAGE) > room => Err(PushError::Full),
            Ok(Ok(_)) => self
                .take_in(&name, region, &messages, letters)
                .map_err(|why| PushError::Failed(self.trouble("import messages", &why).sentence()))
                .and_then(|new| new.ok_or(PushError::Full)),
            Ok(Err(why)) => Err(PushError::Failed(self.trouble("import messages", &why).sentence())),
            Err(why) => Err(PushError::Failed(why.sentence())),
        };
        drop(answer.send(imported));
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
        let mut book = self.letters.clone();
        let transaction = self.begin()?;
        if transaction.execute("INSERT OR IGNORE INTO imports (name) VALUES (?1)", [name])? == 0 {
            return Ok(Some(false));
        }
        let chunks = insert(&transaction, &shared, region, &messages.iter().collect::<Vec<_>>())?;
        if !letters.is_empty() && book.keep(&transaction, &shared, letters)? > 0 {
            return Ok(None);
        }
        transaction.commit()?;
        self.letters = book;
        if chunks > 0 {
            shared.shelf().stored(region, chunks, messages.len() as u64);
            shared.arrived.notify_waiters();
        }
        Ok(Some(true))
    }

    fn settle(&mut self, settlements: Vec<(Settlement, oneshot::Sender<Result<u64, Trouble>>)>) {
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
    /// as in [`write`]. Returns how many letters were dropped. When it fails, the leases are held as before.
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

    fn clear(&mut self) -> Result<bool, Trouble> {
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
    fn set_aside(&mut self, chunk: i64) {
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

    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Empties a long log before more comes in, so that what is free of its room stays so for settling. That waits for the
    /// disk, and a little for whoever reads what is in the log: while a program besides the agent does, it grows.
    fn keep_log_short(&mut self) -> Result<(), Trouble> {
        if self.shared.log_bytes() <= LONG_LOG || self.no_checkpoint_before > Instant::now() {
            return Ok(());
        }
        self.empty_log().map_err(|why| {
            let trouble = self.trouble("move messages from the log", &why);
            self.shared.keeper.failing(trouble.clone());
            trouble
        })
    }

    fn empty_log(&mut self) -> rusqlite::Result<()> {
        let _one_at_a_time = self.shared.keeper.checkpointing();
        self.connection.busy_timeout(Duration::from_millis(250))?;
        let busy = checkpoint(&self.connection, "RESTART");
        self.connection.busy_timeout(PATIENCE)?;
        if busy? {
            self.no_checkpoint_before = Instant::now() + Duration::from_secs(10);
        } else {
            self.shared.log.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives space back to the disk once nearly nothing is in a large file. In between it is used again.
    fn shrink(&mut self) {
        if let Ok((pages, free)) = pages(&self.connection)
            && pages >= LARGE
            && pages.saturating_sub(free) <= NEARLY_NONE
        {
            // Without room for it, it stays as it is.
            drop(self.connection.execute_batch("VACUUM"));
            self.shared.keeper.committed(u64::MAX);
        }
    }

    fn trouble(&self, doing: &str, why: &rusqlite::Error) -> Trouble {
        Trouble::sqlite(doing, &self.shared.path, why)
    }
}

/// Writes messages into chunks of a region. Returns how many chunks.
fn insert(transaction: &Transaction<'_>, shared: &Shared, region: Region, messages: &[&Bytes]) -> rusqlite::Result<i64> {
    let mut insert = transaction.prepare_cached("INSERT INTO chunks (id, count, body) VALUES (?1, ?2, ?3)")?;
    let mut body = Body::new();
    let ends = packed(messages);
    let chunks = ends.len() as i64;
    let first = shared.shelf().numbers(region, chunks);
    let mut rest = messages;
    for (id, count) in (first..).zip(ends) {
        let (these, others) = rest.split_at(count.min(rest.len()));
        rest = others;
        body.clear();
        these.iter().for_each(|message| body.push(message));
        insert.execute(params![id, body.count(), body.finish()])?;
    }
    Ok(chunks)
}

/// Writes pushes down, and says so to the shelf. Returns how many messages waited before.
///
/// Nothing may come between the commit and the shelf: what is in the file and not on the shelf is found by nobody before the
/// next start, and its numbers would be given again.
fn write(transaction: Transaction<'_>, shared: &Shared, pushes: &[Push]) -> rusqlite::Result<u64> {
    let mut stored = [(Region::Adopted, 0, 0), (Region::Oldest, 0, 0), (Region::Newest, 0, 0)];
    for (region, chunks, count) in &mut stored {
        let messages = in_order(pushes, *region);
        *chunks = insert(&transaction, shared, *region, &messages)?;
        *count = messages.len() as u64;
    }
    fail_point!("queue.push");
    transaction.commit()?;
    let mut shelf = shared.shelf();
    let before = shelf.messages();
    stored.into_iter().for_each(|(region, chunks, count)| shelf.stored(region, chunks, count));
    drop(shelf);
    shared.arrived.notify_waiters();
    Ok(before)
}

/// How many more bytes the file may get or has free.
fn room(connection: &Connection, shared: &Shared) -> rusqlite::Result<u64> {
    let (pages, free) = pages(connection)?;
    let log = shared.log_bytes().saturating_sub(LOG_BYTES);
    Ok(shared.max_bytes.saturating_sub(pages.saturating_sub(free) * PAGE).saturating_sub(log))
}

/// How many pages the file has, and how many of them are free.
fn pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let number = |pragma: &str| connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    Ok((number("PRAGMA page_count")?.unsigned_abs(), number("PRAGMA freelist_count")?.unsigned_abs()))
}
