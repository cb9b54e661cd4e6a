//! Lets go of what waits for a consumer, in a file that no agent has.

use std::{io, path::Path};

use super::{
    consumers::{self, Known, find, known, remove, there, version},
    deleting::delete_run,
    errors::{Problem, StoreError},
    file::{self, Owned},
    found::{Found, FoundConsumer},
    settings::Durability,
    state::done_by_all,
    transaction::Transaction,
};

/// What was forgotten with a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// Messages that waited for it.
    pub(crate) messages: u64,
    /// Its dead letters.
    pub(crate) letters: u64,
}

/// Lets go of what waits in a file for one of several consumers, and of the consumer itself: the messages that wait for no other are
/// deleted, and its dead letters.
///
/// # Errors
/// When the file is not there, is another process's, is damaged, so that nothing of it may be deleted, or knows no such consumer.
pub(crate) fn forget(path: &Path, name: &str) -> Result<Forgotten, StoreError> {
    if !file::plain(path)? {
        return Err(StoreError::io("open", path, &io::ErrorKind::NotFound.into()));
    }
    let owned = Owned::take(path)?;
    let (mut connection, found) = file::open(&owned, Durability::Fsync)?;
    if let Some(words) = &found.damage {
        return Err(StoreError::damaged(path, words));
    }
    let failed = |why: rusqlite::Error| StoreError::sqlite("forget a publisher in", path, &why);
    let transaction = Transaction::begin(&mut connection).map_err(failed)?;
    let mut known = if version(&transaction).map_err(failed)? < consumers::VERSION {
        Vec::new()
    } else {
        known(&transaction).map_err(failed)?
    };
    let Some(place) = known.iter().position(|known| known.name == name) else {
        let known = known.into_iter().map(|known| known.name).collect();
        return Err(StoreError::new(path, Problem::NoConsumer { name: name.to_owned(), known }));
    };
    let forgotten = let_go(&transaction, &found, &known.swap_remove(place), &known).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    drop(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"));
    Ok(forgotten)
}

fn let_go(transaction: &Transaction<'_>, found: &Found, consumer: &Known, others: &[Known]) -> rusqlite::Result<Forgotten> {
    let there = there(found);
    let Known { id, name, done } = consumer;
    let FoundConsumer { messages, .. } = find(transaction, *id, name.clone(), &there, done.clone())?;
    remove(transaction, *id)?;
    let letters = transaction.execute("DELETE FROM dead WHERE consumer = ?1", [name])? as u64;
    let runs = done_by_all(there, others.iter().map(|other| vec![&other.done]));
    runs.into_iter().try_for_each(|run| delete_run(transaction, run))?;
    Ok(Forgotten { messages, letters })
}
