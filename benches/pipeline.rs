//! How many messages a second does the agent carry, what do they cost, and what is the price of its safety?
//!
//! ```sh
//! cargo bench --bench pipeline                                    # everything, in about a quarter of an hour
//! cargo bench --bench pipeline -- --quick                         # a tenth of the messages, to see that it works
//! cargo bench --bench pipeline -- --part race --rounds 9 --write  # one part, into benches/RESULTS.md
//! ```
//!
//! Whole processes: a real redis-server with an append-only file, a real influxd, and the agent as it is released. Each
//! run queues so many messages of 909 bytes and 5 points (`support/message.rs`), starts the program, waits until all is at
//! rest, makes them the queue in one step, and ends when none waits or is leased any more. InfluxDB is asked whether
//! it has every message. Redis and InfluxDB begin each run empty.
//!
//! A round runs each program once, every other round in the reverse order; figures are medians over the rounds, and
//! ratios are taken within a round, since what a machine can do changes from minute to minute. In brackets: the
//! lowest and the highest.
//!
//! | part | |
//! |---|---|
//! | `race` | the agent against the limit, against a loop without any safety, against Python's agent |
//! | `variants` | eager and batched, 1, 2 and 4 publishers, gzip, a Redis without an append-only file |
//! | `queue` | queues of 10,000, 100,000 and 1,000,000: the cost of a message must not grow |
//!
//! | column | |
//! |---|---|
//! | messages/s | of the whole drain, on the wall clock |
//! | CPU µs | user and system time of that process a message, during the drain; 1,000,000 is a core for a second |
//! | peak RSS MB | the most resident memory of the program until the end of the drain (`VmHWM`), in 10⁶ bytes |
//!
//! | program | |
//! |---|---|
//! | agent | `kadabra run`; unless said otherwise as it is when nothing is configured (eager, up to 6 publishers) |
//! | ready-made | the same points, encoded before, posted as bodies of 10,000 lines: the limit of this InfluxDB |
//! | bare loop | `support/bare_loop.rs`: two threads that take, decode, encode, post and forget, without actors or verdicts |
//! | Python | Kadabra's own agent, batched, since its default one does not start |
//! | null | a server on a thread of the bench that answers 204 and forgets |

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

#[path = "pipeline/programs.rs"]
mod programs;
#[path = "pipeline/queue.rs"]
mod queue;
#[path = "pipeline/race.rs"]
mod race;
#[path = "pipeline/rounds.rs"]
mod rounds;
#[path = "pipeline/variants.rs"]
mod variants;

use clap::{Parser, ValueEnum};

use support::{bare_loop, sink::Sink, world::World};

/// What to run.
#[derive(Debug, Parser)]
struct Options {
    /// Only this part; may be given more than once.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// How many rounds; of the queue of 1,000,000 there is always one.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many messages are drained in a run of `race` and `variants`.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// How many of them Python's agent drains.
    #[arg(long, default_value_t = 10_000)]
    python_messages: u64,
    /// A tenth of the messages, and one round: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Update benches/RESULTS.md and the plots.
    #[arg(long)]
    write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Race,
    Variants,
    Queue,
}

fn main() {
    bare_loop::run_if_asked();
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.messages, options.python_messages) = (1, options.messages / 10, options.python_messages / 10);
    }
    let wants = |part| options.part.is_empty() || options.part.contains(&part);
    let (mut world, null) = (World::start(), Sink::null());
    if wants(Part::Race) {
        race::run(&mut world, &null, &options);
    }
    if wants(Part::Variants) {
        variants::run(&mut world, &null, &options);
    }
    if wants(Part::Queue) {
        queue::run(&mut world, &null, &options);
    }
}
