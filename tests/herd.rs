//! A thousand agents do not fall upon a database that comes back: `cargo bench --bench herd` draws what is promised here.

use std::time::Duration;

#[path = "../benches/herd/simulation.rs"]
mod simulation;

use self::simulation::{Course, MAX_LINES, Scenario};

/// One may be lucky.
const SEEDS: [u64; 2] = [1, 2];

/// How many times what the database can take is asked for in the worst second; without slow start 4.5.
const LINES: f64 = 3.5;

fn worst(seconds: &[u32]) -> f64 {
    f64::from(seconds.iter().copied().max().unwrap_or(0))
}

fn share_in_the_worst_second(seconds: &[u32], scenario: &Scenario) -> f64 {
    worst(seconds) / scenario.agents as f64
}

/// How much of what is to be written is written in vain, since nobody waited for the answer any more.
fn in_vain(course: &Course, scenario: &Scenario) -> f64 {
    course.in_vain as f64 / scenario.lines() as f64
}

#[test]
fn after_an_outage_fewer_than_a_tenth_of_a_thousand_agents_come_back_in_the_same_second() {
    for seed in SEEDS {
        let scenario = Scenario { seed, ..Scenario::a_thousand_agents() };
        let course = scenario.run();
        // Each asks every 15 s on average, by one publisher, so 67 are to be expected.
        let share = share_in_the_worst_second(&course.agents, &scenario);
        assert!(share < 0.1, "seed {seed}: {:.1} % of the agents come back in one second: {:?}", share * 100.0, course.agents);
        let share = share_in_the_worst_second(&course.requests, &scenario);
        assert!(share < 1.3, "seed {seed}: {share:.2} requests of each agent in one second: {:?}", course.requests);
        assert!(course.knocks < 60 * 75, "seed {seed}: {} attempts in the last minute of the outage", course.knocks);

        let without = Scenario { jitter: false, ..scenario };
        let herd = share_in_the_worst_second(&without.run().agents, &without);
        assert!(herd > 0.5, "seed {seed}: without jitter it would be a herd, or this sees none: {:.1} %", herd * 100.0);
    }
}

#[test]
fn a_database_that_is_too_slow_for_a_thousand_agents_at_once_writes_little_in_vain() {
    for seed in SEEDS {
        let scenario = Scenario { seed, ..Scenario::a_thousand_agents() };
        let (course, alone) = (scenario.run(), scenario.alone());
        let share = in_vain(&course, &scenario);
        assert!(share < 0.1, "seed {seed}: {:.0} % is written in vain", share * 100.0);
        assert!(course.done < alone.mul_f64(1.2), "seed {seed}: it took {:?}, and would take {alone:?} alone", course.done);
        // What is asked for in a second is at most a few times what can be written in one.
        let lines = worst(&course.lines) / f64::from(scenario.lines_per_second);
        assert!(lines < LINES, "seed {seed}: {lines:.1} times as many lines as can be written: {:?}", course.lines);
        let batches = scenario.agents * (scenario.workers + 1);
        let fewest = batches * scenario.batch().div_ceil(MAX_LINES);
        let sent: u32 = course.requests.iter().sum();
        assert!((sent as usize) < 12 * fewest, "seed {seed}: {sent} requests; {fewest} would do");

        let without = Scenario { slow_start: false, ..scenario };
        let share = in_vain(&without.run(), &without);
        assert!(
            share > 0.5,
            "seed {seed}: without slow start much would be in vain, or this sees nothing: {:.0} %",
            share * 100.0
        );
    }
}

#[test]
fn a_backlog_of_many_batches_and_a_database_that_is_slower_still_are_not_written_in_vain_either() {
    let scenario = Scenario::a_thousand_agents();
    let long = Scenario { backlog: 4 * scenario.backlog, ..scenario };
    let slow = Scenario { lines_per_second: scenario.lines_per_second / 4, ..scenario };
    for (what, scenario) in [("a long backlog", long), ("a slow database", slow)] {
        let course = scenario.run();
        let share = in_vain(&course, &scenario);
        assert!(share < 0.3, "{what}: {:.0} % is written in vain", share * 100.0);
        assert!(course.done < scenario.alone().mul_f64(1.4), "{what}: it took {:?}, alone {:?}", course.done, scenario.alone());
    }
}

#[test]
fn a_database_that_is_fast_enough_is_not_kept_waiting_by_the_slow_start() {
    let scenario = Scenario { lines_per_second: 4_000_000, ..Scenario::a_thousand_agents() };
    let without = Scenario { slow_start: false, ..scenario };
    let (with, without) = (scenario.run(), without.run());
    assert!(with.done < without.done + Duration::from_secs(1), "{:?}, and without slow start {:?}", with.done, without.done);
    assert_eq!(with.late, 0);
}
