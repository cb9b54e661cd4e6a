//! What does the status cost: to count what comes through, to show it, and to be scraped?
//!
//! ```sh
//! cargo bench --bench status             # everything, in some five minutes
//! cargo bench --bench status -- --quick  # a tenth, to see that it works
//! cargo bench --bench status -- --write  # into benches/RESULTS.md
//! ```
//!
//! Whole processes: the agent as it is released drains an own queue that is full of messages of 909 bytes and 5 points, to a server that
//! answers 204 and forgets, which is where a message costs least and so whatever comes on top of it counts most. The queue has more
//! metrics than the status has lines for. A round runs each entrant once, every other round in the reverse order; figures are medians over
//! the rounds, and ratios are taken within a round, since what a machine can do changes from minute to minute. In brackets: the lowest and
//! the highest.
//!
//! | entrant | |
//! |---|---|
//! | off | `status.listen = ""` |
//! | on | it is served, and nobody looks |
//! | looked at | the page is fetched once a second, as an open tab does, and `/metrics` as well |
//!
//! | column | |
//! |---|---|
//! | CPU µs | user and system time of the process a message, the agent's start and rest included |
//! | RSS MB, peak | resident memory once all is drained, and the most (`VmHWM`), in 10⁶ bytes |

// What is forbidden on data from outside is fine here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../tests/support/mod.rs"]
mod servers;
#[path = "support/mod.rs"]
mod support;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use redis::Commands as _;

use servers::{agent::Agent, process::wait_for, served};
use support::{
    message,
    queue::{NOBODY, Own},
    report::{Table, Targets, figure, megabytes},
    results,
    sink::{Answered, Sink},
    statistics::{median, range},
    turns::in_turns,
    usage::Usage,
    world::{DATABASE, QUEUE, wait_for_rest},
};

const PATIENCE: Duration = Duration::from_secs(600);

/// How many messages are drained, and of how many hosts there is one before them.
const MESSAGES: u64 = 200_000;
const HOSTS: u64 = 200;

const SCRAPES: u32 = 1_000;

/// How many looks at an agent at rest are measured.
const LOOKS: u32 = 10;

/// What to run.
#[derive(Debug, Parser)]
struct Options {
    /// How many rounds.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// A tenth of the messages, and one round: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Update benches/RESULTS.md.
    #[arg(long)]
    write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Off,
    On,
    LookedAt,
}

impl Shown {
    const ALL: [Self; 3] = [Self::Off, Self::On, Self::LookedAt];

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::LookedAt => "looked at",
        }
    }
}

/// What one drain took.
#[derive(Clone, Copy, Debug)]
struct Sample {
    cpu: f64,
    rss: f64,
    peak: f64,
}

fn main() {
    let mut options = Options::parse();
    let mut count = MESSAGES;
    if options.quick {
        (options.rounds, count) = (1, MESSAGES / 10);
    }
    let (circumstances, mut targets) = (results::circumstances(), Targets::new());
    let full = filled(count);
    let (server, answered) = Sink::that_tells(None);
    let samples = in_turns(Shown::ALL.len(), options.rounds, |index, round| {
        let sample = drain(&full, Shown::ALL[index], server.url(), &answered, count);
        eprintln!("round {} of {}: {}: {sample:.3?}", round + 1, options.rounds, Shown::ALL[index].name());
        sample
    });
    let text = report(&samples, &mut targets);
    let rest = at_rest(&full, server.url(), &answered, count, &mut targets);
    let text = format!(
        "### What the status costs\n\n{circumstances}\n\n{} messages of {} bytes; rounds: {}.\n\n{text}\n{rest}\n\n{targets}",
        figure(count as f64),
        message::BYTES,
        options.rounds
    );
    results::section("status", &text, options.write);
}

