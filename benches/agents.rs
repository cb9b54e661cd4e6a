//! What do several agents at one Redis get done, and what do they cost it?
//!
//! ```sh
//! cargo bench --bench agents                      # everything, in some ten minutes
//! cargo bench --bench agents -- --quick           # a tenth, to see that it works
//! cargo bench --bench agents -- --part steady --write # one part, into benches/RESULTS.md
//! ```
//!
//! Whole processes: a Redis with an append-only file, agents as they are released, and for each of them a server on threads of the
//! bench that answers 204 and forgets. A round runs each number of agents once, every other round in the reverse order; figures are
//! medians over the rounds, ratios are taken within a round; in brackets: the lowest and the highest.
//!
//! | part | |
//! |---|---|
//! | `drain` | all agents wait, then the queue is full at once, of messages of 909 bytes and 5 points; until all are answered |
//! | `steady` | 50 clients push one message after the other at a given rate to a Redis at which so many agents wait |
//! | `rest` | nothing happens |
//!
//! | column | |
//! |---|---|
//! | messages/s | from the moment the queue is full until the last message is answered |
//! | CPU µs | user and system time of all agents, a message |
//! | Redis CPU µs | that of Redis, a message; while messages are pushed, the pushes included |
//! | Redis ends at | the messages/s at which Redis, which has one thread for commands, would have no time left: 1 s through the column before |
//! | shares | of an even share of the messages, what the agent with the fewest and the one with the most has published |
//!
//! Where agents, Redis and the bench share two cores, messages/s say what this machine can do; CPU µs say what a larger one could.

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

#[path = "agents/crew.rs"]
mod crew;
#[path = "agents/drain.rs"]
mod drain;
#[path = "agents/rest.rs"]
mod rest;
#[path = "agents/steady.rs"]
mod steady;

use clap::ValueEnum;

use support::{results, world::World};

/// What to run.
type Options = support::options::Options<Part>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Drain,
    Steady,
    Rest,
}

fn main() {
    let options = Options::read();
    let mut world = World::start();
    for (part, title, run) in [
        (Part::Drain, "Several agents drain one Redis", drain::run as fn(&mut World, &Options) -> String),
        (Part::Steady, "Several agents wait at one Redis that is pushed to", steady::run),
        (Part::Rest, "Several agents at rest", rest::run),
    ] {
        if options.wants(&part) {
            let circumstances = results::circumstances();
            let text = format!("### {title}\n\n{circumstances}\n\n{}", run(&mut world, &options));
            results::section(&format!("agents {}", format!("{part:?}").to_lowercase()), &text, options.write);
        }
    }
}
