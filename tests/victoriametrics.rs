//! The agent with a real VictoriaMetrics: nothing is lost or doubled by what happens to either, and what it would drop is told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::support::{
    agent::{Agent, Builder, cli},
    between::Between,
    pipeline::{Left, PATIENCE},
    process::wait_for,
    redis_server::RedisServer,
    victoriametrics::{VictoriaMetrics, Vmauth, basic},
};

/// How it has to run, so that a sample that is written twice is there once.
const DEDUPLICATING: [&str; 2] = ["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"];

fn config(redis: &RedisServer, server: &VictoriaMetrics, more: &str) -> String {
    config_at(redis, &server.url(), more)
}

fn config_at(redis: &RedisServer, url: &str, more: &str) -> String {
    format!(
        "[agent]\nshutdown_timeout = \"20s\"\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\nlease = \"2s\"\ntimeout = \"1s\"\n\
         [publisher]\ntype = \"victoriametrics\"\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n\
         [publisher.victoriametrics]\nurl = \"{url}\"\n{more}\n\
         [nanny]\nfrequency = \"500ms\"\nthreshold = \"1s\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n",
        redis.url()
    )
}

fn agent(redis: &RedisServer, server: &VictoriaMetrics) -> Builder {
    // Small batches, so that what happens finds several of them under way.
    Agent::with(&config(redis, server, "text_metadata = \"drop\"")).env("KADABRA_BATCH__MAX_MESSAGES", "200")
}

/// A message with a number of its own as its value, a millisecond after the one before.
fn numbered(number: u64) -> Value {
    let time = format!("2026-03-01T12:{:02}:{:02}.{:03}000Z", number / 60_000, number / 1000 % 60, number % 1000);
    message(json!([{ "name": "host", "value": "web" }]), number, &time)
}

fn message(dimensions: Value, number: u64, time: &str) -> Value {
    json!({
        "dimensions": dimensions,
        "counters": [{ "name": "numbered", "metadata": {}, "timestamp": time, "value": number as f64 }],
        "timers": [{ "name": "took", "unit": { "name": "seconds", "seconds_offset": 1.0 }, "metadata": {}, "timestamp": time, "value": number as f64 }],
        "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
    })
}

fn push(redis: &RedisServer, messages: impl Iterator<Item = Value>) {
    let mut connection = redis.connection();
    let messages: Vec<String> = messages.map(|message| message.to_string()).collect();
    for chunk in messages.chunks(1000) {
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(chunk).query(&mut connection).unwrap();
    }
}

fn wait_left(redis: &RedisServer, wanted: &Left) {
    wait_for(&format!("{wanted:?} left in Redis"), PATIENCE, || (redis.left() == *wanted).then_some(()));
}

/// How often each number is there.
fn seen(server: &VictoriaMetrics, name: &str) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for sample in server.samples(name) {
        *seen.entry(sample["value"].as_f64().unwrap() as u64).or_default() += 1;
    }
    seen
}

fn assert_once_each(server: &VictoriaMetrics, numbers: std::ops::Range<u64>) {
    for name in ["numbered_value", "took_value"] {
        let seen = seen(server, name);
        assert_eq!(seen.keys().copied().collect::<BTreeSet<_>>(), numbers.clone().collect(), "{name}: lost, or never sent");
        let doubled: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "{name}: doubled {doubled:?}");
    }
}

