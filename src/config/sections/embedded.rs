//! `[channel.embedded]`, and what its keys mean for each other.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{COUNT, HOUR, KIB, LEASE, LIST, MESSAGE_BYTES, MIB, TIB, secs};
use crate::config::{
    Secret,
    cross_checks::CrossChecks,
    schema::{
        Fallback::{Is, StateFile, Unset},
        Key,
    },
    setting::Setting,
    value_type::ValueType,
    values::{Found, Values},
};

section! {
    /// The agent's own queue in a file, used when channel.type is "embedded". The agent speaks as much of the Redis
    /// protocol as Kadabra's clients do, so they push to it as they would to Redis. A command may have 65,536 words, and
    /// has 30 s to arrive whole, as EXEC has after the first command of its transaction; a client has 30 s to read its
    /// answers, and 30 s to say the password where one is set. Whoever takes longer is cut off, which is logged.
    "channel.embedded" pub struct Embedded {
        /// The file that the queue is kept in; it is made when it is missing, and its folder too. More lie beside it,
        /// with -wal, -shm and -lock at the end of their names. On a disk of this machine, not on a network's. One
        /// agent a file.
        path: PathBuf = StateFile("queue.db"), ValueType::Path;
        /// When a push is answered. process: when the system has it, so that it outlives the agent's death in any
        /// way; a power cut may lose the last second. fsync: when it is on the disk, which takes as long as the disk
        /// does.
        durability: Durability = Is("process"), Durability::WORDS;
        /// How large the file may grow by messages that wait. What happens then says when_full. The log beside it takes 16MiB more, and while
        /// other programs read the file for long, as much as comes in meanwhile. Dead letters take a quarter of this
        /// at most.
        max_bytes: u64 = Is("1GiB"), ValueType::Size { min: MIB, max: 64 * TIB };
        /// What happens to a push that the queue cannot take, since max_bytes or a publisher's max_backlog is reached,
        /// the disk is full, or the file cannot be written. refuse: the client is told so, as by a Redis that is full;
        /// a program that does not expect that fails. drop_newest: the client is told that its messages were queued,
        /// and they are dropped. drop_oldest: so is it told, and where max_bytes, a max_backlog or the disk is the
        /// bound, as many of the oldest messages that no publisher has in hand are dropped as make room; where that
        /// does not help, the newest are. What is dropped is counted, logged, and part of the tally. Dead letters are
        /// never dropped for messages.
        when_full: WhenFull = Is("refuse"), WhenFull::WORDS;
        /// How long a push may wait for its answer where the disk stalls, with durability process; 0s is for as long as the disk
        /// takes. Unset it is 50ms where when_full drops, and 2s where it refuses. Where it drops, a push is answered then
        /// as if it were queued, and is queued when the disk goes on. Where it refuses, a disk stalls whose write has not
        /// come back for so long: pushes that wait behind it are refused, and so are others, at once, until it comes back;
        /// those that are part of it, which may be queued yet, have their connection closed. A disk that is busy takes
        /// more than half a second now and then, so that less would refuse pushes without need.
        answer_within: AnswerWithin = Unset("200ms"), ValueType::Duration { min: Duration::ZERO, max: secs(HOUR) };
        /// How long messages stay reserved for a part of the agent that neither settles nor renews them. Those of an
        /// agent that ended, in whatever way, wait again as soon as it is started.
        lease: Duration = Is("60s"), LEASE;
        /// How many dead letters are kept, of several publishers for each of them; with each further one the oldest is
        /// dropped for good. Each takes its message's bytes and a few more of the file, of which they take a quarter at
        /// most. Raise it to have longer to look into them.
        max_dead_letters: usize = Is("10000"), COUNT;
        /// How large a message may be. The push of a larger one is refused. The agent's memory grows with this as
        /// with batch.max_bytes.
        max_message_bytes: usize = Is("4MiB"), MESSAGE_BYTES;
        /// Where clients push to: several as ["127.0.0.1:6379", "[::1]:6379"], none as []. Beyond this machine only
        /// with a password, or with allow_remote; the protocol is not encrypted. A socket that systemd has opened there
        /// (conf/systemd/kadabra.socket) is used, and a restart then refuses no client.
        listen: Vec<SocketAddr> = Is("127.0.0.1:6379"), ValueType::Addresses;
        /// A socket in the file system that clients may push to, besides listen. It, too, may be systemd's.
        unix_socket: Option<PathBuf> = Unset("/run/kadabra/kadabra.sock"), ValueType::Path;
        /// Who may use that socket, as chmod takes it. Of systemd's, SocketMode= in its unit says so.
        unix_socket_mode: u32 = Is("0660"), ValueType::Permissions;
        /// The list that clients push to. Change it when the clients are configured to push to another.
        queue_key: String = Is("kadabra_queue"), LIST;
        /// What clients must say to be let in. The wrong guesses from one address are answered one a second, however
        /// many connections they come by. Better kept in password_file.
        password: Option<Secret> = Unset("in password_file rather than here"), ValueType::Password;
        /// A file that holds nothing but the password; one newline at its end is not part of it. Not together with
        /// password.
        password_file = Unset("/etc/kadabra/channel-password"), ValueType::PasswordFile;
        /// Whether other machines may push without a password, when listen has an address that they can reach. Only
        /// in a network where everybody may.
        allow_remote: bool = Is("false"), ValueType::Flag;
        /// Whether clients may delete all that waits, with DEL, as redis-cli can. No client of Kadabra's does. Dead
        /// letters do not wait: kadabra dead-letters asks a running agent for them whatever this is.
        allow_delete: bool = Is("false"), ValueType::Flag;
        /// How many clients may be connected at once. Each needs a file descriptor: the agent raises its limit for
        /// them as far as it may, and takes fewer, with a warning, where that does not suffice; see LimitNOFILE of
        /// systemd or ulimit -n.
        max_connections: usize = Is("1000"), ValueType::Number { min: 1, max: 100_000 };
        /// How long a client may be silent before its connection is closed; 0s is for ever, since clients keep
        /// connections for their next message.
        idle_timeout: Option<Duration> = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(24 * HOUR) };
        /// How long a client may be silent before the system asks its machine whether it is still there; without an
        /// answer for as long again its connection is closed, so that a client that vanished does not keep its place.
        /// 0s is never. Rounded down to seconds.
        tcp_keepalive: Option<Duration> = Is("300s"), ValueType::Duration { min: Duration::ZERO, max: secs(9 * HOUR) };
        /// How many bytes of commands, answers and open transactions the agent keeps in memory, over all clients,
        /// besides the first 16 KiB each way of each. A client whose command finds no room waits until it is its
        /// turn, up to 30 s; then the command is refused, the client has to try again later, and its connection is
        /// closed. So is that of a client that has room for which others wait, and sends less than 256KiB in 3 s. At
        /// least max_message_bytes.
        max_waiting_bytes: usize = Is("8MiB"), ValueType::Size { min: KIB, max: 1024 * MIB };
    }
    checks cross_check;
    on reload Restart;
}

