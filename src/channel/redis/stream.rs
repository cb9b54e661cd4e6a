//! The way to Redis as bytes: TCP, TLS, a Unix socket. Made here and not by the client, so that it can be guarded.

use std::{path::PathBuf, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, aio::AsyncStream};
use tokio::net::UnixStream;

use super::{errors::KEYS, failure::Failure};
use crate::{
    channel::ChannelError,
    config::{self, HostAndPort},
    connect::{Security, Server, Service},
};

/// A stream of any of these kinds.
pub(super) type Stream = Box<dyn AsyncStream + Send + Unpin>;

/// Where Redis is.
pub(super) enum Way {
    Tcp(Server),
    Unix(PathBuf),
}

impl Way {
    pub(super) fn new(info: &ConnectionInfo, tls: &config::Tls) -> Result<Self, ChannelError> {
        let (host, port, security) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, Security::Plain),
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                (host, *port, Security::Tls { files: tls.clone(), protocol: None })
            }
            ConnectionAddr::Unix(path) => return Ok(Self::Unix(path.clone())),
            // #insecure, or what a later version of the client knows.
            _ => {
                return Err(ChannelError::Unusable {
                    what: "channel.redis.url names no address that this agent connects to".to_owned(),
                    mend: "write it as redis://, rediss:// or unix://, without a #fragment: every certificate is checked"
                        .to_owned(),
                });
            }
        };
        Ok(Self::Tcp(Server::new(&KEYS.service, host, port, security)))
    }

    /// To one of several servers.
    pub(super) fn to(service: &'static Service, (host, port): &HostAndPort, tls: Option<config::Tls>) -> Self {
        let security = tls.map_or(Security::Plain, |files| Security::Tls { files, protocol: None });
        Self::Tcp(Server::new(service, host, *port, security))
    }

    /// Has errors speak of the server by these names.
    pub(super) fn call(&mut self, service: &'static Service) {
        if let Self::Tcp(server) = self {
            server.service = *service;
        }
    }

    pub(super) async fn connect(&self, within: Duration) -> Result<Stream, Failure> {
        match self {
            Self::Tcp(server) => Ok(Box::new(server.connect(within).await.map_err(Failure::Unreached)?)),
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| Failure::Redis(error.into()))?;
                Ok(Box::new(stream))
            }
        }
    }
}
