//! What does the agent use when there is nothing to do, how soon is it ready, and how large is it?
//!
//! ```sh
//! cargo bench --bench idle                          # a minute of idleness
//! cargo bench --bench idle -- --quick               # three seconds, to see that it works
//! cargo bench --bench idle -- --seconds 600 --write # ten minutes, into benches/RESULTS.md
//! ```
//!
//! The agent as it is when nothing is configured, between a real Redis and a real InfluxDB to which nobody
//! sends anything; once after its start, and once after it has drained 10,000 messages, since what a process has used
//! it may keep.
//!
//! | row | |
//! |---|---|
//! | CPU s, % of a core | user and system time of all threads while idle |
//! | context switches/s | voluntary and involuntary, of all threads: how often anything woke up |
//! | RSS MB | resident memory at the end of that time, in 10⁶ bytes |
//! | start to ready | ms from before the process is made until systemd is told READY=1, with Redis and InfluxDB there; the median and the highest of 20 starts |
//! | binary | MB (10⁶ bytes) of the released binary, stripped |

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
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

use servers::{
    agent::{Agent, kadabra},
    process::{Process, wait_for},
};
use support::{
    report::{Table, Targets, figure, megabytes},
    results,
    statistics::Distribution,
    usage::Usage,
    world::{Variant, World, wait_for_rest},
};

/// How many messages an agent has drained before it is idle again.
const DRAINED: u64 = 10_000;

/// How many starts are timed.
const STARTS: usize = 20;

const PATIENCE: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug, Parser)]
struct Options {
    /// How long idleness is watched.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Three seconds.
    #[arg(long)]
    quick: bool,
    /// Update benches/RESULTS.md.
    #[arg(long)]
    write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What an agent used while it had nothing to do.
struct Idle {
    cpu: f64,
    percent: f64,
    switches: f64,
    rss: f64,
    threads: usize,
}

fn main() {
    let mut options = Options::parse();
    if options.quick {
        options.seconds = 3.0;
    }
    let circumstances = results::circumstances();
    let mut world = World::start();
    let starts = starts(&world);
    let agent = world.agent(&world.influxd.url(), &Variant::DEFAULT);
    let fresh = idle(&agent, options.seconds);
    world.prepare(DRAINED);
    world.release();
    wait_for("the agent to drain the queue", PATIENCE, || world.is_drained().then_some(()));
    wait_for_rest(agent.id());
    let drained = idle(&agent, options.seconds);
    let binary = megabytes(fs::metadata(env!("CARGO_BIN_EXE_kadabra")).unwrap().len() as f64);

    let mut table = Table::new(["", "after its start", &format!("after {} messages", figure(DRAINED as f64))]);
    let mut row = |name: &str, of: fn(&Idle) -> f64| table.row([name.to_owned(), figure(of(&fresh)), figure(of(&drained))]);
    row("CPU s", |idle| idle.cpu);
    row("% of a core", |idle| idle.percent);
    row("context switches/s", |idle| idle.switches);
    row("RSS MB", |idle| idle.rss);
    row("threads", |idle| idle.threads as f64);
    let mut targets = Targets::new();
    targets.at_most("RSS, idle after its start", 12.0, fresh.rss, " MB");
    targets.at_most(&format!("RSS, idle after {} messages", figure(DRAINED as f64)), 12.0, drained.rss, " MB");
    targets.at_most("CPU, idle", 0.1, fresh.percent.max(drained.percent), " % of a core");
    targets.at_most("start to ready", 50.0, starts.percentile_ms(50.0), " ms");
    targets.at_most("binary", 15.0, binary, " MB");
    let text = format!(
        "### Idle\n\n{circumstances}\n\n{} s of idleness each; start to ready: median {} ms, at most {} ms, of {STARTS} starts.\n\n{table}\n{targets}",
        figure(options.seconds),
        figure(starts.percentile_ms(50.0)),
        figure(starts.max_ms()),
    );
    results::section("idle", &text, options.write);
}

fn idle(agent: &Agent, seconds: f64) -> Idle {
    let before = Usage::of(agent.id());
    let begun = Instant::now();
    thread::sleep(Duration::from_secs_f64(seconds));
    let after = Usage::of(agent.id());
    let took = begun.elapsed().as_secs_f64();
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    Idle {
        cpu,
        percent: 100.0 * cpu / took,
        switches: (after.switches - before.switches) as f64 / took,
        rss: megabytes(after.rss as f64),
        threads: after.threads,
    }
}

/// Starts agents, one after the other, and takes the time until systemd is told that each is ready.
fn starts(world: &World) -> Distribution {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let socket = UnixDatagram::bind(path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = \"{}\"\n",
        world.redis.url(),
        world.influxd.url()
    );
    fs::write(path("kadabra.toml"), config).unwrap();
    let start = || {
        let mut command = kadabra();
        command.arg("run").arg("--config").arg(path("kadabra.toml")).env("NOTIFY_SOCKET", path("notify"));
        let begun = Instant::now();
        let process = Process::start("kadabra", command, &path("log"));
        let mut said = [0; 4096];
        loop {
            let length = socket.recv(&mut said).unwrap();
            if String::from_utf8_lossy(&said[..length]).contains("READY=1") {
                break;
            }
        }
        let took = begun.elapsed();
        // What it may still say ends with it, and is not taken for the next one's.
        drop(process);
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut said).is_ok() {}
        socket.set_nonblocking(false).unwrap();
        took
    };
    (0..STARTS).map(|_| start()).collect()
}
