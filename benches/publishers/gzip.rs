//! What gzip brings where the way is slow, and what it costs.

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

const MESSAGES: u64 = 20_000;

/// 10 Mbit/s.
const BYTES_PER_SECOND: f64 = 10e6 / 8.0;

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let influxdb = world.influxd.url();
    let count = options.count(MESSAGES);
    let mut text = String::new();
    for (to, far, forward) in [
        ("a server that answers 204, over 10 Mbit/s", true, None),
        ("an InfluxDB, over 10 Mbit/s", true, Some(influxdb.as_str())),
        ("a server that answers 204, over the loopback", false, None),
    ] {
        let plain = |name, interface| Entrant { interface, ..Entrant::new(name, From::Own) };
        let mut entrants = vec![
            plain("v1", Interface::V1),
            Entrant { gzip: true, ..plain("v1, gzip", Interface::V1) },
            plain("VictoriaMetrics", Interface::Victoriametrics),
            Entrant { gzip: true, ..plain("VictoriaMetrics, gzip", Interface::Victoriametrics) },
        ];
        if forward.is_some() {
            entrants.truncate(2);
        }
        let server = if far { Sink::far_away(forward, BYTES_PER_SECOND) } else { Sink::that_tells(forward) };
        let rounds = Rounds::run(&entrants, options.rounds, world, &[server], count);
        if far {
            let ratio = rounds.ratio(1, 0, |sample| sample.rate);
            targets.at_least(&format!("to {to}: messages/s with gzip, of without"), 1.0, ratio, "");
        }
        let table = rounds.table(|entrant| entrant / 2 * 2);
        text += &format!("To {to}:\n\n{table}\n");
    }
    format!(
        "{} messages of the agent's own queue, {} rounds; ratios to the same without gzip.\n\n{text}",
        figure(count as f64),
        options.rounds
    )
}
