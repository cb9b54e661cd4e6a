//! `kadabra import`: a queue moves out of Redis into the agent's own, each message exactly once.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kadabra::{
    channel::{Channel, DeadLetter, Demand, embedded::EmbeddedChannel, redis::RedisChannel},
    config::{self, Redis, RedisMode, Secret},
};
use redis::{Commands as _, Connection};
use tempfile::TempDir;

use crate::support::{agent::kadabra, process::Process, redis_server::RedisServer};

const QUEUE: &str = "kadabra_queue";
const ALL: Demand = Demand { messages: 1_000_000, bytes: 1 << 30, not_before: None };

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

fn from(server: &RedisServer) -> RedisChannel {
    let settings = Redis {
        mode: RedisMode::Single(Secret::new(server.url())),
        password: None,
        tls: kadabra::config::Tls::default(),
        queue_key: QUEUE.into(),
        inprogress_key: "kadabra_inprogress".into(),
        lease: Duration::from_secs(1),
        timeout: Duration::from_secs(20),
        max_dead_letters: 10_000,
        max_message_bytes: 4 << 20,
        wait_replicas: 0,
    };
    RedisChannel::new(&settings, "the agent there", Duration::from_secs(600)).unwrap()
}

fn push(redis: &mut Connection, list: &str, messages: impl Iterator<Item = String>) {
    let messages: Vec<String> = messages.collect();
    for messages in messages.chunks(1000) {
        let _: usize = redis.lpush(list, messages).unwrap();
    }
}

/// The command, and the configuration of the file that it moves into.
fn command(server: &RedisServer, folder: &Path) -> std::process::Command {
    let mut command = kadabra();
    command.arg("import").arg("--from").arg(server.url()).envs(environment(folder));
    command
}

