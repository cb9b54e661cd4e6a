//! Several consumers in the file: which there are, and what each has done.
//!
//! A file is made without them, as of version 1, and becomes one of version 2 when it is opened with names: what waits in it then
//! waits for each of these. From then on
//! - a consumer that is added has done all that is there, so that it gets what is accepted from then on;
//! - one that was removed from the configuration gets nothing more, since it has done all that comes, and keeps what waits for it
//!   until it is configured again or [forgotten](fn@super::forget); one for which nothing waits is forgotten at once.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::{
    deleting::{INSERT_DONE, count},
    errors::{Problem, StoreError},
    found::{Found, FoundConsumer, Next},
    intervals::{IntervalSet, Offset},
    region::ADOPTED_BELOW,
    settings::{ConsumerSettings, Consumers},
    transaction::Transaction,
};

/// The version of a file that has them.
pub(super) const VERSION: i64 = 2;

/// What such a file has besides. `done_by` has what each consumer has done, as intervals from a message of a chunk to another, not
/// included. They may reach over chunks that are not there any more.
const SCHEMA: [&str; 4] = [
    "CREATE TABLE consumers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE done_by (consumer INTEGER NOT NULL, chunk INTEGER NOT NULL, message INTEGER NOT NULL, to_chunk INTEGER NOT NULL, to_message INTEGER NOT NULL, PRIMARY KEY (consumer, chunk, message)) WITHOUT ROWID",
    "ALTER TABLE dead ADD COLUMN consumer TEXT",
    "CREATE INDEX letters_of ON dead (consumer, id, bytes)",
];

/// A consumer as the file knows it.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) done: IntervalSet,
}

impl Known {
    /// Whether it had been removed from the configuration by the last start.
    fn was_removed(&self) -> bool {
        self.done.iter().next_back().is_some_and(|(_, to)| to == Offset::start(i64::MAX))
    }
}

/// Finds out what waits for each consumer and has the file know those that are `wanted`.
pub(super) fn open(connection: &mut Connection, path: &Path, found: &mut Found, wanted: &Consumers) -> Result<(), StoreError> {
    let failed = |why: rusqlite::Error| StoreError::opening(path, &why);
    if version(connection).map_err(failed)? < VERSION && !matches!(wanted, Consumers::Named(_)) {
        return Ok(());
    }
    let transaction = Transaction::begin(connection).map_err(failed)?;
    let others = arrange(&transaction, found, wanted).map_err(failed)?;
    if !others.is_empty() {
        return Err(StoreError::new(path, Problem::Consumers { waiting: others }));
    }
    transaction.commit().map_err(failed)
}

/// Returns what waits for which consumers, where that keeps one without a name from having the file.
fn arrange(transaction: &Transaction<'_>, found: &mut Found, wanted: &Consumers) -> rusqlite::Result<Vec<(String, u64)>> {
    if version(transaction)? < VERSION {
        make(transaction)?;
    }
    let there = there(found);
    let mut known = known(transaction)?;
    let wanted = match wanted {
        Consumers::TheOnly => Vec::new(),
        Consumers::Named(wanted) => wanted.clone(),
        Consumers::AsFound => known.iter().filter(|known| !known.was_removed()).map(as_found).collect(),
    };
    let is_first = known.is_empty();
    for settings in wanted {
        let before = known.iter().position(|known| known.name == settings.name).map(|place| known.swap_remove(place));
        let (id, done) = match before {
            Some(Known { id, done, .. }) => {
                // Numbers are given anew once the chunks that had them are gone, but not in a damaged file.
                let done_still = if found.damage.is_some() { done.clone() } else { done.intersection(&there) };
                save(transaction, id, Some(&done), &done_still)?;
                (id, done_still)
            }
            None => {
                transaction.execute("INSERT INTO consumers (name) VALUES (?1)", [&settings.name])?;
                let id = transaction.last_insert_rowid();
                let done = if is_first { done_by_the_only(found) } else { there.clone() };
                save(transaction, id, None, &done)?;
                (id, done)
            }
        };
        let consumer = find(transaction, id, settings.name.clone(), &there, done)?;
        found.consumers.push(FoundConsumer { configured: Some(settings), ..consumer });
    }
    let is_of_one = found.consumers.is_empty();
    let mut others = Vec::new();
    for Known { id, name, done } in known {
        let consumer = find(transaction, id, name, &there, done.clone())?;
        if consumer.messages == 0 && found.damage.is_none() {
            remove(transaction, id)?;
        } else if is_of_one {
            others.push((consumer.name, consumer.messages));
        } else {
            let mut all_that_comes = done.intersection(&there);
            to_come(found).for_each(|(from, to)| all_that_comes.insert(from, to));
            save(transaction, id, Some(&done), &all_that_comes)?;
            found.consumers.push(FoundConsumer { done: all_that_comes, ..consumer });
        }
    }
    if !is_of_one {
        found.done.clear();
        transaction.execute("DELETE FROM done", [])?;
    }
    Ok(others)
}

