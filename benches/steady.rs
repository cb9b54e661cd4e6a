//! What does a steady load cost: messages that are pushed one by one, for ever?
//!
//! ```sh
//! cargo bench --bench steady                          # everything, in half an hour
//! cargo bench --bench steady -- --quick               # a second each, to see that it works
//! cargo bench --bench steady -- --part cost --rate 1000 --rounds 5 --write # one part, into benches/RESULTS.md
//! ```
//!
//! A queue that is full is drained in large batches. An application does something else: it pushes a message when it has one. Twenty
//! clients, each with a connection of its own, push messages of 909 bytes and 5 points one by one, at times that are laid down before
//! (an open loop), and wait for each answer. A real redis-server with an append-only file (`everysec`), a real influxd, and the agent
//! as it is when nothing is configured. In each round every server is measured once, every other round in the reverse order; figures
//! are medians over the rounds, and multiples of Redis alone are taken within a round.
//!
//! | part | |
//! |---|---|
//! | `cost` | what the agent, Redis and InfluxDB take at each load, beside a Redis that takes the same pushes and has no agent |
//! | `visible` | how soon messages are in InfluxDB: alone after a quiet time, and at each load |
//! | `fleet` | many agents with little to do each: on one InfluxDB, and on one Redis |
//!
//! | column | |
//! |---|---|
//! | taken/s | how many pushes began in a second; fewer than offered where the server cannot keep up |
//! | agent, Redis, InfluxDB CPU % | of one core, of all threads of that process |
//! | requests/s | writes that InfluxDB counts |
//! | push p50, p99 | µs from the sending of a push to its answer (nearest rank) |
//! | switches a push | voluntary and involuntary context switches, of all threads of the agent; of Redis where there is no agent |
//! | calls a push | system calls, of the same process; – where `perf` is not installed or may not count them |
//! | visible | ms from the laid-down time of a push until InfluxDB has answered the write that holds it with 204. The agent writes through a proxy on a thread of the bench, which takes the time |

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

#[path = "steady/cost.rs"]
mod cost;
#[path = "steady/fleet.rs"]
mod fleet;
#[path = "steady/taker.rs"]
mod taker;
#[path = "steady/visible.rs"]
mod visible;
#[path = "steady/window.rs"]
mod window;

use std::time::Duration;

use clap::{Parser, ValueEnum};

use support::{report::Targets, results, world::World};

/// How many connections push.
const CLIENTS: usize = 20;

/// What to run.
#[derive(Debug, Parser)]
struct Options {
    /// Only this part; may be given more than once.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// Messages a second; may be given more than once.
    #[arg(long, default_values_t = [100.0, 1000.0, 3000.0, 6000.0])]
    rate: Vec<f64>,
    /// How long each load is measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How many rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A second each of two loads, one round, and small fleets: to see that it works.
    #[arg(long, alias = "short")]
    quick: bool,
    /// Update benches/RESULTS.md.
    #[arg(long)]
    write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Cost,
    Visible,
    Fleet,
}

impl Options {
    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() {
    let mut options = Options::parse();
    if options.quick {
        options.rate.truncate(2);
        (options.seconds, options.rounds) = (1.0, 1);
    }
    let wants = |part| options.part.is_empty() || options.part.contains(&part);
    let mut world = World::start();
    for (part, title, run) in [
        (Part::Cost, "What a steady load costs", cost::run as fn(&mut World, &Options, &mut Targets) -> String),
        (Part::Visible, "How soon a steady load is visible", visible::run),
        (Part::Fleet, "What a fleet costs", fleet::run),
    ] {
        if wants(part) {
            let (circumstances, mut targets) = (results::circumstances(), Targets::new());
            let text = run(&mut world, &options, &mut targets);
            let text = format!("### {title}\n\n{circumstances}\n\n{text}\n{targets}");
            results::section(&format!("steady {}", format!("{part:?}").to_lowercase()), &text, options.write);
        }
    }
}
