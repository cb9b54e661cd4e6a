//! What the interfaces of InfluxDB and VictoriaMetrics cost beside v1.

use crate::{
    Options,
    entrant::{Entrant, From, Interface},
    rounds::Rounds,
    support::{
        report::{Targets, figure},
        sink::Sink,
        world::World,
    },
};

const MESSAGES: u64 = 100_000;

/// How much more CPU may be noise.
const AS_FAST: f64 = 1.03;

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let entrants = [
        ("InfluxDB v1", Interface::V1),
        ("InfluxDB v2", Interface::V2),
        ("InfluxDB v3", Interface::V3),
        ("VictoriaMetrics", Interface::Victoriametrics),
    ]
    .map(|(name, interface)| Entrant { interface, ..Entrant::new(name, From::Own) });
    let (servers, count) = ([Sink::that_tells(None)], options.count(MESSAGES));
    let rounds = Rounds::run(&entrants, options.rounds, world, &servers, count);
    for (entrant, name) in [(1, "v2"), (2, "v3")] {
        targets.at_most(&format!("{name}, CPU, of v1"), AS_FAST, rounds.ratio(entrant, 0, |sample| sample.cpu), "");
    }
    format!(
        "{} messages of the agent's own queue to a server that answers 204, {} rounds; ratios to v1.\n\n{}",
        figure(count as f64),
        options.rounds,
        rounds.table(|_| 0)
    )
}
