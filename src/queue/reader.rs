//! The thread that reads, on a connection of its own, so that no push waits for it.

use std::{
    collections::VecDeque,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};
use tokio::sync::oneshot;

use super::{
    Shared,
    body::{checked, counted, messages},
    chunks::{Chunks, Next},
    errors::{Problem, StoreError, changed, is_damage, misplaced},
    intervals::{Offset, Part, places},
    letters::{self, Letter},
    region::ADOPTED_BELOW,
    space::Pages,
};
use crate::wire::Payloads;

/// As much as one answer to a question for a range may have.
const LARGEST_RANGE: usize = 4 << 20;
/// Chunks that are larger are read anew for each lease.
const LARGEST_KEPT: usize = 1 << 20;
/// So many leases are remembered of those that others may be given the messages of.
const MOST_FULL: usize = 16;
/// In so many intervals a lease may be at most; released messages may lie in many.
const INTERVALS: usize = 1000;

/// What the reader is asked.
#[derive(Debug)]
pub(super) enum Question {
    Take {
        consumer: usize,
        lease: String,
        limit: TakeLimit,
        answer: oneshot::Sender<Result<Option<Taken>, StoreError>>,
    },
    /// What waits, left where it is.
    Peek {
        consumer: usize,
        limit: TakeLimit,
        answer: oneshot::Sender<Result<Vec<Vec<u8>>, StoreError>>,
    },
    Range {
        start: i64,
        stop: i64,
        answer: oneshot::Sender<Result<Vec<Bytes>, StoreError>>,
    },
    /// The first dead letter with a larger number than this, with its own.
    Letter {
        after: i64,
        answer: oneshot::Sender<Result<Option<(i64, Letter)>, StoreError>>,
    },
    /// How many dead letters there are, of all or of one consumer, and how many bytes are in use.
    Stats {
        of: Option<String>,
        answer: oneshot::Sender<Result<(u64, u64), StoreError>>,
    },
}

/// How many messages a lease gets at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakeLimit {
    /// So many; at least one.
    pub(crate) messages: usize,
    /// So many bytes, except that a message with more is given alone.
    pub(crate) bytes: usize,
}

/// Messages that are leased now.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) messages: Arc<Payloads>,
    pub(crate) adopted: bool,
    /// Whether others that wait were left for the next lease, though there was room.
    pub(crate) more: bool,
    /// For how long the oldest of them has waited.
    pub(crate) age: Duration,
}

/// See the module.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    /// By consumer, the chunk that the last lease has left a part of, with how many messages it has.
    kept: Vec<Option<(i64, u32, Vec<u8>)>>,
    /// Where there are several consumers, what the last leases were that had as much as they may.
    full: VecDeque<Full>,
}

/// Neighbouring messages that one consumer has leased. Those behind it are given the same ones for as long as these are in memory, so
/// that what is waiting for all is read and decoded once.
struct Full {
    from: Offset,
    to: Offset,
    parts: Vec<Part>,
    messages: Weak<Payloads>,
}

impl Full {
    /// The messages, if they are still in memory, no more than fit, and not much less.
    fn suits(&self, limit: TakeLimit) -> Option<Arc<Payloads>> {
        let messages = self.messages.upgrade()?;
        let (count, bytes) = (messages.len(), messages.bytes());
        let suits = count <= limit.messages && bytes <= limit.bytes && (count > limit.messages / 2 || bytes > limit.bytes / 2);
        suits.then_some(messages)
    }
}

/// A lease in the making.
struct Taking {
    consumer: usize,
    limit: TakeLimit,
    messages: Vec<Vec<u8>>,
    bytes: usize,
    parts: Vec<Part>,
}

impl Taking {
    /// Takes what fits of a chunk's messages. Returns whether there is room for more.
    fn add(&mut self, chunk: i64, of: u32, checked: &[u8], places: Range<u32>) -> bool {
        let mut part = Part { chunk, from: places.start, to: places.start, of };
        let mut room = true;
        for message in messages(checked, places) {
            let fits = self.messages.len() < self.limit.messages.max(1) && self.bytes + message.len() <= self.limit.bytes;
            if !fits && !self.messages.is_empty() {
                room = false;
                break;
            }
            self.bytes += message.len();
            self.messages.push(message.to_vec());
            part.to += 1;
        }
        if part.from < part.to {
            self.parts.push(part);
        }
        room && self.messages.len() < self.limit.messages.max(1) && self.bytes < self.limit.bytes
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, consumers: usize) -> Self {
        Self { shared, connection, kept: vec![None; consumers], full: VecDeque::new() }
    }

