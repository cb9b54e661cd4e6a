//! A client that speaks the protocol itself, so that it can send many commands before it reads an answer.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use super::{messages::message, producers::Push};

/// A connection, until something on it is not as it should be.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
    /// Whether what comes is what the server said.
    faithful: bool,
}

/// What became of one push; `None` when it was refused.
type Fate = Option<Push>;

impl Raw {
    pub(crate) fn connect(address: SocketAddr, faithful: bool, timeout: Duration) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout).ok()?;
        stream.set_read_timeout(Some(timeout)).ok()?;
        stream.set_write_timeout(Some(timeout)).ok()?;
        Some(Self { stream: BufReader::new(stream), faithful })
    }

    /// Pushes all groups before any answer is read. Says what became of each, and whether the connection is still good.
    pub(crate) fn pipeline(&mut self, groups: &[Range<u64>]) -> (Vec<Fate>, bool) {
        let mut fates = vec![Some(Push::Maybe); groups.len()];
        let good = self.send(&pushes(groups)).and_then(|()| self.answers(&mut fates)).is_ok();
        (fates, good)
    }

    /// The same in one transaction.
    pub(crate) fn transaction(&mut self, groups: &[Range<u64>]) -> (Vec<Fate>, bool) {
        let mut fates = vec![Some(Push::Maybe); groups.len()];
        let all = [&b"*1\r\n$5\r\nMULTI\r\n"[..], &pushes(groups), b"*1\r\n$4\r\nEXEC\r\n"].concat();
        let good = self.send(&all).and_then(|()| self.executed(&mut fates)).is_ok();
        (fates, good)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    fn executed(&mut self, fates: &mut [Fate]) -> io::Result<()> {
        if self.line()? != "+OK" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        for _ in 0..fates.len() {
            let queued = self.line()?;
            if queued != "+QUEUED" && !(self.faithful && queued.starts_with('-')) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        match self.line()? {
            begin if begin == format!("*{}", fates.len()) => self.answers(fates),
            refused if refused.starts_with('-') && self.faithful => {
                fates.fill(None);
                Ok(())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn answers(&mut self, fates: &mut [Fate]) -> io::Result<()> {
        for fate in fates {
            let answer = self.line()?;
            match answer.as_bytes().first() {
                Some(b':') => *fate = Some(Push::Accepted),
                Some(b'-') if self.faithful => *fate = None,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// The next line. One without an end is none, and is not read for ever.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let there = self.stream.fill_buf()?;
            let end = there.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(there.len(), |end| end + 1);
            line.extend_from_slice(&there[..count]);
            self.stream.consume(count);
            if count == 0 || line.len() > 10_000 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if end.is_some() {
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }
}

fn pushes(groups: &[Range<u64>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for group in groups {
        wire.extend(format!("*{}\r\n$5\r\nLPUSH\r\n$13\r\nkadabra_queue\r\n", group.clone().count() + 2).into_bytes());
        for message in group.clone().map(message) {
            wire.extend(format!("${}\r\n", message.len()).into_bytes());
            wire.extend(message);
            wire.extend(b"\r\n");
        }
    }
    wire
}
