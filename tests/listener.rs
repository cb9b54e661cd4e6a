//! The listener of the embedded channel: unmodified clients push to the agent itself and cannot tell, and nobody can hurt it.

#[path = "listener/agent.rs"]
mod agent;
#[path = "listener/clients.rs"]
mod clients;
#[path = "listener/closing.rs"]
mod closing;
#[path = "listener/commands.rs"]
mod commands;
#[path = "listener/like_redis.rs"]
mod like_redis;
#[path = "listener/limits.rs"]
mod limits;
#[path = "listener/memory.rs"]
mod memory;
#[path = "listener/passed.rs"]
mod passed;
#[path = "listener/passwords.rs"]
mod passwords;
#[path = "listener/refusals.rs"]
mod refusals;
#[path = "listener/sockets.rs"]
mod sockets;
#[path = "listener/stalled.rs"]
mod stalled;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use kadabra::channel::embedded::test_server::{Settings, TestServer};

const Q: &str = "kadabra_queue";
const PATIENCE: Duration = Duration::from_secs(20);

fn listener() -> TestServer {
    TestServer::start(Settings::default()).unwrap()
}

fn with(set: impl FnOnce(&mut Settings)) -> TestServer {
    let mut settings = Settings::default();
    set(&mut settings);
    TestServer::start(settings).unwrap()
}

fn address(listener: &TestServer) -> SocketAddr {
    listener.addresses()[0]
}

fn port(listener: &TestServer) -> String {
    address(listener).port().to_string()
}

/// A connection on which nothing is awaited for ever.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends some bytes and reads until the other end closes.
fn said(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    rest(&mut stream)
}

/// All that still comes.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The next so many bytes.
fn read(stream: &mut TcpStream, bytes: usize) -> String {
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A command on the wire.
fn command<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        wire.extend_from_slice(word.as_ref());
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// The next line, without its end.
fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}
