//! Which program has a port already, in a sentence that says what to do: usually it is a Redis.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::error::BindError;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Kadabra,
    Redis,
    /// One of the two, with no place for who asks.
    Full,
    Unknown,
}

/// Asks who listens there, and says so.
pub(super) fn explain(address: SocketAddr) -> BindError {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let reached = SocketAddr::new(ip, address.port());
    let elsewhere = "have this agent listen elsewhere, by listen in [channel.embedded], and tell the clients so";
    let configuration = format!("configure\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://{reached}/0\"\nor");
    let (who, remedy) = match ask(reached) {
        Owner::Kadabra => ("another Kadabra agent listens there", format!("end that one, or {elsewhere}")),
        Owner::Redis => ("a Redis answers there", format!("to use that Redis, {configuration} end it, or {elsewhere}")),
        Owner::Full => (
            "a Redis or another Kadabra agent answers there, and has no place for another client, so that it does not say which",
            format!("if it is a Redis, to use that, {configuration} end it, or {elsewhere}"),
        ),
        Owner::Unknown => {
            ("another program listens there, and does not answer as a Redis does", format!("end that program, or {elsewhere}"))
        }
    };
    BindError { what: format!("cannot listen for clients on {address}: {who}"), remedy }
}

fn ask(address: SocketAddr) -> Owner {
    let Some(answer) = exchange(address) else {
        return Owner::Unknown;
    };
    const ANSWERS: [&str; 5] = ["+PONG", "-NOAUTH", "-DENIED", "-LOADING", "-MASTERDOWN"];
    if answer.starts_with("-ERR max number of clients") {
        Owner::Full
    } else if !ANSWERS.iter().any(|begin| answer.starts_with(begin)) {
        Owner::Unknown
    } else if answer.contains("this is a Kadabra agent") {
        Owner::Kadabra
    } else {
        Owner::Redis
    }
}

/// The answers to a PING, and to a command that no Redis has, to which an agent answers that it is one.
fn exchange(address: SocketAddr) -> Option<String> {
    let end = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // A server without a place for another client answers unasked and closes, so that writing may fail.
    drop(stream.write_all(b"*1\r\n$4\r\nPING\r\n*1\r\n$6\r\nWHO-IS\r\n*1\r\n$4\r\nQUIT\r\n"));
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while answer.len() < 16 << 10 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut part) {
            Ok(read) if read > 0 => answer.extend_from_slice(part.get(..read)?),
            _ => break,
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}
