//! What writes: everything that waits goes into one commit, and only then is anybody answered.

mod incoming;
mod letters;
mod log;
mod outgoing;
mod room;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

pub(super) use self::letters::LetterOrder;
use super::{
    Shared,
    answers::Push,
    errors::{PushError, StoreError},
    file::PATIENCE,
    letters::{Letter, Letters},
    region::Region,
    settlement::Settlement,
    snapshot,
    space::SpaceAccounting,
    transaction::Transaction,
    work_queue::WorkQueue,
};

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Job {
    Push(Push),
    /// Answered with how many dead letters were dropped.
    Settle(Settlement, oneshot::Sender<Result<u64, StoreError>>),
    Clear(oneshot::Sender<Result<bool, StoreError>>),
    Import(Import),
    TakeOutLetter(LetterOrder),
    /// Forgets names under which something was imported: it is gone where it came from.
    ForgetImports(Vec<String>, oneshot::Sender<Result<(), StoreError>>),
    /// Writes into the file in which words it was found to be damaged.
    MarkDamaged(String),
    /// Answered when all before it was.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Moves the log into the file, as if nothing were to come.
    Rest(oneshot::Sender<Result<(), StoreError>>),
}

impl Job {
    pub(super) fn is_push(&self) -> bool {
        matches!(self, Self::Push(_))
    }

    /// How many bytes of messages it has, of which only a push knows.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Push(push) => push.messages.iter().map(Bytes::len).sum(),
            _ => 0,
        }
    }
}

impl WorkQueue<Job> {
    /// The pushes that wait: who has them stores or refuses them.
    pub(super) fn take_pushes(&self) -> Vec<Push> {
        self.take_those(|job| if let Job::Push(push) = job { Ok(push) } else { Err(job) })
    }
}

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
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) letters: Letters,
    pub(super) space: SpaceAccounting,
    /// While another program reads what is in the log, trying to empty it again at once is of no use.
    pub(super) no_checkpoint_before: Instant,
    /// Whether something was deleted since it was last looked whether the file can be made smaller.
    pub(super) freed: bool,
}

impl Writer {
    /// Does these, and stores the pushes that wait. Settling goes first, since it makes room; what waits at the same time has no order.
    pub(super) fn work(&mut self, jobs: Vec<Job>) {
        // The wait for a lock is shorter on a task's thread than on the writer's. If setting it fails, the commit fails as well.
        drop(self.connection.busy_timeout(PATIENCE));
        let (mut settlements, mut flushes, mut rests) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                // Taken when they are stored, and not before: until then they can be refused.
                push @ Job::Push(_) => self.shared.writer.put(push),
                Job::Settle(settlement, answer) => settlements.push((settlement, answer)),
                Job::Flush(answer) => flushes.push(answer),
                Job::Rest(answer) => rests.push(answer),
                Job::Clear(answer) => drop(answer.send(self.clear())),
                Job::MarkDamaged(found) => self.mark_damaged(&found),
                Job::Import(import) => self.import(import),
                Job::TakeOutLetter(order) => self.take_out_letter(order),
                Job::ForgetImports(names, answer) => {
                    let forgotten = self.forget_imports(&names);
                    drop(answer.send(forgotten.map_err(|why| self.error("forget what was imported", &why))));
                }
            }
        }
        if !settlements.is_empty() {
            self.settle(settlements);
        }
        self.push();
        for answer in flushes {
            // Who does not wait any more need not hear.
            let _ = answer.send(Ok(()));
        }
        self.committed();
        for answer in rests {
            let moved = self.rest();
            drop(answer.send(moved.map_err(|why| self.error("move messages from the log", &why))));
        }
    }

    /// To be called when something was committed.
    fn committed(&self) {
        let (log, checkpointer) = (self.shared.log_bytes(), &self.shared.checkpointer);
        if checkpointer.is_long(log) {
            drop(snapshot::end(&self.connection));
        } else {
            snapshot::keep(&self.connection);
        }
        checkpointer.committed(log);
    }

    /// Begins to write something else than pushes.
    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.shared.stall.goes_on();
        self.space.forget();
        Transaction::begin(&mut self.connection)
    }

    fn error(&self, doing: &str, why: &rusqlite::Error) -> StoreError {
        self.shared.error(doing, why)
    }
}
