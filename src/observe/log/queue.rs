//! Lines wait here for a thread that writes them, so that a reader who is slow, or is none, holds up nobody who logs.
//!
//! What waits is bounded in bytes. Beyond that lines are dropped, and how many is said where they are missing. slog-async,
//! the obvious choice, bounds only the number of lines, formats values where a panic ends all logging, and its end waits
//! for as long as nobody reads.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::watch;

/// How many bytes of lines may wait.
const CAPACITY: usize = 1 << 20;

/// How soon a sink is asked again that does not block though it is full.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The queue; every clone is the same one.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    pushed: Condvar,
    written: Condvar,
    /// The number of entries written, for those who wait without a thread of their own.
    progress: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// The size of the lines that wait.
    bytes: usize,
    /// How many lines were dropped since the last line that was taken in.
    dropped: u64,
    /// How many entries were taken in and how many of them are written.
    pushed: u64,
    written: u64,
    /// Whether somebody waited in vain since the last entry was written.
    stuck: bool,
}

enum Entry {
    Line(Vec<u8>),
    /// Where so many lines are missing.
    Gap(u64),
}

/// What becomes of a line that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// It is dropped, and counted.
    Drop,
    /// It is taken in all the same: whoever logs it waits until it is written before logging the next.
    Keep,
}

/// Takes lines in, each with one write, and never blocks.
pub(super) struct Sink {
    queue: Queue,
    overflow: Overflow,
}

impl Queue {
    /// A queue and the thread that writes to `sink`; `gap` makes the line that so many lines are missing.
    pub(super) fn start(sink: impl Write + Send + 'static, gap: impl Fn(u64) -> Vec<u8> + Send + 'static) -> io::Result<Self> {
        let shared =
            Shared { state: Mutex::default(), pushed: Condvar::new(), written: Condvar::new(), progress: watch::Sender::new(0) };
        let queue = Self(Arc::new(shared));
        let (writer, mut sink) = (queue.clone(), sink);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let line = match writer.take() {
                    Entry::Line(line) => line,
                    Entry::Gap(lines) => gap(lines),
                };
                write_whole(&mut sink, &line);
                writer.note_written();
            }
        })?;
        Ok(queue)
    }

    /// Where to write lines to.
    pub(super) fn sink(&self, overflow: Overflow) -> Sink {
        Sink { queue: self.clone(), overflow }
    }

    /// How many entries were taken in.
    pub(super) fn position(&self) -> u64 {
        self.state().pushed
    }

    /// Completes when so many entries are written.
    pub(super) async fn reached(&self, position: u64) {
        // The sender is in `self`, so it does not close under this.
        drop(self.0.progress.subscribe().wait_for(|written| *written >= position).await);
    }

    /// Waits until all is written that was logged so far, but no longer than this. Says whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let state = self.state();
        let end = state.pushed + u64::from(state.dropped > 0);
        let flushed = self.0.written.wait_timeout_while(state, within, |state| state.written < end);
        let (mut state, _) = flushed.unwrap_or_else(PoisonError::into_inner);
        let flushed = state.written >= end;
        state.stuck |= !flushed;
        flushed
    }

    /// Whether somebody waited in vain since a line was written.
    pub(super) fn is_stuck(&self) -> bool {
        self.state().stuck
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>, overflow: Overflow) {
        self.state().push(line, overflow);
        self.0.pushed.notify_one();
    }

    /// Waits for the next entry.
    fn take(&self) -> Entry {
        let state = self.state();
        let state = self.0.pushed.wait_while(state, |state| state.waiting.is_empty());
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.take()
    }

    fn note_written(&self) {
        let mut state = self.state();
        state.written += 1;
        state.stuck = false;
        self.0.progress.send_replace(state.written);
        drop(state);
        self.0.written.notify_all();
    }
}

impl State {
    /// Once a line was dropped, so are the next ones until there is room for many: few gaps rather than many.
    fn has_room(&self, size: usize) -> bool {
        self.dropped == 0 && (self.bytes == 0 || self.bytes + size <= CAPACITY)
    }

    fn push(&mut self, line: Vec<u8>, overflow: Overflow) {
        if overflow == Overflow::Drop && !self.has_room(line.len()) {
            self.dropped += 1;
            return;
        }
        self.bytes += line.len();
        self.enter(Entry::Line(line));
    }

    fn enter(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
        self.pushed += 1;
    }

