//! The configuration is reloaded while the agent works: under load, wrong, while it is held, while actors fail, and at the end.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use redis::Commands as _;

use super::{
    several::pipelines::{World, database, influxdb},
    support::{
        agent::Agent,
        influxd::{Influxd, Options},
        pipeline::{DATABASE, PATIENCE, Pipeline, config, numbered},
        process::wait_for,
        redis_server::RedisServer,
    },
};

/// How often it is reloaded under load. By hand: `RELOADS=100`.
fn reloads() -> usize {
    env::var("RELOADS").ok().map_or(10, |text| text.parse().unwrap())
}

/// Has it reload a configuration that is taken, and waits until it is.
fn reloaded(agent: &Agent, config: &str) -> String {
    let before = agent.logged("reloaded: ").len();
    agent.reload(config);
    let lines = agent.wait_log_count("reloaded: ", before + 1);
    lines[before]["msg"].as_str().unwrap().to_owned()
}

#[test]
fn reloads_under_load_lose_and_double_nothing_and_refuse_no_push_over_redis() {
    under_load(&World::redis(), "");
}

#[test]
fn reloads_under_load_lose_and_double_nothing_and_refuse_no_push_over_embedded() {
    under_load(&World::embedded(), "");
}

/// Before a batch is written and after, as one is asked for and decoded, and while a pipeline is drained.
#[cfg(feature = "failpoints")]
const FAULTS: &str = "publisher.publish=3%panic;publisher.written=2%panic;receiver.wanted=1%panic;batcher.leased=1%panic;\
                      receiver.drain=10%panic;batcher.drain=10%panic";

#[cfg(feature = "failpoints")]
#[test]
fn nor_do_they_while_actors_fail_over_redis() {
    under_load(&World::redis(), FAULTS);
}

#[cfg(feature = "failpoints")]
#[test]
fn nor_do_they_while_actors_fail_over_embedded() {
    under_load(&World::embedded(), FAULTS);
}

struct EndPushes<'a>(&'a AtomicBool);

impl Drop for EndPushes<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn under_load(world: &World, faults: &str) {
    let [one, two] = [database(), database()];
    // Each time others change, and each time one or both.
    let config = |round: usize| {
        let workers = |of: usize| format!("workers = {}\n", 1 + (round / of) % 4);
        let publishers = influxdb("one", &one.url())
            + &workers(1)
            + &influxdb("two", &two.url())
            + &workers(3)
            + &format!("required = false\n[batch]\nmax_messages = {}\n", [500, 20, 1000][round / 2 % 3]);
        world.config(&publishers).replace("[supervisor]", "[supervisor]\nmax_restarts = 1000")
    };
    let mut agent = Agent::with(&config(0)).env("FAILPOINTS", faults).start();
    agent.wait_log_count("publishing", 2);
    let (done, reloads) = (AtomicBool::new(false), reloads());
    let begun = Instant::now();
    let (pushed, slowest) = thread::scope(|scope| {
        // Also when this fails.
        let end_pushes = EndPushes(&done);
        let pushes = scope.spawn(|| {
            let (mut connection, mut number, mut slowest) = (world.connection(), 0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let messages: Vec<_> = (number..number + 20).map(numbered).collect();
                let asked = Instant::now();
                let _: usize = connection.lpush("kadabra_queue", messages).expect("no push is refused");
                slowest = slowest.max(asked.elapsed());
                number += 20;
                thread::sleep(Duration::from_millis(10));
            }
            (number, slowest)
        });
        for round in 1..=reloads {
            let right = config(round);
            if round % 4 == 0 {
                let refused = agent.logged("was not reloaded").len();
                let wrong = if round % 8 == 0 { right.replace("[nanny]", "[nany]") } else { right.replace("[nanny]", "[nanny") };
                agent.reload(&wrong);
                agent.wait_log_count("was not reloaded", refused + 1);
            } else if round % 5 == 0 {
                // Two at once: what is asked for last holds.
                agent.reload(&config(round + 1));
                reloaded(&agent, &right);
            } else {
                reloaded(&agent, &right);
            }
        }
        drop(end_pushes);
        pushes.join().unwrap()
    });
    let took = begun.elapsed();
    for (name, database) in [("one", &one), ("two", &two)] {
        world.wait_nothing_waits_for(name);
        database.assert_written(0..pushed);
    }
    let restarts = agent.logged("is restarted").len();
    let rebuilt = agent.logged("publishing").len() - 2;
    assert!(rebuilt >= reloads / 2, "{rebuilt} pipelines were built anew");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(agent.logged("does not balance").is_empty(), "{}", agent.log_text());
    eprintln!(
        "{reloads} reloads, {rebuilt} pipelines built anew, {restarts} restarts, {pushed} messages in {took:?}, the slowest push {slowest:?}"
    );
}

