//! The sockets for datagrams. What the kernel drops it tells with the next datagram that it keeps (`SO_RXQ_OVFL`), of a socket of UDP; one
//! in the file system drops nothing.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
    sync::{Mutex, PoisonError},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::RxqOvfl},
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use crate::listener::{BindError, PassedSockets, UnixSocket, socket_file};

/// One of them.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    fd: OwnedFd,
    is_udp: bool,
    /// Its address, in words.
    pub(super) at: String,
    /// How much the kernel keeps, where that is less than was asked for.
    pub(super) small_buffer: Option<usize>,
    /// How many datagrams the kernel had dropped, by its own count, when it told that last. `None` until it has told it of a socket that
    /// is older than this process.
    dropped: Mutex<Option<u32>>,
    _file: Option<UnixSocket>,
}

/// Tells when there is something to receive.
pub(super) enum Readiness {
    Udp(UdpSocket),
    Unix(tokio::net::UnixDatagram),
}

impl Readiness {
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    /// Where `read` says that it would block, there is nothing to receive until the system says so.
    pub(super) fn try_read(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.try_io(Interest::READABLE, read),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, read),
        }
    }
}

/// What was received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    /// How many bytes of it are in the buffer.
    pub(super) length: usize,
    /// Whether it had more.
    pub(super) cut_off: bool,
    /// How many were dropped between the one before and this.
    pub(super) dropped: u32,
}

impl DatagramSocket {
    /// That of an address of UDP; `passed` may have it.
    pub(super) fn udp(address: SocketAddr, buffer: usize, passed: &PassedSockets) -> Result<Self, BindError> {
        let failed = |error: &io::Error| BindError {
            what: format!("cannot take statsd's datagrams at {address}: {error}"),
            remedy: match error.kind() {
                io::ErrorKind::AddrInUse => "end the program that has this address (ss -ulpn tells which), or set another in \
                                             listener.statsd.listen"
                    .to_owned(),
                io::ErrorKind::PermissionDenied => "set a port from 1024 on in listener.statsd.listen".to_owned(),
                _ => "set an address that this machine has in listener.statsd.listen, such as 127.0.0.1:8125".to_owned(),
            },
        };
        let (fd, is_new) = match passed.udp(address)? {
            Some(fd) => (fd, false),
            None => (bound(address).map_err(|error| failed(&error))?, true),
        };
        Self::new(fd, address.to_string(), buffer, is_new, None).map_err(|error| failed(&error))
    }

    /// That of a path; `passed` may have it.
    pub(super) fn unix(path: &Path, mode: u32, buffer: usize, passed: &PassedSockets) -> Result<Self, BindError> {
        let connect = |path: &Path| UnixDatagram::unbound()?.connect(path);
        let bind = |path: &Path| UnixDatagram::bind(path).map(OwnedFd::from);
        let (fd, file) = match passed.unix_datagram(path)? {
            Some(fd) => (fd, None),
            None => {
                let (fd, file) = socket_file(path, mode, "listener.statsd", connect, bind)?;
                (fd, Some(file))
            }
        };
        Self::new(fd, path.display().to_string(), buffer, file.is_some(), file).map_err(|error| BindError {
            what: format!("cannot take statsd's datagrams at {}: {error}", path.display()),
            remedy: "see unix_socket in [listener.statsd]".to_owned(),
        })
    }

    fn new(fd: OwnedFd, at: String, buffer: usize, is_new: bool, file: Option<UnixSocket>) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let is_udp = socket.local_addr()?.as_socket().is_some();
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(buffer)?;
        // The kernel counts its own needs, and doubles what it is asked for.
        let given = socket.recv_buffer_size()? / 2;
        setsockopt(&fd, RxqOvfl, &1)?;
        let small_buffer = (given < buffer).then_some(given);
        Ok(Self { is_udp, fd, at, small_buffer, dropped: Mutex::new(is_new.then_some(0)), _file: file })
    }

    /// Tells when there is something to receive, for as long as an actor lives: another descriptor of the same socket.
    pub(super) fn readiness(&self) -> io::Result<Readiness> {
        let fd = self.fd.try_clone()?;
        Ok(if self.is_udp {
            Readiness::Udp(UdpSocket::from_std(fd.into())?)
        } else {
            Readiness::Unix(tokio::net::UnixDatagram::from_std(fd.into())?)
        })
    }

    /// The next datagram, if there is one.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = cmsg_space!(u32);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let told = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::RxqOvfl(count) => Some(count),
            _ => None,
        });
        // It tells nothing as long as it has dropped nothing.
        let count = told.unwrap_or(0);
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let before = dropped.replace(count).unwrap_or(count);
        Ok(Some(Received {
            length: received.bytes,
            cut_off: received.flags.contains(MsgFlags::MSG_TRUNC),
            dropped: count.wrapping_sub(before),
        }))
    }
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        // Each address is its own, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
