//! Does the cost of a message grow with the number of those that wait?

use crate::{
    Options,
    programs::{Program, Sample, To},
    rounds::{Entrant, Rounds},
    support::{
        plot::{self, Line, Vertical},
        report::{Targets, figure},
        results,
        sink::Sink,
        world::World,
    },
};

const LENGTHS: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Of this one there is one round, which takes a minute.
const LARGEST: u64 = 1_000_000;

/// How much more a message may cost in the longest queue than in the one before: a cost that grew with the length would
/// be ten times as high.
const LINEAR: f64 = 1.25;

pub(crate) fn run(world: &mut World, null: &Sink, options: &Options) {
    let circumstances = results::circumstances();
    let lengths: Vec<u64> = LENGTHS.into_iter().map(|length| if options.quick { length / 10 } else { length }).collect();
    let (mut medians, mut tables) = (Vec::new(), String::new());
    for length in lengths {
        let entrants = [(To::Influxdb, "InfluxDB"), (To::Null, "null")]
            .map(|(to, place)| Entrant::new(format!("{} to {place}", figure(length as f64)), Program::agent(to), length));
        let count = if length == LARGEST { 1 } else { options.rounds };
        let rounds = Rounds::run(&entrants, count, world, null);
        let table = rounds.table("messages in the queue").to_string();
        let rows = if tables.is_empty() { 0 } else { 2 };
        tables.extend(table.lines().skip(rows).flat_map(|line| [line, "\n"]));
        let median = |entrant, of: fn(&Sample) -> f64| rounds.median(entrant, of);
        let cost: fn(&Sample) -> f64 = |sample| sample.own_cpu + sample.redis_cpu;
        medians.push((length as f64, [0, 1].map(|entrant| median(entrant, |sample| sample.rate)), median(1, cost)));
    }
    let mut targets = Targets::new();
    if let [.., (_, _, before), (length, _, last)] = medians[..] {
        let what = format!("CPU of agent and Redis a message, {} queued : a tenth of that, to null", figure(length));
        targets.at_most(&what, LINEAR, last / before, "");
    }
    let plotted = if options.write {
        let line = |name: &str, entrant: usize| Line {
            name: name.to_owned(),
            points: medians.iter().map(|(length, rates, _)| (*length, rates[entrant])).collect(),
        };
        let lines = [line("into InfluxDB", 0), line("into a server that answers 204", 1)];
        let axes = ("messages in the queue", "messages/s");
        plot::lines(&results::plot("queue"), "Throughput over the length of the queue", axes, Vertical::FromZero, &lines);
        "\n![Throughput over the length of the queue](plots/queue.svg)\n"
    } else {
        ""
    };
    let text = format!(
        "### Length of the queue\n\n{circumstances}\n\nThe agent as it is when nothing is configured; rounds: {}, of the longest queue 1.\n\n{tables}\n{targets}{plotted}",
        options.rounds,
    );
    results::section("pipeline queue", &text, options.write);
}
