//! An agent that serves its status, and whoever asks for it, byte by byte.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use super::{
    agent::{Agent, STATUS, kadabra},
    pipeline::numbered,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())).unwrap();
        Self { status, headers: lines.map(header).collect(), body: body.to_owned() }
    }
}

/// The configuration of an agent with a queue of its own in a folder, that shows what it gets and serves its status on a port of its
/// own; with more keys of `[status]`.
pub(crate) fn config(folder: &Path, more: &str) -> String {
    format!(
        "[channel.embedded]\npath = {:?}\nlisten = \"127.0.0.1:0\"\n[status]\nlisten = \"127.0.0.1:0\"\n{more}\n",
        folder.join("queue.db")
    )
}

/// Where an agent serves its status.
pub(crate) fn address(agent: &Agent) -> SocketAddr {
    let line = agent.wait_log("the status is served");
    let url = line["at"].as_str().unwrap();
    url.strip_prefix("http://").and_then(|url| url.strip_suffix('/')).unwrap().parse().unwrap()
}

/// A command with the configuration of an agent that serves its status.
pub(crate) fn command_with(agent: &Agent, arguments: &[&str]) -> Command {
    let mut command = kadabra();
    command.env_remove(STATUS).args(arguments).arg("--config").arg(agent.folder().join("kadabra.toml"));
    command
}

/// Runs it to its end.
pub(crate) fn cli_with(agent: &Agent, arguments: &[&str]) -> Output {
    command_with(agent, arguments).output().unwrap()
}

/// Pushes so many messages, of one point each.
pub(crate) fn push(to: SocketAddr, count: usize) {
    let mut connection = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    let messages: Vec<_> = (0..count as u64).map(numbered).collect();
    let _: u64 = redis::cmd("LPUSH").arg("kadabra_queue").arg(messages).query(&mut connection).unwrap();
}

/// Where clients push to.
pub(crate) fn pushes(agent: &Agent) -> SocketAddr {
    let line = agent.wait_log("receiving");
    let from = line["from"].as_str().unwrap();
    from.strip_prefix("clients at ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

/// The values of a scrape, by series.
pub(crate) fn values(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().unwrap())).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// Asks for a path, as `localhost`, with these further headers.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    exchange(connect(address), &request("GET", path, headers, ""))
}

/// Posts a form, as `localhost`, with these further headers.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &[&str], form: &str) -> Answer {
    let mut headers = headers.to_vec();
    headers.push("Content-Type: application/x-www-form-urlencoded");
    exchange(connect(address), &request("POST", path, &headers, form))
}

/// Asks for a path by a socket in the file system.
pub(crate) fn get_by_file(socket: &Path, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, &request("GET", path, &[], ""))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A whole request, after which the connection is closed; a header `Host` takes the place of that of `localhost`.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n{body}")
}

/// Sends a request, and reads until the connection is closed.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}