choice! {
    /// `channel.embedded.durability`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Durability {
        /// A push that was answered outlives the process; a power cut may lose the last second.
        Process = "process",
        /// A push that was answered is on the disk.
        Fsync = "fsync",
    }
}

choice! {
    /// `channel.embedded.when_full`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum WhenFull {
        /// The client is told.
        Refuse = "refuse",
        /// Room is made of what has waited longest.
        DropOldest = "drop_oldest",
        /// What comes is dropped.
        DropNewest = "drop_newest",
    }
}

/// `channel.embedded.answer_within`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerWithin {
    /// As suits `channel.embedded.when_full`.
    Unset,
    /// This; without a limit where it is zero.
    Set(Duration),
}

impl Setting for AnswerWithin {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        Some(Duration::of(values, key).map_or(Self::Unset, Self::Set))
    }
}

impl Embedded {
    /// How long a push may wait for its answer; `None` is for as long as the disk takes.
    #[must_use]
    pub fn answers_within(&self) -> Option<Duration> {
        match (self.answer_within, self.when_full) {
            (AnswerWithin::Set(within), _) => Some(within).filter(|within| !within.is_zero()),
            (AnswerWithin::Unset, WhenFull::Refuse) => Some(secs(2)),
            (AnswerWithin::Unset, WhenFull::DropOldest | WhenFull::DropNewest) => Some(Duration::from_millis(50)),
        }
    }
}

