//! One request and its answer, whatever the server does: bounded in time and size, no redirects, no secrets in errors.

use std::{
    error::Error as _,
    fmt::Debug,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_rt::net::ActixStream;
use actix_service::fn_service;
use actix_tls::connect::{ConnectInfo, Connection};
use awc::{
    Client, ClientRequest, Connector,
    body::SizedStream,
    error::{ConnectError, SendRequestError},
    http::{
        Method, StatusCode, Uri,
        header::{self, HeaderMap, HeaderName},
    },
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    answer::Answer,
    interim::Final,
    login::{Authorization, Login},
};
use crate::{
    config,
    connect::{self, Proxy, Security, Server, Service},
    duration::for_people,
};

/// How much of an answer's body is read; the connection is closed when there is more.
const MAX_ANSWER: usize = 64 << 10;
/// The same of an answer that tells types.
const MAX_LONG_ANSWER: usize = 4 << 20;

/// How much of a request's body is handed to the connection at once. It copies what it is given.
const CHUNK: usize = 64 << 10;

/// The header in which InfluxDB tells its version.
const VERSION: &str = "x-influxdb-version";

/// Which headers the servers have in each answer: InfluxDB 1.x and 2, and VictoriaMetrics.
const HEADERS_OF_SERVERS: [&str; 2] = [VERSION, "x-server-hostname"];

/// No answer: a sentence, and what it says about the next attempt.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::publisher) struct NoAnswer {
    pub(in crate::publisher) why: String,
    pub(in crate::publisher) how: How,
}

/// In which way there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher) enum How {
    /// There was no connection.
    Unreachable,
    /// The connection broke while it was used. A server that refuses a large body does that, too.
    Cut,
    /// It took too long.
    Late,
}

/// Where and how to send.
#[derive(Clone, Debug)]
pub(in crate::publisher) struct To {
    /// The server in the sentences about a connection.
    pub(in crate::publisher) service: &'static Service,
    /// A URL that was checked; its path is put before that of each request.
    pub(in crate::publisher) url: String,
    pub(in crate::publisher) login: Login,
    /// What the configuration says of TLS.
    pub(in crate::publisher) tls: config::Tls,
    /// The proxy to go through.
    pub(in crate::publisher) proxy: Option<config::Proxy>,
    /// How long a request with its answer may take, connecting included.
    pub(in crate::publisher) timeout: Duration,
    /// Whether bodies are compressed.
    pub(in crate::publisher) gzip: bool,
}

/// A server, spoken to with one connection that is kept.
pub(in crate::publisher) struct Transport {
    way: Way,
    /// The URL as the HTTP client is told it: with http, since the connection is encrypted beneath it, and with a port.
    url: String,
    authorization: Authorization,
    timeout: Duration,
    gzip: bool,
    /// Whether the server is asked before the body is sent.
    asked: Arc<AtomicBool>,
    client: Client,
}

/// The way to the server.
struct Way {
    /// What a connection is made to: the server itself, by a tunnel where it is spoken to by TLS through a proxy, or else that proxy.
    server: Server,
    /// The proxy that is asked to hand each request on, and the host and port that it is for.
    forward: Option<(Proxy, String)>,
}

impl Transport {
    /// Connects with the first request.
    pub(in crate::publisher) fn new(to: To) -> Self {
        let To { service, url, login, tls, proxy, timeout, gzip } = to;
        let (way, url) = way(service, &url, tls, proxy.as_ref());
        let asked = Arc::new(AtomicBool::new(false));
        let client = client(timeout, &way.server, &asked);
        Self { way, url, authorization: Authorization::new(login), timeout, gzip, asked, client }
    }

    /// Sends `body` to `path`, which begins with a slash. With `ask_first` the body is only sent when the server says
    /// that it would read it, so that its answer is not lost when it does not.
    pub(in crate::publisher) async fn post(&mut self, path: &str, body: Bytes, ask_first: bool) -> Result<Answer, NoAnswer> {
        let mut request = self.request(Method::POST, path).content_type("text/plain; charset=utf-8");
        // A small body is on its way before an answer could come.
        let ask_first = ask_first && body.len() > CHUNK;
        self.asked.store(ask_first, Ordering::Relaxed);
        if ask_first {
            request = request.insert_header((header::EXPECT, "100-continue"));
        }
        let body = if self.gzip {
            request = request.insert_header((header::CONTENT_ENCODING, "gzip"));
            gzip(&body)
        } else {
            body
        };
        self.exchange(request, body, MAX_ANSWER).await
    }

