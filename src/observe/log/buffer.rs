//! Lines wait here for a thread that writes them, so that a reader who is slow, or is none, holds up nobody who logs.
//!
//! What waits is bounded in bytes. Beyond that lines are dropped, and how many is said where they are missing. A log that
//! refuses to be written (a full disk, a reader that has ended) is tried again and again, with the line it has refused first.
//! slog-async, the obvious choice, bounds only the number of lines, formats values where a panic ends all logging, and its end
//! waits for as long as nobody reads.

mod state;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

pub(super) use self::state::Gap;
use self::state::{Entry, GoOn, Kind, State};
use super::refusal::Refusal;

/// How soon a sink is asked again that does not block though it is full.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// How soon a sink is asked again that has refused a line.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Where lines are written to.
pub(super) trait Sink: Write + Send + 'static {
    /// Takes back the bytes of a line of which the rest was refused, so that it can be written anew. Says whether the next line
    /// begins where a line should.
    fn take_back(&mut self, _written: usize) -> bool {
        true
    }
}

/// The buffer; every clone is the same one.
#[derive(Clone)]
pub(super) struct Buffer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// For the thread that writes: there is something to do.
    pushed: Condvar,
    /// For who waits on a thread of its own: a line was written or refused.
    tried: Condvar,
    /// The same for those who have none.
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    written: u64,
    refused: Option<Refusal>,
}

/// What became of an entry that was to be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It is not written, and will not be.
    Yes,
    /// It is written.
    Written,
    /// It is being written, for as long as its reader takes.
    BeingWritten,
}

/// Takes lines in, each with one write, and never blocks. A line that there is no room for is dropped, and counted.
pub(super) struct Lines(Buffer);

