//! The commands of each page, run from its first to its last.

use std::collections::BTreeSet;

use super::{
    super::support::{pipeline::DATABASE, process::wait_for},
    page::{Page, quoted},
    pages,
    shell::{PATIENCE, Shell},
};

const AGENT: &str = "kadabra run --config /etc/kadabra/kadabra.toml";

/// Runs a page of which so many commands cannot be run here: they install packages, are systemd's, or take minutes.
fn run(shell: &mut Shell, name: &str, left_out: usize) {
    shell.run(&Page::read(name));
    assert_eq!(shell.left_out, left_out, "commands of {name} that are not run");
}

#[test]
fn the_first_steps_lead_to_a_metric_in_the_database() {
    let mut shell = Shell::with_agent_as_channel();
    run(&mut shell, "README.md", 13);
    assert_eq!(shell.influxd.count(DATABASE, "userSignup"), 1);
}

#[test]
fn applications_of_each_kind_are_heard() {
    let mut shell = Shell::with_agent_as_channel();
    shell.influxd.create_database(DATABASE);
    shell.start_agent(AGENT);
    shell.run_blocks(&Page::read("docs/applications.md"));
    // A message that lingers when the agent is stopped waits for its next start.
    wait_for("a point of each kind", PATIENCE, || (shell.influxd.count(DATABASE, "userSignup") == 3).then_some(()));
    assert_eq!(shell.left_out, 0);
}

#[test]
fn what_an_operator_does_works() {
    let mut shell = Shell::with_agent_as_channel();
    shell.influxd.create_database(DATABASE);
    shell.start_agent(AGENT);
    shell.redis_cli(&["LPUSH", "kadabra_queue", "no message"]);
    shell.wait("a dead letter", "the test", |said| said.contains("set aside as"));
    let mut redis = shell.redis.connection();
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg("another").query(&mut redis).unwrap();
    let told = Page::read("docs/operations.md");
    let told: BTreeSet<&str> = told.table("reasons").flat_map(|row| quoted(row[0])).collect();
    let counted = shell.redis_cli(&["INFO", "kadabra"]);
    let counted = counted.lines().filter_map(|line| line.strip_prefix("refused_")?.split(':').next());
    assert_eq!(told, counted.collect(), "the reasons for a refusal");
    run(&mut shell, "docs/operations.md", 14);
    assert_eq!(shell.redis.left().queued, 0, "it was imported");
}

#[test]
fn what_is_told_of_dead_letters_works() {
    let mut shell = Shell::with_agent_as_channel();
    shell.influxd.create_database(DATABASE);
    shell.start_agent(AGENT);
    shell.redis_cli(&["LPUSH", "kadabra_queue", "no message"]);
    shell.wait("a dead letter", "the test", |said| said.contains("set aside as"));
    run(&mut shell, "docs/dead-letters.md", 0);
}

#[test]
fn what_is_told_of_the_commands_works() {
    let mut shell = Shell::with_agent_as_channel();
    shell.influxd.create_database(DATABASE);
    shell.start_agent(AGENT);
    shell.run_blocks(&Page::read("docs/commands.md"));
    wait_for("a point of each message", PATIENCE, || (shell.influxd.count(DATABASE, "userSignup") == 3).then_some(()));
    assert_eq!(shell.left_out, 2);
}

#[test]
fn what_is_told_of_redis_works() {
    let mut shell = Shell::with_redis_as_channel();
    shell.influxd.create_database(DATABASE);
    shell.start_agent(AGENT);
    shell.redis_cli(&["LPUSH", "kadabra_queue", "no message"]);
    wait_for("a dead letter", PATIENCE, || (shell.redis.left().dead == 1).then_some(()));
    let newest = |shell: &Shell| shell.redis_cli(&["XREVRANGE", "{kadabra_queue}:dead", "+", "-"]);
    let before = newest(&shell);
    run(&mut shell, "docs/redis.md", 0);
    assert_eq!(shell.redis_cli(&["CONFIG", "GET", "maxmemory-policy"]), "maxmemory-policy\nnoeviction");
    assert_ne!(newest(&shell), before, "it was queued again");
}

#[test]
fn moving_over_from_the_python_agent_works() {
    let mut shell = Shell::with_redis_as_channel();
    shell.influxd.create_database(DATABASE);
    run(&mut shell, "docs/migration.md", 0);
}

#[test]
fn what_is_told_of_the_configuration_is_so() {
    run(&mut Shell::with_agent_as_channel(), "docs/configuration.md", 0);
}

#[test]
fn the_commands_of_every_other_page_build_or_measure() {
    let run_elsewhere = [
        "README.md",
        "docs/applications.md",
        "docs/commands.md",
        "docs/configuration.md",
        "docs/dead-letters.md",
        // By tests/stack.rs, on a machine of its own.
        "docs/full-stack.md",
        "docs/migration.md",
        "docs/operations.md",
        "docs/redis.md",
    ];
    let mut shell = Shell::with_agent_as_channel();
    for page in pages().iter().filter(|page| !run_elsewhere.contains(&page.name.as_str())) {
        shell.run(page);
    }
    // Of CONTRIBUTING.md, of the benchmarks, of the promises, of packages, of a release, of the configuration tools and of reloading.
    assert_eq!(shell.left_out, 6 + 9 + 1 + 9 + 12 + 3 + 1);
}
