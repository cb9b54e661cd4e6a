//! The way to Redis as bytes: TCP, TLS, a Unix socket. Made here and not by the client, so that it can be guarded.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use futures_util::future::select_ok;
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, aio::AsyncStream};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

/// A stream of any of these kinds.
pub(super) type Stream = Box<dyn AsyncStream + Send + Unpin>;

pub(super) async fn connect(info: &ConnectionInfo) -> Result<Stream, RedisError> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = quickest(host, *port, TcpStream::connect).await?;
            Ok(Box::new(stream))
        }
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            let connector = TlsConnector::from(Arc::new(tls()?));
            let name = ServerName::try_from(host.as_str()).map_err(io::Error::other)?.to_owned();
            let (connector, name) = (&connector, &name);
            let stream = quickest(host, *port, |address| async move {
                connector.connect(name.clone(), TcpStream::connect(address).await?).await
            });
            Ok(Box::new(stream.await?))
        }
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            let why = "the URL says #insecure, and this agent checks every certificate";
            Err((ErrorKind::InvalidClientConfig, why).into())
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err((ErrorKind::InvalidClientConfig, "an address of an unknown kind").into()),
    }
}

/// Tries all addresses of a host at once.
async fn quickest<S, F>(host: &str, port: u16, connect: impl Fn(SocketAddr) -> F) -> Result<S, RedisError>
where
    F: Future<Output = io::Result<S>>,
{
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err((ErrorKind::InvalidClientConfig, "No address found for host").into());
    }
    Ok(select_ok(addresses.into_iter().map(|address| Box::pin(connect(address)))).await?.0)
}

/// Trusts whom the system trusts now: certificates are renewed while the agent runs.
fn tls() -> io::Result<ClientConfig> {
    let mut found = rustls_native_certs::load_native_certs();
    if let Some(error) = found.errors.pop() {
        return Err(io::Error::other(error));
    }
    let mut trusted = RootCertStore::empty();
    for certificate in found.certs {
        trusted.add(certificate).map_err(io::Error::other)?;
    }
    Ok(ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth())
}
