//! Names with the addresses that a test wants, a resolver that never answers, and an address that swallows packets.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::process;

/// An /etc/hosts in which `host` has these addresses, in this order.
pub(crate) fn hosts(folder: &tempfile::TempDir, host: &str, addresses: &[&str]) -> PathBuf {
    let path = folder.path().join("hosts");
    let lines: String = addresses.iter().map(|address| format!("{address} {host}\n")).collect();
    fs::write(&path, lines).unwrap();
    path
}

/// A program where this file, or named pipe, is /etc/hosts, in a mount namespace of its own.
pub(crate) fn with_hosts(hosts: &Path, program: &str) -> Command {
    let mut command = process::command("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"").arg(hosts).arg(program);
    command
}

/// An /etc/hosts that is never read to its end, so that no lookup ends.
pub(crate) fn silent_hosts(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("hosts");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// An address to which packets go and nothing comes back: a listener whose queue of connections is full.
pub(crate) struct Swallower {
    _listener: Socket,
    _queued: Vec<TcpStream>,
}

impl Swallower {
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            listener.set_only_v6(true).unwrap();
        }
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 10, "{address} still takes connections");
        }
        Self { _listener: listener, _queued: queued }
    }
}
