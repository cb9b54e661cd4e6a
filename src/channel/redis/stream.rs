//! The way to Redis as bytes: TCP, TLS, a Unix socket. Made here and not by the client, so that it can be guarded.

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, aio::AsyncStream};
use tokio::net::UnixStream;

use super::failure::Failure;
use crate::connect::{Security, Server, Service};

/// Redis in the sentences about a connection.
const SERVICE: Service =
    Service { name: "Redis", key: "channel.redis.url", place: "the address in channel.redis.url", plain: "redis" };

/// An agent that listens itself in the same place.
const AGENT: Service = Service {
    name: "the agent",
    key: "channel.embedded.listen",
    place: "the address in channel.embedded.listen (kadabra run, or systemctl start kadabra, starts one)",
    plain: "redis",
};

/// A stream of any of these kinds.
pub(super) type Stream = Box<dyn AsyncStream + Send + Unpin>;

pub(super) async fn connect(info: &ConnectionInfo, is_agent: bool, within: Duration) -> Result<Stream, Failure> {
    let (host, port, security) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => (host, *port, Security::Plain),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => (host, *port, Security::Tls(None)),
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            let why = "the URL says #insecure, and this agent checks every certificate";
            return Err(Failure::Redis((ErrorKind::InvalidClientConfig, why).into()));
        }
        ConnectionAddr::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| Failure::Redis(error.into()))?;
            return Ok(Box::new(stream));
        }
        _ => return Err(Failure::Redis((ErrorKind::InvalidClientConfig, "an address of an unknown kind").into())),
    };
    let stream = Server::new(if is_agent { &AGENT } else { &SERVICE }, host, port, security)
        .connect(within)
        .await
        .map_err(Failure::Unreached)?;
    Ok(Box::new(stream))
}
