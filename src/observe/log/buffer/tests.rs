use std::sync::mpsc;

use proptest::prelude::*;

use super::{state::CAPACITY, *};

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
    buffer: Buffer,
    tickets: mpsc::Sender<()>,
    written: Arc<Mutex<Vec<String>>>,
}

fn unread() -> Unread {
    let (tickets, taken) = mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let pipe = Pipe { tickets: taken, written: Arc::clone(&written) };
    let buffer = Buffer::start(pipe, |gap| format!("{} missing", gap.lines).into_bytes()).unwrap();
    Unread { buffer, tickets, written }
}

impl Unread {
    fn log(&self, line: &str) {
        self.buffer.lines().write_all(line.as_bytes()).unwrap();
    }

    /// Somebody reads.
    fn read(&self) -> Vec<String> {
        (0..10_000).for_each(|_| self.tickets.send(()).unwrap());
        assert!(self.buffer.flush(SOON));
        self.written.lock().unwrap().clone()
    }
}

#[test]
fn nobody_waits_for_a_reader_and_what_is_missing_is_said_where_it_is() {
    let unread = unread();
    let line = "x".repeat(CAPACITY / 4);
    // One may be in the writer's hands, four wait.
    (0..20).for_each(|_| unread.log(&line));
    assert!(!unread.buffer.flush(Duration::from_millis(1)) && unread.buffer.is_stuck());
    let written = unread.read();
    let kept = written.iter().filter(|written| **written == line).count();
    assert!((4..=5).contains(&kept), "{kept}");
    assert_eq!(written[kept..], [format!("{} missing", 20 - kept)], "said as soon as somebody reads, though nobody logs");
    assert!(!unread.buffer.is_stuck());
    unread.log("next");
    assert!(unread.buffer.flush(SOON));
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
    let kept = unread.buffer.keep(b"kept".to_vec());
    assert_eq!(within(Duration::from_millis(1), unread.buffer.written(kept)), None);
    assert!(unread.read().contains(&"kept".to_owned()));
    assert_eq!(within(SOON, unread.buffer.written(kept)), Some(Ok(())));
    assert_eq!(unread.buffer.withdraw(kept), Withdrawn::Written);
}

#[test]
fn a_line_that_is_withdrawn_is_not_written_later() {
    let unread = unread();
    let [first, second, third] = ["first", "second", "third"].map(|line| unread.buffer.keep(line.into()));
    assert_eq!(unread.buffer.withdraw(second), Withdrawn::Yes);
    assert_eq!(unread.read(), ["first", "third"]);
    assert_eq!([first, third].map(|entry| unread.buffer.withdraw(entry)), [Withdrawn::Written; 2]);
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
    let buffer = Buffer::start(Full(0, Arc::clone(&written)), |_| Vec::new()).unwrap();
    buffer.lines().write_all(b"a line\n").unwrap();
    assert!(buffer.flush(SOON));
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

fn on(disk: &Disk) -> Buffer {
    let say = |gap: &Gap| format!("{} missing, {:?}\n", gap.lines, gap.refused.as_ref().map(|(why, _)| &why.mend)).into_bytes();
    Buffer::start(disk.clone(), say).unwrap()
}

#[test]
fn a_log_that_cannot_be_written_holds_up_nobody_and_goes_on_with_the_line_that_it_refused() {
    let disk = Disk::default();
    let buffer = on(&disk);
    disk.has_room(3);
    buffer.lines().write_all(b"refused\n").unwrap();
    assert!(!buffer.flush(SOON) && buffer.is_stuck());
    assert!(buffer.refusal().unwrap().mend.contains("make room"));
    let line = [b'x'; CAPACITY / 10];
    (0..100).for_each(|_| buffer.lines().write_all(&line).unwrap());
    assert!(!buffer.flush(SOON));
    assert_eq!(disk.text(), "", "no part of a line is left there");
    disk.has_room(usize::MAX / 2);
    assert!(buffer.flush(SOON) && buffer.refusal().is_none());
    let text = disk.text();
    assert!(text.starts_with("refused\nxxx"), "{}", &text[..20]);
    assert!(text.ends_with("xxx90 missing, Some(\"make room on the disk that the log is on; the agent goes on by itself\")\n"));
}

#[test]
fn a_refusal_without_a_missing_line_is_said_too() {
    let disk = Disk::default();
    let buffer = on(&disk);
    buffer.lines().write_all(b"refused\n").unwrap();
    assert!(!buffer.flush(SOON));
    disk.has_room(usize::MAX / 2);
    assert!(buffer.flush(SOON));
    assert!(disk.text().starts_with("refused\n0 missing, Some("), "{}", disk.text());
}

#[test]
fn who_waits_for_a_refused_line_hears_why_and_can_withdraw_it() {
    let disk = Disk::default();
    let buffer = on(&disk);
    let kept = buffer.keep(b"kept\n".to_vec());
    let refusal = within(SOON, buffer.written(kept)).unwrap().unwrap_err();
    assert!(refusal.mend.contains("make room"), "{refusal:?}");
    assert_eq!(buffer.withdraw(kept), Withdrawn::Yes);
    disk.has_room(usize::MAX / 2);
    let again = buffer.keep(b"again\n".to_vec());
    assert_eq!(within(SOON, async { while buffer.written(again).await.is_err() {} }), Some(()));
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
