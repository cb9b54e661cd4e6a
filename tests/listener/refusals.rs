//! Every refusal is counted by its reason and is in the log, and so is its end.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpStream},
};

use kadabra::channel::embedded::{
    Cause,
    test_server::{FaultMode, TestServer},
};

use super::{Q, address, command, connect, line, read, with};

/// What `INFO kadabra` says was refused, of what is not zero, and what is being refused now.
fn refused(address: SocketAddr, password: &str) -> (BTreeMap<String, u64>, String) {
    let mut stream = connect(address);
    stream.write_all(&[command(&["AUTH", password]), command(&["INFO", "kadabra"])].concat()).unwrap();
    assert_eq!(line(&mut stream), "+OK");
    let length = line(&mut stream).trim_start_matches('$').parse().unwrap();
    let info = read(&mut stream, length);
    let all: BTreeMap<String, u64> = info
        .lines()
        // Of which nothing is refused to anybody.
        .filter_map(|line| {
            line.strip_prefix("refused_")
                .or_else(|| (line.starts_with("dropped_oldest") || line.starts_with("answered_early:")).then_some(line))?
                .split_once(':')
        })
        .filter_map(|(reason, times)| Some((reason.to_owned(), times.parse().ok()?)))
        .collect();
    assert_eq!(all.len(), Cause::ALL.len(), "each has a counter that exists at zero");
    let now = info.lines().find_map(|line| line.strip_prefix("refusing:")).unwrap().to_owned();
    (all.into_iter().filter(|(_, times)| *times > 0).collect(), now)
}

fn ask(stream: &mut TcpStream, words: &[&str]) -> String {
    stream.write_all(&command(words)).unwrap();
    line(stream)
}

fn said(listener: &TestServer, reason: &str) -> Vec<String> {
    let log = listener.log();
    let lines = log.lines().filter(|line| line.contains(&format!("\"reason\":\"{reason}\"")));
    lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["msg"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_refusal_of_a_push_is_counted_by_its_reason_and_said_once() {
    let listener = with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("sesame"));
        settings.wrong_password_pause = std::time::Duration::ZERO;
        settings.max_message_bytes = 1000;
    });
    let address = address(&listener);
    assert_eq!(refused(address, "sesame"), (BTreeMap::new(), String::new()));

    let mut stream = connect(address);
    assert!(ask(&mut stream, &["LPUSH", Q, "a"]).starts_with("-NOAUTH"));
    assert!(ask(&mut stream, &["LPUSH", Q, "a"]).starts_with("-NOAUTH"));
    assert!(ask(&mut stream, &["AUTH", "semolina"]).starts_with("-WRONGPASS"));
    assert_eq!(ask(&mut stream, &["AUTH", "sesame"]), "+OK");
    assert!(ask(&mut stream, &["RPUSH", "typo", "a"]).contains("is not the queue"));
    assert!(ask(&mut stream, &["LPUSH", Q, &"x".repeat(1001)]).contains("max_message_bytes"));
    assert!(ask(&mut stream, &["LPUSH", Q]).contains("wrong number"));
    assert!(ask(&mut stream, &["LPUSHX", Q, "a"]).contains("unknown command"));
    assert!(ask(&mut stream, &["BRPOPLPUSH", Q, "b", "1"]).contains("is itself the channel"));
    assert!(ask(&mut stream, &["GET", "a"]).contains("unknown command"), "who asks for that does not push");
    assert!(ask(&mut stream, &["SELECT", "1"]).contains("database 0"));
    assert_eq!(ask(&mut stream, &["MULTI"]), "+OK");
    assert_eq!(ask(&mut stream, &["LPUSH", Q, "a"]), "+QUEUED");
    assert!(ask(&mut stream, &["NONSENSE"]).contains("unknown command"));
    assert!(ask(&mut stream, &["EXEC"]).starts_with("-EXECABORT"));
    listener.set(FaultMode::Full);
    assert!(ask(&mut stream, &["LPUSH", Q, "a", "b"]).starts_with("-OOM"));
    listener.set(FaultMode::Failing("cannot write".to_owned()));
    stream.write_all(&command(&["LPUSH", Q, "a"]).repeat(3)).unwrap();
    assert!((0..3).all(|_| line(&mut stream).starts_with("-MISCONF cannot write")));

    let expected = [
        ("no_password", 2),
        ("wrong_password", 1),
        ("wrong_queue", 1),
        ("too_large", 1),
        ("no_message", 1),
        ("unknown_command", 2),
        ("wrong_database", 1),
        ("transaction_aborted", 1),
        ("queue_full", 1),
        ("write_failed", 3),
    ];
    let (times, now) = refused(address, "sesame");
    assert_eq!(times, expected.map(|(reason, times)| (reason.to_owned(), times)).into());
    for (reason, _) in expected {
        assert!(now.split(',').any(|other| other == reason), "{reason} is not over: {now}");
        assert_eq!(said(&listener, reason).len(), 1, "{reason}: {}", listener.log());
    }

    listener.set(FaultMode::None);
    assert_eq!(ask(&mut stream, &["LPUSH", Q, "a"]), ":1");
    let (times, now) = refused(address, "sesame");
    assert_eq!((times["queue_full"], times["write_failed"]), (1, 3), "they stay counted");
    for reason in ["queue_full", "write_failed"] {
        assert!(!now.contains(reason), "{now}");
        let lines = said(&listener, reason);
        assert!(lines.len() == 2 && lines[1].starts_with("what clients push is taken again, after "), "{lines:?}");
    }
}