#[test]
fn an_agent_killed_while_it_drains_loses_and_doubles_nothing() {
    const MESSAGES: u64 = 10_000;
    let (redis, server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    push(&redis, (0..MESSAGES).map(numbered));
    for _ in 0..2 {
        let before = redis.left().queued;
        let mut agent = agent(&redis, &server).start();
        wait_for("the drain to be under way", PATIENCE, || (redis.left().queued + 1000 < before).then_some(()));
        agent.kill9();
        assert!(redis.left().queued > 0, "killed too late to show anything");
    }
    let mut agent = agent(&redis, &server).start();
    wait_left(&redis, &Left::NOTHING);
    assert_once_each(&server, 0..MESSAGES);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_server_that_is_restarted_while_it_is_written_to_has_everything_once() {
    const MESSAGES: u64 = 10_000;
    let (redis, mut server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    push(&redis, (0..MESSAGES).map(numbered));
    let mut agent = agent(&redis, &server).start();
    for _ in 0..2 {
        let before = redis.left().queued;
        wait_for("the drain to be under way", PATIENCE, || (redis.left().queued + 1000 < before).then_some(()));
        server.terminate();
        server.start_again();
    }
    wait_left(&redis, &Left::NOTHING);
    assert_once_each(&server, 0..MESSAGES);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn points_of_one_series_and_millisecond_are_all_there_once_also_when_a_message_comes_again() {
    const MESSAGES: u64 = 2_000;
    let (redis, server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    let same = |number: u64| message(json!([{ "name": "host", "value": "web" }]), number, "2026-03-01T12:00:00.000001Z");
    let mut agent = agent(&redis, &server).start();
    // Twice the same bytes: what a retry sends.
    for _ in 0..2 {
        push(&redis, (0..MESSAGES).map(same));
        wait_left(&redis, &Left::NOTHING);
        assert_once_each(&server, 0..MESSAGES);
    }
    let times = server.samples("numbered_value").iter().map(|sample| sample["time"].as_i64().unwrap()).max().unwrap();
    assert!(times < 1_772_366_400_000 + 20_000, "moved further than 20 s");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_server_killed_with_kill_9_loses_what_it_answered_a_moment_ago_which_is_told_and_nothing_else() {
    let (redis, mut server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    let mut agent = agent(&redis, &server).start();
    agent.wait_log("VictoriaMetrics answers before it has anything on disk");
    server.kill();
    push(&redis, (0..500).map(numbered));
    agent.wait_condition("publisher");
    server.start_again();
    wait_left(&redis, &Left::NOTHING);
    assert_once_each(&server, 0..500);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn what_it_cannot_hold_is_a_dead_letter_with_its_reason_and_the_rest_is_written() {
    let (redis, server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    let mut agent = Agent::start(&config(&redis, &server, ""));
    let long = "x".repeat(5000);
    let ahead = (Timestamp::now() + jiff::SignedDuration::from_hours(72)).strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
    let mut with_text = numbered(1);
    with_text["counters"][0]["metadata"] = json!({ "path": "/index", "n": 5 });
    push(
        &redis,
        [
            with_text,
            message(json!([{ "name": "long", "value": long }]), 2, "2026-03-01T12:00:00.000000Z"),
            message(json!([]), 3, &ahead),
            numbered(4),
        ]
        .into_iter(),
    );
    wait_left(&redis, &Left { dead: 3, ..Left::NOTHING });
    let reasons: Vec<String> =
        redis.dead_letters().iter().map(|letter| String::from_utf8_lossy(&letter["reason"]).into_owned()).collect();
    for (reason, wanted) in reasons.iter().zip(["numbers only", "longer than 4096 bytes", "more than two days ahead"]) {
        assert!(reasons.iter().any(|reason| reason.contains(wanted)), "{wanted}: {reason}");
    }
    assert_eq!(seen(&server, "numbered_value").into_keys().collect::<Vec<_>>(), [1, 4]);
    assert_eq!(seen(&server, "numbered_n").into_keys().collect::<Vec<_>>(), [5]);
    assert_eq!(server.samples("took_value")[0]["metric"]["unit"], "seconds");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn every_name_and_text_of_the_corpus_is_stored_as_it_is_meant() {
    let (redis, server) = (RedisServer::start(), VictoriaMetrics::with(&DEDUPLICATING));
    let mut agent =
        Agent::start(&config(&redis, &server, "text_metadata = \"drop\"\nunique_timestamps = false\nmax_labels = 30"));
    let data = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let mut connection = redis.connection();
    for message in data("valid.jsonl").lines() {
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(message).query(&mut connection).unwrap();
    }
    wait_left(&redis, &Left::NOTHING);
    let sample = |point: &Value| {
        // influxdb-python doubles a backslash in a tag.
        let text = |text: &str| text.replace("\\\\", "\\");
        let mut labels: BTreeMap<String, String> =
            point["tags"].as_object().unwrap().iter().map(|(name, value)| (text(name), text(value.as_str().unwrap()))).collect();
        // Some counters have metadata called unit.
        if let Some(unit) = point["fields"]["unit"].as_str().filter(|unit| *unit != "reserved") {
            labels.entry("unit".to_owned()).or_insert_with(|| unit.to_owned());
        }
        labels.insert("__name__".to_owned(), format!("{}_value", point["measurement"].as_str().unwrap()));
        (labels, point["time"].as_i64().unwrap().div_euclid(1_000_000))
    };
    let wanted: BTreeSet<_> =
        data("valid.points.jsonl").lines().map(|line| sample(&serde_json::from_str(line).unwrap())).collect();
    let stored: BTreeSet<_> = server
        .samples(r#"{__name__=~".+_value"}"#)
        .iter()
        .map(|sample| {
            let labels = sample["metric"].as_object().unwrap().iter();
            let labels: BTreeMap<String, String> =
                labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
            (labels, sample["time"].as_i64().unwrap())
        })
        .collect();
    let missing: Vec<_> = wanted.difference(&stored).take(3).collect();
    assert!(missing.is_empty() && wanted.len() > 500, "missing {missing:#?} of {}", wanted.len());
    let extra: Vec<_> = stored.difference(&wanted).take(3).collect();
    assert!(extra.is_empty(), "there are {extra:#?}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// What `check --online` says of a server, and its exit code.
fn check(redis: &RedisServer, server: &VictoriaMetrics, more: &str) -> (Option<i32>, String) {
    check_at(redis, &server.url(), more)
}

fn check_at(redis: &RedisServer, url: &str, more: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, config_at(redis, url, more)).unwrap();
    let output = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), file.as_os_str()]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn check_online_tells_what_the_server_does_with_what_is_written_twice_and_what_is_wrong() {
    let redis = RedisServer::start();
    let plain = VictoriaMetrics::start();
    let (code, said) = check(&redis, &plain, "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("it does not deduplicate") && said.contains("-dedup.minScrapeInterval=1ms"), "{said}");
    let (_, said) = check(&redis, &plain, "unique_timestamps = false");
    assert!(!said.contains("deduplicate"), "{said}");
    let (code, said) = check(&redis, &plain, "tenant = \"42\"");
    assert!(
        code == Some(69) && said.contains("unsupported path requested") && said.contains("publisher.victoriametrics.tenant"),
        "{said}"
    );
    drop(plain);
    let coarse = VictoriaMetrics::with(&["-retentionPeriod=100y", "-dedup.minScrapeInterval=15s", "-maxLabelsPerTimeseries=20"]);
    let (_, said) = check(&redis, &coarse, "");
    assert!(said.contains("it keeps one point a series in 15s") && said.contains("it takes 20 labels a series"), "{said}");
    assert!(said.contains("-retentionPeriod=100y"), "{said}");
    drop(coarse);
    let guarded = VictoriaMetrics::with_login("me", "secret");
    assert_eq!(check(&redis, &guarded, "username = \"me\"\npassword = \"secret\"").0, Some(0));
    for (login, wanted) in [
        ("", "wants a login"),
        ("username = \"me\"\npassword = \"hunter2\"", "does not accept the user or the password"),
        ("token = \"hunter2\"", "does not accept the token"),
    ] {
        let (code, said) = check(&redis, &guarded, login);
        assert!(code == Some(69) && said.contains(wanted) && !said.contains("hunter2"), "{login}: {said}");
    }
}

#[test]
fn vmauth_lets_a_login_or_a_token_through_and_a_wrong_one_is_held_until_it_is_mended_in_its_file() {
    let between = Between::victoriametrics();
    let vmauth = Vmauth::start(&between.url());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let mut pushed = 0;
    for (keys, right, said) in [
        (&["USERNAME", "PASSWORD_FILE"][..], "right-password", "does not accept the user or the password"),
        (&["TOKEN_FILE"], "right-token", "does not accept the token"),
    ] {
        std::fs::write(&file, "wrong-secret\n").unwrap();
        let value = |key: &str| if key == "USERNAME" { "me" } else { file.to_str().unwrap() };
        let agent = keys.iter().fold(between.agent_at(&vmauth.url()), |agent, key| agent.env(&between.key(key), value(key)));
        // What an agent before it wrote in the same milliseconds stays apart.
        let mut agent = agent.env(&between.key("EXTRA_LABELS"), format!("before={pushed}")).start();
        between.push_numbers(pushed..pushed + 100);
        pushed += 100;
        let held = agent.wait_condition("publisher");
        assert!(held["level"] == "ERROR" && held.to_string().contains(said), "{held}");
        std::fs::write(&file, right).unwrap();
        between.assert_all_written(0..pushed);
        let log = agent.log_text();
        let encoded = basic("me", "wrong-secret").replace("Basic ", "");
        assert!(![right, "wrong-secret", &encoded].iter().any(|secret| log.contains(secret)), "a secret is in the log");
        assert_eq!(agent.terminate(PATIENCE), Some(0));

        let more: Vec<String> = keys.iter().map(|key| format!("{} = {:?}\n", key.to_lowercase(), value(key))).collect();
        let (code, checked) = check_at(&between.redis, &vmauth.url(), &more.concat());
        assert!(
            code == Some(0) && checked.contains("whether it runs with -dedup.minScrapeInterval=1ms could not be asked"),
            "{checked}"
        );
        std::fs::write(&file, "wrong-secret").unwrap();
        let (code, checked) = check_at(&between.redis, &vmauth.url(), &more.concat());
        assert!(code == Some(69) && checked.contains(said) && !checked.contains(&encoded), "{checked}");
    }
    let (code, checked) = check_at(&between.redis, &vmauth.url(), "");
    assert!(code == Some(69) && checked.contains("wants a login: 401 missing"), "{checked}");
}
