//! What the agent's settings, and Redis's, do to its speed and cost.

use crate::{
    Options,
    programs::{Program, To},
    rounds::{Entrant, Rounds},
    support::{
        message,
        report::figure,
        results,
        sink::Sink,
        world::{Variant, World},
    },
};

pub(crate) fn run(world: &mut World, null: &Sink, options: &Options) {
    let circumstances = results::circumstances();
    let workers = |workers| Variant { workers, ..Variant::DEFAULT };
    // So many that the last batch is full as well: it would wait for its interval otherwise.
    let batched = |messages| Variant { batched: Some(("60s", messages)), ..Variant::DEFAULT };
    let gzip = Variant { gzip: true, ..Variant::DEFAULT };
    let variants = [
        ("eager, up to 6 publishers (the default)", Variant::DEFAULT, true),
        ("1 publisher", workers(1), true),
        ("up to 2 publishers", workers(2), true),
        ("up to 4 publishers", workers(4), true),
        ("batched, 1,000 messages", batched(1000), true),
        ("batched, 2,000 messages", batched(2000), true),
        ("gzip", gzip, true),
        ("Redis without an append-only file", Variant::DEFAULT, false),
    ];
    let mut entrants = Vec::new();
    for (name, variant, append_only) in variants {
        for (to, place) in [(To::Influxdb, "InfluxDB"), (To::Null, "null")] {
            let program = Program::Agent { to, variant, append_only };
            entrants.push(Entrant::new(format!("{name}; to {place}"), program, options.messages));
        }
    }
    let rounds = Rounds::run(&entrants, options.rounds, world, null);
    let text = format!(
        "### Variants\n\n{circumstances}\n\n{} messages of {} bytes in the queue; rounds: {}.\n\n{}",
        figure(options.messages as f64),
        message::BYTES,
        options.rounds,
        rounds.table("agent"),
    );
    results::section("pipeline variants", &text, options.write);
}
