//! Large pushes at the same time: all of them are taken, in turn, and whoever does not go on with theirs gives way.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use kadabra::channel::embedded::test_server::{FaultMode, Settings, TestServer};

use super::{
    PATIENCE, Q, address, command, connect,
    limits::{assert_said, works},
    line, rest, said, with,
};
use crate::support::process::wait_for;

/// How long any of them may take, on a machine that has much else to do.
const LONG: Duration = Duration::from_secs(120);

fn push(bytes: usize) -> Vec<u8> {
    command(&["LPUSH", Q, &"x".repeat(bytes)])
}

fn pushes(messages: usize, bytes: usize) -> Vec<u8> {
    let message = "x".repeat(bytes);
    let mut words = vec!["LPUSH", Q];
    words.resize(2 + messages, &message);
    command(&words)
}

fn transaction(commands: usize, command_itself: &[u8]) -> Vec<u8> {
    [&command(&["MULTI"])[..], &command_itself.repeat(commands), &command(&["EXEC"])].concat()
}

/// Has so many clients say the same, all of them at once, and checks that each is answered so many lines and no error.
fn all_at_once(listener: &TestServer, clients: &[(usize, Vec<u8>, usize)]) {
    thread::scope(|scope| {
        for (count, wire, lines) in clients {
            for _ in 0..*count {
                let stream = connect(address(listener));
                stream.set_read_timeout(Some(LONG)).unwrap();
                stream.set_write_timeout(Some(LONG)).unwrap();
                let mut sending = stream.try_clone().unwrap();
                scope.spawn(move || sending.write_all(wire).unwrap());
                scope.spawn(move || assert_answered(stream, *lines));
            }
        }
    });
    assert_eq!(used(listener), 0);
}

fn assert_answered(mut stream: TcpStream, lines: usize) {
    for _ in 0..lines {
        let line = line(&mut stream);
        assert!(!line.starts_with('-'), "{line}");
    }
}

/// How much of the shared memory is taken.
fn used(listener: &TestServer) -> usize {
    let info = said(address(listener), &[command(&["INFO", "memory"]), command(&["QUIT"])].concat());
    info.lines().find_map(|line| line.strip_prefix("listener_used_bytes:")).unwrap().parse().unwrap()
}

fn wait_used(listener: &TestServer, at_least: usize) {
    wait_for("memory to be taken", PATIENCE, || (used(listener) >= at_least).then_some(()));
}

fn forgetful() -> TestServer {
    let listener = with(|_| ());
    listener.set(FaultMode::Emptied);
    listener
}

#[test]
fn large_pushes_at_the_same_time_are_all_taken() {
    let listener = forgetful();
    all_at_once(&listener, &[(10, push(3_000_000), 1)]);
    all_at_once(&listener, &[(50, push(3_000_000), 1)]);
}

#[test]
fn pipelines_of_many_clients_at_the_same_time_are_all_taken() {
    all_at_once(&forgetful(), &[(500, push(100_000).repeat(4), 4)]);
}

#[test]
fn transactions_and_commands_of_many_messages_at_the_same_time_are_all_taken() {
    let listener = forgetful();
    all_at_once(&listener, &[(50, transaction(20, &push(20_000)), 42)]);
    all_at_once(&listener, &[(50, pushes(50, 20_000), 1)]);
    // As large as they may be, so that each takes nearly all there is.
    all_at_once(&listener, &[(10, transaction(2, &push(3_000_000)), 6), (10, pushes(2, 4_000_000), 1)]);
}

#[test]
fn large_pushes_of_all_kinds_at_the_same_time_are_all_taken() {
    let clients = [
        (10, push(4 << 20), 1),
        (50, push(40_000).repeat(10), 10),
        (10, pushes(100, 30_000), 1),
        (10, transaction(3, &push(1_000_000)), 8),
        (10, transaction(3, &pushes(10, 20_000)), 8),
        (50, push(100), 1),
    ];
    all_at_once(&forgetful(), &clients);
}

/// With memory for one large command, for which a client is waited for so long while others wait.
fn tight(patience: Duration, set: impl FnOnce(&mut Settings)) -> TestServer {
    with(|settings| {
        (settings.patience, settings.max_waiting_bytes, settings.max_message_bytes) = (patience, 1 << 20, 1 << 20);
        set(settings);
    })
}

const SHORT: Duration = Duration::from_millis(300);

/// What a client that waits for its answer is told at last, while it drips such bytes.
fn dripping(stream: &mut TcpStream, drop_by_drop: &[u8]) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut told = Vec::new();
    wait_for("the end of a dripping client", PATIENCE, || {
        drop(stream.write_all(drop_by_drop));
        let mut part = [0; 1000];
        match stream.read(&mut part) {
            Ok(0) => Some(()),
            Ok(read) => {
                told.extend_from_slice(&part[..read]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(_) => Some(()),
        }
    });
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn a_client_that_hardly_goes_on_with_a_large_command_gives_way_to_those_who_wait_and_to_nobody_else() {
    for drip in [b"".as_slice(), b"x"] {
        let listener = tight(SHORT, |_| ());
        let large = push(900_000);
        let mut slow = connect(address(&listener));
        slow.write_all(&large[..800_000]).unwrap();
        wait_used(&listener, 700_000);
        // Nobody waits, however long it takes.
        slow.set_read_timeout(Some(SHORT * 3)).unwrap();
        assert!(slow.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut next = connect(address(&listener));
                next.write_all(&large).unwrap();
                line(&mut next)
            });
            let told = dripping(&mut slow, drip);
            assert!(told.starts_with("-ERR this Kadabra agent gave the memory for this command to others"), "{told}");
            assert_eq!(waiting.join().unwrap(), ":1");
        });
        assert_said(&listener, "too slowly", 1);
        works(&listener);
    }
}