fn environment(folder: &Path) -> [(&'static str, String); 2] {
    let path = folder.join("queue.db").display().to_string();
    [("KADABRA_CHANNEL__TYPE", "embedded".to_owned()), ("KADABRA_CHANNEL__EMBEDDED__PATH", path)]
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// What waits in the file: how often each message, and whether as an adopted one.
fn arrived(folder: &Path) -> BTreeMap<String, Vec<bool>> {
    let loaded = config::load(None, environment(folder)).unwrap();
    let config::Channel::Embedded(settings) = loaded.settings.channel else { panic!("the wrong channel") };
    run(async {
        let channel = EmbeddedChannel::new(&settings, "here");
        channel.open().await.unwrap();
        let mut arrived: BTreeMap<String, Vec<bool>> = BTreeMap::new();
        while let Some(lease) = channel.receive(ALL, Duration::ZERO).await.unwrap() {
            for message in lease.messages.iter() {
                arrived.entry(String::from_utf8(message.clone()).unwrap()).or_default().push(lease.adopted);
            }
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        arrived
    })
}

fn letters(folder: &Path) -> Vec<(String, String, String)> {
    let file = rusqlite::Connection::open(folder.join("queue.db")).unwrap();
    let mut select = file.prepare("SELECT payload, reason, agent FROM dead ORDER BY id").unwrap();
    let text = |payload: Vec<u8>| String::from_utf8(payload).unwrap();
    let rows = select.query_map([], |row| Ok((text(row.get(0)?), row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn killed_at_any_moment_it_still_moves_each_message_once_and_all_that_is_known_of_it() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    // Dead letters, and the lease of an agent that died.
    push(&mut redis, QUEUE, (0..20).map(|n| format!("bad {n}")));
    push(&mut redis, QUEUE, (0..500).map(|n| format!("leased {n}")));
    run(async {
        let there = from(&server);
        let bad =
            there.receive(Demand { messages: 20, bytes: 1 << 20, not_before: None }, Duration::ZERO).await.unwrap().unwrap();
        let letter =
            |message| DeadLetter { lease: bad.id().clone(), message, reason: format!("why {message}"), refused: Vec::new() };
        let parked: Vec<_> = (0..20).map(letter).collect();
        there.complete(&mut vec![bad], &parked).await.unwrap();
        std::mem::forget(
            there.receive(Demand { messages: 500, bytes: 1 << 20, not_before: None }, Duration::ZERO).await.unwrap().unwrap(),
        );
    });
    push(&mut redis, QUEUE, (0..60_000).map(|n| format!("queued {n} {}", "x".repeat(200))));
    push(&mut redis, "kadabra_inprogress", (0..3000).map(|n| format!("in progress {n}")));

    let folder = tempfile::tempdir().unwrap();
    let mut kills = 0;
    loop {
        let log = folder.path().join("log");
        let mut import = Process::start("import", command(&server, folder.path()), &log);
        // Later and later, so that the last one comes to its end.
        thread::sleep(Duration::from_millis(15 + 25 * kills));
        if let Some(status) = import.ended() {
            assert!(status.success(), "{}", fs::read_to_string(&log).unwrap());
            break;
        }
        import.kill();
        kills += 1;
    }
    assert!(kills >= 3, "it was too quick to show anything: killed {kills} times");

    let arrived = arrived(folder.path());
    assert_eq!(arrived.len(), 63_500);
    for (message, times) in &arrived {
        assert_eq!(times, &[message.starts_with("in progress")], "{message}");
    }
    let expected: Vec<_> = (0..20).map(|n| (format!("bad {n}"), format!("why {n}"), "the agent there".to_owned())).collect();
    assert_eq!(letters(folder.path()), expected);
    let dead: usize = redis.xlen("{kadabra_queue}:dead").unwrap();
    let left: Vec<String> = redis.keys("*").unwrap();
    assert!(dead == 0 && left.iter().all(|key| key.contains(":lost:") || key.ends_with(":dead")), "{dead} letters, {left:?}");
}

/// A way to Redis that ends with a request: nothing passes any more, in either direction.
struct Cut {
    port: u16,
    /// How many more requests arrive there.
    left: Arc<AtomicUsize>,
}

impl Cut {
    /// Before the `n`th request arrives, or, if `late`, between that and its answer.
    fn at(port: u16, n: usize, late: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let cut = Self { port: listener.local_addr().unwrap().port(), left: Arc::new(AtomicUsize::new(n)) };
        let left = Arc::clone(&cut.left);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if left.load(Ordering::SeqCst) == 0 {
                    break;
                }
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (asking, asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let counted = Arc::clone(&left);
                thread::spawn(move || pass(asking, asked, || counted.fetch_sub(1, Ordering::SeqCst) > 1, late));
                let left = Arc::clone(&left);
                thread::spawn(move || pass(server, client, || left.load(Ordering::SeqCst) > 0, false));
            }
        });
        cut
    }

    fn happened(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// Passes on what may pass, and if `late` also what was the first that might not.
fn pass(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn() -> bool, late: bool) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let passes = may_pass();
        if (passes || late) && to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if !passes {
            // So that it is done before the connection is seen to end.
            if late {
                thread::sleep(Duration::from_millis(20));
            }
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn cut_at_any_request_it_still_moves_each_message_once_though_another_source_comes_in_between() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    for (n, late) in (1..).flat_map(|n| [(n, false), (n, true)]) {
        let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
        push(&mut redis, QUEUE, (0..1100).map(|n| format!("queued {n}")));
        push(&mut redis, "kadabra_inprogress", (0..20).map(|n| format!("in progress {n}")));
        push(&mut redis, "other", (0..10).map(|n| format!("of the other {n}")));
        for queue in [QUEUE, "other"] {
            let _: String = redis.xadd(format!("{{{queue}}}:dead"), "*", &[("payload", queue)]).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let import = |url: &str, queue: &str| {
            let mut command = kadabra();
            command.args(["import", "--from", url, "--queue-key", queue]).envs(environment(folder.path()));
            if queue != QUEUE {
                command.args(["--inprogress-key", "of-nobody"]);
            }
            command.output().unwrap()
        };
        let cut = Cut::at(server.port(), n, late);
        let first = import(&format!("redis://127.0.0.1:{}/0", cut.port), QUEUE);
        if !cut.happened() {
            assert_eq!(first.status.code(), Some(0), "{}", text(&first));
            assert!(n > 15, "only {n} requests are too few to show anything");
            break;
        }
        for queue in ["other", QUEUE] {
            let output = import(&server.url(), queue);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        }
        let when = format!("cut at request {n}{}", if late { ", late" } else { "" });
        let arrived = arrived(folder.path());
        let twice: Vec<_> = arrived.iter().filter(|(_, times)| times.len() > 1).collect();
        assert!(twice.is_empty() && arrived.len() == 1130, "{when}: {} arrived, twice: {twice:?}", arrived.len());
        let mut letters: Vec<_> = letters(folder.path()).into_iter().map(|(payload, ..)| payload).collect();
        letters.sort();
        assert_eq!(letters, [QUEUE, "other"], "{when}");
    }
}

#[test]
fn messages_and_dead_letters_of_any_size_that_is_allowed_are_moved() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    // More than a portion has, by their number, by their bytes, and by those of one.
    let of = |bytes: usize, count: usize| (0..count).map(move |n| format!("{n} {}", "x".repeat(bytes)));
    push(&mut redis, QUEUE, of(900, 2500).chain(of(2000, 1500)).chain(of(300_000, 10)).chain(of((4 << 20) - 2, 2)));
    let letter = |payload: usize, refused: usize| {
        let (payload, refused) = ("x".repeat(payload), "x".repeat(refused));
        [("payload", payload), ("reason", "why".to_owned()), ("refused", refused), ("agent", "a".to_owned())]
    };
    for letter in [letter(4 << 20, 8 << 20), letter(10, 10)] {
        let _: String = redis.xadd("{kadabra_queue}:dead", "*", &letter).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let output = command(&server, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("4012 messages and 2 dead letters were moved"), "{}", text(&output));
    assert_eq!(arrived(folder.path()).values().map(Vec::len).sum::<usize>(), 4012);
    assert_eq!(letters(folder.path()).iter().map(|(payload, ..)| payload.len()).collect::<Vec<_>>(), [4 << 20, 10]);
}

#[test]
fn what_an_agent_there_still_holds_is_said_and_left_to_it() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, QUEUE, (0..10).map(|n| n.to_string()));
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let there = from(&server);
        let lease = there.receive(Demand { messages: 3, bytes: 100, not_before: None }, Duration::ZERO).await.unwrap().unwrap();
        let mut connection = server.connection();
        // As long as it is renewed.
        let _: usize = connection.zadd("{kadabra_queue}:leases", lease.id().0.as_str(), 1e15).unwrap();
        let output = command(&server, folder.path()).args(["--wait", "1s"]).output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output));
        assert!(text(&output).contains("1 lease is open in Redis still"), "{}", text(&output));
        assert!(text(&output).contains("waiting up to 1s for 1 lease in Redis"), "{}", text(&output));
        assert!(text(&output).contains("7 messages and 0 dead letters were moved"), "{}", text(&output));
        there.complete(&mut vec![lease], &[]).await.unwrap();
    });
    let output = command(&server, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(arrived(folder.path()).len(), 7);
}

#[test]
fn what_is_too_large_stays_a_dead_letter_there_and_is_said() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, QUEUE, ["small".to_owned(), "x".repeat(5 << 20)].into_iter());
    let folder = tempfile::tempdir().unwrap();
    let output = command(&server, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 message and 0 dead letters were moved"), "{}", text(&output));
    assert!(text(&output).contains("1 dead letter was left in Redis"), "{}", text(&output));
    assert_eq!(arrived(folder.path()).into_keys().collect::<Vec<_>>(), ["small"]);
}

#[test]
fn dead_letters_for_which_there_is_no_place_stay_there_and_none_is_dropped() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    for n in 0..5 {
        let _: String = redis.xadd("{kadabra_queue}:dead", "*", &[("payload", n.to_string())]).unwrap();
    }
    push(&mut redis, QUEUE, ["queued".to_owned()].into_iter());
    let folder = tempfile::tempdir().unwrap();
    let import = |letters: &str| {
        let mut command = command(&server, folder.path());
        let output = command.env("KADABRA_CHANNEL__EMBEDDED__MAX_DEAD_LETTERS", letters).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let first = import("3");
    assert!(first.contains("1 message and 3 dead letters were moved"), "{first}");
    assert!(first.contains("2 dead letters were left in Redis"), "{first}");
    let second = import("5");
    assert!(second.contains("0 messages and 2 dead letters were moved") && !second.contains("left in Redis"), "{second}");
    assert_eq!(letters(folder.path()).iter().map(|(payload, ..)| payload.as_str()).collect::<String>(), "01234");
}

#[test]
fn what_cannot_be_done_is_said() {
    let server = RedisServer::start();
    let folder = TempDir::new().unwrap();
    let said = |arguments: &[&str], variables: &[(&str, &str)], code: i32, words: &str| {
        let mut command = command(&server, folder.path());
        let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(words), "{words:?} is not in: {}", text(&output));
    };
    said(&[], &[("KADABRA_CHANNEL__TYPE", "redis")], 78, "set channel.type = \"embedded\"");
    said(&["--password-file", "/nonexistent"], &[], 78, "/nonexistent: cannot be read");
    said(&["--wait", "soon"], &[], 2, "invalid value 'soon'");

    let mut elsewhere = kadabra();
    elsewhere.args(["import", "--from", "redis://:sesame@127.0.0.1:1/0"]).envs(environment(folder.path()));
    let output = elsewhere.output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("expected --password-file") && !text(&output).contains("sesame"), "{}", text(&output));
}

