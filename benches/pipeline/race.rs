//! The agent against the limit, against a loop without any safety, and against Python's agent.

use crate::{
    Options,
    programs::{Program, Sample, To},
    rounds::{Entrant, Rounds, brackets},
    support::{
        message,
        report::{Table, Targets, figure, megabytes},
        results,
        sink::Sink,
        statistics::median,
        world::World,
    },
};

// The places of the entrants.
const AGENT: usize = 0;
const READY_MADE: [usize; 2] = [1, 2];
const BARE: usize = 3;
const AGENT_NULL: usize = 4;
const BARE_NULL: usize = 5;
const PYTHON: [usize; 2] = [6, 7];

pub(crate) fn run(world: &mut World, null: &Sink, options: &Options) {
    let circumstances = results::circumstances();
    let (count, few) = (options.messages, options.python_messages);
    let entrants = [
        Entrant::new("agent to InfluxDB", Program::agent(To::Influxdb), count),
        Entrant::new("ready-made, 1 connection", Program::ReadyMade { connections: 1 }, count),
        Entrant::new("ready-made, 2 connections", Program::ReadyMade { connections: 2 }, count),
        Entrant::new("bare loop to InfluxDB", Program::BareLoop { to: To::Influxdb }, count),
        Entrant::new("agent to null", Program::agent(To::Null), count),
        Entrant::new("bare loop to null", Program::BareLoop { to: To::Null }, count),
        Entrant::new("Python, batches of 1,000", Program::Python { batch: 1000 }, few),
        Entrant::new("Python, batches of 10,000", Program::Python { batch: 10_000 }, few),
    ];
    let rounds = Rounds::run(&entrants, options.rounds, world, null);
    let text = format!(
        "### Race\n\n{circumstances}\n\n{} messages of {} bytes and {} points in the queue, {} for Python's agent; rounds: {}.\n\n{}\n{}\n{}",
        figure(count as f64),
        message::BYTES,
        message::POINTS,
        figure(few as f64),
        options.rounds,
        rounds.table("program"),
        ratios(&rounds),
        targets(&rounds, count),
    );
    results::section("pipeline race", &text, options.write);
}

fn rate(one: &Sample, other: &Sample) -> f64 {
    one.rate / other.rate
}

/// The faster of two entrants.
fn faster(rounds: &Rounds, of: [usize; 2]) -> usize {
    let [one, other] = of;
    if rounds.median(one, |sample| sample.rate) >= rounds.median(other, |sample| sample.rate) { one } else { other }
}

fn ratios(rounds: &Rounds) -> Table {
    let mut table = Table::new(["within each round", "median", ""]);
    let mut row = |name: &str, values: Vec<f64>| {
        table.row([name.to_owned(), figure(median(values.iter().copied())), brackets(values)]);
    };
    row("agent : ready-made (the faster), messages/s", rounds.compare(AGENT, faster(rounds, READY_MADE), rate));
    row("agent : Python (the faster), messages/s", rounds.compare(AGENT, faster(rounds, PYTHON), rate));
    row("agent : agent to null, messages/s", rounds.compare(AGENT, AGENT_NULL, rate));
    row("agent : bare loop, to InfluxDB, messages/s", rounds.compare(AGENT, BARE, rate));
    row("agent : bare loop, to null, messages/s", rounds.compare(AGENT_NULL, BARE_NULL, rate));
    let cpu = |one: &Sample, other: &Sample| one.own_cpu / other.own_cpu;
    row("agent : bare loop, to InfluxDB, CPU a message: the price of safety", rounds.compare(AGENT, BARE, cpu));
    row("agent : bare loop, to null, CPU a message: the price of safety", rounds.compare(AGENT_NULL, BARE_NULL, cpu));
    row("Python (the faster) : agent, CPU a message", rounds.compare(faster(rounds, PYTHON), AGENT, cpu));
    table
}

fn targets(rounds: &Rounds, count: u64) -> Targets {
    let mut targets = Targets::new();
    let ratio = |one, other| median(rounds.compare(one, other, rate));
    targets.at_least("messages/s into InfluxDB : ready-made bodies", 0.9, ratio(AGENT, faster(rounds, READY_MADE)), "");
    targets.at_least("messages/s into InfluxDB : Python's agent", 35.0, ratio(AGENT, faster(rounds, PYTHON)), "");
    targets.at_least("messages/s into null", 120_000.0, rounds.median(AGENT_NULL, |sample| sample.rate), "");
    targets.at_most("CPU a message", 5.0, rounds.median(AGENT, |sample| sample.own_cpu), " µs");
    let draining = format!("peak RSS, draining {}", figure(count as f64));
    targets.at_most(&draining, 32.0, megabytes(rounds.median(AGENT, |sample| sample.peak_rss)), " MB");
    targets
}
