//! What a second publisher costs, and what a name costs the only one.

use crate::{
    Options,
    entrant::{Entrant, From},
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

/// How much two publishers may cost.
const TWO: f64 = 1.6;

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let named = |name, from, publishers| Entrant { publishers, ..Entrant::new(name, from) };
    let entrants = [
        Entrant::new("own queue, [publisher]", From::Own),
        named("own queue, [publishers.one]", From::Own, &["one"]),
        named("own queue, two", From::Own, &["one", "two"]),
        Entrant::new("Redis, [publisher]", From::Redis),
        named("Redis, [publishers.one]", From::Redis, &["one"]),
        named("Redis, two", From::Redis, &["one", "two"]),
    ];
    let (servers, count) = ([Sink::that_tells(None), Sink::that_tells(None)], options.count(MESSAGES));
    let rounds = Rounds::run(&entrants, options.rounds, world, &servers, count);
    for (from, plain) in [("own queue", 0), ("Redis", 3)] {
        let mut at_most = |what: &str, most, entrant| {
            let measured = rounds.ratio(entrant, plain, |sample| sample.cpu);
            targets.at_most(&format!("{from}: {what}"), most, measured, "");
        };
        at_most("CPU of one with a name, of one without", AS_FAST, plain + 1);
        at_most("CPU of two publishers, of one", TWO, plain + 2);
    }
    format!(
        "{} messages, each publisher to a server of its own that answers 204, {} rounds; ratios to `[publisher]`.\n\n{}",
        figure(count as f64),
        options.rounds,
        rounds.table(|entrant| entrant / 3 * 3)
    )
}