#[test]
fn what_is_wrong_with_the_redis_is_said_with_the_options_of_the_command() {
    let server = RedisServer::start();
    let folder = TempDir::new().unwrap();
    let _: () = redis::cmd("CONFIG").arg(&["SET", "requirepass", "sesame"]).query(&mut server.connection()).unwrap();
    let output = command(&server, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(
        text(&output).contains("name the file in --password-file") && !text(&output).contains("channel.redis"),
        "{}",
        text(&output)
    );
    let mut nowhere = kadabra();
    let nothing = TempDir::new().unwrap();
    nowhere.args(["import", "--from", "http://127.0.0.1:1/"]).envs(environment(nothing.path()));
    let output = nowhere.output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(!text(&output).contains("moved"), "{}", text(&output));
    assert!(!nothing.path().join("queue.db").exists(), "nothing is opened for that");
    assert!(
        text(&output).contains("--from: expected a URL that starts with redis://") && !text(&output).contains("channel.redis"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_queue_that_is_not_there_is_said_by_name() {
    let server = RedisServer::start();
    push(&mut server.connection(), QUEUE, ["queued".to_owned()].into_iter());
    let folder = TempDir::new().unwrap();
    let import = |queue: &str| {
        let output = command(&server, folder.path()).args(["--queue-key", queue]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let said = import("kadabra_queu");
    assert!(said.contains("there is no queue \"kadabra_queu\"") && said.contains("correct --queue-key"), "{said}");
    let said = import(QUEUE);
    assert!(!said.contains("there is no queue") && said.contains("1 message and 0 dead letters"), "{said}");
}

#[test]
fn what_was_set_apart_for_a_file_that_is_gone_is_said_and_taken_over_once_when_told_so() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, QUEUE, ["queued".to_owned()].into_iter());
    push(&mut redis, "{kadabra_queue}:adopted", ["in progress".to_owned()].into_iter());
    run(async {
        let there = from(&server);
        for _ in 0..2 {
            there.set_apart("0123456789abcdef").await.unwrap().unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let output = command(&server, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(
        text(&output).contains("has set 2 portions") && text(&output).contains("says 0123456789abcdef, or"),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("if it is gone, run this again with --take-over"), "{}", text(&output));
    let output = command(&server, folder.path()).arg("--take-over").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("2 messages and 0 dead letters were moved"), "{}", text(&output));
    let output = command(&server, folder.path()).arg("--take-over").output().unwrap();
    assert!(text(&output).contains("0 messages and 0 dead letters were moved"), "{}", text(&output));
    let left: Vec<String> = redis.keys("*").unwrap();
    assert!(left.is_empty(), "{left:?}");
    let expected = [("in progress".to_owned(), vec![true]), ("queued".to_owned(), vec![false])];
    assert_eq!(arrived(folder.path()), BTreeMap::from(expected));
}

#[test]
fn what_older_versions_left_where_nothing_leads_to_is_moved_too() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    let folder = tempfile::tempdir().unwrap();
    push(&mut redis, "{kadabra_queue}:lease:there:0123456789abcdef-7", (0..3).map(|n| format!("leased {n}")));
    push(&mut redis, "{kadabra_queue}:lease:there:0123456789abcdef-8:adopted", ["in progress".to_owned()].into_iter());
    push(&mut redis, "{kadabra_queue}:lease:there:0123456789abcdef-3", [String::new()].into_iter());
    push(&mut redis, "{kadabra_queue}:moving:a file:1", ["set apart".to_owned()].into_iter());
    // Far more keys than one step goes through.
    for number in 0..5000 {
        let _: () = redis.set(format!("other {number}"), "").unwrap();
    }
    let output = command(&server, folder.path()).args(["--wait", "0s", "--take-over"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("5 messages and 0 dead letters were moved"), "{}", text(&output));
    assert!(!text(&output).contains("there is no queue"), "{}", text(&output));
    let left: Vec<String> = redis.keys("{kadabra_queue}:[^l]*").unwrap();
    let lists: Vec<String> = redis.keys("{kadabra_queue}:lease*").unwrap();
    assert!(left.is_empty() && lists.is_empty(), "{left:?}, {lists:?}");
    let leased = (0..3).map(|n| (format!("leased {n}"), vec![false]));
    let others = [("in progress".to_owned(), vec![true]), ("set apart".to_owned(), vec![false])];
    assert_eq!(arrived(folder.path()), leased.chain(others).collect());
}

#[test]
fn a_right_that_is_missing_is_said_before_anything_is_moved() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, QUEUE, ["m".to_owned()].into_iter());
    let folder = tempfile::tempdir().unwrap();
    for right in ["del", "srem", "xdel", "scan", "ltrim"] {
        let rules = ["reset", "on", "nopass", "~*", "+@all", &format!("-{right}")];
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(&rules).query::<()>(&mut redis).unwrap();
        let output = command(&server, folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{right}: {}", text(&output));
        let said = text(&output).to_lowercase();
        assert!(said.contains("lacks a permission") && said.contains(right) && said.contains("0 messages"), "{right}: {said}");
        let waits: usize = redis.llen(QUEUE).unwrap();
        assert_eq!(waits, 1, "{right}");
    }
}

#[test]
fn what_was_set_apart_when_larger_messages_were_allowed_still_arrives() {
    let server = RedisServer::start();
    let large = "x".repeat(3 << 20);
    push(&mut server.connection(), QUEUE, [large.clone()].into_iter());
    let folder = tempfile::tempdir().unwrap();
    // Makes the file, whose name is needed.
    arrived(folder.path());
    let file = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
    let identity: String = file.query_row("SELECT id FROM identity", [], |row| row.get(0)).unwrap();
    drop(file);
    run(async { from(&server).set_apart(&identity).await }).unwrap().unwrap();
    let mut import = command(&server, folder.path());
    let output = import.env("KADABRA_CHANNEL__EMBEDDED__MAX_MESSAGE_BYTES", "1MiB").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(arrived(folder.path()), BTreeMap::from([(large, vec![false])]));
}
