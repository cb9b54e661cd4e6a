//! Wrong passwords: a person reads at once what is wrong, a guesser gets one look a second, and nobody else waits.

use std::{
    io::Write as _,
    net::{IpAddr, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use kadabra::channel::embedded::test_server::TestServer;
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, address, command, connect, line, with};

const PAUSE: Duration = Duration::from_millis(400);
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const NOT_LOOKED_AT: &str = "-WRONGPASS many wrong passwords come from your address, so this one was not looked at";

fn guarded(pause: Duration) -> TestServer {
    with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.wrong_password_pause = pause;
    })
}

fn say(stream: &mut TcpStream, password: &str) -> String {
    stream.write_all(&command(&["AUTH", password])).unwrap();
    line(stream)
}

/// A connection from another address of this machine.
fn connect_from(from: &str, listener: &TestServer) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((from.parse::<IpAddr>().unwrap(), 0)).into()).unwrap();
    socket.connect(&address(listener).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_wrong_password_is_answered_at_once_and_the_next_one_is_looked_at_later_right_or_wrong() {
    let long = Duration::from_secs(3);
    for right in [true, false] {
        let listener = guarded(long);
        let begun = Instant::now();
        let mut client = connect(address(&listener));
        assert_eq!(say(&mut client, "wrong"), WRONG);
        assert!(begun.elapsed() < long, "{:?}", begun.elapsed());
        let answer = say(&mut client, if right { "right" } else { "wrong too" });
        assert_eq!(answer, if right { "+OK" } else { WRONG });
        assert!(begun.elapsed() >= long, "{:?}", begun.elapsed());
    }
}

#[test]
fn guesses_over_many_connections_are_looked_at_one_after_the_other() {
    let listener = guarded(PAUSE);
    let begun = Instant::now();
    let mut guessing: Vec<_> = (0..6).map(|_| connect(address(&listener))).collect();
    for (number, client) in guessing.iter_mut().enumerate() {
        client.write_all(&command(&["AUTH", &format!("guess {number}")])).unwrap();
    }
    // Whoever knows the password waits for their turn, and then is let in, as all are who say the same.
    let mut knowing: Vec<_> = (0..20).map(|_| connect(address(&listener))).collect();
    knowing.iter_mut().for_each(|client| client.write_all(&command(&["AUTH", "right"])).unwrap());
    for client in &mut guessing {
        assert_eq!(line(client), WRONG);
    }
    assert!(begun.elapsed() >= 5 * PAUSE, "{:?}", begun.elapsed());
    for client in &mut knowing {
        assert_eq!(line(client), "+OK");
    }
}

#[test]
fn nobody_elsewhere_waits_for_a_guesser() {
    let listener = guarded(PATIENCE);
    let mut guessing = connect(address(&listener));
    assert_eq!(say(&mut guessing, "wrong"), WRONG);
    let mut elsewhere = connect_from("127.0.0.2", &listener);
    assert_eq!(say(&mut elsewhere, "right"), "+OK");
    // Who knows it says nothing, and goes on as before.
    elsewhere.write_all(b"PING\r\n").unwrap();
    assert_eq!(line(&mut elsewhere), "+PONG");
}

#[test]
fn a_guesser_does_not_keep_users_of_the_socket_waiting_and_is_kept_waiting_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.sock");
    let listener = with(|settings| {
        settings.unix_socket = Some(path.clone());
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.wrong_password_pause = PAUSE;
    });
    let mut guessing = connect(address(&listener));
    assert_eq!(say(&mut guessing, "wrong"), WRONG);
    let begun = Instant::now();
    let mut client = UnixStream::connect(&path).unwrap();
    let mut say = |password: &str| {
        client.write_all(&command(&["AUTH", password])).unwrap();
        let mut answer = [0; 5];
        std::io::Read::read_exact(&mut client, &mut answer).unwrap();
        while !answer.ends_with(b"\r\n") {
            answer.rotate_left(1);
            std::io::Read::read_exact(&mut client, &mut answer[4..]).unwrap();
        }
        begun.elapsed()
    };
    say("wrong");
    assert!(say("wrong too") >= PAUSE);
}

/// As a client with a mistake in its configuration: it tells nothing new, and no neighbour waits for it.
#[test]
fn the_same_wrong_password_again_and_again_is_answered_at_once_and_delays_nobody() {
    let listener = guarded(PATIENCE);
    for _ in 0..50 {
        assert_eq!(say(&mut connect(address(&listener)), "wrong"), WRONG);
    }
}

#[test]
fn many_guesses_at_once_are_all_answered_before_clients_give_up_and_one_a_second_is_looked_at() {
    const TRIES: usize = 24;
    let listener = guarded(Duration::from_secs(1));
    let begun = Instant::now();
    let answers: Vec<(String, Duration)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let listener = &listener;
                scope.spawn(move || {
                    let guess = |number: usize| {
                        let (mut client, began) = (connect(address(listener)), Instant::now());
                        (say(&mut client, &format!("guess {thread} {number}")), began.elapsed())
                    };
                    (0..TRIES / 8).map(guess).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let looked_at = answers.iter().filter(|(answer, _)| answer == WRONG).count();
    let refused = answers.iter().filter(|(answer, _)| answer.starts_with(NOT_LOOKED_AT)).count();
    // As long as redis-py waits; a machine that stands still makes some later.
    let in_time = answers.iter().filter(|(_, took)| *took < Duration::from_secs(5)).count();
    assert!(in_time >= TRIES * 3 / 4, "{answers:?}");
    assert_eq!(looked_at + refused, TRIES, "{answers:?}");
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(looked_at >= 2 && looked_at <= seconds + 2, "{looked_at} in {seconds} s");
}
