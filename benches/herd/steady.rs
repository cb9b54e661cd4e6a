//! What the same agents ask of a database that is well: arithmetic, and a simulation of the random phase.

use std::fmt::Write;

use super::simulation::{MAX_LINES, POINTS, Scenario};

/// Kadabra's batched agent.
const INTERVAL: u32 = 60;
/// From a request to its answer when the database has time, in ms.
const ANSWER: f64 = 3.0;

/// Requests, bodies and connections for some rates of messages.
pub(crate) fn table(scenario: &Scenario) -> String {
    let mut text = format!(
        "While the database is well, on paper, for messages of {POINTS} points and answers within {ANSWER} ms; batched with \
         `batch.interval = \"{INTERVAL}s\"`:\n\n\
         | messages/s of each agent | lines/s of all | eager: requests/s | lines in a body | batched: requests/s | lines in a body |\n\
         |--:|--:|--:|--:|--:|--:|\n"
    );
    let agents = scenario.agents as f64;
    let most = scenario.workers as f64 * 1000.0 / ANSWER;
    for rate in [0.1, 1.0, 10.0, 100.0] {
        let lines = rate * POINTS as f64;
        let eager = rate.min(most);
        let beat = lines * f64::from(INTERVAL);
        let bodies = (beat / MAX_LINES as f64).ceil();
        let _ = writeln!(
            text,
            "| {rate} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            lines * agents,
            eager * agents,
            lines / eager,
            bodies / f64::from(INTERVAL) * agents,
            beat / bodies
        );
    }
    let _ = writeln!(
        text,
        "\nConnections: {} publishers hold one each while they write at least every 15 s; batched they are made anew for each \
         beat, {:.0} a second. In the worst second of each minute {} batched agents write together; with a common phase all {} would.",
        scenario.agents * scenario.workers,
        agents / f64::from(INTERVAL),
        worst_beat(scenario),
        scenario.agents,
    );
    text
}

/// How many batched agents write in the same second when each has a random phase.
fn worst_beat(scenario: &Scenario) -> u32 {
    let mut rng = fastrand::Rng::with_seed(scenario.seed);
    let mut seconds = vec![0_u32; INTERVAL as usize];
    for _ in 0..scenario.agents {
        seconds[rng.usize(..INTERVAL as usize)] += 1;
    }
    seconds.into_iter().max().unwrap_or(0)
}
