//! A server on threads of the bench that takes what an agent writes: it answers 204 and forgets it, or passes it on to
//! an InfluxDB and answers what that says. It can tell when it answered what.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Instant,
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
        Self::start(None, None)
    }

    /// One that says what it answered when. Passes everything on to the server at `forward`, if there is one.
    pub(crate) fn that_tells(forward: Option<&str>) -> (Self, Receiver<Answered>) {
        let (tell, told) = mpsc::channel();
        (Self::start(forward.map(str::to_owned), Some(tell)), told)
    }

    fn start(forward: Option<String>, tell: Option<Sender<Answered>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (forward, tell) = (forward.clone(), tell.clone());
                thread::spawn(move || serve(stream, forward.as_deref(), tell.as_ref()));
            }
        });
        Self { url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn serve(stream: TcpStream, forward: Option<&str>, tell: Option<&Sender<Answered>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(256 << 10, stream);
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
