//! Sockets that systemd has opened for the agent, and keeps while none runs: clients that connect meanwhile wait in them for the next,
//! and so do the datagrams of statsd, as far as the kernel has room.
//!
//! Such a socket takes the place of one that the agent would open itself. It is taken for each start of the listener anew, and
//! nothing of it is closed for clients when the listener ends.

use std::{
    env, fmt, io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    sync::Arc,
};

use listenfd::ListenFd;
use socket2::{Socket, Type};

use super::{error::BindError, listen};

/// The addresses at which the agent takes clients of one kind, and the path.
pub(crate) type Places<'a> = (&'a [SocketAddr], Option<&'a Path>);

/// The sockets that this process was started with.
#[derive(Clone, Debug, Default)]
pub struct PassedSockets(Arc<Vec<Passed>>);

/// One of them.
#[derive(Debug)]
struct Passed {
    socket: Socket,
    /// The unit that it is of, or what that unit calls it.
    name: String,
}

impl PassedSockets {
    /// Takes the sockets that `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` tell of. To be called before there is a second thread,
    /// since they are taken out of the environment, and only once.
    ///
    /// # Errors
    /// When one of them is none that clients can connect or send to.
    pub(crate) fn from_environment() -> Result<Self, BindError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut given = ListenFd::from_env();
        let passed = (0..given.len()).map(|index| {
            let name = names.next().unwrap_or("a socket unit").to_owned();
            let socket = take(&mut given, index).map_err(|error| BindError {
                what: format!("cannot take clients from a socket that systemd passes, of {name}: {error}"),
                remedy: "have ListenStream=, or for statsd ListenDatagram=, in that unit, and Accept=no".to_owned(),
            })?;
            Ok(Passed { socket, name })
        });
        Ok(Self(Arc::new(passed.collect::<Result<_, _>>()?)))
    }

    /// Whether the agent listens on each of them by its configuration, on `streams` or for `datagrams`. On another it must not serve,
    /// since nothing has been said of who may come there, and clients that connect to it would wait for ever.
    ///
    /// # Errors
    /// With one on which it does not.
    pub(crate) fn are_configured(&self, streams: Places<'_>, datagrams: Places<'_>) -> Result<(), BindError> {
        let other = self.0.iter().find(|passed| {
            let (listen, unix_socket) = if passed.is_of(Type::DGRAM) { datagrams } else { streams };
            !listen.iter().any(|address| passed.is_at(*address)) && !unix_socket.is_some_and(|path| passed.is_at_path(path))
        });
        let Some(passed) = other else { return Ok(()) };
        if passed.is_of(Type::DGRAM) {
            return Err(BindError {
                what: format!(
                    "systemd passes a socket for datagrams at {passed}, where the agent does not listen by its configuration, so that \
                     nobody would read what comes there"
                ),
                remedy: "have the same address in ListenDatagram= of that unit and in listen or unix_socket of [listener.statsd]"
                    .to_owned(),
            });
        }
        Err(BindError {
            what: format!(
                "systemd passes a socket at {passed}, where the agent does not listen by its configuration, so that clients \
                 would wait there for ever"
            ),
            remedy: "have the same address in ListenStream= of that unit and in listen or unix_socket of [channel.embedded]; \
                     where the channel is a Redis, systemctl disable --now that unit"
                .to_owned(),
        })
    }

    /// The one at an address.
    pub(super) fn tcp(&self, address: SocketAddr) -> Result<Option<TcpListener>, BindError> {
        self.socket(|passed| passed.is_of(Type::STREAM) && passed.is_at(address))
    }

    /// The one at a path.
    pub(super) fn unix(&self, path: &Path) -> Result<Option<UnixListener>, BindError> {
        self.socket(|passed| passed.is_of(Type::STREAM) && passed.is_at_path(path))
    }

    /// The one for datagrams at an address.
    pub(crate) fn udp(&self, address: SocketAddr) -> Result<Option<OwnedFd>, BindError> {
        self.socket(|passed| passed.is_of(Type::DGRAM) && passed.is_at(address))
    }

    /// The one for datagrams at a path.
    pub(crate) fn unix_datagram(&self, path: &Path) -> Result<Option<OwnedFd>, BindError> {
        self.socket(|passed| passed.is_of(Type::DGRAM) && passed.is_at_path(path))
    }

    /// Whether clients can connect to none.
    pub(crate) fn have_no_listener(&self) -> bool {
        !self.0.iter().any(|passed| passed.is_of(Type::STREAM))
    }

    fn socket<L: From<Socket>>(&self, is_wanted: impl Fn(&Passed) -> bool) -> Result<Option<L>, BindError> {
        let Some(passed) = self.0.iter().find(|passed| is_wanted(passed)) else { return Ok(None) };
        let another = passed.socket.try_clone().and_then(|socket| socket.set_nonblocking(true).map(|()| L::from(socket)));
        another.map(Some).map_err(|error| BindError {
            what: format!("cannot listen for clients on the socket that systemd passes at {passed}: {error}"),
            remedy: "restart that unit".to_owned(),
        })
    }
}

impl Passed {
    fn is_of(&self, kind: Type) -> bool {
        self.socket.r#type().is_ok_and(|own| own == kind)
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        self.socket.local_addr().is_ok_and(|own| own.as_socket() == Some(address))
    }

    /// Also by another way to the same file, such as `/var/run`.
    fn is_at_path(&self, path: &Path) -> bool {
        let own = self.socket.local_addr();
        let own = own.as_ref().ok().and_then(|own| own.as_pathname());
        own.is_some_and(|own| {
            own == path || listen::identity(own).is_ok_and(|own| listen::identity(path).is_ok_and(|it| it == own))
        })
    }
}

/// Its address, and whose it is.
impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.socket.local_addr();
        match address.as_ref().map(|address| (address.as_socket(), address.as_pathname())) {
            Ok((Some(address), _)) => write!(f, "{address}"),
            Ok((None, Some(path))) => write!(f, "{}", path.display()),
            _ => f.write_str("an address of another kind"),
        }?;
        write!(f, " (of {})", self.name)
    }
}

fn take(given: &mut ListenFd, index: usize) -> io::Result<Socket> {
    if let Ok(Some(socket)) = given.take_udp_socket(index) {
        return Ok(socket.into());
    }
    if let Ok(Some(socket)) = given.take_unix_datagram(index) {
        return Ok(socket.into());
    }
    let tcp = given.take_tcp_listener(index).ok().flatten().map(Socket::from);
    let unix = || given.take_unix_listener(index).ok().flatten().map(Socket::from);
    let socket = tcp.or_else(unix).ok_or_else(|| io::Error::other("it is neither of TCP nor of UDP nor in the file system"))?;
    if socket.is_listener()? { Ok(socket) } else { Err(io::Error::other("it is the connection of one client")) }
}
