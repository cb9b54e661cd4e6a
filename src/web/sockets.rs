//! The addresses at which the status is served.

use std::{
    collections::BTreeMap,
    fmt, io, net,
    net::SocketAddr,
    os::unix,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use crate::{
    config,
    listener::{BindError, UnixSocket, bound_socket, listen_on_unix},
};

/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// Where the status is to be served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Tcp(SocketAddr),
    /// With who may use it.
    Unix(PathBuf, u32),
}

impl Place {
    /// All that the configuration names.
    pub(super) fn all(settings: &config::Status) -> impl Iterator<Item = Self> {
        let unix = settings.unix_socket.iter().map(|path| Self::Unix(path.clone(), settings.unix_socket_mode));
        settings.listen.iter().copied().map(Self::Tcp).chain(unix)
    }

    /// Whether the system decides who may come, by the permissions of a file.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(..))
    }

    fn bind(&self) -> Result<Socket, BindError> {
        match self {
            Self::Tcp(address) => bound_socket(*address, BACKLOG).map(Socket::Tcp).map_err(|error| BindError {
                remedy: match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "end the program that listens there, perhaps another agent, or set another listen in [status], \
                         or \"\" to serve none; it is tried again"
                    }
                    io::ErrorKind::PermissionDenied => "set listen in [status] to a port from 1024 on",
                    _ => "set listen in [status] to an address that this machine has, such as 127.0.0.1:9636; it is tried again",
                }
                .to_owned(),
                ..self.failed(&error)
            }),
            Self::Unix(path, mode) => {
                let (listener, file) = listen_on_unix(path, *mode, "status")?;
                Ok(Socket::Unix(listener, Arc::new(file)))
            }
        }
    }

    fn failed(&self, error: &io::Error) -> BindError {
        BindError { what: format!("the status cannot be served at {self}: {error}"), remedy: "it is tried again".to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path, _) => path.display().fmt(f),
        }
    }
}

/// Sockets that are bound. They outlive whoever serves by them, so that in between connections wait, and nobody else has the address.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<BTreeMap<Place, Socket>>);

#[derive(Debug)]
enum Socket {
    Tcp(net::TcpListener),
    /// With its file, which goes with it.
    Unix(unix::net::UnixListener, Arc<UnixSocket>),
}

impl Sockets {
    /// Has whoever connects there wait for [`Bound::accept`]; says whether nobody could connect there before.
    pub(super) fn bind(&self, place: &Place) -> Result<(Bound, bool), BindError> {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, is_new) = match sockets.remove(place) {
            Some(socket) => (socket, false),
            None => (place.bind()?, true),
        };
        let bound = socket.bound().map_err(|error| place.failed(&error))?;
        sockets.insert(place.clone(), socket);
        Ok((bound, is_new))
    }

    /// From now on nobody can connect.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Socket {
    /// For the runtime of this thread.
    fn bound(&self) -> io::Result<Bound> {
        Ok(match self {
            Self::Tcp(listener) => Bound::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Self::Unix(listener, file) => Bound::Unix(UnixListener::from_std(listener.try_clone()?)?, Arc::clone(file)),
        })
    }
}

/// A connection, by whichever socket.
pub(super) type Stream = Box<dyn ByteStream>;

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// A socket that connections come by.
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<UnixSocket>),
}

impl Bound {
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are written in one piece, or in large ones.
                drop(stream.set_nodelay(true));
                Ok(Box::new(stream))
            }
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }

    /// As the log has it: the port that the system chose, too.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|error| error.to_string(), |address| format!("http://{address}/"))
            }
            Self::Unix(_, file) => file.path().display().to_string(),
        }
    }
}
