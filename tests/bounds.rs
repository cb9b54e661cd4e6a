//! Memory stays under its bound, whatever waits in the channel and however long the database is away.

use std::{env, fs};

use redis::Commands;

use super::support::{
    agent::Agent,
    influxd::Influxd,
    pipeline::{DATABASE, Left, PATIENCE, Pipeline, config_of, numbered},
    process::{free_port, wait_for},
};

/// The bound with the default configuration, in KiB of peak resident memory.
const BOUND: u64 = 64 << 10;
/// How large a released program may be.
const RELEASED: u64 = 15 << 10;
/// What each publisher beyond the first may take, which has batches of its own in hand.
const PUBLISHER: u64 = 32 << 10;
/// The same where messages of several MiB are pushed to the agent itself.
const LARGE_PUSHES: u64 = 96 << 10;
/// How much more than before an idle agent may keep of what large messages took, in KiB.
const GIVEN_BACK: u64 = 12 << 10;

/// How many messages are queued; a long run sets `BOUNDS_MESSAGES=1000000`.
fn many() -> u64 {
    env::var("BOUNDS_MESSAGES").ok().map_or(100_000, |text| text.parse().unwrap())
}

/// What a released agent has at its peak, in KiB: the code that is read in from the program's file is several times as large in one
/// that is built for tests, so the whole of a released program is counted in its place.
fn peak(agent: &Agent) -> u64 {
    resident(agent, "VmHWM:") - code(agent) + RELEASED
}

/// Of the agent's resident memory in KiB: the peak, `VmHWM:`, or what it has now for itself, `RssAnon:`.
fn resident(agent: &Agent, which: &str) -> u64 {
    kibibytes(&fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap(), which).unwrap()
}

/// What is resident of the program's file, without the pages that the process has written to.
fn code(agent: &Agent) -> u64 {
    let process = format!("/proc/{}", agent.id());
    let program = fs::read_link(format!("{process}/exe")).unwrap();
    let maps = fs::read_to_string(format!("{process}/smaps")).unwrap();
    // Each mapping begins with a line that ends with its file, and the last of its lines has flags.
    maps.split_inclusive("VmFlags:")
        .filter(|mapping| mapping.contains(&format!("{}\n", program.display())))
        .map(|mapping| kibibytes(mapping, "Rss:").unwrap() - kibibytes(mapping, "Anonymous:").unwrap())
        .sum()
}

fn kibibytes(lines: &str, name: &str) -> Option<u64> {
    lines.lines().find_map(|line| line.strip_prefix(name))?.trim().trim_end_matches(" kB").parse().ok()
}

/// With one publisher, or with several.
pub(crate) fn assert_bounded(agent: &Agent, publishers: usize, when: &str) {
    assert_within(BOUND + PUBLISHER * (publishers as u64 - 1), agent, when);
}

fn assert_within(bound: u64, agent: &Agent, when: &str) {
    let peak = peak(agent);
    eprintln!("{when}: a peak of {peak} KiB");
    assert!(peak <= bound, "{when}: a peak of {peak} KiB");
}