    /// Asks for `path`, which begins with a slash, and for the version of the server.
    pub(in crate::publisher) async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.asked.store(false, Ordering::Relaxed);
        let request = self.request(Method::GET, path);
        self.exchange(request, Bytes::new(), MAX_ANSWER).await
    }

    /// The same of an answer that may be long.
    pub(in crate::publisher) async fn get_long(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.asked.store(false, Ordering::Relaxed);
        let request = self.request(Method::GET, path);
        self.exchange(request, Bytes::new(), MAX_LONG_ANSWER).await
    }

    /// A request with the logins that it needs.
    fn request(&mut self, method: Method, path: &str) -> ClientRequest {
        let url = [self.url.as_str(), path].concat();
        let mut request = match self.way.forward.as_ref().and_then(|_| absolute(&url)) {
            Some(uri) => self.client.request(method, uri),
            None => self.client.request(method, url),
        };
        if let Some(login) = self.way.forward.as_ref().and_then(|(proxy, _)| proxy.authorization()) {
            request = request.insert_header((header::PROXY_AUTHORIZATION, login));
        }
        if let Some(authorization) = self.authorization.header(&self.client) {
            request = request.insert_header((header::AUTHORIZATION, authorization));
        }
        request
    }

    async fn exchange(&mut self, request: ClientRequest, body: Bytes, most: usize) -> Result<Answer, NoAnswer> {
        let answer = exchange(request, body, &self.way, self.timeout, most).await?;
        if answer.status < 200 {
            // Another protocol, which nobody has asked for, is spoken on this connection from now on.
            self.client = client(self.timeout, &self.way.server, &self.asked);
        }
        Ok(answer)
    }

    /// Takes the secret of the login out of a text: a server may send back what it was sent.
    pub(in crate::publisher) fn hide_secrets(&self, text: String) -> String {
        self.authorization.hide(text)
    }
}

async fn exchange(request: ClientRequest, body: Bytes, way: &Way, within: Duration, most: usize) -> Result<Answer, NoAnswer> {
    let deadline = Instant::now() + within;
    let is_question = *request.get_method() == Method::GET;
    let chunks = stream::iter((0..body.len()).step_by(CHUNK).map({
        let body = body.clone();
        move |start| Ok::<_, std::io::Error>(body.slice(start..body.len().min(start + CHUNK)))
    }));
    let sized = SizedStream::new(body.len() as u64, chunks);
    let Ok(response) = timeout_at(deadline, request.send_body(sized)).await else {
        let why = ["no answer within ", &for_people(within)].concat();
        return Err(NoAnswer { why, how: How::Late });
    };
    let mut response = response.map_err(|error| no_answer(error, &way.server))?;
    if let Some(why) = way.refusal(response.status(), response.headers()) {
        return Err(NoAnswer { why, how: How::Unreachable });
    }
    let text_of = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: text_of(header::RETRY_AFTER),
        location: text_of(header::LOCATION),
        version: is_question.then(|| text_of(HeaderName::from_static(VERSION))).flatten(),
        body: String::new(),
    };
    let mut read = Vec::new();
    while read.len() < most {
        // The status is an answer, though the rest of it is late: then the connection is not used again.
        match timeout_at(deadline, response.next()).await.unwrap_or(None) {
            Some(Ok(chunk)) => read.extend(chunk.iter().take(most - read.len())),
            Some(Err(error)) => {
                let why = ["the connection broke in the middle of an answer: ", &error.to_string()].concat();
                return Err(NoAnswer { why, how: How::Cut });
            }
            None => break,
        }
    }
    answer.body = String::from_utf8_lossy(&read).into_owned();
    Ok(answer)
}

fn no_answer(error: SendRequestError, server: &Server) -> NoAnswer {
    let io = match &error {
        SendRequestError::Send(error) => Some(error),
        SendRequestError::Response(error) => error.source().and_then(|cause| cause.downcast_ref()),
        _ => None,
    };
    if let Some(failure) = io.and_then(|error| server.alert(error)) {
        return NoAnswer { why: explained(&failure), how: How::Unreachable };
    }
    let (how, why) = match error {
        SendRequestError::Connect(error) => match error {
            ConnectError::Io(error) => (How::Unreachable, not_connected(&error)),
            ConnectError::Disconnected => (How::Cut, "the connection was closed before an answer came".to_owned()),
            error => (How::Unreachable, ["cannot connect: ", &error.to_string()].concat()),
        },
        SendRequestError::Send(error) => (How::Cut, ["the connection broke: ", &error.to_string()].concat()),
        SendRequestError::Response(error) if error.source().is_some_and(|cause| cause.is::<io::Error>()) => {
            (How::Cut, ["the connection broke before an answer came: ", &error.to_string()].concat())
        }
        SendRequestError::Response(error) => (How::Cut, ["what answered does not speak HTTP: ", &error.to_string()].concat()),
        SendRequestError::Url(error) => (How::Unreachable, ["its URL cannot be used: ", &error.to_string()].concat()),
        error => (How::Cut, ["the request failed: ", &error.to_string()].concat()),
    };
    NoAnswer { why, how }
}