    fn keep(&mut self, consumer: usize, chunk: Option<(i64, u32, Vec<u8>)>) {
        if let Some(kept) = self.kept.get_mut(consumer) {
            *kept = chunk;
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(questions) = shared.reader.take() {
            for question in questions {
                // As the writer does.
                drop(catch_unwind(AssertUnwindSafe(|| self.answer(question))));
            }
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Take { consumer, lease, limit, answer } => {
                let taken = self.take(consumer, &lease, limit);
                if self.shared.damage.is_known() {
                    let missing = self.shared.state().of_mut(consumer).missing();
                    self.shared.count_unreadable(consumer, missing);
                }
                // The caller has gone, so the lease would not be given back.
                if let Err(Ok(Some(_))) = answer.send(taken) {
                    self.shared.state().of_mut(consumer).give_back(&lease);
                    self.shared.arrived.notify_waiters();
                }
            }
            Question::Peek { consumer, limit, answer } => {
                drop(answer.send(self.peek(consumer, limit).map_err(|why| self.error("look at messages", &why))));
            }
            Question::Letter { after, answer } => {
                let letter = self.letter_after(after).map_err(|why| self.error("read dead letters of", &why));
                drop(answer.send(letter));
            }
            Question::Range { start, stop, answer } => drop(answer.send(self.range(start, stop))),
            Question::Stats { of, answer } => {
                let stats = self.stats(of.as_deref()).or_else(|why| {
                    let error = self.error("look at the queue", &why);
                    // What else there is to say must not wait for that.
                    if is_damage(&why) { Ok((0, 0)) } else { Err(error) }
                });
                drop(answer.send(stats));
            }
        }
    }

    fn letter_after(&self, id: i64) -> rusqlite::Result<Option<(i64, Letter)>> {
        let mut next = self.connection.prepare_cached("SELECT * FROM dead WHERE id > ?1 ORDER BY id LIMIT 1")?;
        let found = next.query_row([id], letters::of_row).optional()?;
        Ok(found.map(|(id, _, letter)| (id, letter)))
    }

    fn take(&mut self, consumer: usize, lease: &str, limit: TakeLimit) -> Result<Option<Taken>, StoreError> {
        loop {
            let (intervals, mark) = self.shared.state().of(consumer).oldest(INTERVALS);
            let Some(&(oldest, end)) = intervals.first() else { return Ok(None) };
            let adopted = oldest.chunk < ADOPTED_BELOW;
            let (messages, parts, more) = if let Some((messages, parts)) = self.another_has(oldest, end, limit) {
                (messages, parts, false)
            } else {
                let mut taking = Taking { consumer, limit, messages: Vec::new(), bytes: 0, parts: Vec::new() };
                // Up to where a lease of another one begins or ends, to have the same messages from there on.
                let cut = self.next_boundary(oldest, end, limit).map(|at| [(oldest, at)]);
                let of = cut.as_ref().map_or(intervals.as_slice(), |cut| cut.as_slice());
                let mut filled = Filled::Room;
                for &(from, to) in of.iter().filter(|(from, _)| (from.chunk < ADOPTED_BELOW) == adopted) {
                    filled = self.fill(&mut taking, from, to).map_err(|why| self.error("take messages", &why))?;
                    match filled {
                        Filled::Full => break,
                        Filled::Room => {}
                        Filled::Nothing => self.shared.state().of_mut(consumer).vanished(from, to, mark),
                    }
                }
                if taking.messages.is_empty() {
                    continue;
                }
                let (messages, parts) = (Payloads::of(taking.messages), taking.parts);
                if matches!(filled, Filled::Full) {
                    self.remember(&messages, &parts, end);
                }
                (messages, parts, cut.is_some())
            };
            let expires = Instant::now() + self.shared.lease;
            let mut state = self.shared.state();
            let age = state.age_of_oldest(consumer, oldest.chunk);
            if state.of_mut(consumer).lease(lease.to_owned(), parts, expires, mark) {
                return Ok(Some(Taken { messages, adopted, more, age }));
            }
            drop(state);
            self.keep(consumer, None);
        }
    }

    /// What another consumer has leased from here on, if it suits.
    fn another_has(&self, oldest: Offset, end: Offset, limit: TakeLimit) -> Option<(Arc<Payloads>, Vec<Part>)> {
        let full = self.full.iter().find(|full| full.from == oldest && full.to <= end)?;
        full.suits(limit).map(|messages| (messages, full.parts.clone()))
    }

    /// The next offset from which on another consumer has leased, or that it has come to.
    fn next_boundary(&self, oldest: Offset, end: Offset, limit: TakeLimit) -> Option<Offset> {
        let suiting = self.full.iter().filter(|full| full.suits(limit).is_some());
        suiting.flat_map(|full| [full.from, full.to]).filter(|at| oldest < *at && *at < end).min()
    }

    /// Notes what is leased, if it is all of one interval, which ends there.
    fn remember(&mut self, messages: &Arc<Payloads>, parts: &[Part], end: Offset) {
        let (Some(from), Some(to)) = (parts.first().map(Part::start), parts.last().map(Part::end)) else { return };
        if self.kept.len() > 1 && to <= end {
            self.full.retain(|full| full.messages.strong_count() > 0);
            self.full.truncate(MOST_FULL - 1);
            self.full.push_front(Full { from, to, parts: parts.to_vec(), messages: Arc::downgrade(messages) });
        }
    }

    /// Takes what fits of an interval.
    fn fill(&mut self, taking: &mut Taking, mut from: Offset, to: Offset) -> rusqlite::Result<Filled> {
        let begun = taking.messages.len();
        if let Some((chunk, of, body)) =
            self.kept.get(taking.consumer).and_then(Option::as_ref).filter(|(chunk, ..)| *chunk == from.chunk)
        {
            // It was checked when it was kept.
            if let Ok(checked) = checked(body)
                && !taking.add(*chunk, *of, checked, places(*chunk, *of, from, to))
            {
                return Ok(Filled::Full);
            }
            from = Offset::start(chunk.saturating_add(1));
        }
        let read = match self.read_on(taking, &mut from, to) {
            Err(why) if is_damage(&why) => {
                // From here on the rule for damage holds.
                drop(self.error("take messages", &why));
                self.read_past_damage(taking, from, to)
            }
            read => read,
        };
        let nothing = taking.messages.len() == begun;
        Ok(match read? {
            Read::Full => Filled::Full,
            Read::End if nothing => Filled::Nothing,
            Read::End => Filled::Room,
        })
    }

    /// Reads one chunk after the other, as long as that goes well. `from` is where the first is that was not read.
    fn read_on(&mut self, taking: &mut Taking, from: &mut Offset, to: Offset) -> rusqlite::Result<Read> {
        let begun = taking.messages.len();
        let mut statement =
            self.connection.prepare_cached("SELECT id, body FROM chunks WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
        let mut rows = statement.query((from.chunk, to.next_chunk()))?;
        while let Some(row) = rows.next()? {
            let chunk: i64 = row.get(0)?;
            if chunk < from.chunk {
                return Err(misplaced());
            }
            let body = row.get_ref(1)?.as_blob()?;
            // How many they are is known from what is checked.
            let Some((checked, of)) = checked(body).ok().and_then(|checked| Some((checked, counted(checked)?))) else {
                return Err(changed());
            };
            let places = places(chunk, of, *from, to);
            *from = Offset::start(chunk.saturating_add(1));
            if !taking.add(chunk, of, checked, places) {
                let rest = taking.parts.last().is_none_or(|part| part.chunk != chunk || part.to < of);
                let kept = (rest && body.len() <= LARGEST_KEPT).then(|| (chunk, of, body.to_vec()));
                if let Some(place) = self.kept.get_mut(taking.consumer) {
                    *place = kept;
                }
                return Ok(Read::Full);
            }
        }
        // Where a damaged table shows nothing, its index may.
        if taking.messages.len() == begun && !matches!(Chunks(&self.connection).next(from.chunk, to.next_chunk())?, Next::End) {
            return Err(misplaced());
        }
        Ok(Read::End)
    }

    /// Reads on chunk by chunk. What cannot be read is counted.
    fn read_past_damage(&self, taking: &mut Taking, mut from: Offset, to: Offset) -> rusqlite::Result<Read> {
        // Each chunk has a checksum of its own, so that what is beside the damage can be read.
        self.connection.pragma_update(None, "cell_size_check", false)?;
        let chunks = Chunks(&self.connection);
        loop {
            let (id, count) = match chunks.next(from.chunk, to.next_chunk())? {
                Next::Chunk { id, count } => (id, count),
                Next::Unknown { until } => {
                    self.shared.state().of_mut(taking.consumer).skip(from, Offset::start(until));
                    from = Offset::start(until);
                    continue;
                }
                Next::End => return Ok(Read::End),
            };
            let begins = from;
            from = Offset::start(id.saturating_add(1));
            if let Some((of, checked)) = chunks.read(id)? {
                if !taking.add(id, of, &checked, places(id, of, begins, to)) {
                    return Ok(Read::Full);
                }
            } else {
                let of = count.unwrap_or_default();
                let Range { start, end } = places(id, of, begins, to);
                self.shared.unreadable(taking.consumer, Part { chunk: id, from: start, to: end.max(start), of });
            }
        }
    }

    /// The oldest messages that wait for a consumer. What cannot be read is counted as soon as it would be taken.
    fn peek(&self, consumer: usize, limit: TakeLimit) -> rusqlite::Result<Vec<Vec<u8>>> {
        let (intervals, _) = self.shared.state().of(consumer).oldest(INTERVALS);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut ids =
            self.connection.prepare("SELECT id, count FROM chunks INDEXED BY counts WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
        for (from, to) in intervals {
            let mut rows = ids.query((from.chunk, to.next_chunk()))?;
            while let Some(row) = rows.next()? {
                let (chunk, of): (i64, u32) = (row.get(0)?, row.get(1)?);
                let places = places(chunk, of, from, to);
                let Some((_, checked)) = Chunks(&self.connection).read(chunk)? else { continue };
                for message in messages(&checked, places) {
                    if found.len() >= limit.messages || bytes >= limit.bytes {
                        return Ok(found);
                    }
                    bytes += message.len();
                    found.push(message.to_vec());
                }
            }
        }
        Ok(found)
    }

    fn range(&self, start: i64, stop: i64) -> Result<Vec<Bytes>, StoreError> {
        let (intervals, length) = {
            let state = self.shared.state();
            (state.newest(), i64::try_from(state.messages()).unwrap_or(i64::MAX))
        };
        let from_end = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
        let (start, stop) = (from_end(start).max(0), from_end(stop).min(length - 1));
        if start > stop {
            return Ok(Vec::new());
        }
        self.newest(&intervals, start.unsigned_abs(), (stop - start).unsigned_abs() + 1).map_err(|why| match why {
            Reading::Sqlite(why) => self.error("read messages", &why),
            Reading::TooMuch => StoreError::new(&self.shared.path, Problem::LargeRange { limit: LARGEST_RANGE }),
        })
    }

    /// Messages from the newest on, but for so many.
    fn newest(&self, intervals: &[(Offset, Offset)], mut skip: u64, count: u64) -> Result<Vec<Bytes>, Reading> {
        let mut answer: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut ids = self
            .connection
            .prepare("SELECT id, count FROM chunks INDEXED BY counts WHERE id >= ?1 AND id < ?2 ORDER BY id DESC")?;
        for &(from, to) in intervals {
            let mut rows = ids.query((from.chunk, to.next_chunk()))?;
            while let Some(row) = rows.next()? {
                let (chunk, of): (i64, u32) = (row.get(0)?, row.get(1)?);
                let places = places(chunk, of, from, to);
                let here = u64::from(places.end.saturating_sub(places.start));
                if skip >= here {
                    skip -= here;
                    continue;
                }
                // What cannot be read is counted as soon as it would be taken.
                let Some((_, checked)) = Chunks(&self.connection).read(chunk)? else { continue };
                let all: Vec<&[u8]> = messages(&checked, places).collect();
                for message in all.into_iter().rev().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
                    bytes += message.len();
                    if bytes > LARGEST_RANGE {
                        return Err(Reading::TooMuch);
                    }
                    answer.push(Bytes::copy_from_slice(message));
                    if answer.len() as u64 == count {
                        return Ok(answer);
                    }
                }
                skip = 0;
            }
        }
        Ok(answer)
    }

    fn stats(&self, of: Option<&str>) -> rusqlite::Result<(u64, u64)> {
        let count = |row: &Row<'_>| row.get::<_, i64>(0);
        let dead = match of {
            None => self.connection.query_row("SELECT count(*) FROM dead INDEXED BY letters", [], count)?,
            Some(of) => {
                let dead = "SELECT count(*) FROM dead INDEXED BY letters_of WHERE consumer = ?1";
                self.connection.query_row(dead, [of], count)?
            }
        };
        let used = Pages::of(&self.connection)?.used * super::file::PAGE;
        Ok((dead.unsigned_abs(), used))
    }

    fn error(&self, doing: &str, why: &rusqlite::Error) -> StoreError {
        self.shared.error(doing, why)
    }
}

/// What came of an interval.
enum Filled {
    /// There is no room for more.
    Full,
    Room,
    /// There is room, and nothing was found.
    Nothing,
}

/// How reading an interval has ended.
enum Read {
    Full,
    End,
}

enum Reading {
    Sqlite(rusqlite::Error),
    TooMuch,
}

impl From<rusqlite::Error> for Reading {
    fn from(why: rusqlite::Error) -> Self {
        Self::Sqlite(why)
    }
}