    fn take(&mut self) -> Entry {
        // It is waited for until there is one.
        let entry = self.waiting.pop_front().unwrap_or(Entry::Line(Vec::new()));
        if let Entry::Line(line) = &entry {
            self.bytes -= line.len();
        }
        if self.dropped > 0 && self.bytes <= CAPACITY / 2 {
            let gap = Entry::Gap(std::mem::take(&mut self.dropped));
            self.enter(gap);
        }
        entry
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line.to_vec(), self.overflow);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line however often that takes. There is nowhere left to say that it cannot be written at all.
fn write_whole(sink: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return,
            Ok(count) => line = line.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares the pipe has made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ASK_AGAIN),
            Err(_) => return,
        }
    }
    drop(sink.flush());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A pipe that takes one write for each ticket.
    struct Pipe {
        tickets: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.tickets.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Unread {
        queue: Queue,
        tickets: mpsc::Sender<()>,
        written: Arc<Mutex<Vec<String>>>,
    }

    fn unread() -> Unread {
        let (tickets, taken) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let pipe = Pipe { tickets: taken, written: Arc::clone(&written) };
        let queue = Queue::start(pipe, |lines| format!("{lines} missing").into_bytes()).unwrap();
        Unread { queue, tickets, written }
    }

    impl Unread {
        fn log(&self, overflow: Overflow, line: &str) {
            self.queue.sink(overflow).write_all(line.as_bytes()).unwrap();
        }

        /// Somebody reads.
        fn read(&self) -> Vec<String> {
            (0..10_000).for_each(|_| self.tickets.send(()).unwrap());
            assert!(self.queue.flush(SOON));
            self.written.lock().unwrap().clone()
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_missing_is_said_where_it_is() {
        let unread = unread();
        let line = "x".repeat(CAPACITY / 4);
        // One may be in the writer's hands, four wait.
        (0..20).for_each(|_| unread.log(Overflow::Drop, &line));
        assert!(!unread.queue.flush(Duration::from_millis(1)) && unread.queue.is_stuck());
        let written = unread.read();
        let kept = written.iter().filter(|written| **written == line).count();
        assert!((4..=5).contains(&kept), "{kept}");
        assert_eq!(written[kept..], [format!("{} missing", 20 - kept)], "said as soon as somebody reads, though nobody logs");
        assert!(!unread.queue.is_stuck());
        unread.log(Overflow::Drop, "next");
        assert!(unread.queue.flush(SOON));
        assert_eq!(unread.written.lock().unwrap().last().unwrap(), "next");
    }

    #[test]
    fn a_kept_line_is_never_dropped_and_one_can_wait_for_it() {
        let unread = unread();
        let line = "x".repeat(CAPACITY / 4);
        (0..20).for_each(|_| unread.log(Overflow::Drop, &line));
        unread.log(Overflow::Keep, "kept");
        let position = unread.queue.position();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let within = |time| runtime.block_on(async { tokio::time::timeout(time, unread.queue.reached(position)).await.is_ok() });
        assert!(!within(Duration::from_millis(1)));
        assert!(unread.read().contains(&"kept".to_owned()));
        assert!(within(SOON));
    }

    #[test]
    fn a_sink_that_is_full_and_does_not_block_loses_nothing() {
        struct Full(u32, Arc<Mutex<Vec<u8>>>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 % 3 {
                    0 => Err(ErrorKind::Interrupted.into()),
                    1 => Err(ErrorKind::WouldBlock.into()),
                    _ => {
                        self.1.lock().unwrap().extend(bytes.first());
                        Ok(1)
                    }
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let written = Arc::default();
        let queue = Queue::start(Full(0, Arc::clone(&written)), |_| Vec::new()).unwrap();
        queue.sink(Overflow::Drop).write_all(b"a line\n").unwrap();
        assert!(queue.flush(SOON));
        assert_eq!(*written.lock().unwrap(), b"a line\n");
    }

    #[test]
    fn what_cannot_be_written_holds_up_nobody() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = Queue::start(Closed, |_| Vec::new()).unwrap();
        (0..100).for_each(|_| queue.sink(Overflow::Drop).write_all(&[b'x'; CAPACITY / 10]).unwrap());
        assert!(queue.flush(SOON));
    }

    /// A line that is logged with so many bytes, or a line that is written.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Log(usize),
        Write,
    }

    proptest! {
        #[test]
        fn every_line_is_written_or_counted_in_order_and_what_waits_is_bounded(
            steps in proptest::collection::vec(
                prop_oneof![3 => (1..CAPACITY / 3).prop_map(Step::Log), 2 => Just(Step::Write)], 1..200
            )
        ) {
            let mut state = State::default();
            let (mut logged, mut seen) = (0_u64, 0_u64);
            let write = |state: &mut State, seen: &mut u64| match state.take() {
                // A line's first bytes are its number.
                Entry::Line(line) => {
                    let number = u64::from_le_bytes(line[..8].try_into().unwrap());
                    let next = *seen == number;
                    *seen = number + 1;
                    next
                }
                Entry::Gap(lines) => { *seen += lines; lines > 0 }
            };
            for step in steps {
                match step {
                    Step::Log(size) => {
                        let mut line = vec![0; size.max(8)];
                        line[..8].copy_from_slice(&logged.to_le_bytes());
                        logged += 1;
                        state.push(line, Overflow::Drop);
                    }
                    Step::Write if state.waiting.is_empty() => {}
                    Step::Write => prop_assert!(write(&mut state, &mut seen)),
                }
                prop_assert!(state.bytes <= CAPACITY);
                prop_assert!(state.dropped == 0 || !state.waiting.is_empty(), "what was dropped will be said");
            }
            while !state.waiting.is_empty() {
                prop_assert!(write(&mut state, &mut seen));
            }
            prop_assert_eq!(seen, logged);
        }
    }
}
