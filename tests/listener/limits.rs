//! Nothing that a client does costs the agent more than its limits allow, and nobody else is made to wait for it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use kadabra::channel::embedded::test_server::{FaultMode, TestServer};

use super::{Q, address, command, connect, listener, read, rest, said, with};
use crate::support::process::wait_for;

const SOON: Duration = Duration::from_millis(100);

pub(super) fn works(listener: &TestServer) {
    let push = [command(&["LPUSH", Q, "honest"]), command(&["QUIT"])].concat();
    let answer = said(address(listener), &push);
    assert!(answer.starts_with(':') && answer.ends_with("\r\n+OK\r\n"), "{answer}");
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").unwrap();
    assert_eq!(read(stream, 7), "+PONG\r\n");
}

/// The lines of the log with these words, with the number of clients in each.
fn said_of(listener: &TestServer, words: &str) -> Vec<u64> {
    let log = listener.log();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines = lines.filter(|line| line["msg"].as_str().is_some_and(|said| said.contains(words)));
    lines
        .map(|line| {
            assert!(line["for_example"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
            line["clients"].as_u64().unwrap()
        })
        .collect()
}

pub(super) fn assert_said(listener: &TestServer, words: &str, clients: u64) {
    assert_eq!(said_of(listener, words), [clients], "{}", listener.log());
}

#[test]
fn one_client_too_many_is_turned_away_in_redis_words_and_the_others_stay() {
    let listener = with(|settings| settings.max_connections = 2);
    let mut clients = [connect(address(&listener)), connect(address(&listener))];
    clients.iter_mut().for_each(ping);
    assert_eq!(rest(&mut connect(address(&listener))), "-ERR max number of clients reached\r\n");
    clients.iter_mut().for_each(ping);
    let [gone, _stays] = clients;
    drop(gone);
    wait_for("a place for another client", super::PATIENCE, || {
        let mut next = connect(address(&listener));
        next.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        next.read_exact(&mut answer).ok()?;
        (answer == *b"+PONG\r\n").then_some(())
    });
    assert!(listener.log().contains("see max_connections"), "{}", listener.log());
}

/// How much memory this process has resident, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn what_is_announced_or_half_sent_takes_little_memory_and_nobody_honest_waits_for_it() {
    let listener = with(|settings| settings.patience = SOON);
    works(&listener);
    let before = resident();
    let announced = format!("*3\r\n$5\r\nLPUSH\r\n${}\r\n{Q}\r\n$4000000\r\n", Q.len());
    let mut attackers: Vec<_> = (0..200).map(|_| connect(address(&listener))).collect();
    for attacker in &mut attackers {
        attacker.write_all(announced.as_bytes()).unwrap();
    }
    works(&listener);
    // Now half of each: 400 MB, of which there is memory for 8 MiB. Whoever gets none is told so and closed.
    let half = vec![b'x'; 2_000_000];
    let senders: Vec<_> = attackers
        .into_iter()
        .map(|mut attacker| {
            drop(attacker.write_all(&half));
            attacker
        })
        .collect();
    works(&listener);
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MB more", grown >> 20);
    drop(senders);
    works(&listener);
}

#[test]
fn a_message_that_is_too_large_is_refused_while_its_sender_goes_on() {
    let listener = with(|settings| settings.max_message_bytes = 100_000);
    let mut stream = connect(address(&listener));
    let large = vec![b'x'; 5_000_000];
    stream.write_all(&command(&[b"LPUSH".as_slice(), Q.as_bytes(), &large])).unwrap();
    stream.write_all(&[command(&["LPUSH", Q, "small"]), command(&["QUIT"])].concat()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("-ERR 5000000 bytes are more") && answer.ends_with("\r\n:1\r\n+OK\r\n"), "{answer}");
}

#[test]
fn who_sends_on_after_a_protocol_error_still_reads_it() {
    let listener = listener();
    let mut stream = connect(address(&listener));
    drop(stream.write_all(&[b"*1\r\n:5\r\n".as_slice(), &vec![b'x'; 3_000_000]].concat()));
    assert_eq!(rest(&mut stream), "-ERR Protocol error: expected '$', got ':'\r\n");
    assert_said(&listener, "what a Redis does not understand either", 1);
}

#[test]
fn a_request_that_never_ends_is_given_up_however_slowly_it_drips() {
    let listener = with(|settings| settings.timeout = Duration::from_millis(500));
    let mut stream = connect(address(&listener));
    stream.write_all(b"*1\r\n$400\r\n").unwrap();
    let ended = wait_for("the end of a dripping request", super::PATIENCE, || {
        drop(stream.write_all(b"x"));
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        match stream.read(&mut [0; 10]) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => None,
            other => Some(other),
        }
    });
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    works(&listener);
    assert_said(&listener, "had not arrived whole after 500ms", 1);
}

