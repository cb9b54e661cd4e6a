//! A disk that really stalls: the queue is on a file system of its own, which is frozen under load.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, agent::House, agent::push, command, connect, line};
use crate::support::process::wait_for;

/// `channel.embedded.answer_within`
const WITHIN: Duration = Duration::from_millis(50);
/// How much longer an answer may take that waits for nothing but a processor now and then.
const SLACK: Duration = Duration::from_millis(450);
/// How many threads an answer needs one after the other: of the agent those that serve, watch and write, and the client's own.
const THREADS: u32 = 4;
const STALL: Duration = Duration::from_secs(3);

/// Runs a command as root, who alone can mount and freeze.
fn as_root(words: &[&str]) -> Output {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(words[0])
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", words[0]]);
        sudo
    };
    command.args(&words[1..]).output().unwrap_or_else(|why| panic!("{}: {why}; run tests/run", words[0]))
}

/// A file system on a disk of its own.
struct Disk {
    mounted: PathBuf,
    _image: tempfile::NamedTempFile,
}

impl Disk {
    fn mount(at: &Path) -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(200 << 20).unwrap();
        let (file, folder) = (image.path().to_str().unwrap(), at.to_str().unwrap());
        for words in
            [&["/usr/sbin/mkfs.ext4", "-q", "-F", file][..], &["mount", "-o", "loop", file, folder], &["chmod", "777", folder]]
        {
            let done = as_root(words);
            assert!(done.status.success(), "{words:?}: {}; root is needed", String::from_utf8_lossy(&done.stderr));
        }
        Self { mounted: at.to_owned(), _image: image }
    }

    /// No write ends for [`STALL`]; and one does afterwards, even if this test has ended.
    fn freeze(&self) -> Child {
        let freeze = format!("fsfreeze -f '{0}'; sleep {1}; fsfreeze -u '{0}'", self.mounted.display(), STALL.as_secs());
        let root = rustix::process::geteuid().is_root();
        let mut command = if root { Command::new("sh") } else { Command::new("sudo") };
        command.args(if root { &["-c"][..] } else { &["-n", "sh", "-c"][..] }).arg(freeze).spawn().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(as_root(&["umount", "--lazy", self.mounted.to_str().unwrap()]));
    }
}

#[derive(Default)]
struct Outcomes {
    answered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    cut: BTreeSet<u64>,
    /// Each with whether the disk stalled when it began.
    took: Vec<(Duration, bool)>,
    /// For how long a thread waited for a processor each time when it had slept.
    late: Vec<Duration>,
}

impl Outcomes {
    fn add(mut self, mut other: Self) -> Self {
        self.answered.append(&mut other.answered);
        self.refused.append(&mut other.refused);
        self.cut.append(&mut other.cut);
        self.took.append(&mut other.took);
        self.late.append(&mut other.late);
        self
    }
}

/// Pushes message after message, and connects anew where that is needed.
fn pushes(house: &House, next: &AtomicU64, stalls: &AtomicBool, ends: &AtomicBool) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut connection = None;
    while !ends.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (began, stalled) = (Instant::now(), stalls.load(Ordering::Relaxed));
        let mut stream = connection.take().unwrap_or_else(|| connect(house.address));
        let mut answer = [0; 512];
        let read = stream.write_all(&push(number)).and_then(|()| stream.read(&mut answer));
        outcomes.took.push((began.elapsed(), stalled));
        match read {
            Ok(1..) if answer[0] == b':' => {
                outcomes.answered.insert(number);
                connection = Some(stream);
            }
            Ok(read @ 1..) => {
                let said = String::from_utf8_lossy(&answer[..read]);
                assert!(said.starts_with("-MISCONF") && (said.contains("does not end") || said.contains("stalls")), "{said}");
                outcomes.refused.insert(number);
                // The connection is kept where the agent has kept it.
                connection = said.contains("does not end").then_some(stream);
            }
            Ok(0) | Err(_) => {
                outcomes.cut.insert(number);
            }
        }
        outcomes.late.push(sleep());
    }
    outcomes
}

/// Sleeps a little, and returns by how much that took longer.
fn sleep() -> Duration {
    let (slept, pause) = (Instant::now(), Duration::from_millis(4));
    thread::sleep(pause);
    slept.elapsed().saturating_sub(pause)
}

/// Only sees how late the machine is, which the clients do not while each waits for an answer.
fn watches(ends: &AtomicBool) -> Outcomes {
    let mut outcomes = Outcomes::default();
    while !ends.load(Ordering::Relaxed) {
        outcomes.late.push(sleep());
    }
    outcomes
}