/// Why there is no connection, and what to look at.
fn not_connected(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<connect::Failure>()) {
        Some(failure) => explained(failure),
        None => format!("cannot connect: {error}"),
    }
}

fn explained(failure: &connect::Failure) -> String {
    format!("cannot connect: {failure}; {}", failure.remedy())
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    drop(encoder.write_all(body));
    encoder.finish().unwrap_or_default().into()
}

/// Where a URL that was checked leads, and the URL for the HTTP client.
fn way(service: &Service, url: &str, tls: config::Tls, proxy: Option<&config::Proxy>) -> (Way, String) {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
    let port = parsed.as_ref().and_then(Url::port_or_known_default).unwrap_or_default();
    let path = parsed.as_ref().map_or("", Url::path).trim_end_matches('/');
    let encrypted = Security::Tls { files: tls, protocol: Some("http/1.1") };
    let security = if url.starts_with("https:") { encrypted } else { Security::Plain };
    let (server, url_of_client) = (Server::new(service, host, port, security), format!("http://{host}:{port}{path}"));
    let way = match proxy.map(Proxy::new) {
        None => Way { server, forward: None },
        Some(proxy) if url.starts_with("https:") => Way { server: server.through(proxy), forward: None },
        // Not by a tunnel, which proxies lead to ports of TLS alone by default.
        Some(proxy) => Way { server: proxy.server.clone(), forward: Some((proxy, format!("{host}:{port}"))) },
    };
    (way, url_of_client)
}

impl Way {
    /// Why a proxy has not handed a request on, if this is what its answer means. What it says for the server would look the same, but
    /// that most servers have headers of their own, and none answers with a page: InfluxDB 3 has neither.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        let (proxy, to) = self.forward.as_ref()?;
        let is_page = headers.get(header::CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"text/html"));
        let of_server = !is_page || HEADERS_OF_SERVERS.iter().any(|header| headers.contains_key(*header));
        let is_own = match status.as_u16() {
            407 => true,
            // tinyproxy says so of a wrong login, and 407 of a missing one.
            401 => proxy.has_login() && !of_server,
            403 | 405 | 500 | 502..=504 => !of_server,
            _ => false,
        };
        let words = status.canonical_reason().unwrap_or_default();
        is_own.then(|| proxy.answered(to, status.as_u16(), words)).map(|refusal| format!("{refusal}; {}", refusal.remedy()))
    }
}

/// A URL that is said whole to a proxy (RFC 9112, section 3.2.2). The HTTP client writes as the target of a request what it takes for the
/// path.
fn absolute(url: &str) -> Option<Uri> {
    let mut parts = url.parse::<Uri>().ok()?.into_parts();
    parts.path_and_query = Some(url.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn client(timeout: Duration, server: &Server, asked: &Arc<AtomicBool>) -> Client {
    // A little less than the request has, which would say only that there was no answer.
    let within = timeout - (timeout / 10).min(Duration::from_millis(100));
    let (server, asked) = (Arc::new(server.clone()), Arc::clone(asked));
    client_by(timeout, move || {
        let (server, asked) = (Arc::clone(&server), Arc::clone(&asked));
        async move {
            let stream = server.connect(within).await.map_err(|failure| io::Error::other(*failure))?;
            Ok(Final::new(stream, asked))
        }
    })
}

/// A client of HTTP whose connections are made by this, each within that time. It follows nowhere, and how long an answer may take is for
/// whoever asks to say.
pub(crate) fn client_by<S, F>(timeout: Duration, connect: impl Fn() -> F + Clone + 'static) -> Client
where
    S: ActixStream + Debug + 'static,
    F: Future<Output = io::Result<S>> + 'static,
{
    let connected = move |request: ConnectInfo<Uri>| {
        let stream = connect();
        async move {
            match stream.await {
                Ok(stream) => Ok(Connection::new(request.request().clone(), stream)),
                Err(error) => Err(actix_tls::connect::ConnectError::Io(error)),
            }
        }
    };
    Client::builder()
        .connector(Connector::new().connector(fn_service(connected)).timeout(timeout))
        .disable_timeout()
        .disable_redirects()
        .add_default_header((header::USER_AGENT, concat!("kadabra/", env!("CARGO_PKG_VERSION"))))
        .finish()
}
