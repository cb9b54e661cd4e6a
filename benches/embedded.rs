//! Is the agent's own queue as good as a Redis: how fast does it take pushes and give messages out, and in what memory?
//!
//! ```sh
//! cargo bench --bench embedded                                       # everything, in some five minutes
//! cargo bench --bench embedded -- --quick                            # a tenth, to see that it works
//! cargo bench --bench embedded -- --part push --rounds 9 --write     # one part, into benches/RESULTS.md
//! ```
//!
//! Whole processes: the agent as it is released, with `channel.type` embedded (durability process, unless said otherwise),
//! and beside it a real redis-server that keeps an append-only file (everysec, never rewritten within a run). A round runs
//! both, every other round in the reverse order; figures are medians over the rounds, and ratios are taken within a round,
//! since what a machine can do changes from minute to minute. In brackets: the lowest and the highest.
//!
//! | part | |
//! |---|---|
//! | `push` | `redis-benchmark`, LPUSH of a message of 909 bytes, 50 clients, without and with pipelines of 16, and one client; nobody drains |
//! | `drain` | an agent started with a full queue, until all is published and completed; to a server that forgets, and to InfluxDB |
//! | `memory` | a queue of 1,000,000 while the database is away, then SIGKILL and a start with that backlog; once, whatever `--rounds` says |
//! | `latency` | from one client's push until InfluxDB has answered the write that holds it, one message at a time, eager |
//!
//! | column | |
//! |---|---|
//! | CPU µs | user and system time of the server a push; in `drain` of the agent a message, with Redis's where there is one |
//! | peak RSS MB | the most resident memory of the agent (`VmHWM`), in 10⁶ bytes |
//!
//! What is pushed is a real message and not what `redis-benchmark -t lpush` makes up: that is no JSON, so the agent would set it
//! aside as dead letters even while the database is away, and the pushes would compete with that.
//!
//! With other load on the machine the rates say little, since whoever has more threads gets more of it; CPU µs hold.
//!
//! The queue to be drained was pushed one message at a time by several clients, as Kadabra's clients do, since what is pushed at
//! once also lies together in the file. Its time begins before the agent's process is made.

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

#[path = "embedded/drain.rs"]
mod drain;
#[path = "embedded/latency.rs"]
mod latency;
#[path = "embedded/memory.rs"]
mod memory;
#[path = "embedded/push.rs"]
mod push;

use clap::ValueEnum;

use support::{report::Targets, results, world::World};

/// What to run.
type Options = support::options::Options<Part>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Push,
    Drain,
    Memory,
    Latency,
}

fn main() {
    let options = Options::read();
    let circumstances = results::circumstances();
    let mut world = World::start();
    let (mut text, mut targets) = (String::new(), Targets::new());
    if options.wants(&Part::Push) {
        text += &push::run(&mut world, &options, &mut targets);
    }
    if options.wants(&Part::Drain) {
        text += &drain::run(&mut world, &options, &mut targets);
    }
    if options.wants(&Part::Memory) {
        text += &memory::run(&options, &mut targets);
    }
    if options.wants(&Part::Latency) {
        text += &latency::run(&mut world, &options, &mut targets);
    }
    let name = match options.part.as_slice() {
        [] => "embedded".to_owned(),
        parts => parts.iter().fold("embedded".to_owned(), |name, part| format!("{name} {part:?}").to_lowercase()),
    };
    let text = format!("### The embedded channel beside a Redis\n\n{circumstances}\n\n{text}{targets}");
    results::section(&name, &text, options.write);
}
