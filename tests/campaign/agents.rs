//! The agents: real processes that are started again as a service manager would, and what each said when it ended.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{arguments::Settled, schedule};
use crate::support::{agent::kadabra_on_a_small_disk, process::Process};

/// How long after an end of its own an agent is started again.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// The shutdown time-out, giving back and joining threads, and what a loaded machine adds.
const END_WITHIN: Duration = Duration::from_secs(10 + 5 + 2 + 8);

/// How an agent may end when nobody kills it: cleanly, out of restarts, by a hung thread, at its deadline.
const ENDS: [i32; 4] = [0, 70, 71, 75];

/// It could not even open its queue: a disk that is full is for a service manager to try again.
const NO_DISK: i32 = 69;

/// A second signal ended it at once, without a word.
const INSISTED: i32 = 130;

const SIGTERM: i32 = 15;

/// How it says that it has found what only older versions can have left.
const ORPHANED: &str = "messages were found that belong to no lease";

/// One place for an agent, with one life after the other.
pub(crate) struct Slot {
    settled: Settled,
    number: usize,
    folder: PathBuf,
    /// Says how wrong its clock is.
    clock: PathBuf,
    life: u32,
    /// How long a file may get.
    disk: Option<u64>,
    now: State,
}

enum State {
    Alive {
        process: Process,
        life: Life,
        told_to_end: Option<Instant>,
        /// Since when it stands still, which is no time in which it could end.
        frozen: Option<Instant>,
    },
    /// Until then, or for as long as a fault says.
    Down(Option<Instant>),
}

/// A life as it was begun.
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    /// The names of several publishers.
    publishers: Vec<&'static str>,
    variables: Vec<(String, String)>,
}

/// What a life that ended by itself left to say.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Of each publisher, unless it has never reached its channel.
    pub(crate) publishers: Vec<Books>,
    /// Whether that may be less than it has really done: its last commands were sent and not answered.
    pub(crate) may_have_done_more: bool,
}

/// What it says has become of one publisher's messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    /// Published or set aside.
    pub(crate) done: u64,
    /// Those of them that were set aside.
    pub(crate) parked: u64,
    /// Dead letters that were dropped for newer ones.
    pub(crate) letters_dropped: u64,
    /// Dropped at `max_backlog`, or for want of room.
    pub(crate) dropped: u64,
}

/// What is known of an end.
pub(crate) struct End {
    pub(crate) life: Life,
    pub(crate) status: ExitStatus,
    /// Or what is wrong with it.
    pub(crate) account: Result<Account, String>,
}

impl Slot {
    /// An agent whose configuration is already in the folder.
    pub(crate) fn new(settled: &Settled, number: usize, folder: &Path) -> Self {
        let (folder, clock) = (folder.to_owned(), folder.join(format!("clock{number}")));
        let now = State::Down(Some(Instant::now()));
        let slot = Self { settled: settled.clone(), number, folder, clock, life: 0, disk: None, now };
        slot.set_clock(0);
        slot
    }

    /// Makes its clock wrong by so many hours, from one second to the next.
    pub(crate) fn set_clock(&self, hours: i32) {
        // It is never read half-written.
        let new = self.clock.with_extension("new");
        fs::write(&new, format!("{hours:+}h\n")).unwrap();
        fs::rename(new, &self.clock).unwrap();
    }

