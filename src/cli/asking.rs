//! How commands ask a running agent: over HTTP, at the socket in the file system or the first address of `[status]`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use actix_rt::net::{TcpStream, UnixStream};
use awc::{
    Client, ClientRequest,
    error::{ConnectError, SendRequestError},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::timeout;

use crate::{
    config::{self, Secret},
    duration::for_people,
    publisher::http::client_by,
    quote::{cut_name, quote},
    status::{Snapshot, snapshot::VERSION},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any snapshot has.
const LONGEST_ANSWER: usize = 64 << 20;

/// A way to the agent of a configuration.
pub(super) struct Asking {
    place: Place,
    client: Client,
    password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Why there is no answer: a sentence for the person who asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The configuration has the agent answer nowhere.
    #[error(
        "the agent of this configuration does not say how it is: status.listen is \"\" and status.unix_socket is not set; set one of them"
    )]
    Nowhere,
    /// The agent's port is not known.
    #[error(
        "status.listen has port 0, so that the system chose one, which the agent's log says; set a port, or status.unix_socket"
    )]
    SomePort,
    /// No agent was found.
    #[error("no agent answers at {place}: {why}; is it running? kadabra run, or systemctl start kadabra, starts one")]
    NotRunning { place: String, why: String },
    /// The connection broke, or it took too long.
    #[error("the agent at {place} did not answer: {why}")]
    Cut { place: String, why: String },
    /// It answered something else.
    #[error("{place} answers {status}: {said}{mend}")]
    Refused { place: String, status: u16, said: String, mend: &'static str },
    /// Its answer cannot be read.
    #[error("what {place} answers cannot be read: {why}; is it an agent, and of the version of this command, {version}?", version = env!("CARGO_PKG_VERSION"))]
    Unreadable { place: String, why: String },
}

impl Asking {
    /// Connects with the first question. Must be called, as all of it, inside an actix runtime.
    pub(super) fn new(status: &config::Status) -> Result<Self, NoAnswer> {
        let place = match (&status.unix_socket, status.listen.first()) {
            (Some(path), _) => Place::Unix(path.clone()),
            (None, Some(address)) if address.port() == 0 => return Err(NoAnswer::SomePort),
            (None, Some(address)) => Place::Tcp(reachable(*address)),
            (None, None) => return Err(NoAnswer::Nowhere),
        };
        let client = match place.clone() {
            Place::Unix(path) => client_by(PATIENCE, move || UnixStream::connect(path.clone())),
            Place::Tcp(address) => client_by(PATIENCE, move || TcpStream::connect(address)),
        };
        Ok(Self { place, client, password: status.password.clone() })
    }

    /// Where the agent is asked, for people.
    pub(super) fn place(&self) -> String {
        match &self.place {
            Place::Unix(path) => path.display().to_string(),
            Place::Tcp(address) => format!("http://{address}"),
        }
    }

    /// How the agent is.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, NoAnswer> {
        self.read(&self.json().await?)
    }

    /// What [`Asking::json`] has answered.
    pub(super) fn read(&self, json: &[u8]) -> Result<Snapshot, NoAnswer> {
        let unreadable = |why: String| NoAnswer::Unreadable { place: self.place(), why };
        let snapshot: Snapshot = serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
        if snapshot.version != VERSION {
            return Err(unreadable(format!("it is version {} of the document, and this is version {VERSION}", snapshot.version)));
        }
        Ok(snapshot)
    }

    /// The same as the agent writes it.
    pub(super) async fn json(&self) -> Result<Vec<u8>, NoAnswer> {
        let mut read = Vec::new();
        let mut parts = self.parts("/api/status").await?;
        let whole = async {
            while let Some(part) = parts.next().await {
                read.extend_from_slice(&part?);
                if read.len() > LONGEST_ANSWER {
                    return Err(NoAnswer::Unreadable { place: self.place(), why: "it is far too long".to_owned() });
                }
            }
            Ok(())
        };
        timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err(self.late()))?;
        Ok(read)
    }

    /// The answer, part by part as it comes.
    pub(super) async fn parts(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, NoAnswer>> + Unpin + use<>, NoAnswer> {
        let answer = timeout(PATIENCE, self.request(path).send()).await.map_err(|_| self.late())?;
        let mut answer = answer.map_err(|error| self.not_sent(&error))?;
        let status = answer.status();
        let place = self.place();
        if !status.is_success() {
            let said = timeout(PATIENCE, answer.body()).await.ok().and_then(Result::ok).unwrap_or_default();
            let mend = match status.as_u16() {
                401 => "; set status.password_file, or ask by status.unix_socket",
                404 => "; is it an agent, and as new as this command?",
                _ => "",
            };
            let said = cut_name(&quote(&String::from_utf8_lossy(&said)));
            return Err(NoAnswer::Refused { place, status: status.as_u16(), said, mend });
        }
        Ok(answer.map(move |part| {
            part.map_err(|error| NoAnswer::Cut { place: place.clone(), why: format!("the connection broke: {error}") })
        }))
    }

    fn request(&self, path: &str) -> ClientRequest {
        let request = match &self.place {
            Place::Unix(_) => self.client.get(format!("http://localhost{path}")),
            Place::Tcp(address) => self.client.get(format!("http://{address}{path}")),
        };
        match &self.password {
            Some(password) => request.bearer_auth(&*password.now()),
            None => request,
        }
    }

    fn late(&self) -> NoAnswer {
        NoAnswer::Cut { place: self.place(), why: format!("it took longer than {}", for_people(PATIENCE)) }
    }

    fn not_sent(&self, error: &SendRequestError) -> NoAnswer {
        let place = self.place();
        match error {
            SendRequestError::Connect(ConnectError::Io(error)) => {
                let why = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
                    io::ErrorKind::NotFound => "there is no such socket".to_owned(),
                    io::ErrorKind::PermissionDenied => "this user may not use the socket (status.unix_socket_mode)".to_owned(),
                    _ => error.to_string(),
                };
                NoAnswer::NotRunning { place, why }
            }
            SendRequestError::Connect(error) => NoAnswer::NotRunning { place, why: error.to_string() },
            error => NoAnswer::Cut { place, why: error.to_string() },
        }
    }
}

/// Every address of a machine is on this one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
