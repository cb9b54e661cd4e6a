//! How long is it from a client's push until the points are stored, and how long does a push take meanwhile?
//!
//! ```sh
//! cargo bench --bench latency                       # 10, 100, 1,000 and 10,000 messages/s; four minutes
//! cargo bench --bench latency -- --quick            # three seconds each, to see that it works
//! cargo bench --bench latency -- --rate 500 --write # one load, into benches/RESULTS.md
//! ```
//!
//! The agent runs as it is when nothing is configured (eager). Four clients, each with a connection of its own, push
//! messages of 909 bytes and 5 points one by one at times that are laid down before (an open loop): a push that is late, for
//! whatever reason, still counts from the time at which it should have been made, so that a pipeline which stalls cannot
//! hide that by stalling its clients. What a client's sleep oversleeps, some 0.1 ms, is therefore in every figure.
//!
//! A message is stored when InfluxDB has answered the write that holds it with 204: from then on every query sees
//! it. The agent writes through a proxy on a thread of the bench, which takes the time when InfluxDB's answer is there
//! and passes it on; the proxy costs a copy of each body, which is in the figures too. The row "a query sees it" checks
//! that claim: messages are pushed one at a time and InfluxDB is asked for each, again and again, until it is there.
//!
//! | column | |
//! |---|---|
//! | offered/s | how many pushes a second were laid down |
//! | to | InfluxDB, or a server that answers 204 and forgets: what is left is the agent's and Redis's own |
//! | stored: p50, p99, max | ms from the laid-down time of the push to the 204 (nearest rank) |
//! | push: p50, p99, max | ms that a client's LPUSH took, from its sending to its answer |
//! | push, no agent: p50, p99 | the same with no agent running: what Redis and this machine take anyway |
//! | agent CPU % | of one core |

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

#[path = "latency/measure.rs"]
mod measure;

use clap::Parser;

use measure::{Row, To};
use support::{
    plot::{self, Line, Vertical},
    report::{Table, Targets, figure},
    results,
    statistics::Distribution,
    world::World,
};

/// A load at which the targets hold: the agent is busy for a small part of the time.
const LIGHT: f64 = 1000.0;

/// What to run.
#[derive(Debug, Parser)]
struct Options {
    /// Messages a second; may be given more than once.
    #[arg(long, default_values_t = [10.0, 100.0, 1000.0, 10_000.0])]
    rate: Vec<f64>,
    /// How long each load lasts.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Three seconds each.
    #[arg(long)]
    quick: bool,
    /// Update benches/RESULTS.md and the plot.
    #[arg(long)]
    write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut options = Options::parse();
    if options.quick {
        options.seconds = 3.0;
    }
    let circumstances = results::circumstances();
    let mut world = World::start();
    let mut rows = Vec::new();
    for to in [To::Influxdb, To::Null] {
        for &rate in &options.rate {
            let row = measure::measure(&mut world, to, rate, options.seconds);
            eprintln!("{} messages/s to {}: p50 {} ms", figure(rate), to.name(), figure(row.stored.percentile_ms(50.0)));
            rows.push(row);
        }
    }
    let seen = measure::until_seen(&mut world, if options.quick { 20 } else { 200 });
    let plotted = if options.write { plot(&rows) } else { "" };
    let text = format!(
        "### From push to stored\n\n{circumstances}\n\nEager, {} s of each load. Times in ms.\n\n{}\n{}{plotted}",
        figure(options.seconds),
        table(&rows, &seen),
        targets(&rows),
    );
    results::section("latency", &text, options.write);
}

fn table(rows: &[Row], seen: &Distribution) -> Table {
    let mut table = Table::new([
        "to",
        "offered/s",
        "stored: p50",
        "p99",
        "max",
        "push: p50",
        "p99",
        "max",
        "push, no agent: p50",
        "p99",
        "agent CPU %",
    ]);
    let ms = |distribution: &Distribution, percent| figure(distribution.percentile_ms(percent));
    for row in rows {
        table.row([
            row.to.name().to_owned(),
            figure(row.rate),
            ms(&row.stored, 50.0),
            ms(&row.stored, 99.0),
            ms(&row.stored, 100.0),
            ms(&row.push, 50.0),
            ms(&row.push, 99.0),
            ms(&row.push, 100.0),
            ms(&row.push_alone, 50.0),
            ms(&row.push_alone, 99.0),
            figure(row.cpu_percent),
        ]);
    }
    let nothing = || "–".to_owned();
    let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| ms(seen, percent));
    let name = "InfluxDB, until a query sees it".to_owned();
    table.row([name, nothing(), p50, p99, max, nothing(), nothing(), nothing(), nothing(), nothing(), nothing()]);
    table
}

fn targets(rows: &[Row]) -> Targets {
    let mut targets = Targets::new();
    for row in rows.iter().filter(|row| row.to == To::Influxdb && row.rate <= LIGHT) {
        let what = |what| format!("push to stored, eager, {} messages/s: {what}", figure(row.rate));
        targets.at_most(&what("p50"), 3.0, row.stored.percentile_ms(50.0), " ms");
        targets.at_most(&what("p99"), 15.0, row.stored.percentile_ms(99.0), " ms");
    }
    targets
}

fn plot(rows: &[Row]) -> &'static str {
    let line = |to: To, name: &str, percent| Line {
        name: format!("{}: {name}", to.name()),
        points: rows.iter().filter(|row| row.to == to).map(|row| (row.rate, row.stored.percentile_ms(percent))).collect(),
    };
    let lines: Vec<Line> = [To::Influxdb, To::Null]
        .into_iter()
        .flat_map(|to| [line(to, "p50", 50.0), line(to, "p99", 99.0), line(to, "max", 100.0)])
        .collect();
    let axes = ("messages/s offered", "ms from push to stored");
    plot::lines(&results::plot("latency"), "From push to stored over the load", axes, Vertical::Logarithmic, &lines);
    "\n![From push to stored over the load](plots/latency.svg)\n"
}