/// With an InfluxDB that hangs, while two workers hold a batch each and once nothing is in hand, and while the agent writes what has
/// piled up.
fn outage(pipeline: &Pipeline, max_messages: &str) {
    let mut agent = pipeline.agent().env("KADABRA_BATCH__MAX_MESSAGES", max_messages).start();
    let holds = |least, most| {
        let leases = || Some(pipeline.left().leases).filter(|leases| (least..=most).contains(leases));
        wait_for("what is in hand", PATIENCE, || leases().map(drop));
    };
    holds(2, u64::MAX);
    agent.wait_condition("publisher");
    assert_bounded(&agent, 1, "InfluxDB hangs");
    holds(0, 0);
    assert_bounded(&agent, 1, "nothing is in hand");
    pipeline.influxd.resume();
    pipeline.wait_left(&Left::NOTHING);
    assert_bounded(&agent, 1, "all is written");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn many_messages() {
    let pipeline = Pipeline::start();
    pipeline.influxd.pause();
    pipeline.push_numbers(0..many());
    outage(&pipeline, "10000");
}

/// A message of about so many bytes, made of points.
pub(crate) fn large(number: usize, bytes: usize) -> String {
    let counter = |point: usize| {
        let time = format!("2026-03-01T12:00:{:02}.{:06}Z", point / 1_000_000, point % 1_000_000);
        format!(r#"{{"name": "large", "metadata": {{"path": "/index"}}, "timestamp": "{time}", "value": {number}.0}}"#)
    };
    let room = bytes - 300;
    let counters: Vec<_> = (0..room / (counter(0).len() + ", ".len())).map(counter).collect();
    format!(
        r#"{{"dimensions": [{{"name": "host", "value": "web{number}"}}], "counters": [{}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}}"#,
        counters.join(", ")
    )
}

#[test]
fn messages_of_a_megabyte() {
    let pipeline = Pipeline::start();
    pipeline.influxd.pause();
    for number in 0..30 {
        pipeline.push(large(number, 1 << 20).as_bytes());
    }
    outage(&pipeline, "10000");
}

#[test]
fn messages_as_large_as_they_may_be() {
    let pipeline = Pipeline::start();
    pipeline.influxd.pause();
    for number in 0..6 {
        pipeline.push(large(number, 4 << 20).as_bytes());
    }
    outage(&pipeline, "10000");
}

#[test]
fn messages_whose_lines_are_hundreds_of_times_as_large() {
    let pipeline = Pipeline::start();
    pipeline.influxd.pause();
    let dimensions: Vec<_> = (0..60).map(|n| format!(r#"{{"name": "d{n}", "value": "{}"}}"#, "v".repeat(1000))).collect();
    let message = |number: usize| {
        let message = large(number, 50_000);
        message.replacen("\"dimensions\": [", &format!("\"dimensions\": [{}, ", dimensions.join(", ")), 1)
    };
    // 25 MB of lines each.
    for number in 0..4 {
        pipeline.push(message(number).as_bytes());
    }
    outage(&pipeline, "2");
}

/// Each by another way of being hostile.
#[test]
fn dead_letters_as_large_as_they_may_be() {
    let pipeline = Pipeline::start();
    let room = (4 << 20) - 100;
    let mut hostile: Vec<String> = vec!["{".repeat(room), "[".repeat(room), "\"\\u0041".repeat(room / 7)];
    hostile.push(format!(r#"{{"counters": [{}0]}}"#, "0, ".repeat(room / 3 - 10)));
    hostile.push(format!(r#"{{"dimensions": [{}{{}}]}}"#, "{}, ".repeat(room / 4 - 10)));
    hostile.push(format!(
        "{{{}\"x\": 1}}",
        (0..room / 14).map(|n| format!("\"{n:08}\": 1, ")).collect::<String>().get(..room - 20).unwrap_or_default()
    ));
    for message in hostile.iter().cycle().take(12) {
        pipeline.push(message.as_bytes());
    }
    let mut agent = pipeline.agent().start();
    pipeline.wait_left(&Left { dead: 12, ..Left::NOTHING });
    assert_bounded(&agent, 1, "all are dead letters");
    // Two workers may set them aside in another order.
    let mut dead: Vec<_> = pipeline.dead_letters().into_iter().map(|mut letter| letter.remove("payload").unwrap()).collect();
    dead.sort();
    hostile.sort();
    assert!(dead.chunks(2).zip(&hostile).all(|(pair, message)| pair.iter().all(|payload| payload == message.as_bytes())));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_message_of_a_hundred_megabytes() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    pipeline.push_numbers(0..10);
    // One that the agent waits for, and one among others.
    pipeline.assert_all_written(0..10);
    pipeline.push(&vec![b'x'; 100 << 20]);
    pipeline.wait_left(&Left { dead: 1, ..Left::NOTHING });
    pipeline.push(&vec![b'y'; 100 << 20]);
    pipeline.push_numbers(10..20);
    pipeline.wait_left(&Left { dead: 2, ..Left::NOTHING });
    pipeline.assert_written(0..20);
    assert_bounded(&agent, 1, "after two of them");
    let dead = pipeline.dead_letters();
    assert!(dead[0]["payload"].len() == 100 << 20 && dead[1]["payload"].iter().all(|byte| *byte == b'y'));
    assert!(String::from_utf8_lossy(&dead[0]["reason"]).contains("104857600 bytes"));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// An agent that is the channel itself and whose InfluxDB is away, and what clients push to it with.
fn without_a_database(folder: &tempfile::TempDir) -> (Influxd, Agent, redis::Client) {
    let mut influxd = Influxd::start();
    influxd.create_database(DATABASE);
    influxd.stop();
    let port = free_port();
    let channel = format!(
        "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {:?}\nlisten = \"127.0.0.1:{port}\"",
        folder.path().join("queue.db")
    );
    let agent = Agent::with(&config_of(&channel, &influxd.url())).start();
    (influxd, agent, redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap())
}

/// The same of an agent that is the channel itself, to which so many clients at once push what it publishes only later.
fn own_queue(clients: usize, messages: &[Vec<u8>], measurement: &str, points: u64, bound: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut influxd, mut agent, client) = without_a_database(&folder);
    std::thread::scope(|scope| {
        for share in messages.chunks(messages.len().div_ceil(clients)) {
            let mut connection = wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok());
            scope.spawn(move || {
                for message in share {
                    let _: u64 = connection.lpush("kadabra_queue", message).unwrap();
                }
            });
        }
    });
    agent.wait_condition("publisher");
    assert_within(bound, &agent, "all is queued");
    influxd.start_again();
    wait_for("all to be written", PATIENCE, || (influxd.count(DATABASE, measurement) == points).then_some(()));
    assert_within(bound, &agent, "all is written");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn many_messages_in_a_queue_of_its_own() {
    let messages: Vec<_> = (0..20_000).map(|number| numbered(number).into_bytes()).collect();
    own_queue(4, &messages, "numbered", 20_000, BOUND);
}

#[test]
fn messages_as_large_as_they_may_be_in_a_queue_of_its_own() {
    let messages: Vec<_> = (0..8).map(|number| large(number, 4 << 20).into_bytes()).collect();
    let points = messages[0].windows(7).filter(|part| part == b"\"large\"").count() as u64;
    // Several at once might each have a part of channel.embedded.max_waiting_bytes, and one be refused.
    own_queue(1, &messages, "large", 8 * points, LARGE_PUSHES);
}

/// A message of 4 MiB of which `large` is almost all, instead of the words of a usual one.
fn with_a_large(field: &str, number: usize) -> Vec<u8> {
    let large = "v".repeat((4 << 20) - 1000);
    let fields = [
        ("dimension name", "host"),
        ("dimension value", "web1"),
        ("counter name", "visits"),
        ("metadata name", "path"),
        ("metadata value", "/index"),
        ("nested metadata", "deep"),
        ("counter timestamp", "2026-03-01T12:00:00.000001Z"),
        ("timer name", "answer"),
        ("timer unit", "milliseconds"),
        ("timestamp format", "%Y-%m-%dT%H:%M:%S.%fZ"),
        ("unknown key", "comment"),
    ];
    let [dimension, value, counter, name, text, nested, time, timer, unit, format, unknown] =
        fields.map(|(this, usual)| if this == field { large.as_str() } else { usual });
    let message = format!(
        r#"{{"dimensions": [{{"name": "{dimension}", "value": "{value}"}}], "counters": [{{"name": "{counter}", "metadata": {{"{name}": "{text}", "n": [{{"a": ["{nested}"]}}]}}, "timestamp": "{time}", "value": {number}}}], "timers": [{{"name": "{timer}", "metadata": {{}}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.5, "unit": {{"name": "{unit}", "seconds_offset": 1000}}}}], "timestamp_format": "{format}", "{unknown}": 1}}"#
    );
    assert!(message.len() > 4 << 20 >> 1 && message.len() <= 4 << 20, "no field is called {field}");
    message.into_bytes()
}

/// So many clients at once push 20 messages of 4 MiB: once while InfluxDB is away and once more when it is there.
fn large_pushes(clients: usize, what: &str, message: impl Fn(usize) -> Vec<u8> + Sync) {
    let folder = tempfile::tempdir().unwrap();
    let (mut influxd, mut agent, client) = without_a_database(&folder);
    let connect = || wait_for("the agent to take clients", PATIENCE, || client.get_connection().ok());
    drop(connect());
    let before = resident(&agent, "RssAnon:");
    let push = || {
        std::thread::scope(|scope| {
            for share in 0..clients {
                let (mut connection, message) = (connect(), &message);
                scope.spawn(move || {
                    for number in (share..20).step_by(clients) {
                        let _: u64 = connection.lpush("kadabra_queue", message(number)).unwrap();
                    }
                });
            }
        });
    };
    push();
    agent.wait_condition("publisher");
    assert_within(LARGE_PUSHES, &agent, &format!("{what} from {clients} clients, InfluxDB away"));
    influxd.start_again();
    push();
    let mut connection = connect();
    wait_for("all to be published or set aside", PATIENCE, || {
        let info: String = redis::cmd("INFO").query(&mut connection).unwrap();
        info.lines().any(|line| line.trim() == "queue_length:0").then_some(())
    });
    assert_within(LARGE_PUSHES, &agent, &format!("{what} from {clients} clients, all published"));
    wait_for("what they took to be given back", PATIENCE, || (resident(&agent, "RssAnon:") <= before + GIVEN_BACK).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

fn one_large_field(clients: usize) {
    let of_all_points = ["dimension name", "dimension value", "timestamp format", "unknown key"];
    let of_a_point =
        ["counter name", "metadata name", "metadata value", "nested metadata", "counter timestamp", "timer name", "timer unit"];
    for fields in [&of_all_points[..], &of_a_point[..]] {
        large_pushes(clients, &format!("{fields:?}"), |number| with_a_large(fields[number % fields.len()], number));
    }
}

#[test]
fn each_field_of_a_message_may_be_as_large_as_the_message() {
    one_large_field(1);
}

#[test]
fn twenty_clients_may_push_what_has_a_large_field_at_once() {
    one_large_field(20);
}

#[test]
fn every_point_of_a_large_message_may_be_refused() {
    let tag = format!(r#""dimensions": [{{"name": "x", "value": "{}"}}, "#, "v".repeat(70_000));
    let refused = |number| large(number, (4 << 20) - 100_000).replacen("\"dimensions\": [", &tag, 1);
    // One has to wait for InfluxDB.
    let message = |number| if number == 0 { numbered(0) } else { refused(number) };
    large_pushes(20, "points that are too long", |number| message(number).into_bytes());
}
