//! A small HTTP server that stands in for a database: one thread a connection, whole requests, and faults that a test switches on.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flate2::read::{GzDecoder, MultiGzDecoder};

use super::process::free_port;

/// One request, with its whole body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The parameters of the URL, decoded; `None` where there is no `?`.
    pub(crate) query: Option<Vec<(String, String)>>,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered to a request.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What a server does to writes in place of what it would do.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers this to every write and stores nothing.
    Answer(Response),
    /// Answers this when it comes to storing points, and stores none; what has none is answered as ever, and what is wrong, too.
    Storage(Response),
    /// Closes the connection without an answer and stores nothing.
    Close,
    /// Stores what it would store, and closes the connection without an answer.
    CloseAfterwards,
    /// Takes so long before it does what it would do.
    Slow(Duration),
}

/// Makes an answer; `None` closes the connection.
type Handler = dyn Fn(&Request) -> Option<Response> + Send + Sync;

/// A server on a port of its own, until it is stopped or dropped.
pub(crate) struct Server {
    port: u16,
    handler: Arc<Handler>,
    state: Arc<State>,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    /// Every one that was taken since the start.
    connections: Mutex<Vec<TcpStream>>,
}

impl Request {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A parameter of the URL.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().flatten().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as its first member of gzip makes it; what comes after that is not looked at.
    pub(crate) fn inflated_first(&self) -> std::io::Result<Vec<u8>> {
        let mut inflated = Vec::new();
        GzDecoder::new(self.body.as_slice()).read_to_end(&mut inflated)?;
        Ok(inflated)
    }

    /// The body as its members of gzip make it.
    pub(crate) fn inflated(&self) -> std::io::Result<Vec<u8>> {
        let mut inflated = Vec::new();
        MultiGzDecoder::new(self.body.as_slice()).read_to_end(&mut inflated)?;
        Ok(inflated)
    }

    /// Reads one; `None` at the end of the connection.
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        if headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let length = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())),
            None => (target.as_str(), None),
        };
        Some(Self { method, path: path.to_owned(), query, headers, body })
    }
}

impl Response {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl Into<String>) -> Self {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { status, headers, body: body.into() }
    }

    /// A header by its name, in whatever case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn write(&self, method: &str, mut stream: &TcpStream) -> Option<()> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Payload Too Large",
            422 => "Unprocessable Entity",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            // As Go writes one that it does not know.
            _ => "status code",
        };
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        if method != "HEAD" {
            head.push_str(&self.body);
        }
        stream.write_all(head.as_bytes()).ok()
    }
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) -> Self {
        let mut server = Self { port: free_port(), handler: Arc::new(handler), state: Arc::default(), running: None };
        server.start_again();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Closes every connection and refuses further ones.
    pub(crate) fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.state.stopping.store(true, Ordering::SeqCst);
        // For the thread that accepts to see it.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(running.join());
        for connection in self.state.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
        self.state.stopping.store(false, Ordering::SeqCst);
    }

    /// Listens again after [`Self::stop`], on the same port.
    pub(crate) fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let (handler, state) = (Arc::clone(&self.handler), Arc::clone(&self.state));
        self.running = Some(thread::spawn(move || accept(&listener, &handler, &state)));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, handler: &Arc<Handler>, state: &State) {
    for stream in listener.incoming().flatten() {
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        state.connections.lock().unwrap().push(stream.try_clone().unwrap());
        let handler = Arc::clone(handler);
        thread::spawn(move || serve(stream, &*handler));
    }
}

fn serve(stream: TcpStream, handler: &Handler) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = Request::read(&mut reader)?;
        let answer = handler(&request).filter(|answer| answer.write(&request.method, reader.get_ref()).is_some());
        if answer.is_none() || request.header("connection") == Some("close") {
            // The list of connections has a copy of the socket, so that to drop this one does not close it.
            drop(reader.get_ref().shutdown(Shutdown::Both));
            return None;
        }
    }
}

/// What a server that behaves like `answer` does to a write while it has a fault.
pub(crate) fn with_fault(fault: Option<Fault>, answer: impl FnOnce() -> Option<Response>) -> Option<Response> {
    match fault {
        None | Some(Fault::Storage(_)) => answer(),
        Some(Fault::Answer(response)) => Some(response),
        Some(Fault::Close) => None,
        Some(Fault::CloseAfterwards) => {
            answer();
            None
        }
        Some(Fault::Slow(delay)) => {
            thread::sleep(delay);
            answer()
        }
    }
}

/// Asks a server as a client does that sends what it is told to: any method, headers and body.
pub(crate) fn ask(url: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Response> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    // A server that does not read the whole body closes while it is sent.
    drop(stream.write_all(&[head.as_bytes(), body].concat()));
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut answer = Response { status, headers, body: String::new() };
    let mut body = Vec::new();
    reader.read_to_end(&mut body).ok()?;
    if answer.header("transfer-encoding") == Some("chunked") {
        body = unchunked(&body)?;
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Some(answer)
}

/// The chunks of a body, up to the last.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 2 + length + 2..)?;
    }
}
