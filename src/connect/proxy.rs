//! A proxy over HTTP on the way: how it is asked for a tunnel (CONNECT, RFC 9110, section 9.3.6), and what it says when there is none.

use std::{fmt, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Security, Server, Service, Stream};
use crate::{
    config::{self, Secret},
    quote::quote,
};

/// How long the head of an answer is at most.
const LONGEST_HEAD: usize = 16 << 10;

/// A proxy, and how it is told who asks.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) server: Server,
    /// The value of `Proxy-Authorization`.
    login: Option<Secret>,
    url: String,
    named_by: &'static str,
}

/// Why a proxy has not led to the server.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Its URL, and what names it.
    proxy: String,
    named_by: &'static str,
    has_login: bool,
    /// The host and port that it was to lead to.
    to: String,
    how: How,
}

#[derive(Debug)]
enum How {
    /// It has answered with that status, and the words beside it.
    Answered(u16, String),
    /// It has answered what no proxy answers.
    NoProxy(String),
    /// The connection broke.
    Broken(io::Error),
}

impl Proxy {
    pub(crate) fn new(proxy: &config::Proxy) -> Self {
        let files = config::Tls::default();
        let encrypted = Security::Tls { files, protocol: Some("http/1.1") };
        let service =
            Service { name: "the proxy", key: proxy.named_by, place: "its host and port", section: "", plain: Some("http") };
        let server = Server::new(&service, &proxy.host, proxy.port, if proxy.encrypted { encrypted } else { Security::Plain });
        let login = proxy.login.as_ref().map(|login| Secret::new(["Basic ", &BASE64_STANDARD.encode(login.expose())].concat()));
        let url = proxy.url();
        Self { server: Server { called: Some(format!("the proxy {url}")), ..server }, login, url, named_by: proxy.named_by }
    }

    /// Whether it is told a user and a password.
    pub(crate) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The value of the header `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.login.as_ref().map(Secret::expose)
    }

    /// What an answer to a request means that it was to hand on to a host and port.
    pub(crate) fn answered(&self, to: &str, status: u16, words: &str) -> Refusal {
        self.refusal(to, How::Answered(status, quote(words)))
    }

    /// Has it lead a connection to a host and port.
    pub(super) async fn lead(&self, stream: &mut Stream, to: &str) -> Result<(), Refusal> {
        let agent = concat!("User-Agent: kadabra/", env!("CARGO_PKG_VERSION"));
        let login = self.authorization().map(|login| format!("Proxy-Authorization: {login}\r\n")).unwrap_or_default();
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{agent}\r\n{login}\r\n");
        let head = exchange(stream, request.as_bytes()).await.map_err(|why| self.refusal(to, How::Broken(why)))?;
        let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.splitn(3, ' ');
        let status = words.next().filter(|version| version.starts_with("HTTP/1.")).and_then(|_| words.next()?.parse().ok());
        match status {
            // No server speaks before the client does in TLS, so nothing stands behind the head.
            Some(200..=299) if head.ends_with(b"\r\n\r\n") => Ok(()),
            Some(status) => Err(self.answered(to, status, words.next().unwrap_or_default())),
            None => Err(self.refusal(to, How::NoProxy(quote(&line)))),
        }
    }

    fn refusal(&self, to: &str, how: How) -> Refusal {
        let (proxy, named_by) = (self.url.clone(), self.named_by);
        Refusal { proxy, named_by, has_login: self.has_login(), to: to.to_owned(), how }
    }
}

/// Sends a request without a body, and reads the answer up to the end of its head, or as much as came with that.
async fn exchange(stream: &mut Stream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut more = [0; 1 << 10];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        let count = stream.read(&mut more).await?;
        if count == 0 && head.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection without an answer"));
        }
        head.extend(more.iter().take(count));
        if count == 0 {
            break;
        }
    }
    Ok(head)
}

impl Refusal {
    /// What to look at.
    pub(crate) fn remedy(&self) -> String {
        let Self { named_by, to, .. } = self;
        let around = if named_by.contains('.') { "clear it there" } else { "put the host into no_proxy" };
        match &self.how {
            How::Answered(401 | 407, _) if self.has_login => format!("correct the user and the password in {named_by}"),
            How::Answered(407, _) => format!("write them into {named_by}, as in http://user:password@host:port"),
            How::Answered(500..=599, _) => {
                format!("check that {to} is right and runs, and that the proxy reaches it; to do without the proxy, {around}")
            }
            How::Answered(..) => format!(
                "have the proxy let this through, and CONNECT to that port if it is TLS (squid: SSL_ports, tinyproxy: ConnectPort); \
                 to do without it, {around}"
            ),
            How::NoProxy(_) | How::Broken(_) => {
                format!("check that a proxy over HTTP is at {named_by}, and look into its log; to do without it, {around}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, named_by, to, .. } = self;
        write!(f, "the proxy {proxy} ({named_by}) ")?;
        match &self.how {
            How::Answered(status @ (401 | 407), words) if self.has_login => {
                write!(f, "does not accept the user or the password: {status} {words}")
            }
            How::Answered(407, words) => write!(f, "wants a user and a password: 407 {words}"),
            How::Answered(status @ 500..=599, words) => write!(f, "does not reach {to}: {status} {words}"),
            How::Answered(status, words) => write!(f, "does not let us through to {to}: {status} {words}"),
            How::NoProxy(words) => write!(f, "does not answer as a proxy does: {words}"),
            How::Broken(why) => write!(f, "does not lead to {to}: {why}"),
        }
    }
}
