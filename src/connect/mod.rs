//! How connections are made: a name to its addresses, each address its share of the time, a proxy on the way, TLS. Used for every server that
//! is reached by TCP. Knows nothing of what is spoken over a connection.

mod failure;
mod proxy;
mod race;
mod resolve;
mod stream;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

pub(crate) use self::{failure::Failure, proxy::Proxy, stream::Stream, tls::read_anew as read_certificates_anew};
use self::{
    failure::{Unreached, Why},
    tls::Encryption,
};
use crate::config;

/// A server as people know it, for sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name: `InfluxDB`.
    pub(crate) name: &'static str,
    /// The key of the configuration that says where it is.
    pub(crate) key: &'static str,
    /// What of that key to check when nothing listens there: `the host and port in publisher.influxdb.url`.
    pub(crate) place: &'static str,
    /// The section of the configuration with what else can be set of it; empty where there is none.
    pub(crate) section: &'static str,
    /// With which scheme of a URL it is spoken to without TLS; where it has no URL, `use_tls` of its section says so.
    pub(crate) plain: Option<&'static str>,
}

impl Service {
    /// A key of its section, if it has one.
    pub(crate) fn sibling(&self, name: &str) -> Option<String> {
        (!self.section.is_empty()).then(|| [self.section, ".", name].concat())
    }

    /// What an operator writes for a connection without TLS.
    fn without_tls(&self) -> String {
        self.plain.map_or_else(|| format!("{}.use_tls = false", self.section), |scheme| format!("{scheme}:// in {}", self.key))
    }

    /// What to look at where it has ended the encryption: most likely it wants a certificate of its clients.
    pub(crate) fn remedy_of_an_alert(&self, ask_for_none: &str) -> String {
        let named = |certificate: String| {
            let key = self.sibling("client_key").unwrap_or_default();
            format!("name one that it accepts in {certificate}, and its key in {key}, or ")
        };
        let named = self.sibling("client_certificate").map(named).unwrap_or_default();
        format!("look into the log there; if it wants a certificate of its clients, {named}{ask_for_none}")
    }
}

/// Whether a connection is encrypted.
#[derive(Debug)]
pub(crate) enum Security {
    /// It is not.
    Plain,
    /// By TLS.
    Tls {
        /// What the configuration says of it.
        files: config::Tls,
        /// What is spoken inside (ALPN), if that is to be named.
        protocol: Option<&'static str>,
    },
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) service: Service,
    /// How a sentence begins that is not about the server of the configuration, but about one on the way to it.
    called: Option<String>,
    /// A name or an address, without the brackets that a URL has round an IPv6 address.
    host: String,
    port: u16,
    encryption: Option<Arc<Encryption>>,
    /// What leads to it.
    proxy: Option<Arc<Proxy>>,
}

impl Server {
    /// `host` may have the brackets of a URL.
    pub(crate) fn new(service: &Service, host: &str, port: u16, security: Security) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let encryption = match security {
            Security::Plain => None,
            Security::Tls { files, protocol } => Some(Arc::new(Encryption::new(files, protocol))),
        };
        Self { service: *service, called: None, host: bare.to_owned(), port, encryption, proxy: None }
    }

    /// The same, by a tunnel through a proxy, which looks its name up.
    pub(crate) fn through(self, proxy: Proxy) -> Self {
        Self { proxy: Some(Arc::new(proxy)), ..self }
    }

    /// Connects to whichever of the host's addresses is the first to do so, TLS included.
    ///
    /// # Errors
    /// When none did `within` the time, looking up the name included. It names each address and why.
    pub(crate) async fn connect(&self, within: Duration) -> Result<Stream, Box<Failure>> {
        let deadline = Instant::now() + within;
        let connected = match &self.proxy {
            Some(proxy) => Box::pin(self.connect_through(proxy, deadline, within)).await,
            None => self.connect_directly(deadline, within).await,
        };
        connected.inspect_err(|failure| {
            if failure.is_about_a_certificate() {
                // It may have been put among those that the system trusts since they were read.
                tls::read_anew();
            }
        })
    }

    async fn connect_directly(&self, deadline: Instant, within: Duration) -> Result<Stream, Box<Failure>> {
        let failed = |unreached| Box::new(Failure::new(self, within, unreached));
        let found = match timeout_at(deadline, resolve::addresses(&self.host, self.port)).await {
            Ok(found) => found.map_err(|why| failed(Unreached::Name(why)))?,
            Err(_) => return Err(failed(Unreached::NameLate)),
        };
        let tls = self.tls().map_err(|why| failed(Unreached::Unsafe(why)))?;
        let tls = tls.as_ref();
        let connected = race::first(found, deadline, |address| attempt(address, tls)).await;
        connected.map_err(|attempts| failed(Unreached::Addresses(attempts)))
    }

    async fn connect_through(&self, proxy: &Proxy, deadline: Instant, within: Duration) -> Result<Stream, Box<Failure>> {
        let failed = |unreached| Box::new(Failure::new(self, within, unreached));
        let tls = self.tls().map_err(|why| failed(Unreached::Unsafe(why)))?;
        let mut stream = proxy.server.connect(within).await?;
        let bracketed = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let led = async {
            proxy.lead(&mut stream, &format!("{bracketed}:{}", self.port)).await.map_err(Unreached::Refused)?;
            encrypted(stream, tls.as_ref()).await.map_err(Unreached::Behind)
        };
        let led = timeout_at(deadline, led).await.unwrap_or(Err(Unreached::Behind(Why::Late)));
        led.map_err(failed)
    }

    /// Why a server has ended a connection that was made, when it said so in TLS: with TLS 1.3 it judges a client's certificate after
    /// the client takes the connection for made.
    pub(crate) fn alert(&self, error: &io::Error) -> Option<Failure> {
        let why = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let said = matches!(why, rustls::Error::AlertReceived(_));
        said.then(|| Failure::new(self, Duration::ZERO, Unreached::Behind(Why::Tls(io::Error::other(why.clone())))))
    }

    /// What the server's certificate must be for.
    fn name(&self) -> &str {
        self.encryption.as_ref().and_then(|encryption| encryption.files().server_name()).unwrap_or(&self.host)
    }

    fn tls(&self) -> Result<Option<(TlsConnector, ServerName<'static>)>, String> {
        let Some(encryption) = &self.encryption else { return Ok(None) };
        let name = ServerName::try_from(self.name().to_owned());
        let name = name.map_err(|_| "its host is not a name that a certificate can have")?;
        Ok(Some((TlsConnector::from(encryption.config()?), name)))
    }
}

async fn attempt(address: SocketAddr, tls: Option<&(TlsConnector, ServerName<'static>)>) -> Result<Stream, Why> {
    let stream = TcpStream::connect(address).await.map_err(Why::Tcp)?;
    encrypted(Stream::Plain(stream), tls).await
}

async fn encrypted(stream: Stream, tls: Option<&(TlsConnector, ServerName<'static>)>) -> Result<Stream, Why> {
    match tls {
        None => Ok(stream),
        Some((connector, name)) => {
            let stream = connector.connect(name.clone(), stream).await.map_err(Why::Tls)?;
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}
