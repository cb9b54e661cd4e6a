//! How many instructions does a message cost, and is that more than it was?
//!
//! ```sh
//! cargo run --release --locked -p kadabra-instructions               # compares with benches/instructions.toml
//! cargo run --release --locked -p kadabra-instructions -- --write    # writes it
//! ```
//!
//! Unlike time, instructions do not depend on the machine or on what else it does: valgrind counts them. Each [`case`] runs
//! twice as a process of its own, with few messages and with many; the difference is what the messages cost, without
//! what it costs to start and to end.
//!
//! [`case`]: case::Case

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod case;
mod count;
mod memory;
mod record;

#[path = "../../../tests/support/flask.rs"]
#[allow(dead_code)]
mod flask;
#[path = "../../../tests/support/stand_in.rs"]
#[allow(dead_code)]
mod stand_in;

use std::{env, process::ExitCode};

use self::{case::Case, record::Record};

/// By how much a count may grow on another compiler, C library or valgrind than the one the numbers were made with, in %: they
/// make other code of the same source.
const ELSEWHERE: f64 = 25.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        _ if cfg!(debug_assertions) => {
            eprintln!(
                "instructions: only those of a release are of interest: cargo run --release --locked -p kadabra-instructions"
            );
            ExitCode::from(2)
        }
        [] => compare(),
        ["--write"] => write(),
        ["run", case, batches, url] => {
            Case::named(case).expect("a case").run(batches.parse().expect("a number of batches"), url);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("instructions: the only argument there is: --write");
            ExitCode::from(2)
        }
    }
}

fn write() -> ExitCode {
    let counts = Case::ALL.map(count::per_message);
    Record::of_now(counts).write();
    println!("instructions: written to benches/instructions.toml: {counts:.0?}");
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let recorded = Record::read();
    let here = Record::of_now(Case::ALL.map(count::per_message));
    let same = recorded.made_with == here.made_with;
    if !same {
        println!(
            "instructions: benches/instructions.toml was made with {:?}, this is {:?}: only {ELSEWHERE} % more fail",
            recorded.made_with, here.made_with
        );
    }
    let mut failed = false;
    for ((case, was), is) in Case::ALL.into_iter().zip(recorded.counts).zip(here.counts) {
        let allowed = if same { case.tolerance() } else { ELSEWHERE };
        let percent = (is / was - 1.0) * 100.0;
        println!(
            "instructions: {:<6} {was:>6.0} -> {is:>6.0} a message, {percent:+.2} %, up to {allowed} % are allowed",
            case.name()
        );
        if percent > allowed {
            failed = true;
            eprintln!(
                "instructions: {} costs {is:.0} instructions a message, {percent:.1} % more than the {was:.0} in \
                 benches/instructions.toml. Find what was added: build with CARGO_PROFILE_RELEASE_STRIP=none and \
                 CARGO_PROFILE_RELEASE_DEBUG=line-tables-only, run this again, and look with callgrind_annotate at {}. If it is \
                 worth that, write the new numbers with `cargo run --release --locked -p kadabra-instructions -- --write`, and \
                 say why in the commit",
                case.what(),
                count::account(case).display(),
            );
        } else if same && percent < -case.tolerance() {
            println!("instructions: {} became cheaper; write that down with --write, so that it stays", case.what());
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
