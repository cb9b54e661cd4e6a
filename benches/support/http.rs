//! As little of an HTTP/1.1 client as posts a body over a connection that is kept, as fast as straightforward code gets.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// How gzip begins, and line protocol cannot (RFC 1952, section 2.3.1).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A connection to one server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Connection {
    /// To `http://host:port`.
    pub(crate) fn open(url: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    /// Posts a body and reads the answer: its status. A body that is gzip is said to be.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> io::Result<u16> {
        let encoding = if body.starts_with(&GZIP) { "Content-Encoding: gzip\r\n" } else { "" };
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{encoding}Content-Length: {}\r\n\r\n", body.len());
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<u16> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "not an answer of HTTP/1.1");
        self.line.clear();
        self.stream.read_line(&mut self.line)?;
        let status: u16 = self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
        let mut length = 0;
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line)?;
            let line = self.line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| broken())?;
            }
        }
        io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())?;
        Ok(status)
    }
}
