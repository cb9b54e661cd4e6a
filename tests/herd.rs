//! A thousand agents do not fall upon a database that comes back: `cargo bench --bench herd` draws what is promised here.

use std::time::Duration;

#[path = "../benches/herd/simulation.rs"]
mod simulation;

use self::simulation::{MAX_LINES, Scenario};

fn share_in_the_worst_second(seconds: &[u32], scenario: &Scenario) -> f64 {
    f64::from(seconds.iter().copied().max().unwrap_or(0)) / scenario.agents as f64
}

#[test]
fn after_an_outage_fewer_than_a_fifth_of_a_thousand_agents_come_back_in_the_same_second() {
    for seed in 1..=3 {
        let scenario = Scenario { seed, ..Scenario::a_thousand_agents() };
        let course = scenario.run();
        // Each of two publishers tries every 15 s on average, so 133 are to be expected.
        let share = share_in_the_worst_second(&course.agents, &scenario);
        assert!(share < 0.2, "seed {seed}: {:.1} % of the agents come back in one second: {:?}", share * 100.0, course.agents);
        let share = share_in_the_worst_second(&course.requests, &scenario);
        assert!(share < 1.0, "seed {seed}: {share:.2} requests of each agent in one second: {:?}", course.requests);
        assert!(course.knocks < 60 * 200, "seed {seed}: {} attempts in the last minute of the outage", course.knocks);

        let without = Scenario { jitter: false, ..scenario };
        let herd = share_in_the_worst_second(&without.run().agents, &without);
        assert!(herd > 0.5, "seed {seed}: without jitter it would be a herd, or this sees none: {:.1} %", herd * 100.0);
    }
}

#[test]
fn a_database_that_is_too_slow_for_a_thousand_agents_at_once_is_not_kept_from_its_work() {
    let scenario = Scenario::a_thousand_agents();
    let course = scenario.run();
    // What answers too late is done in vain; requests become smaller until they are answered in time.
    let batches = (scenario.agents * (scenario.backlog + scenario.workers)) as f64;
    let alone = Duration::from_secs_f64(batches * f64::from(scenario.lines) / f64::from(scenario.lines_per_second));
    assert!(course.done < 4 * alone, "it took {:?}, and would take {alone:?} without any request in vain", course.done);
    let fewest = batches as u32 * scenario.lines.div_ceil(MAX_LINES);
    let sent: u32 = course.requests.iter().sum();
    assert!(sent - course.late < 10 * fewest, "{sent} requests, {} of them late; {fewest} would do", course.late);
}