#[test]
fn a_wrong_file_is_said_with_a_code_and_changes_nothing_and_one_that_is_mended_ends_that() {
    let pipeline = Pipeline::start();
    let right = config(&pipeline.redis.url(), &pipeline.influxd.url());
    let mut agent = Agent::start(&right);
    agent.wait_log("publishing");
    let wrong = right.clone() + "[batch]\nmax_mesages = 7\n";
    for times in 1..=2 {
        agent.reload(&wrong);
        let said = &agent.wait_log_count("was not reloaded", times)[times - 1];
        let line = wrong.lines().count();
        let text = said["msg"].as_str().unwrap();
        assert!(text.contains(&format!("kadabra.toml, line {line}: batch.max_mesages: unknown key; did you mean")), "{said}");
        assert_eq!((said["code"].as_str(), said["level"].as_str()), (Some("K507"), Some("WARNING")));
    }
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.logged("publishing").len(), 1, "nothing was built anew");
    let said = reloaded(&agent, &(right + "[batch]\nmax_messages = 7\n"));
    assert_eq!(said, "reloaded: batch.max_messages 10000 -> 7");
    agent.wait_log("configuration: the warning is over");
    pipeline.push_numbers(100..200);
    pipeline.assert_all_written(0..200);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn one_pipeline_is_built_anew_for_its_own_keys_and_what_needs_a_restart_is_named_once() {
    let world = World::embedded();
    let publishers = "[publishers.one]\ntype = \"debug\"\n[publishers.two]\ntype = \"debug\"\n";
    let before = world.config(publishers);
    let mut agent = Agent::start(&before);
    agent.wait_log_count("publishing", 2);
    let said = reloaded(&agent, &before.replace("[publishers.two]", "[publishers.two]\nonly = [\"clicks\"]"));
    assert_eq!(said, "reloaded: publishers.two.only not set -> \"clicks\"");
    let again = &agent.wait_log_count("publishing", 3)[2];
    assert_eq!(again["publisher"], "two", "{again}");

    // The level of the log holds at once, and builds nothing anew.
    let quiet = before.replace("level = \"debug\"", "level = \"info\"");
    let other = quiet.replace("[nanny]", "[publishers.three]\n[nanny]\nwarn_messages = 9");
    let said = reloaded(&agent, &other);
    assert!(
        said.contains("log.level \"debug\" -> \"info\"") && said.contains("publishers.two.only \"clicks\" -> not set"),
        "{said}"
    );
    let named = agent.wait_log("needs a restart for: ");
    let text = named["msg"].as_str().unwrap();
    assert!(text.ends_with("needs a restart for: [publishers.three] is new, nanny.warn_messages 100000 -> 9"), "{named}");
    assert_eq!(named["code"], "K508");
    // What waits for a restart is still waited for.
    reloaded(&agent, &other);
    agent.wait_log_count("needs a restart for: ", 2);
    reloaded(&agent, &quiet);
    agent.wait_log("configuration: the warning is over");
    assert_eq!(agent.logged("publishing").len(), 4, "{}", agent.log_text());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_publisher_that_is_held_goes_on_at_once_with_what_was_mended_in_the_file() {
    let influxd = Influxd::start_with(Options { admin: Some(("admin", "correct-horse")), ..Options::default() });
    influxd.create_database(DATABASE);
    let pipeline = Pipeline { redis: RedisServer::start(), influxd };
    let text = config(&pipeline.redis.url(), &pipeline.influxd.url());
    let text = text.replace("backoff_min = \"50ms\"\nbackoff_max = \"500ms\"", "backoff_min = \"1m\"\nbackoff_max = \"10m\"");
    let with = |password: &str| {
        let login = format!("[publisher.influxdb]\nusername = \"admin\"\npassword = \"{password}\"");
        text.replace("[publisher.influxdb]", &login)
    };
    let mut agent = Agent::start(&with("wrong-horse"));
    pipeline.push_numbers(0..100);
    agent.wait_condition("publisher");
    let said = reloaded(&agent, &with("correct-horse"));
    assert_eq!(said, "reloaded: publisher.influxdb.password has changed");
    pipeline.assert_all_written(0..100);
    assert!(!agent.log_text().contains("-horse"), "{}", agent.log_text());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_is_wrong_with_a_destination_ends_when_it_is_mended_though_a_reload_came_between_and_nothing_is_to_be_written() {
    let mut pipeline = Pipeline::start();
    let text = config(&pipeline.redis.url(), &pipeline.influxd.url());
    let mut agent = Agent::start(&text);
    pipeline.push_numbers(0..1);
    pipeline.assert_all_written(0..1);
    pipeline.influxd.stop();
    pipeline.push_numbers(1..2);
    agent.wait_condition("publisher");
    // Another agent takes it.
    let mut connection = pipeline.redis.connection();
    wait_for("what cannot be written to wait again", PATIENCE, || {
        connection.del("kadabra_queue").ok().filter(|deleted: &usize| *deleted == 1)
    });
    reloaded(&agent, &text.replace("[nanny]", "[batch]\nmax_messages = 77\n[nanny]"));
    pipeline.influxd.start_again();
    agent.wait_log("publisher works again");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[cfg(feature = "failpoints")]
#[test]
fn a_reload_that_fails_by_a_fault_of_the_agent_takes_no_later_one_with_it() {
    let world = World::embedded();
    let text = world.config("[publisher]\ntype = \"debug\"\n");
    let mut agent = Agent::with(&text).env("FAILPOINTS", "agent.reload=1*panic").start();
    agent.wait_log("publishing");
    agent.reload(&text);
    agent.wait_log("was not reloaded, and the one before holds: a fault of the agent");
    assert_eq!(reloaded(&agent, &(text + "[batch]\nmax_messages = 7\n")), "reloaded: batch.max_messages 10000 -> 7");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_reload_beside_the_end_of_the_agent_changes_nothing_of_it() {
    let pipeline = Pipeline::start();
    let text = config(&pipeline.redis.url(), &pipeline.influxd.url());
    for round in 0..5_u64 {
        let mut agent = Agent::start(&text);
        agent.wait_log("publishing");
        pipeline.push_numbers(round * 1000..round * 1000 + 1000);
        agent.reload(&format!("{text}[batch]\nmax_messages = {}\n", 7 + round));
        assert_eq!(agent.terminate(PATIENCE), Some(0));
        assert!(agent.logged("does not balance").is_empty(), "{}", agent.log_text());
    }
    let mut agent = Agent::start(&text);
    pipeline.assert_all_written(0..5000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_is_to_be_reloaded_before_the_agent_works_is_once_it_does() {
    let mut pipeline = Pipeline::start();
    let text = config(&pipeline.redis.url(), &pipeline.influxd.url());
    pipeline.redis.kill9();
    let mut agent = Agent::start(&text);
    agent.wait_condition("channel");
    agent.reload(&(text + "[batch]\nmax_messages = 7\n"));
    agent.wait_log("told to read passwords");
    assert!(agent.logged("reloaded: ").is_empty());
    pipeline.redis.restart();
    agent.wait_log("reloaded: batch.max_messages 10000 -> 7");
    pipeline.push_numbers(0..100);
    wait_for("all to be written", PATIENCE, || (pipeline.written() == 100).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