/// A queue with so many messages.
fn filled(count: u64) -> Own {
    let own = Own::new("process");
    let mut agent = own.agent_with(&toml(NOBODY, Shown::Off)).start();
    let mut connection = own.connection();
    let ordinary = |first: u64, last: u64| (first..last).map(message::message).collect::<Vec<_>>();
    let of_hosts = (0..HOSTS).map(|host| message::message(host).replace("\"web-", &format!("\"host-{host}-")));
    let mut pushes = vec![ordinary(0, 4), of_hosts.collect()];
    pushes.extend((4 + HOSTS..count).step_by(1000).map(|first| ordinary(first, count.min(first + 1000))));
    for push in pushes {
        let _: u64 = connection.lpush(QUEUE, push).unwrap();
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    own
}

fn toml(to: &str, shown: Shown) -> String {
    let listen = if shown == Shown::Off { "" } else { "127.0.0.1:0" };
    format!(
        "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = \"{to}\"\ndatabase = \"{DATABASE}\"\n\
         [status]\nlisten = \"{listen}\"\n"
    )
}

/// An agent that has drained a copy of the queue.
fn drained(full: &Own, shown: Shown, to: &str, answered: &Receiver<Answered>, count: u64) -> (Own, Agent) {
    let own = Own::new("process");
    fs::copy(full.path(), own.path()).unwrap();
    let agent = own.agent_with(&toml(to, shown)).start();
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = (shown == Shown::LookedAt).then(|| {
        let (address, is_over) = (served::address(&agent), Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                look(address);
                thread::sleep(Duration::from_secs(1));
            }
        })
    });
    let mut messages = 0;
    while messages < count {
        let Answered { body, .. } = answered.recv_timeout(PATIENCE).unwrap();
        let lines = body.split(|byte| *byte == b'\n');
        messages += lines.filter(|line| line.starts_with(message::MEASUREMENT.as_bytes())).count() as u64;
    }
    is_over.store(true, Ordering::Relaxed);
    if let Some(looking) = looking {
        looking.join().unwrap();
    }
    wait_for_rest(agent.id());
    (own, agent)
}

fn look(at: SocketAddr) {
    for path in ["/fragment", "/metrics"] {
        assert_eq!(served::get(at, path, &[]).status, 200);
    }
}

fn drain(full: &Own, shown: Shown, to: &str, answered: &Receiver<Answered>, count: u64) -> Sample {
    let (_own, agent) = drained(full, shown, to, answered, count);
    let usage = Usage::of(agent.id());
    Sample { cpu: usage.cpu.as_secs_f64() * 1e6 / count as f64, rss: usage.rss as f64, peak: usage.peak_rss as f64 }
}

fn report(samples: &[Vec<Sample>], targets: &mut Targets) -> Table {
    let mut table = Table::new(["status", "CPU µs", "of off", "RSS MB", "more than off", "peak"]);
    for (index, shown) in Shown::ALL.into_iter().enumerate() {
        let of = |of: fn(&Sample) -> f64| median(samples[index].iter().map(of));
        let pairs = || samples[index].iter().zip(&samples[0]);
        let (ratio, (low, high)) =
            (median(pairs().map(|(one, off)| one.cpu / off.cpu)), range(pairs().map(|(one, off)| one.cpu / off.cpu)));
        let more = megabytes(median(pairs().map(|(one, off)| one.rss - off.rss)));
        let peak = megabytes(median(pairs().map(|(one, off)| one.peak - off.peak)));
        let dash = |text: String| if shown == Shown::Off { "–".to_owned() } else { text };
        table.row([
            shown.name().to_owned(),
            figure(of(|sample| sample.cpu)),
            dash(format!("{} ({}–{})", figure(ratio), figure(low), figure(high))),
            figure(megabytes(of(|sample| sample.rss))),
            dash(figure(more)),
            figure(megabytes(of(|sample| sample.peak))),
        ]);
        if shown != Shown::Off {
            targets.at_most(&format!("{}: CPU a message, of off", shown.name()), 1.05, ratio, "");
            targets.at_most(&format!("{}: memory, more than off", shown.name()), 4.0, more, " MB");
            targets.at_most(&format!("{}: peak, more than off", shown.name()), 4.0, peak, " MB");
        }
    }
    table
}

/// What a look and a scrape cost an agent that has nothing else to do.
fn at_rest(full: &Own, to: &str, answered: &Receiver<Answered>, count: u64, targets: &mut Targets) -> String {
    let (_own, agent) = drained(full, Shown::On, to, answered, count);
    let address = served::address(&agent);
    let cpu = || Usage::of(agent.id()).cpu;
    let series = || served::get(address, "/api/status", &[]).json()["seen"]["series"].as_array().map_or(0, Vec::len);
    let series = wait_for("the lines of all metrics", PATIENCE, || Some(series()).filter(|series| *series > 0));
    let before = cpu();
    for _ in 0..LOOKS {
        assert_eq!(served::get(address, "/fragment", &[]).status, 200);
        thread::sleep(Duration::from_secs(1));
    }
    let look = (cpu() - before).as_secs_f64() * 1e3 / f64::from(LOOKS);
    let (client, url) = (ureq::agent(), format!("http://{address}/metrics"));
    let (before, begun) = (cpu(), Instant::now());
    for _ in 0..SCRAPES {
        let text = client.get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        assert!(text.contains("kadabra_messages_published_total"));
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    targets.at_most("1,000 scrapes, one after the other", 1.0, took, " s");
    format!(
        "At rest, with {series} lines: a look at the page takes the agent {} ms of CPU a second, and {SCRAPES} scrapes over one connection \
         take {} s, of which the agent works {} s.",
        figure(look),
        figure(took),
        figure(used)
    )
}
