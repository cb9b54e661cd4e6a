//! A server on threads of the bench that takes what an agent writes: it answers 204 and forgets it, or passes it on to
//! an InfluxDB and answers what that says. It can tell when it answered what, and the way to it can be a slow one.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::http::Connection;

/// A body that was answered with 204.
pub(crate) struct Answered {
    pub(crate) at: Instant,
    pub(crate) body: Vec<u8>,
}

/// A running server; lives as long as the bench.
pub(crate) struct Sink {
    url: String,
}

impl Sink {
    /// One that answers 204 to everything.
    pub(crate) fn null() -> Self {
        Self::start(None, None, None)
    }

    /// One that says what it answered when. Passes everything on to the server at `forward`, if there is one.
    pub(crate) fn that_tells(forward: Option<&str>) -> (Self, Receiver<Answered>) {
        let (tell, told) = mpsc::channel();
        (Self::start(forward.map(str::to_owned), Some(tell), None), told)
    }

    /// The same behind a way that lets so many bytes a second pass, those of all connections together.
    pub(crate) fn far_away(forward: Option<&str>, bytes_per_second: f64) -> (Self, Receiver<Answered>) {
        let (tell, told) = mpsc::channel();
        let way = Way { bytes_per_second, free: Arc::new(Mutex::new(Instant::now())) };
        (Self::start(forward.map(str::to_owned), Some(tell), Some(way)), told)
    }

    fn start(forward: Option<String>, tell: Option<Sender<Answered>>, way: Option<Way>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (forward, tell, way) = (forward.clone(), tell.clone(), way.clone());
                thread::spawn(move || serve(stream, forward.as_deref(), tell.as_ref(), way));
            }
        });
        Self { url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// A way with a rate, which its connections share.
#[derive(Clone)]
struct Way {
    bytes_per_second: f64,
    /// When all that has come is through.
    free: Arc<Mutex<Instant>>,
}

/// What comes on a way, as late as it comes.
struct Requests {
    stream: TcpStream,
    way: Option<Way>,
}

impl Read for Requests {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(way) = &self.way else { return self.stream.read(buffer) };
        // Pieces so small that connections take turns.
        let most = buffer.len().min(8 << 10);
        let count = self.stream.read(&mut buffer[..most])?;
        let through = {
            let mut free = way.free.lock().unwrap();
            *free = Instant::now().max(*free) + Duration::from_secs_f64(count as f64 / way.bytes_per_second);
            *free
        };
        thread::sleep(through.saturating_duration_since(Instant::now()));
        Ok(count)
    }
}

fn serve(stream: TcpStream, forward: Option<&str>, tell: Option<&Sender<Answered>>, way: Option<Way>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(256 << 10, Requests { stream, way });
    let mut upstream = forward.map(Connection::open).transpose()?;
    let mut body = Vec::new();
    while let Some((path, length)) = head(&mut requests)? {
        body.clear();
        requests.by_ref().take(length).read_to_end(&mut body)?;
        let status = upstream.as_mut().map_or(Ok(204), |upstream| upstream.post(&path, &body))?;
        let at = Instant::now();
        let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
        answers.write_all(format!("HTTP/1.1 {status} X\r\n{length}\r\n").as_bytes())?;
        if let Some(tell) = tell
            && status == 204
            && tell.send(Answered { at, body: std::mem::take(&mut body) }).is_err()
        {
            break;
        }
    }
    Ok(())
}

/// The path of the next request and how long its body is; `None` when the connection is closed.
fn head(requests: &mut impl BufRead) -> io::Result<Option<(String, u64)>> {
    let (mut line, mut path, mut length) = (String::new(), None, 0);
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        match &path {
            None => path = Some(text.split(' ').nth(1).unwrap_or_default().to_owned()),
            Some(path) if text.is_empty() => return Ok(Some((path.clone(), length))),
            Some(_) => {
                if let Some((name, value)) = text.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
                }
            }
        }
    }
}
