//! A server for what a real one cannot be made to do: answers that are wrong, endless, slow or for somebody else.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What it does once a request is there.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes.
    Last(Vec<u8>),
    /// Sends these bytes and then more and more, as fast as it can.
    Endless(Vec<u8>),
    /// Sends these bytes and then one now and then.
    Trickle(Vec<u8>),
    /// Closes at the head of the request and does not read its body.
    Hang,
}

/// What it answers to a request, given its head and body.
type Answers = dyn Fn(&str) -> Reply + Send + Sync;

/// Answers requests over any number of connections.
#[derive(Debug)]
pub(crate) struct StandIn {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl StandIn {
    /// Answers the n-th request with the n-th reply; the last one over and over.
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        let next = AtomicUsize::new(0);
        let reads = {
            let replies = replies.clone();
            move |count: usize| !matches!(replies.get(count).or(replies.last()), Some(Reply::Hang))
        };
        Self::serving(reads, move |_| {
            let reply = replies.get(next.fetch_add(1, Ordering::SeqCst)).or(replies.last());
            reply.cloned().unwrap_or(Reply::Hang)
        })
    }

    /// Answers each request with what this makes of it.
    pub(crate) fn answering(answers: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::serving(|_| true, answers)
    }

    /// `reads`: whether the body of the request after that many is read.
    fn serving(
        reads: impl Fn(usize) -> bool + Send + Sync + 'static,
        answers: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (reads, answers): (Arc<dyn Fn(usize) -> bool + Send + Sync>, Arc<Answers>) = (Arc::new(reads), Arc::new(answers));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (seen, reads, answers) = (Arc::clone(&seen), Arc::clone(&reads), Arc::clone(&answers));
                thread::spawn(move || serve(stream, &seen, &*reads, &*answers));
            }
        });
        Self { port, requests, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections it took so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests so far, each with its head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// An answer of HTTP.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, reads: &dyn Fn(usize) -> bool, answers: &Answers) -> Option<()> {
    loop {
        let (mut request, length) = read_head(&mut stream)?;
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        if reads(before) {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            request.push_str(&String::from_utf8_lossy(&body));
            seen.lock().unwrap()[before].clone_from(&request);
        }
        let reply = answers(&request);
        match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).ok()?,
            Reply::Last(bytes) => return stream.write_all(&bytes).ok(),
            Reply::Endless(bytes) => {
                stream.write_all(&bytes).ok()?;
                while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
                return None;
            }
            Reply::Trickle(bytes) => {
                stream.write_all(&bytes).ok()?;
                while stream.write_all(b"x").is_ok() {
                    thread::sleep(std::time::Duration::from_millis(20));
                }
                return None;
            }
            Reply::Hang => return None,
        }
    }
}

/// The head of a request and how long its body is.
fn read_head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    Some((head, length.unwrap_or(0)))
}
