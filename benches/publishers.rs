//! What do the interfaces of the databases, a second publisher and gzip cost?
//!
//! ```sh
//! cargo bench --bench publishers                                      # everything, in some ten minutes
//! cargo bench --bench publishers -- --quick                           # a tenth, to see that it works
//! cargo bench --bench publishers -- --part several --rounds 9 --write # one part, into benches/RESULTS.md
//! ```
//!
//! Whole processes: the agent as it is released, with an own queue or a Redis that is full of messages of 909 bytes and 5 points
//! (`support/message.rs`), until all are answered; every publisher writes to a server of its own on threads of the bench. A round
//! runs each entrant once, every other round in the reverse order; figures are medians over the rounds, and ratios are taken within
//! a round, since what a machine can do changes from minute to minute. In brackets: the lowest and the highest.
//!
//! | part | |
//! |---|---|
//! | `interfaces` | InfluxDB's v1, v2 and v3 and VictoriaMetrics, to a server that answers 204 and forgets |
//! | `several` | `[publisher]`, `[publishers.one]`, and two of them, from the agent's own queue and from a Redis |
//! | `gzip` | a way of 10 Mbit/s in all to that server, and to an InfluxDB, with and without `gzip` |
//!
//! | column | |
//! |---|---|
//! | messages/s | from before the agent's process is made until the last message is answered by all |
//! | CPU µs | user and system time of that process a message, the agent's start and rest included |
//! | bytes | of the bodies, a message, as they are sent |
//! | peak RSS MB | the most resident memory of the agent (`VmHWM`), in 10⁶ bytes |
//!
//! With other load on the machine the rates say little; CPU µs hold.

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

#[path = "publishers/entrant.rs"]
mod entrant;
#[path = "publishers/gzip.rs"]
mod gzip;
#[path = "publishers/interfaces.rs"]
mod interfaces;
#[path = "publishers/rounds.rs"]
mod rounds;
#[path = "publishers/several.rs"]
mod several;

use clap::ValueEnum;

use support::{report::Targets, results, world::World};

/// What to run.
type Options = support::options::Options<Part>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Interfaces,
    Several,
    Gzip,
}

fn main() {
    let options = Options::read();
    let mut world = World::start();
    for (part, title, run) in [
        (Part::Interfaces, "Interfaces", interfaces::run as fn(&mut World, &Options, &mut Targets) -> String),
        (Part::Several, "One publisher and two", several::run),
        (Part::Gzip, "gzip on a slow way", gzip::run),
    ] {
        if options.wants(&part) {
            let (circumstances, mut targets) = (results::circumstances(), Targets::new());
            let text = run(&mut world, &options, &mut targets);
            let text = format!("### {title}\n\n{circumstances}\n\n{text}\n{targets}");
            results::section(&format!("publishers {}", format!("{part:?}").to_lowercase()), &text, options.write);
        }
    }
}
