//! Informational answers (RFC 9110, section 15.2) taken out of a connection: the HTTP client takes the first answer for the final one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long the head of an informational answer is at most.
const LONGEST_HEAD: usize = 16 << 10;

/// A connection over which one request at a time is answered, without its informational answers. A 101 stays, since nobody
/// asks for another protocol, and a 100 that was asked for.
#[derive(Debug)]
pub(super) struct Final<S> {
    stream: S,
    /// Whether a 100 is waited for.
    asked: Arc<AtomicBool>,
    /// What was read and not handed on yet.
    read: Vec<u8>,
    /// Whether that is the beginning of an answer, but for what is to be handed on first.
    begins: bool,
    /// How much of it that is.
    first: usize,
}

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
enum Begins {
    /// The final answer, or no answer of HTTP.
    Final,
    /// An informational one of that status, with a head of so many bytes.
    Informational(u16, usize),
    /// Too little of it is there.
    Unknown,
}

impl<S> Final<S> {
    /// `asked` is set for each request that waits for a 100, and unset once that is there.
    pub(super) fn new(stream: S, asked: Arc<AtomicBool>) -> Self {
        Self { stream, asked, read: Vec::new(), begins: true, first: 0 }
    }
}

fn begins(bytes: &[u8]) -> Begins {
    const LINE: &[u8] = b"HTTP/1.x 1xx";
    for (byte, of) in bytes.iter().zip(LINE) {
        let fits = match of {
            b'x' => byte.is_ascii_digit(),
            _ => byte == of,
        };
        if !fits {
            return Begins::Final;
        }
    }
    let (end, status) = (bytes.windows(4).position(|end| end == b"\r\n\r\n"), bytes.get(LINE.len() - 3..LINE.len()));
    match (end, status.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())) {
        (Some(end), Some(status)) => Begins::Informational(status, end + 4),
        _ if bytes.len() > LONGEST_HEAD => Begins::Final,
        _ => Begins::Unknown,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Final<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.begins && this.first == 0 {
            match begins(&this.read) {
                Begins::Informational(100, head) if this.asked.swap(false, Ordering::Relaxed) => this.first = head,
                Begins::Final | Begins::Informational(101, _) => this.begins = false,
                Begins::Informational(_, head) => _ = this.read.drain(..head),
                Begins::Unknown => {
                    let mut more = [0; 4 << 10];
                    let mut more = ReadBuf::new(&mut more);
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut more))?;
                    // The end: what there is of an answer is the client's to judge.
                    this.begins &= !more.filled().is_empty();
                    this.read.extend_from_slice(more.filled());
                }
            }
        }
        if this.read.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let most = if this.first > 0 { this.first } else { this.read.len() };
        let count = most.min(buffer.remaining());
        this.first = this.first.saturating_sub(count);
        buffer.put_slice(&this.read.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Final<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What is read after something of a request was written is an answer to it.
        this.begins = true;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begins = true;
        Pin::new(&mut this.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What the HTTP client asks of a stream.
impl<S: ActixStream> ActixStream for Final<S> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_read_ready(cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.stream.poll_write_ready(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ANSWER: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    /// What is handed on of what a server sends, whatever pieces it comes in.
    async fn read_of(sent: &str, asked: bool) -> String {
        let mut last = None;
        for piece in [1, 7, 4096] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let mut stream = Final::new(ours, Arc::new(AtomicBool::new(asked)));
            stream.write_all(b"POST").await.unwrap();
            for piece in sent.as_bytes().chunks(piece) {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(theirs);
            let mut read = String::new();
            stream.read_to_string(&mut read).await.unwrap();
            assert!(last.is_none_or(|last| last == read));
            last = Some(read);
        }
        last.unwrap()
    }

    #[actix_rt::test]
    async fn only_the_final_answer_is_handed_on() {
        let interim =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.0 103 Early Hints\r\nLink: <a>\r\n\r\n";
        assert_eq!(read_of(&[interim, ANSWER].concat(), false).await, ANSWER);
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(read_of(body, false).await, body);
    }

    #[actix_rt::test]
    async fn what_was_asked_for_or_cannot_be_skipped_is_handed_on() {
        let asked = ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", ANSWER].concat();
        assert_eq!(read_of(&asked, true).await, ["HTTP/1.1 100 Continue\r\n\r\n", ANSWER].concat());
        for sent in ["HTTP/1.1 101 Switching Protocols\r\n\r\nrest", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 1", ""] {
            assert_eq!(read_of(sent, false).await, sent);
        }
    }
}
