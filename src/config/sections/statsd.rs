//! `[listener.statsd]`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Embedded, HOUR, KIB, MIB,
    embedded::{one_address_twice, open_to_others},
    millis, secs,
};
use crate::config::{
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    value_type::ValueType,
};

section! {
    /// Takes metrics of clients of statsd and DogStatsD, over UDP and over a socket in the file system, whatever the channel is. They are
    /// aggregated in memory, and each interval's sums become messages of the channel, durable from there. Off where neither listen nor
    /// unix_socket is set.
    "listener.statsd" pub struct Statsd derives Eq {
        /// Where datagrams come in over UDP: mostly "127.0.0.1:8125", several as a list, none as []. Anybody who reaches it can send, and
        /// say to be anybody else: beyond this machine only with allow_remote. A socket that systemd has opened there (ListenDatagram=) is
        /// used, and keeps what comes while no agent runs as far as it has room.
        listen: Vec<SocketAddr> = Is(""), ValueType::Addresses;
        /// A socket for datagrams in the file system, besides listen. There the kernel drops nothing: a client that sends faster than
        /// the agent reads has to wait, or is told. It, too, may be systemd's.
        unix_socket: Option<PathBuf> = Unset("/run/kadabra/statsd.sock"), ValueType::Path;
        /// Who may use that socket, as chmod takes it. Of systemd's, SocketMode= in its unit says so.
        unix_socket_mode: u32 = Is("0660"), ValueType::Permissions;
        /// Whether listen may have addresses that other machines can reach.
        allow_remote: bool = Is("false"), ValueType::Flag;
        /// How long is aggregated before messages are made of it. A death of the agent, or a power cut, loses what came since.
        interval: Duration = Is("10s"), ValueType::Duration { min: millis(100), max: secs(HOUR) };
        /// What the sign in a gauge's value means, as in -5. add: by how much it changes, as for statsd; what it changed from is not
        /// known after a restart, and counts as 0. set: that it is -5 now, as for DogStatsD.
        signed_gauges: SignedGauges = Is("add"), SignedGauges::WORDS;
        /// How many series an interval may have: each has another name, type or tags. Metrics of further ones are dropped, counted and
        /// logged.
        max_series: usize = Is("10000"), ValueType::Number { min: 1, max: 10_000_000 };
        /// How much memory names, tags, timers and members of sets of an interval may take, about. What comes beyond is dropped, counted
        /// and logged.
        max_bytes: usize = Is("16MiB"), ValueType::Size { min: 64 * KIB, max: 4096 * MIB };
        /// How many tags a metric may have. One with more is dropped, counted and logged.
        max_tags: usize = Is("20"), ValueType::Number { min: 0, max: 1000 };
        /// How long a datagram may be. A longer one is dropped, counted and logged. Over UDP none is longer than 65,507 bytes.
        max_datagram_bytes: usize = Is("64KiB"), ValueType::Size { min: 512, max: MIB };
        /// How much the kernel may keep of what is not read yet, of each address; what does not fit is dropped, counted and logged. The
        /// kernel gives no more than net.core.rmem_max, which is often 208KiB: raise that with sysctl for more.
        receive_buffer: usize = Is("4MiB"), ValueType::Size { min: 4 * KIB, max: 1024 * MIB };
        /// How many bytes of messages may wait in memory while the channel takes none. With more than that an interval goes on until it
        /// does: nothing is dropped, and its sums are of a longer time.
        max_waiting_bytes: usize = Is("8MiB"), ValueType::Size { min: 0, max: 1024 * MIB };
    }
    checks cross_check;
    on reload Restart;
}

choice! {
    /// `listener.statsd.signed_gauges`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SignedGauges {
        /// By how much it changes.
        Add = "add",
        /// What it is.
        Set = "set",
    }
}

impl Statsd {
    /// Whether clients have an address to send to.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || self.unix_socket.is_some()
    }
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    let (listen, socket) = (checks.found(Statsd::listen), checks.found(Statsd::unix_socket));
    let other = checks.found(Embedded::unix_socket);
    if socket.text.is_some() && socket.text == other.text {
        checks.report(&socket, format!("expected another file than {}", other.described_to(&socket)));
    }
    let Some(addresses) = checks.get::<Vec<SocketAddr>>(Statsd::listen) else { return };
    if let Some(sentence) = one_address_twice(&addresses) {
        checks.report(&listen, sentence);
    }
    if let Some(remote) = open_to_others(&addresses).filter(|_| checks.get(Statsd::allow_remote) == Some(false)) {
        let sentence = format!(
            "other machines could send to {remote}, and nothing says who they are; expected an address of this machine alone such as \
             127.0.0.1:{}, or {} = true",
            remote.port(),
            Statsd::allow_remote
        );
        checks.report(&listen, sentence);
    }
}