/// Makes a file one that has consumers.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("{}; PRAGMA user_version = {VERSION};", SCHEMA.join(";")))
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn known(connection: &Connection) -> rusqlite::Result<Vec<Known>> {
    let mut consumers = connection.prepare("SELECT id, name FROM consumers ORDER BY id")?;
    let mut intervals = connection.prepare("SELECT chunk, message, to_chunk, to_message FROM done_by WHERE consumer = ?1")?;
    let rows = consumers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let known = |row: rusqlite::Result<(i64, String)>| {
        let (id, name) = row?;
        let mut done = IntervalSet::default();
        for interval in intervals.query_map([id], interval)? {
            let (from, to) = interval?;
            done.insert(from, to);
        }
        Ok(Known { id, name, done })
    };
    rows.map(known).collect()
}

/// What a consumer has done, of a row with four columns that begin at the first.
fn interval(row: &Row<'_>) -> rusqlite::Result<(Offset, Offset)> {
    Ok((Offset { chunk: row.get(0)?, message: row.get(1)? }, Offset { chunk: row.get(2)?, message: row.get(3)? }))
}

fn as_found(known: &Known) -> ConsumerSettings {
    ConsumerSettings { name: known.name.clone(), required: true, max_backlog: None }
}

/// Where chunks are.
pub(super) fn there(found: &Found) -> IntervalSet {
    let mut there = IntervalSet::default();
    for (first, last) in [found.adopted, found.regular].into_iter().flatten() {
        there.insert(Offset::start(first), Offset::start(last.saturating_add(1)));
    }
    there
}

/// Where chunks will be.
fn to_come(found: &Found) -> impl Iterator<Item = (Offset, Offset)> {
    let Next { newest, oldest, adopted } = Next::of(found);
    let ends = [(newest, i64::MAX), (ADOPTED_BELOW, oldest.saturating_add(1)), (adopted, ADOPTED_BELOW)];
    ends.into_iter().map(|(from, to)| (Offset::start(from), Offset::start(to)))
}

/// What is done of the chunks in a file that has no names yet.
fn done_by_the_only(found: &Found) -> IntervalSet {
    let mut done = IntervalSet::default();
    found.done.iter().for_each(|part| done.insert(part.start(), part.end()));
    done
}

pub(super) fn find(
    connection: &Connection,
    id: i64,
    name: String,
    there: &IntervalSet,
    done: IntervalSet,
) -> rusqlite::Result<FoundConsumer> {
    let mut waiting = there.clone();
    done.iter().for_each(|(from, to)| waiting.remove(from, to));
    let messages = count(connection, waiting.iter())?;
    Ok(FoundConsumer { id, name, configured: None, waiting, messages, done })
}

fn save(connection: &Connection, id: i64, before: Option<&IntervalSet>, done: &IntervalSet) -> rusqlite::Result<()> {
    if before == Some(done) {
        return Ok(());
    }
    connection.execute("DELETE FROM done_by WHERE consumer = ?1", [id])?;
    let mut insert = connection.prepare(INSERT_DONE)?;
    done.iter().try_for_each(|(from, to)| insert.execute((id, from.chunk, from.message, to.chunk, to.message)).map(drop))
}

pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM done_by WHERE consumer = ?1", [id])?;
    connection.execute("DELETE FROM consumers WHERE id = ?1", [id]).map(drop)
}