/// The first of these addresses that other machines can reach.
pub(super) fn open_to_others(addresses: &[SocketAddr]) -> Option<&SocketAddr> {
    addresses.iter().find(|address| !address.ip().to_canonical().is_loopback())
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    checks.no_larger(Embedded::max_message_bytes, Embedded::max_waiting_bytes);
    checks.no_larger(Embedded::max_message_bytes, Embedded::max_bytes);
    checks.not_both(Embedded::password, Embedded::password_file);
    socket_beside_the_queue(checks);
    if let Some(addresses) = checks.get::<Vec<SocketAddr>>(Embedded::listen) {
        listening(&addresses, checks);
    }
}

/// That there is an address to listen on, none twice, and that nobody from elsewhere comes in without a password unless it is allowed.
fn listening(addresses: &[SocketAddr], checks: &mut CrossChecks<'_>) {
    let listen = checks.found(Embedded::listen);
    if addresses.is_empty() && checks.found(Embedded::unix_socket).is_unset() {
        checks.report(&listen, format!("nowhere to listen; expected an address, or {} too", Embedded::unix_socket));
    }
    if let Some(sentence) = one_address_twice(addresses) {
        checks.report(&listen, sentence);
    }
    let password = [Embedded::password, Embedded::password_file].map(|key| checks.found(key));
    let open = password.iter().all(Found::is_unset) && checks.get(Embedded::allow_remote) == Some(false);
    if let Some(remote) = open_to_others(addresses).filter(|_| open) {
        let sentence = format!(
            "other machines could push to {remote} without a password; expected {} too, an address of this machine alone such as \
             127.0.0.1:{}, or {} = true",
            Embedded::password_file,
            remote.port(),
            Embedded::allow_remote
        );
        checks.report(&listen, sentence);
    }
}

/// That two addresses cannot be had together.
pub(super) fn one_address_twice(addresses: &[SocketAddr]) -> Option<String> {
    let covers = |one: &SocketAddr, other: &SocketAddr| {
        let every = one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4();
        // The system finds a port for 0, another one each time.
        one.port() != 0 && one.port() == other.port() && (every || one.ip() == other.ip())
    };
    addresses.iter().enumerate().find_map(|(position, second)| {
        let first = addresses.iter().take(position).find(|first| covers(first, second) || covers(second, first))?;
        let (wider, other) = if covers(first, second) { (first, second) } else { (second, first) };
        Some(if wider == other {
            format!("{other} stands there twice; expected each address once")
        } else {
            format!("{other} is one of the addresses of {wider} already; expected only one of the two")
        })
    })
}

/// That the socket does not take the place of a file of the queue.
fn socket_beside_the_queue(checks: &mut CrossChecks<'_>) {
    let (socket, queue) = (checks.found(Embedded::unix_socket), checks.found(Embedded::path));
    let (Some(at), Some(path)) = (&socket.text, &queue.text) else { return };
    if at.strip_prefix(path.as_str()).is_some_and(|rest| ["", "-wal", "-shm", "-lock"].contains(&rest)) {
        checks.report(&socket, format!("expected another file than those of {}", queue.described_to(&socket)));
    }
}
