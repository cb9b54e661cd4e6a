//! Lines wait here for a thread that writes them, so that a reader who is slow, or is none, holds up nobody who logs.
//!
//! What waits is bounded in bytes. Beyond that lines are dropped, and how many is said where they are missing. A log that
//! refuses to be written (a full disk, a reader that has ended) is tried again and again, with the line it has refused first.
//! slog-async, the obvious choice, bounds only the number of lines, formats values where a panic ends all logging, and its end
//! waits for as long as nobody reads.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::refusal::Refusal;

/// How many bytes of lines may wait.
const CAPACITY: usize = 1 << 20;

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

/// The queue; every clone is the same one.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

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

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// The size of the lines that wait and could have been dropped.
    bytes: usize,
    /// How many lines were dropped since the last line that was taken in.
    dropped: u64,
    /// How many entries were taken in and how many of them are done with.
    pushed: u64,
    written: u64,
    /// Whether somebody waited in vain since the last entry was written.
    stuck: bool,
    /// Why the line that the thread has in its hands was refused, and when the first one was.
    refused: Option<(Refusal, Instant)>,
    /// How often a line was refused.
    refusals: u64,
    /// Whether the thread rests before it tries the refused line again.
    resting: bool,
    /// Whether to try again at once.
    hurry: bool,
    /// Whether the refused line is not to be written any more.
    withdrawn: bool,
    /// Why kept lines were withdrawn, until others are written.
    withheld: Option<Refusal>,
    /// A refusal that is over, until that is said.
    over: Option<(Refusal, Duration)>,
}

enum Entry {
    /// A line that could have been dropped.
    Line(Vec<u8>),
    /// Lines of which each must be written.
    Kept(Vec<u8>),
    Gap(Gap),
}

/// Whether somebody waits for what is written, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    Other,
}

/// What is to be said where lines are missing, or were late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// How many are missing.
    pub(super) lines: u64,
    /// Why they could not be written and for how long; if not, nobody read them.
    pub(super) refused: Option<(Refusal, Duration)>,
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
pub(super) struct Lines(Queue);

impl Queue {
    /// A queue and the thread that writes to `sink`; `say` makes the line that lines are missing.
    pub(super) fn start(mut sink: impl Sink, say: impl Fn(&Gap) -> Vec<u8> + Send + 'static) -> io::Result<Self> {
        let shared = Shared {
            state: Mutex::default(),
            pushed: Condvar::new(),
            tried: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
        };
        let queue = Self(Arc::new(shared));
        let writer = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                match writer.take() {
                    Entry::Line(line) => writer.write(&mut sink, line, Kind::Other),
                    Entry::Kept(lines) => writer.write(&mut sink, lines, Kind::Kept),
                    Entry::Gap(gap) => writer.write(&mut sink, say(&gap), Kind::Other),
                }
            }
        })?;
        Ok(queue)
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

/// What to do with a line that was refused, after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoOn {
    Try,
    Withdrawn,
}

impl State {
    /// Once a line was dropped, so are the next ones until there is room for many: few gaps rather than many.
    fn has_room(&self, size: usize) -> bool {
        self.dropped == 0 && (self.bytes == 0 || self.bytes + size <= CAPACITY)
    }

    fn push(&mut self, line: Vec<u8>) {
        if !self.has_room(line.len()) {
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
        self.say_gap();
        entry
    }

    /// Enters what is missing, once there is room for lines behind it.
    fn say_gap(&mut self) {
        if (self.dropped > 0 || self.over.is_some()) && self.bytes <= CAPACITY / 2 && self.refused.is_none() {
            let gap = Gap { lines: std::mem::take(&mut self.dropped), refused: self.over.take() };
            self.enter(Entry::Gap(gap));
        }
    }

    /// The entry that was taken is written.
    fn done(&mut self, kind: Kind, now: Instant) {
        self.written += 1;
        if kind == Kind::Kept {
            self.withheld = None;
        }
        self.stuck = false;
        if let Some((refusal, since)) = self.refused.take() {
            self.over = Some((refusal, now.duration_since(since)));
            self.say_gap();
        }
    }

    /// The entry that was taken is refused.
    fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.refusals += 1;
        self.resting = true;
        let since = self.refused.take().map_or(now, |(_, since)| since);
        self.refused = Some((refusal, since));
    }

    /// The rest after a refusal is over.
    fn go_on(&mut self) -> GoOn {
        (self.resting, self.hurry) = (false, false);
        if !std::mem::take(&mut self.withdrawn) {
            return GoOn::Try;
        }
        // Nobody knows what the next one meets with.
        self.refused = None;
        self.written += 1;
        self.say_gap();
        GoOn::Withdrawn
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

    impl Sink for Pipe {}

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
        let queue = Queue::start(pipe, |gap| format!("{} missing", gap.lines).into_bytes()).unwrap();
        Unread { queue, tickets, written }
    }

    impl Unread {
        fn log(&self, line: &str) {
            self.queue.lines().write_all(line.as_bytes()).unwrap();
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
        (0..20).for_each(|_| unread.log(&line));
        assert!(!unread.queue.flush(Duration::from_millis(1)) && unread.queue.is_stuck());
        let written = unread.read();
        let kept = written.iter().filter(|written| **written == line).count();
        assert!((4..=5).contains(&kept), "{kept}");
        assert_eq!(written[kept..], [format!("{} missing", 20 - kept)], "said as soon as somebody reads, though nobody logs");
        assert!(!unread.queue.is_stuck());
        unread.log("next");
        assert!(unread.queue.flush(SOON));
        assert_eq!(unread.written.lock().unwrap().last().unwrap(), "next");
    }

    fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(time, future).await.ok() })
    }

    #[test]
    fn a_kept_line_is_never_dropped_and_one_can_wait_for_it() {
        let unread = unread();
        let line = "x".repeat(CAPACITY / 4);
        (0..20).for_each(|_| unread.log(&line));
        let kept = unread.queue.keep(b"kept".to_vec());
        assert_eq!(within(Duration::from_millis(1), unread.queue.written(kept)), None);
        assert!(unread.read().contains(&"kept".to_owned()));
        assert_eq!(within(SOON, unread.queue.written(kept)), Some(Ok(())));
        assert_eq!(unread.queue.withdraw(kept), Withdrawn::Written);
    }

    #[test]
    fn a_line_that_is_withdrawn_is_not_written_later() {
        let unread = unread();
        let [first, second, third] = ["first", "second", "third"].map(|line| unread.queue.keep(line.into()));
        assert_eq!(unread.queue.withdraw(second), Withdrawn::Yes);
        assert_eq!(unread.read(), ["first", "third"]);
        assert_eq!([first, third].map(|entry| unread.queue.withdraw(entry)), [Withdrawn::Written; 2]);
    }

    #[test]
    fn a_sink_that_is_full_and_does_not_block_loses_nothing() {
        struct Full(u32, Arc<Mutex<Vec<u8>>>);
        impl Sink for Full {}
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
        queue.lines().write_all(b"a line\n").unwrap();
        assert!(queue.flush(SOON));
        assert_eq!(*written.lock().unwrap(), b"a line\n");
    }

    /// A file on a disk that has room for so many bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn has_room(&self, bytes: usize) {
            self.0.lock().unwrap().0 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {
        fn take_back(&mut self, written: usize) -> bool {
            let mut disk = self.0.lock().unwrap();
            let end = disk.1.len() - written;
            disk.1.truncate(end);
            disk.0 += written;
            true
        }
    }

    fn on(disk: &Disk) -> Queue {
        let say =
            |gap: &Gap| format!("{} missing, {:?}\n", gap.lines, gap.refused.as_ref().map(|(why, _)| &why.mend)).into_bytes();
        Queue::start(disk.clone(), say).unwrap()
    }

    #[test]
    fn a_log_that_cannot_be_written_holds_up_nobody_and_goes_on_with_the_line_that_it_refused() {
        let disk = Disk::default();
        let queue = on(&disk);
        disk.has_room(3);
        queue.lines().write_all(b"refused\n").unwrap();
        assert!(!queue.flush(SOON) && queue.is_stuck());
        assert!(queue.refusal().unwrap().mend.contains("make room"));
        let line = [b'x'; CAPACITY / 10];
        (0..100).for_each(|_| queue.lines().write_all(&line).unwrap());
        assert!(!queue.flush(SOON));
        assert_eq!(disk.text(), "", "no part of a line is left there");
        disk.has_room(usize::MAX / 2);
        assert!(queue.flush(SOON) && queue.refusal().is_none());
        let text = disk.text();
        assert!(text.starts_with("refused\nxxx"), "{}", &text[..20]);
        assert!(
            text.ends_with("xxx90 missing, Some(\"make room on the disk that the log is on; the agent goes on by itself\")\n")
        );
    }

    #[test]
    fn a_refusal_without_a_missing_line_is_said_too() {
        let disk = Disk::default();
        let queue = on(&disk);
        queue.lines().write_all(b"refused\n").unwrap();
        assert!(!queue.flush(SOON));
        disk.has_room(usize::MAX / 2);
        assert!(queue.flush(SOON));
        assert!(disk.text().starts_with("refused\n0 missing, Some("), "{}", disk.text());
    }

    #[test]
    fn who_waits_for_a_refused_line_hears_why_and_can_withdraw_it() {
        let disk = Disk::default();
        let queue = on(&disk);
        let kept = queue.keep(b"kept\n".to_vec());
        let refusal = within(SOON, queue.written(kept)).unwrap().unwrap_err();
        assert!(refusal.mend.contains("make room"), "{refusal:?}");
        assert_eq!(queue.withdraw(kept), Withdrawn::Yes);
        disk.has_room(usize::MAX / 2);
        let again = queue.keep(b"again\n".to_vec());
        assert_eq!(within(SOON, async { while queue.written(again).await.is_err() {} }), Some(()));
        assert_eq!(disk.text(), "again\n");
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
                Entry::Line(line) | Entry::Kept(line) => {
                    let number = u64::from_le_bytes(line[..8].try_into().unwrap());
                    let next = *seen == number;
                    *seen = number + 1;
                    next
                }
                Entry::Gap(gap) => { *seen += gap.lines; gap.lines > 0 }
            };
            for step in steps {
                match step {
                    Step::Log(size) => {
                        let mut line = vec![0; size.max(8)];
                        line[..8].copy_from_slice(&logged.to_le_bytes());
                        logged += 1;
                        state.push(line);
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
