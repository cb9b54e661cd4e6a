//! The sockets that clients connect to.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::AsFd,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::error::BindError;
use super::port_probe;

/// How many connections wait to be accepted, as in Redis.
const BACKLOG: i32 = 511;

/// After how many probes without an answer a client is gone, as in Redis; each comes a third of the time after the one before.
const PROBES: u32 = 3;

/// Has the system ask a client that is silent for so long whether it is still there, and end its connection if it is not: one
/// that vanished without a word would keep its place for ever. `None` is never.
pub(super) fn keep_alive(stream: &tokio::net::TcpStream, after: Option<Duration>) {
    if let Some(after) = after {
        let interval = (after / PROBES).max(Duration::from_secs(1));
        let times = TcpKeepalive::new().with_time(after).with_interval(interval).with_retries(PROBES);
        // Where that cannot be set, a client is served all the same.
        drop(SockRef::from(stream).set_tcp_keepalive(&times));
    }
}

/// Has the system keep what is sent from now on until the connection is closed for sending: the client has both at once.
pub(super) fn send_with_the_end(stream: &impl AsFd) {
    // A socket in the file system has no such option: there the end comes an instant later.
    drop(SockRef::from(stream).set_tcp_cork(true));
}

/// A socket that does not block, bound to an address, at which so many connections may wait to be accepted.
pub(crate) fn bound(address: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each address is its own, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Listens on an address; `None` when this machine has no such address, but could: IPv6 is switched off.
pub(super) fn tcp(address: SocketAddr) -> Result<Option<std::net::TcpListener>, BindError> {
    match bound(address, BACKLOG) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if address.ip().is_loopback() && address.is_ipv6() && is_absent(&error) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(port_probe::explain(address)),
        Err(error) => Err(BindError {
            what: format!("cannot listen for clients on {address}: {error}"),
            remedy: match error.kind() {
                io::ErrorKind::PermissionDenied => "listen on a port from 1024 on",
                io::ErrorKind::AddrNotAvailable => "listen on an address that this machine has, such as 127.0.0.1",
                _ if is_local_to_a_link(address) => {
                    "an address that begins with fe80 is one of each network; listen on another, or on [::] and set a password"
                }
                io::ErrorKind::InvalidInput => {
                    "listen on an address of this machine alone, such as 127.0.0.1, and see listen in [channel.embedded]"
                }
                _ => "see listen in [channel.embedded]",
            }
            .to_owned(),
        }),
    }
}

fn is_local_to_a_link(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local() && address.scope_id() == 0)
}

fn is_absent(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// A socket in the file system; the file goes with it, where the agent has made it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(super) path: PathBuf,
    made: Option<(u64, u64)>,
}

impl UnixSocket {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Unless another has taken its place.
        if identity(&self.path).is_ok_and(|file| self.made == Some(file)) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// One that was passed.
pub(super) fn passed_unix(path: &Path) -> UnixSocket {
    UnixSocket { path: path.to_owned(), made: None }
}

/// Listens on a socket in the file system, as a `section` of the configuration says. A socket that its process has left behind is
/// replaced.
pub(crate) fn unix(path: &Path, mode: u32, section: &str) -> Result<(UnixListener, UnixSocket), BindError> {
    let bind = |new: &Path| {
        let listener = UnixListener::bind(new)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    socket_file(path, mode, section, |path| UnixStream::connect(path).map(drop), bind)
}

/// Makes a socket at a path, with these permissions from the beginning. One that its process has left behind, so that it cannot be
/// connected to, is replaced. `section` has the key `unix_socket`.
pub(crate) fn socket_file<S>(
    path: &Path,
    mode: u32,
    section: &str,
    connect: impl FnOnce(&Path) -> io::Result<()>,
    bind: impl FnOnce(&Path) -> io::Result<S>,
) -> Result<(S, UnixSocket), BindError> {
    let failed = |error: &io::Error| BindError {
        what: format!("cannot listen for clients on {}: {error}", path.display()),
        remedy: format!("see unix_socket in [{section}]; its folder must exist and be writable for the agent"),
    };
    let taken = |what: &str| BindError {
        what: format!("cannot listen for clients on {}: {what}", path.display()),
        remedy: format!("end that program, or set another unix_socket in [{section}]"),
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(taken("there is a file of that name, which is no socket"));
        }
        Ok(_) => {
            if let Some(error) = port_probe::explain_socket_file(path) {
                return Err(error);
            }
            match connect(path) {
                Ok(()) => return Err(taken("another program listens there, perhaps another agent")),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    // Under another name until it has its permissions.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    drop(fs::remove_file(&new));
    let bound = bind(&new).and_then(|socket| {
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        let file = identity(&new)?;
        fs::rename(&new, path)?;
        Ok((socket, UnixSocket { path: path.to_owned(), made: Some(file) }))
    });
    bound.map_err(|error| {
        drop(fs::remove_file(&new));
        failed(&error)
    })
}

pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