#[test]
fn a_large_command_takes_no_memory_before_some_of_it_is_there_and_not_for_long_when_no_more_comes() {
    let listener = tight(SHORT, |_| ());
    let large = push(900_000);
    let announced = |bytes: usize| {
        let mut clients: Vec<_> = (0..20).map(|_| connect(address(&listener))).collect();
        clients.iter_mut().for_each(|client| client.write_all(&large[..bytes]).unwrap());
        clients
    };
    let pushed = || {
        let mut honest = connect(address(&listener));
        honest.write_all(&large).unwrap();
        assert!(line(&mut honest).starts_with(':'));
    };
    let _nothing = announced(1000);
    assert_eq!(used(&listener), 0);
    pushed();
    assert_eq!(used(&listener), 0);
    let _some = announced(20_000);
    wait_used(&listener, 800_000);
    pushed();
}

#[test]
fn who_gets_no_memory_in_time_is_told_so() {
    let listener = tight(PATIENCE, |settings| settings.timeout = Duration::from_secs(1));
    listener.set(FaultMode::Stuck);
    let large = push(900_000);
    let mut first = connect(address(&listener));
    first.write_all(&large).unwrap();
    // INFO asks the queue, which is stuck: what is left to see is that a push without memory of others arrives.
    let mut second = connect(address(&listener));
    drop(second.write_all(&large));
    let told = rest(&mut second);
    assert!(told.contains("has no memory for such a large command now"), "{told}");
    assert_said(&listener, "no memory left for it", 1);
    listener.set(FaultMode::None);
    // The first was not disturbed.
    assert_eq!(line(&mut first), ":1");
    works(&listener);
}

#[test]
fn an_open_transaction_gives_its_memory_back_in_time_and_one_without_commands_may_stay() {
    let listener = tight(PATIENCE, |settings| settings.timeout = Duration::from_secs(1));
    let begin = || {
        let mut client = connect(address(&listener));
        client.write_all(b"MULTI\r\n").unwrap();
        assert_eq!(line(&mut client), "+OK");
        client
    };
    let (mut empty, mut open) = (begin(), begin());
    for _ in 0..15 {
        open.write_all(&push(60_000)).unwrap();
        assert_eq!(line(&mut open), "+QUEUED");
    }
    // However it drips: it is the beginning that counts.
    dripping(&mut open, b"PING\r\n");
    assert_said(&listener, "the EXEC of a transaction had not come 1s after its first command", 1);
    let mut next = connect(address(&listener));
    next.write_all(&push(300_000)).unwrap();
    assert_eq!(line(&mut next), ":1");
    empty.write_all(b"EXEC\r\n").unwrap();
    assert_eq!(line(&mut empty), "*0");
}

#[test]
fn a_transaction_that_hardly_goes_on_gives_way_to_those_who_wait() {
    let listener = tight(SHORT, |_| ());
    let mut open = connect(address(&listener));
    open.write_all(&[command(&["MULTI"]), push(60_000).repeat(15)].concat()).unwrap();
    for _ in 0..16 {
        assert!(line(&mut open).starts_with('+'));
    }
    let mut others: Vec<_> = [transaction(2, &push(100_000)), pushes(2, 300_000), push(900_000)]
        .iter()
        .map(|wire| {
            let mut next = connect(address(&listener));
            next.write_all(wire).unwrap();
            next
        })
        .collect();
    let told = dripping(&mut open, b"PING\r\n");
    assert!(told.contains("gave the memory for this command to others"), "{told}");
    let answers: Vec<_> = others.iter_mut().map(line).collect();
    assert!(answers.iter().all(|answer| !answer.starts_with('-')), "{answers:?}");
}

#[test]
fn a_transaction_larger_than_all_memory_is_refused_and_the_connection_goes_on() {
    let listener = tight(PATIENCE, |_| ());
    let mut stream = connect(address(&listener));
    let wire = [transaction(2, &push(600_000)), command(&["LPUSH", Q, "a"]), command(&["QUIT"])].concat();
    stream.write_all(&wire).unwrap();
    let answers = rest(&mut stream);
    let lines: Vec<_> = answers.lines().collect();
    assert_eq!([lines[0], lines[1], lines[4], lines[5]], ["+OK", "+QUEUED", ":1", "+OK"], "{answers}");
    assert!(lines[2].starts_with("-ERR the agent has no memory for such a large transaction"), "{answers}");
    assert!(lines[3].starts_with("-EXECABORT"), "{answers}");
}
