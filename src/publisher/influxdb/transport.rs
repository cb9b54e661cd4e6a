//! One POST and its answer, whatever the server does: bounded in time and size, no redirects, no secrets in errors.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use awc::{
    Client, ClientRequest, Connector,
    body::SizedStream,
    error::{ConnectError, SendRequestError},
    http::header,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, stream};
use rustls::{ClientConfig, RootCertStore};

use super::verdict::Answer;
use crate::{
    config::{Influxdb, Secret},
    duration::for_people,
};

/// How much of an answer's body is read; the connection is closed when there is more.
const MAX_ANSWER: usize = 64 << 10;

/// How much of a request's body is handed to the connection at once. It copies what it is given.
const CHUNK: usize = 64 << 10;

/// No answer: a sentence, and what it says about the next attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    pub(super) why: String,
    pub(super) how: How,
}

/// In which way there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// There was no connection.
    Unreachable,
    /// The connection broke while it was used. A server that refuses a large body does that, too.
    Cut,
    /// It took too long.
    Late,
}

/// A server, spoken to with one connection that is kept.
pub(super) struct Transport {
    url: String,
    /// The value of the `Authorization` header.
    authorization: Option<String>,
    password: Option<Secret>,
    timeout: Duration,
    gzip: bool,
    tls: Option<Arc<ClientConfig>>,
    client: Client,
}

impl Transport {
    /// Connects with the first request.
    pub(super) fn new(config: &Influxdb) -> Self {
        let tls = config.url.starts_with("https:").then(tls);
        let client = client(config.timeout, tls.as_ref());
        let authorization = config.username.as_ref().and_then(|username| {
            let request = client.post("").basic_auth(username, config.password.as_ref().map_or("", Secret::expose));
            Some(request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.to_owned())
        });
        Self {
            url: config.url.clone(),
            authorization,
            password: config.password.clone(),
            timeout: config.timeout,
            gzip: config.gzip,
            tls,
            client,
        }
    }

    /// Sends `body` to `path`, which begins with a slash. With `ask_first` the body is only sent when the server says
    /// that it would read it, so that its answer is not lost when it does not.
    pub(super) async fn post(&mut self, path: &str, body: Bytes, ask_first: bool) -> Result<Answer, NoAnswer> {
        let mut request = self.client.post([self.url.as_str(), path].concat()).content_type("text/plain; charset=utf-8");
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((header::AUTHORIZATION, authorization.as_str()));
        }
        if ask_first {
            request = request.insert_header((header::EXPECT, "100-continue"));
        }
        let body = if self.gzip {
            request = request.insert_header((header::CONTENT_ENCODING, "gzip"));
            gzip(&body)
        } else {
            body
        };
        let Ok(answer) = tokio::time::timeout(self.timeout, exchange(request, body)).await else {
            let why = ["no answer within ", &for_people(self.timeout)].concat();
            return Err(NoAnswer { why, how: How::Late });
        };
        let answer = answer?;
        if answer.status < 200 {
            // The final answer is still to come on this connection, and would be taken for that of the next request.
            self.client = client(self.timeout, self.tls.as_ref());
        }
        Ok(answer)
    }

    /// Takes the password out of a text: a server may send back what it was sent.
    pub(super) fn hide_secrets(&self, mut text: String) -> String {
        let login = self.authorization.as_deref().and_then(|value| value.strip_prefix("Basic "));
        for secret in [login, self.password.as_ref().map(Secret::expose)].into_iter().flatten() {
            if !secret.is_empty() && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }
}

async fn exchange(request: ClientRequest, body: Bytes) -> Result<Answer, NoAnswer> {
    let chunks = stream::iter((0..body.len()).step_by(CHUNK).map({
        let body = body.clone();
        move |start| Ok::<_, std::io::Error>(body.slice(start..body.len().min(start + CHUNK)))
    }));
    let sized = SizedStream::new(body.len() as u64, chunks);
    let mut response = request.send_body(sized).await.map_err(no_answer)?;
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned),
        body: String::new(),
    };
    let mut read = Vec::new();
    while read.len() < MAX_ANSWER {
        match response.next().await {
            Some(Ok(chunk)) => read.extend(chunk.iter().take(MAX_ANSWER - read.len())),
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

fn no_answer(error: SendRequestError) -> NoAnswer {
    let (how, why) = match error {
        SendRequestError::Connect(error) => match error {
            ConnectError::Io(error) => (How::Unreachable, ["cannot connect: ", &error.to_string(), hint(&error)].concat()),
            ConnectError::Timeout => (How::Unreachable, "cannot connect in time".to_owned()),
            ConnectError::Resolver(error) => (How::Unreachable, ["cannot find the host: ", &error.to_string()].concat()),
            ConnectError::NoRecords => (How::Unreachable, "cannot find the host: its name has no address".to_owned()),
            ConnectError::Disconnected => (How::Cut, "the connection was closed before an answer came".to_owned()),
            error => (How::Unreachable, ["cannot connect: ", &error.to_string()].concat()),
        },
        SendRequestError::Send(error) => (How::Cut, ["the connection broke: ", &error.to_string()].concat()),
        SendRequestError::Response(error) => (How::Cut, ["what answered does not speak HTTP: ", &error.to_string()].concat()),
        SendRequestError::Url(error) => (How::Unreachable, ["its URL cannot be used: ", &error.to_string()].concat()),
        error => (How::Cut, ["the request failed: ", &error.to_string()].concat()),
    };
    NoAnswer { why, how }
}

/// What to look at.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "; check that InfluxDB is running there, and the host and port in publisher.influxdb.url"
        }
        // What rustls says of an answer that is not TLS.
        io::ErrorKind::InvalidData => "; check whether that port speaks TLS, and https or http in publisher.influxdb.url",
        _ => "",
    }
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    drop(encoder.write_all(body));
    encoder.finish().unwrap_or_default().into()
}

fn client(timeout: Duration, tls: Option<&Arc<ClientConfig>>) -> Client {
    let mut connector = Connector::new().timeout(timeout).handshake_timeout(timeout);
    if let Some(tls) = tls {
        connector = connector.rustls_0_23(Arc::clone(tls));
    }
    Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .add_default_header((header::USER_AGENT, concat!("kadabra/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

/// TLS that trusts what the system trusts. Without any certificate every server is refused, and the error says so.
fn tls() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // Whoever is first installs it for the whole process; it is the same one everywhere.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
