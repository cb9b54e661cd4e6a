//! A clean end: what has arrived is answered, and nobody is waited for who does not read.

use std::{io::Write as _, time::Duration};

use kadabra::channel::embedded::test_server::FaultMode;

use super::{Q, address, command, connect, line, listener, read, rest, with};
use crate::support::process::wait_for;

#[test]
fn what_has_arrived_is_answered_and_then_connections_are_closed() {
    let mut listener = listener();
    let mut idle = connect(address(&listener));
    idle.write_all(b"PING\r\n").unwrap();
    assert_eq!(read(&mut idle, 7), "+PONG\r\n");
    // The first is being stored when the end comes, and more have arrived behind it.
    listener.set(FaultMode::Stuck);
    let mut busy = connect(address(&listener));
    let many: Vec<u8> = (0..100).flat_map(|number| command(&["LPUSH", Q, &format!("{number}{}", "x".repeat(900))])).collect();
    busy.write_all(&many).unwrap();
    wait_for("the client to be heard", super::PATIENCE, || {
        let stats = super::said(address(&listener), b"INFO stats\r\nQUIT\r\n");
        let commands = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"))?;
        (commands.parse::<u32>().unwrap() > 10).then_some(())
    });
    listener.close();
    assert_eq!(rest(&mut idle), "");
    listener.set(FaultMode::None);
    let answers = rest(&mut busy);
    let expected: String = (1..=100).map(|length| format!(":{length}\r\n")).collect();
    assert_eq!(answers, expected);
    assert!(listener.end());
    assert_eq!(listener.messages().len(), 100);
    assert!(std::net::TcpStream::connect(address(&listener)).is_err());
}

#[test]
fn who_is_connected_can_push_once_more_where_that_is_wanted_and_sees_the_end_with_the_answer() {
    let mut listener = with(|settings| settings.last_push = Duration::from_secs(60));
    let mut clients: Vec<_> = (0..2).map(|_| connect(address(&listener))).collect();
    for client in &mut clients {
        client.write_all(b"PING\r\n").unwrap();
        assert_eq!(line(client), "+PONG");
    }
    listener.close();
    wait_for("the end to begin", super::PATIENCE, || std::net::TcpStream::connect(address(&listener)).is_err().then_some(()));
    for client in &mut clients {
        // As redis-py introduces itself.
        client.write_all(b"CLIENT SETINFO LIB-NAME test\r\n").unwrap();
        assert_eq!(line(client), "+OK");
    }
    for (client, answer) in clients.iter_mut().zip([":1\r\n", ":2\r\n"]) {
        client.write_all(&command(&["LPUSH", Q, "a"])).unwrap();
        assert_eq!(rest(client), answer);
    }
    assert!(listener.end());
    assert!(!listener.log().contains("did not read their answers"), "{}", listener.log());
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let mut listener = listener();
    let mut deaf = connect(address(&listener));
    deaf.write_all(b"PING\r\n").unwrap();
    assert_eq!(read(&mut deaf, 7), "+PONG\r\n");
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    drop(deaf.write_all(&b"INFO\r\n".repeat(400_000)));
    let begun = std::time::Instant::now();
    assert!(listener.end());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(listener.log().contains("did not read their answers"), "{}", listener.log());
}
