//! Which program has a port or a socket already, in a sentence that says what to do: usually it is a Redis.

use std::{
    fmt::Display,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::error::BindError;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Kadabra,
    Redis,
    /// One of the two, with no place for who asks.
    Full,
    Unknown,
}

/// Says that systemd listens at a path, if it does.
pub(super) fn explain_socket_file(path: &Path) -> Option<BindError> {
    kept_by_systemd(&path.display(), |listens| Path::new(listens) == path)
}

/// Says that systemd listens somewhere for a unit. To be asked before that is connected to, which would start the unit.
fn kept_by_systemd(place: &dyn Display, is_there: impl Fn(&str) -> bool) -> Option<BindError> {
    // It runs, as sd_booted(3) finds out.
    Path::new("/run/systemd/system").exists().then_some(())?;
    let list = Command::new("systemctl").args(["list-sockets", "--full", "--no-legend", "--no-pager"]).output().ok()?;
    let (socket, unit) = unit_that_listens(&String::from_utf8(list.stdout).ok()?, is_there)?;
    Some(BindError {
        what: format!("cannot listen for clients on {place}: systemd listens there by {socket}, for {unit}"),
        remedy: format!(
            "have the agent of that unit serve the clients (systemctl start {unit}), end both (systemctl stop {socket} {unit}), or have \
             this agent listen elsewhere, by listen and unix_socket in [channel.embedded], and tell the clients so"
        ),
    })
}

/// The units of a socket and of what it is for, by what `systemctl list-sockets` says.
fn unit_that_listens(list: &str, is_there: impl Fn(&str) -> bool) -> Option<(String, String)> {
    list.lines().find_map(|line| {
        let (line, unit) = line.trim().rsplit_once(' ')?;
        let (listens, socket) = line.trim_end().rsplit_once(' ')?;
        is_there(listens.trim_end()).then(|| (socket.to_owned(), unit.to_owned()))
    })
}

/// Whether one address has what another one wants.
fn covers(has: SocketAddr, wants: SocketAddr) -> bool {
    let all = has.ip().is_unspecified() || wants.ip().is_unspecified();
    has.port() == wants.port() && (has.ip() == wants.ip() || all)
}

/// Asks who listens there, and says so.
pub(super) fn explain(address: SocketAddr) -> BindError {
    let is_there = |listens: &str| listens.parse().is_ok_and(|has| covers(has, address));
    if let Some(error) = kept_by_systemd(&address, is_there) {
        return error;
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let reached = SocketAddr::new(ip, address.port());
    let elsewhere = "have this agent listen elsewhere, by listen in [channel.embedded], and tell the clients so";
    let configuration = format!("configure\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://{reached}/0\"\nor");
    let (who, remedy) = match ask(reached) {
        Owner::Kadabra => ("another Kadabra agent listens there", format!("end that one, or {elsewhere}")),
        Owner::Redis => ("a Redis answers there", format!("to use that Redis, {configuration} end it, or {elsewhere}")),
        Owner::Full => (
            "a Redis or another Kadabra agent answers there, and has no place for another client, so that it does not say which",
            format!("if it is a Redis, to use that, {configuration} end it, or {elsewhere}"),
        ),
        Owner::Unknown => {
            ("another program listens there, and does not answer as a Redis does", format!("end that program, or {elsewhere}"))
        }
    };
    BindError { what: format!("cannot listen for clients on {address}: {who}"), remedy }
}

fn ask(address: SocketAddr) -> Owner {
    let Some(answer) = exchange(address) else {
        return Owner::Unknown;
    };
    const ANSWERS: [&str; 5] = ["+PONG", "-NOAUTH", "-DENIED", "-LOADING", "-MASTERDOWN"];
    if answer.starts_with("-ERR max number of clients") {
        Owner::Full
    } else if !ANSWERS.iter().any(|begin| answer.starts_with(begin)) {
        Owner::Unknown
    } else if answer.contains("this is a Kadabra agent") {
        Owner::Kadabra
    } else {
        Owner::Redis
    }
}

/// The answers to a PING, and to a command that no Redis has, to which an agent answers that it is one.
fn exchange(address: SocketAddr) -> Option<String> {
    let end = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // A server without a place for another client answers unasked and closes, so that writing may fail.
    drop(stream.write_all(b"*1\r\n$4\r\nPING\r\n*1\r\n$6\r\nWHO-IS\r\n*1\r\n$4\r\nQUIT\r\n"));
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while answer.len() < 16 << 10 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut part) {
            Ok(read) if read > 0 => answer.extend_from_slice(part.get(..read)?),
            _ => break,
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_known_by_its_address_or_path() {
        let list = "127.0.0.1:6379                 kadabra.socket         kadabra.service\n\
                    /run/dbus/system_bus_socket    dbus.socket            dbus.service\n\
                    /run/with a space              odd.socket             odd.service\n\
                    [::]:22                        ssh.socket             ssh.service\n\
                    route 1361                     systemd-networkd.socket systemd-networkd.service\n";
        let at = |address: &str| {
            let address = address.parse().unwrap();
            unit_that_listens(list, |listens| listens.parse().is_ok_and(|has| covers(has, address))).map(|(socket, _)| socket)
        };
        assert_eq!(at("127.0.0.1:6379").as_deref(), Some("kadabra.socket"));
        assert_eq!(at("0.0.0.0:6379").as_deref(), Some("kadabra.socket"));
        assert_eq!(at("127.0.0.1:22").as_deref(), Some("ssh.socket"));
        assert_eq!([at("127.0.0.2:6379"), at("127.0.0.1:6380")], [None, None]);
        let path = |path: &str| unit_that_listens(list, |listens| listens == path).map(|(_, unit)| unit);
        assert_eq!(path("/run/dbus/system_bus_socket").as_deref(), Some("dbus.service"));
        assert_eq!(path("/run/with a space").as_deref(), Some("odd.service"));
        assert_eq!(path("/run/dbus"), None);
    }
}