    /// Starts the next life, with the seed's fail points or without any.
    pub(crate) fn start(&mut self, fail_points: bool) {
        self.life += 1;
        let name = format!("agent{}-{}", self.number, self.life);
        let mut variables = schedule::draw_life(&self.settled, self.number, self.life);
        variables.retain(|(name, _)| fail_points || name != "FAILPOINTS");
        // One name for all lives, as a host has.
        variables.push(("KADABRA_AGENT__NAME".to_owned(), format!("agent{}", self.number)));
        // Its own messages, of what it drops, nobody has sent; tests/drops.rs is about these.
        variables.push(("KADABRA_AGENT__DROPS_INTERVAL".to_owned(), "0s".to_owned()));
        let log = self.folder.join(format!("{name}.log"));
        let mut command = kadabra_on_a_small_disk();
        command.arg("run").arg("--config").arg(self.folder.join("kadabra.toml"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.envs(faketime(&self.clock));
        let process = Process::start_heard("kadabra", command, &log);
        let publishers = self.settled.publishers.iter().filter_map(|publisher| publisher.name).collect();
        self.now = State::Alive { process, life: Life { name, log, publishers, variables }, told_to_end: None, frozen: None };
        self.apply_disk();
    }

    pub(crate) fn life(&self) -> Option<&Life> {
        match &self.now {
            State::Alive { life, .. } => Some(life),
            State::Down(_) => None,
        }
    }

    /// The most memory that it has had so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let State::Alive { process, .. } = &self.now else { return 0 };
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.unwrap_or(0)
    }

    /// From now on its files cannot grow beyond so many bytes, as on a full disk.
    pub(crate) fn set_disk(&mut self, bytes: Option<u64>) {
        let changes = self.disk != bytes;
        self.disk = bytes;
        if changes && let State::Alive { process, .. } = &self.now {
            limit(process.id(), bytes);
        }
    }

    fn apply_disk(&self) {
        if let (State::Alive { process, .. }, Some(bytes)) = (&self.now, self.disk) {
            limit(process.id(), Some(bytes));
        }
    }

    /// kill -9. It stays down until [`Slot::allow`].
    pub(crate) fn kill(&mut self) -> Option<Life> {
        match std::mem::replace(&mut self.now, State::Down(None)) {
            State::Alive { mut process, life, .. } => {
                process.kill();
                Some(life)
            }
            State::Down(_) => None,
        }
    }

    pub(crate) fn allow(&mut self) {
        if matches!(self.now, State::Down(None)) {
            self.now = State::Down(Some(Instant::now()));
        }
    }

    /// SIGTERM.
    pub(crate) fn terminate(&mut self) {
        if let State::Alive { process, told_to_end, .. } = &mut self.now
            && told_to_end.is_none()
            && process.ended().is_none()
        {
            process.signal("TERM");
            *told_to_end = Some(Instant::now());
        }
    }

    /// A second SIGTERM, if the first one was not enough yet.
    pub(crate) fn insist(&mut self) {
        if matches!(self.now, State::Alive { told_to_end: Some(_), .. }) {
            self.signal("TERM");
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&mut self, name: &str) {
        if let State::Alive { process, told_to_end, frozen, .. } = &mut self.now
            && process.ended().is_none()
        {
            process.signal(name);
            match name {
                "STOP" => *frozen = Some(Instant::now()),
                "CONT" => {
                    if let (Some(since), Some(told)) = (frozen.take(), told_to_end) {
                        *told += since.max(*told).elapsed();
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether it was told to end, and has not ended yet.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.now, State::Alive { told_to_end: Some(_), .. })
    }

    pub(crate) fn is_due(&self) -> bool {
        matches!(self.now, State::Down(Some(at)) if Instant::now() >= at)
    }

    /// The end of its life, if it has ended by itself; the next one is due a little later.
    pub(crate) fn ended(&mut self) -> Option<End> {
        let State::Alive { process, told_to_end, frozen, .. } = &mut self.now else { return None };
        let late = told_to_end.is_some_and(|at| frozen.unwrap_or_else(Instant::now).saturating_duration_since(at) > END_WITHIN);
        let status = match process.ended() {
            Some(status) => status,
            None if late => {
                process.kill();
                process.ended()?
            }
            None => return None,
        };
        let next = State::Down(Some(Instant::now() + RESTART_AFTER));
        let State::Alive { life, .. } = std::mem::replace(&mut self.now, next) else { return None };
        let account = if late { Err(format!("did not end within {END_WITHIN:?} of a SIGTERM")) } else { life.account(status) };
        Some(End { life, status, account })
    }
}

impl Life {
    /// What it says at its end, or what is wrong with that.
    fn account(&self, status: ExitStatus) -> Result<Account, String> {
        if status.signal() == Some(SIGTERM) && self.lines()?.is_empty() {
            // It was told to end before it could hear that, and before it had anything.
            return Ok(Account::default());
        }
        if status.code() == Some(INSISTED) {
            self.lines()?;
            return Ok(Account { publishers: Vec::new(), may_have_done_more: true });
        }
        if status.code() == Some(NO_DISK) && self.lines()?.iter().any(|line| line["why"].as_str().is_some_and(of_the_disk)) {
            return Ok(Account::default());
        }
        let code = status.code().filter(|code| ENDS.contains(code)).ok_or_else(|| format!("ended with {status}"))?;
        let lines = self.lines()?;
        let said = |part: &str| lines.iter().any(|line| line["msg"].as_str().is_some_and(|message| message.contains(part)));
        if !said("stopped") {
            return Err("ended without saying why".to_owned());
        }
        let ledgers: Vec<&Value> = lines.iter().filter(|line| line.get("balances").is_some()).collect();
        let of_publishers: Option<Vec<&Value>> = if self.publishers.is_empty() {
            ledgers.last().map(|ledger| vec![*ledger])
        } else {
            let of = |name: &&'static str| ledgers.iter().rfind(|line| line["publisher"] == *name).copied();
            self.publishers.iter().map(of).collect()
        };
        let Some(of_publishers) = of_publishers else {
            // It never reached its channel, so it has nothing to account for.
            return if self.receives() { Err(format!("ended with {code} and no ledger")) } else { Ok(Account::default()) };
        };
        let publishers = of_publishers.into_iter().map(|ledger| books(ledger, said("a thread did not end")));
        let publishers = publishers.collect::<Result<_, String>>()?;
        let may_have_done_more = said("could not be given back") || said("a thread did not end");
        Ok(Account { publishers, may_have_done_more })
    }

    /// Whether it has reached its channel, for each of its publishers.
    pub(crate) fn receives(&self) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let receiving: Vec<&str> = log.lines().filter(|line| line.contains("\"receiving\"")).collect();
        let of = |name: &&str| receiving.iter().any(|line| line.contains(&format!("\"publisher\":\"{name}\"")));
        !receiving.is_empty() && self.publishers.iter().all(of)
    }

    /// Its log. A panic in it that no fail point made is an error, too, as are messages that belonged to no lease.
    pub(crate) fn lines(&self) -> Result<Vec<Value>, String> {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned();
        // A kill may have cut the last one.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line: &str| serde_json::from_str(line).map_err(|error| format!("logged what is not JSON ({error}): {line}"));
        let lines: Vec<Value> = whole.lines().map(parse).collect::<Result<_, _>>()?;
        let made = |line: &Value| line["message"].as_str().is_some_and(|message| message.starts_with("failpoint "));
        let orphaned = |line: &Value| line["msg"].as_str().is_some_and(|message| message.starts_with(ORPHANED));
        if let Some(line) = lines.iter().find(|line| line["msg"] == "a panic" && !made(line)) {
            return Err(format!("panicked by itself: {line}"));
        }
        match lines.iter().find(|line| orphaned(line)) {
            Some(line) => Err(format!("had to mend what this version must never leave: {line}")),
            None => Ok(lines),
        }
    }

    /// The end of its log, for people.
    pub(crate) fn tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("the end of the log of {} ({:?}):\n{tail}", self.name, self.variables)
    }
}

/// What a ledger says, or what is wrong with it. Unless a thread hangs, none ends with messages in flight.
fn books(ledger: &Value, hangs: bool) -> Result<Books, String> {
    let count = |key: &str| ledger[key].as_u64().ok_or_else(|| format!("no {key} in its ledger {ledger}"));
    let (published, parked) = (count("published")?, count("parked")?);
    // What an agent says of the sum is not all: it is reckoned here, too.
    let own = ledger.get("accepted").is_some();
    let due = if own {
        (count("accepted")?, published + parked + count("waiting")? + count("dropped")?)
    } else {
        (count("leased")?, published + parked + count("given_back")? + count("in_flight")?)
    };
    if ledger["balances"] != true || due.0 != due.1 {
        return Err(format!("its ledger does not balance: {ledger}"));
    }
    // A thread that has not ended goes on until the process does.
    if count("in_flight")? != 0 && !hangs {
        return Err(format!("it ended with messages in flight: {ledger}"));
    }
    let dropped = count(if own { "dropped" } else { "backlog_dropped" })?;
    Ok(Books { done: published + parked, parked, letters_dropped: count("letters_dropped")?, dropped })
}

/// Whether that is why a queue cannot be opened.
fn of_the_disk(why: &str) -> bool {
    why.starts_with("cannot open the queue") && why.contains("the disk that ")
}

/// Sets the limit that can be taken back. The process may have ended.
fn limit(process: u32, bytes: Option<u64>) {
    let bytes = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--fsize={bytes}:")).args(["--pid", &process.to_string()]);
    let _ = prlimit.stderr(Stdio::null()).status().unwrap();
}

/// What makes a process take its clock from a file. Clocks that only count on are left alone, as they are by whoever
/// sets a real clock.
fn faketime(clock: &Path) -> [(&'static str, PathBuf); 4] {
    let architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let library = Path::new(&architecture).join("faketime/libfaketimeMT.so.1");
    assert!(library.exists(), "{} is missing; run tests/run, which installs it", library.display());
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_owned()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ]
}