#[test]
fn silent_clients_are_closed_only_where_that_is_wanted() {
    let listener = with(|settings| settings.idle_timeout = Some(Duration::from_secs(1)));
    let mut stream = connect(address(&listener));
    ping(&mut stream);
    assert_eq!(rest(&mut stream), "");
    assert_said(&listener, "silent for idle_timeout", 1);

    let patient = with(|settings| settings.timeout = Duration::from_millis(50));
    let mut silent = connect(address(&patient));
    silent.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(silent.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    ping(&mut silent);
}

#[test]
fn who_does_not_say_the_password_does_not_stay() {
    let listener = with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.timeout = Duration::from_secs(2);
    });
    let mut knowing = connect(address(&listener));
    knowing.write_all(b"AUTH right\r\n").unwrap();
    assert_eq!(read(&mut knowing, 5), "+OK\r\n");
    assert_eq!(rest(&mut connect(address(&listener))), "");
    ping(&mut knowing);
    assert_said(&listener, "had not said the password after 2s", 1);
}

#[test]
fn who_does_not_read_answers_is_cut_off_and_holds_up_nobody() {
    let listener = with(|settings| settings.timeout = Duration::from_secs(1));
    let mut stream = connect(address(&listener));
    // Each INFO is a hundred times longer than its question.
    let questions = b"INFO\r\n".repeat(400_000);
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let before = resident();
    drop(stream.write_all(&questions));
    works(&listener);
    wait_for("the slow reader to be gone", super::PATIENCE, || {
        let clients = said(address(&listener), b"CLIENT LIST\r\nQUIT\r\n");
        (clients.matches(" addr=").count() == 1).then_some(())
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{} MB more", grown >> 20);
    assert_said(&listener, "did not read their answers within 1s", 1);
}

#[test]
fn a_slow_queue_holds_up_only_who_pushes() {
    let listener = listener();
    let mut quick = connect(address(&listener));
    ping(&mut quick);
    listener.set(FaultMode::Stuck);
    let mut pushing = connect(address(&listener));
    pushing.write_all(&[command(&["ECHO", "x"]), command(&["LPUSH", Q, "a"])].concat()).unwrap();
    ping(&mut quick);
    pushing.set_nonblocking(true).unwrap();
    assert!(pushing.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    pushing.set_nonblocking(false).unwrap();
    listener.set(FaultMode::None);
    assert_eq!(read(&mut pushing, 11), "$1\r\nx\r\n:1\r\n");
}

#[test]
fn http_is_cut_off_and_logged() {
    let listener = listener();
    for request in [
        "POST / HTTP/1.1\r\nHost: localhost:6379\r\n\r\nLPUSH kadabra_queue x\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:6379\r\n\r\nLPUSH kadabra_queue x\r\n",
    ] {
        let answer = said(address(&listener), request.as_bytes());
        assert!(!answer.contains(":1"), "{answer}");
    }
    assert!(listener.messages().is_empty());
    assert!(listener.log().contains("spoke HTTP"), "{}", listener.log());
}

#[test]
fn who_does_not_know_the_password_keeps_no_place_from_who_does() {
    let listener = with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.max_connections = 8;
    });
    let strangers: Vec<_> = (0..8).map(|_| connect(address(&listener))).collect();
    let begun = std::time::Instant::now();
    let mut known: Vec<_> = Vec::new();
    while known.len() < 6 {
        wait_for("a place", super::PATIENCE, || {
            let mut client = connect(address(&listener));
            client.write_all(b"AUTH right\r\n").ok()?;
            let mut answer = [0; 5];
            client.read_exact(&mut answer).ok().filter(|()| answer == *b"+OK\r\n")?;
            known.push(client);
            Some(())
        });
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    known.iter_mut().for_each(ping);
    let cut = said_of(&listener, "had not said the password, and others came");
    assert!(!cut.is_empty() && strangers.len() == 8, "{}", listener.log());
}

#[test]
fn who_was_cut_off_is_said_with_how_many_and_none_is_forgotten() {
    let mut listener = with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.wrong_password_pause = Duration::from_millis(1);
    });
    for _ in 0..20 {
        said(address(&listener), b"AUTH wrong\r\nQUIT\r\n");
    }
    assert_eq!(said_of(&listener, "wrong password"), [1]);
    assert!(listener.end());
    assert_eq!(said_of(&listener, "wrong password"), [1, 19]);
}

#[test]
fn the_pushes_of_a_transaction_are_one_push_however_many_they_are() {
    const MANY: usize = 5000;
    let listener = listener();
    let mut stream = connect(address(&listener));
    let mut wire = command(&["LPUSH", Q, "before"]);
    wire.extend(command(&["MULTI"]));
    (0..MANY).for_each(|number| wire.extend(command(&["LPUSH", Q, &number.to_string()])));
    wire.extend([command(&["EXEC"]), command(&["LPUSH", Q, "after"]), command(&["QUIT"])].concat());
    let sending = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || stream.write_all(&wire).unwrap()
    });
    let answers = rest(&mut stream);
    sending.join().unwrap();
    let lengths: String = (2..MANY + 2).map(|length| format!(":{length}\r\n")).collect();
    let expected = format!(":1\r\n+OK\r\n{}*{MANY}\r\n{lengths}:{}\r\n+OK\r\n", "+QUEUED\r\n".repeat(MANY), MANY + 2);
    assert!(answers == expected, "{} bytes instead of {}", answers.len(), expected.len());
    assert_eq!(listener.groups(), [1, MANY, 1]);
}
