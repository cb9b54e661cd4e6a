//! How connections are made: a name to its addresses, each address its share of the time, TLS. Used for every server that
//! is reached by TCP. Knows nothing of what is spoken over a connection.

mod failure;
mod proxy;
mod race;
mod resolve;
mod stream;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use self::failure::{Unreached, Why};
pub(crate) use self::{
    failure::Failure, proxy::ignored as ignored_proxy, stream::Stream, tls::read_anew as read_certificates_anew,
};

/// A server as people know it, for sentences.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name: `InfluxDB`.
    pub(crate) name: &'static str,
    /// The key of the configuration that says where it is.
    pub(crate) key: &'static str,
    /// What of that key to check when nothing listens there: `the host and port in publisher.influxdb.url`.
    pub(crate) place: &'static str,
    /// With which scheme of a URL it is spoken to without TLS.
    pub(crate) plain: &'static str,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// It is not.
    Plain,
    /// By TLS, with this protocol inside (ALPN), if one is to be named.
    Tls(Option<&'static str>),
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    service: &'static Service,
    /// A name or an address, without the brackets that a URL has round an IPv6 address.
    host: String,
    port: u16,
    security: Security,
}

impl Server {
    /// `host` may have the brackets of a URL.
    pub(crate) fn new(service: &'static Service, host: &str, port: u16, security: Security) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { service, host: bare.to_owned(), port, security }
    }

    /// Connects to whichever of the host's addresses is the first to do so, TLS included.
    ///
    /// # Errors
    /// When none did `within` the time, looking up the name included. It names each address and why.
    pub(crate) async fn connect(&self, within: Duration) -> Result<Stream, Failure> {
        let failed = |unreached| Failure::new(self, within, unreached);
        let deadline = Instant::now() + within;
        let found = match timeout_at(deadline, resolve::addresses(&self.host, self.port)).await {
            Ok(found) => found.map_err(|why| failed(Unreached::Name(why)))?,
            Err(_) => return Err(failed(Unreached::NameLate)),
        };
        let tls = match self.security {
            Security::Plain => None,
            Security::Tls(protocol) => Some(self.tls(protocol).map_err(|why| failed(Unreached::Unsafe(why)))?),
        };
        let tls = tls.as_ref();
        let connected = race::first(found, deadline, |address| attempt(address, tls)).await;
        connected.map_err(|attempts| {
            let failure = failed(Unreached::Addresses(attempts));
            if failure.is_about_a_certificate() {
                // It may have been put among those that the system trusts since they were read.
                tls::read_anew();
            }
            failure
        })
    }

    fn tls(&self, protocol: Option<&'static str>) -> Result<(TlsConnector, ServerName<'static>), String> {
        let mut config = tls::config()?;
        if let Some(protocol) = protocol {
            Arc::make_mut(&mut config).alpn_protocols = vec![protocol.as_bytes().to_vec()];
        }
        let name = ServerName::try_from(self.host.clone()).map_err(|_| "its host is not a name that a certificate can have")?;
        Ok((TlsConnector::from(config), name))
    }
}

async fn attempt(address: SocketAddr, tls: Option<&(TlsConnector, ServerName<'static>)>) -> Result<Stream, Why> {
    let stream = TcpStream::connect(address).await.map_err(Why::Tcp)?;
    match tls {
        None => Ok(Stream::Plain(stream)),
        Some((connector, name)) => {
            let stream = connector.connect(name.clone(), stream).await.map_err(Why::Tls)?;
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}