/// Clients push while the disk stalls twice, of which the second meets an agent that has seen one.
fn push_while_it_stalls(house: &House, disk: &Disk) -> Outcomes {
    let (next, stalls, ends) = (AtomicU64::new(1), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut threads: Vec<_> = (0..8).map(|_| scope.spawn(|| pushes(house, &next, &stalls, &ends))).collect();
        threads.push(scope.spawn(|| watches(&ends)));
        for _ in 0..2 {
            let before = next.load(Ordering::Relaxed);
            wait_for("load", PATIENCE, || (next.load(Ordering::Relaxed) > before + 500).then_some(()));
            let mut freezing = disk.freeze();
            // Its command takes a while to begin.
            thread::sleep(Duration::from_millis(300));
            stalls.store(true, Ordering::Relaxed);
            thread::sleep(STALL.saturating_sub(Duration::from_millis(800)));
            stalls.store(false, Ordering::Relaxed);
            assert!(freezing.wait().unwrap().success());
        }
        let before = next.load(Ordering::Relaxed);
        wait_for("load", PATIENCE, || (next.load(Ordering::Relaxed) > before + 500).then_some(()));
        ends.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Outcomes::default(), Outcomes::add)
    })
}

/// That no answer was late, but for what the machine itself was late by. Says how it was.
fn in_time(outcomes: &Outcomes) -> String {
    let sorted = |times: &mut dyn Iterator<Item = Duration>| {
        let mut times: Vec<_> = times.collect();
        times.sort();
        times
    };
    let took = sorted(&mut outcomes.took.iter().map(|(took, _)| *took));
    let during = sorted(&mut outcomes.took.iter().filter(|(_, stalled)| *stalled).map(|(took, _)| *took));
    let late = sorted(&mut outcomes.late.iter().copied());
    let (longest, nine_of_ten) =
        (|times: &[Duration]| times.last().copied(), |times: &[Duration]| times.get(times.len() * 9 / 10).copied());
    let told = format!(
        "{} answered, {} refused, {} cut; slowest {:?}, nine of ten during the stalls within {:?}; threads were late by {:?}, nine of ten by {:?}",
        outcomes.answered.len(),
        outcomes.refused.len(),
        outcomes.cut.len(),
        longest(&took),
        nine_of_ten(&during),
        longest(&late),
        nine_of_ten(&late)
    );
    eprintln!("{told}");
    let within = |took: Option<Duration>, limit: Duration, late: Option<Duration>| {
        took.zip(late).is_some_and(|(took, late)| took < limit + late * THREADS)
    };
    assert!(within(longest(&took), WITHIN + SLACK, longest(&late)), "{told}");
    assert!(within(nine_of_ten(&during), WITHIN * 2, nine_of_ten(&late)), "no push was answered in a stall, or late: {told}");
    told
}

#[test]
fn a_disk_that_stalls_keeps_no_push_waiting_and_what_is_refused_is_not_stored() {
    let house = House::new();
    let disk = Disk::mount(house.folder());
    let mut agent = house.agent().env("KADABRA_CHANNEL__EMBEDDED__ANSWER_WITHIN", "50ms").start();
    agent.wait_log("publishing");
    let outcomes = push_while_it_stalls(&house, &disk);
    let told = in_time(&outcomes);
    let Outcomes { answered, refused, cut, .. } = outcomes;
    assert!(answered.len() > 500 && refused.len() > 100 && !cut.is_empty(), "{told}");
    let sent: BTreeSet<u64> = answered.union(&cut).copied().collect();
    // What was refused is not stored.
    house.assert_stored(&answered, &sent);
    assert!(agent.log_text().contains("disk_stalled"));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    drop((agent, disk));
}

#[test]
fn a_disk_that_stalls_costs_no_push_an_error_where_what_cannot_wait_is_dropped_and_counted() {
    let house = House::new();
    let disk = Disk::mount(house.folder());
    let agent = house.agent().env("KADABRA_CHANNEL__EMBEDDED__ANSWER_WITHIN", "50ms");
    let mut agent = agent.env("KADABRA_CHANNEL__EMBEDDED__WHEN_FULL", "drop_newest").start();
    agent.wait_log("publishing");
    let outcomes = push_while_it_stalls(&house, &disk);
    let told = in_time(&outcomes);
    let Outcomes { answered, refused, cut, .. } = outcomes;
    assert!(answered.len() > 500 && refused.is_empty() && cut.is_empty(), "{told}");
    let report = wait_for("all that was answered early to be stored or dropped", PATIENCE, || {
        let mut stream = connect(house.address);
        stream.write_all(&command(&["KADABRA"])).unwrap();
        let length: usize = line(&mut stream)[1..].trim().parse().unwrap();
        let mut report = vec![0; length + 2];
        stream.read_exact(&mut report).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        (report["answered_early"] == 0).then_some(report)
    });
    let dropped = usize::try_from(report["dropped"].as_u64().unwrap()).unwrap();
    let stored = wait_for("all that is left to be stored", PATIENCE, || {
        let stored = house.stored();
        (stored.len() + dropped >= answered.len()).then_some(stored)
    });
    let once: BTreeSet<u64> = stored.iter().copied().collect();
    assert!(once.len() == stored.len() && once.is_subset(&answered), "something is there twice, or nobody sent it");
    assert_eq!(stored.len() + dropped, answered.len(), "{told}; {report}");
    assert!(report["refusals"]["answered_early"]["times"].as_u64().unwrap() > 100, "{report}");
    let said = agent.logged("what clients push is answered before it is stored");
    assert_eq!(said[0]["reason"], "answered_early", "{said:?}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    drop((agent, disk));
}