impl Buffer {
    /// A buffer and the thread that writes to `sink`; `say` makes the line that lines are missing.
    pub(super) fn start(mut sink: impl Sink, say: impl Fn(&Gap) -> Vec<u8> + Send + 'static) -> io::Result<Self> {
        let shared = Shared {
            state: Mutex::default(),
            pushed: Condvar::new(),
            tried: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
        };
        let buffer = Self(Arc::new(shared));
        let writer = buffer.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                match writer.take() {
                    Entry::Line(line) => writer.write(&mut sink, line, Kind::Other),
                    Entry::Kept(lines) => writer.write(&mut sink, lines, Kind::Kept),
                    Entry::Gap(gap) => writer.write(&mut sink, say(&gap), Kind::Other),
                }
            }
        })?;
        Ok(buffer)
    }

    /// Where to write lines to.
    pub(super) fn lines(&self) -> Lines {
        Lines(self.clone())
    }

    /// Takes in lines that are not dropped, and are written together. Whoever has them waits until they are written, or
    /// withdraws them, before the next ones. Gives the number of the entry.
    pub(super) fn keep(&self, lines: Vec<u8>) -> u64 {
        let mut state = self.state();
        state.enter(Entry::Kept(lines));
        let entry = state.pushed;
        drop(state);
        self.0.pushed.notify_one();
        entry
    }

    /// Completes when this entry is written.
    ///
    /// # Errors
    /// Why the log cannot be written, as soon as it has refused a line.
    pub(super) async fn written(&self, entry: u64) -> Result<(), Refusal> {
        let mut progress = self.0.progress.subscribe();
        let settled = progress.wait_for(|progress| progress.written >= entry || progress.refused.is_some()).await;
        // The sender is in `self`, so it does not close under this.
        let Ok(progress) = settled else { return Ok(()) };
        if progress.written >= entry { Ok(()) } else { progress.refused.clone().map_or(Ok(()), Err) }
    }

    /// Sees to it that this entry is not written later.
    pub(super) fn withdraw(&self, entry: u64) -> Withdrawn {
        let mut state = self.state();
        if state.written >= entry {
            return Withdrawn::Written;
        }
        let refused = state.refused.as_ref().map(|(refusal, _)| refusal.clone());
        let first_waiting = state.pushed - state.waiting.len() as u64 + 1;
        let waiting = entry.checked_sub(first_waiting).and_then(|index| usize::try_from(index).ok());
        if let Some(waiting) = waiting.and_then(|index| state.waiting.get_mut(index)) {
            *waiting = Entry::Line(Vec::new());
            state.withheld = refused.or(state.withheld.take());
            return Withdrawn::Yes;
        }
        if !state.resting {
            return Withdrawn::BeingWritten;
        }
        state.withdrawn = true;
        state.withheld = refused;
        drop(state);
        self.0.pushed.notify_one();
        Withdrawn::Yes
    }

    /// Waits until all is written that was logged so far, but no longer than this, and not for a log that refuses it. Says
    /// whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let mut state = self.state();
        let end = state.pushed + u64::from(state.dropped > 0 || state.refused.is_some());
        let before = state.refusals;
        state.hurry = true;
        self.0.pushed.notify_one();
        let unsettled = |state: &mut State| state.written < end && state.refusals == before;
        let flushed = self.0.tried.wait_timeout_while(state, within, unsettled);
        let (mut state, _) = flushed.unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
        let flushed = state.written >= end;
        state.stuck |= !flushed;
        flushed
    }

    /// Whether somebody waited in vain since a line was written.
    pub(super) fn is_stuck(&self) -> bool {
        self.state().stuck
    }

    /// Why the log cannot be written, while there is a line that it has refused.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.state().refused.as_ref().map(|(refusal, _)| refusal.clone())
    }

    /// The same, or why kept lines were withdrawn since the last ones were written.
    pub(super) fn unwritten(&self) -> Option<Refusal> {
        self.refusal().or_else(|| self.state().withheld.clone())
    }

    /// Kept lines are not even taken in, for this reason.
    pub(super) fn withhold(&self, refusal: Refusal) {
        self.state().withheld = Some(refusal);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        self.state().push(line);
        self.0.pushed.notify_one();
    }

    /// Waits for the next entry.
    fn take(&self) -> Entry {
        let state = self.state();
        let state = self.0.pushed.wait_while(state, |state| state.waiting.is_empty());
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.take()
    }

    /// Writes lines, however often that must be tried, unless they are withdrawn.
    fn write(&self, sink: &mut impl Sink, mut lines: Vec<u8>, kind: Kind) {
        loop {
            let written = write_whole(sink, &lines);
            let mut state = self.state();
            let Err((error, written)) = written else {
                state.done(kind, Instant::now());
                return self.tell(&state);
            };
            if written > 0 && !sink.take_back(written) && !lines.starts_with(b"\n") {
                lines.insert(0, b'\n');
            }
            state.refuse(Refusal::from(&error), Instant::now());
            self.tell(&state);
            let rests = |state: &mut State| !state.hurry && !state.withdrawn;
            let rested = self.0.pushed.wait_timeout_while(state, TRY_AGAIN, rests);
            let (mut state, _) = rested.unwrap_or_else(PoisonError::into_inner);
            if state.go_on() == GoOn::Withdrawn {
                return self.tell(&state);
            }
        }
    }

    /// Tells everybody who waits that a line was written, refused or withdrawn.
    fn tell(&self, state: &State) {
        let refused = state.refused.as_ref().map(|(refusal, _)| refusal.clone());
        self.0.progress.send_replace(Progress { written: state.written, refused });
        self.0.tried.notify_all();
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines however many writes that takes. The error comes with the number of bytes that were written before it.
fn write_whole(sink: &mut impl Sink, lines: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut left = lines;
    let failed = loop {
        if left.is_empty() {
            match sink.flush() {
                Ok(()) => return Ok(()),
                Err(error) => break error,
            }
        }
        match sink.write(left) {
            Ok(0) => break ErrorKind::WriteZero.into(),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares the pipe has made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ASK_AGAIN),
            Err(error) => break error,
        }
    };
    Err((failed, lines.len() - left.len()))
}
