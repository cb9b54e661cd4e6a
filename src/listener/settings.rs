//! What the listener is told, and what it may not be told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::passed::PassedSockets;
use crate::config::{Secret, WhenFull};

/// How the listener listens, and its limits.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(any(test, feature = "failpoints", feature = "fuzzing")),
    expect(unreachable_pub, reason = "tests make them from outside")
)]
pub struct Settings {
    /// Where clients push to.
    pub listen: Vec<SocketAddr>,
    /// A socket in the file system besides.
    pub unix_socket: Option<PathBuf>,
    /// Its permissions.
    pub unix_socket_mode: u32,
    /// Sockets that are open already, which take the place of those that have the same address.
    pub passed: PassedSockets,
    /// The one list there is.
    pub queue_key: String,
    /// What clients must say to be let in.
    pub password: Option<Secret>,
    /// What happens to pushes that the queue cannot take.
    pub when_full: WhenFull,
    /// Whether DEL deletes the queue.
    pub allow_delete: bool,
    /// How many clients may be connected at once, where there are file descriptors for so many.
    pub max_connections: usize,
    /// How large a message may be.
    pub max_message_bytes: usize,
    /// How much requests and answers may take, over all connections, besides the first 16 KiB each way of each.
    pub max_waiting_bytes: usize,
    /// How long a client may be silent; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a client that is not on this machine's file system may be silent before it is asked whether it is still there;
    /// `None` is for ever.
    pub tcp_keepalive: Option<Duration>,
    /// How many arguments a command may have.
    pub max_arguments: usize,
    /// How long a request may take to arrive, and a transaction from its first command to its EXEC; how long it waits for memory
    /// that other requests have; and how long a client may take to read its answers, and to say the password.
    pub timeout: Duration,
    /// How long a client may hardly go on while others wait for memory that it has.
    pub patience: Duration,
    /// How long a client that is connected may still bring a push, its last, when the listener closes.
    pub last_push: Duration,
    /// How long after a wrong password from an address the next one from there is looked at.
    pub wrong_password_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // A port that the system chooses.
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            unix_socket: None,
            unix_socket_mode: 0o660,
            passed: PassedSockets::default(),
            queue_key: "kadabra_queue".to_owned(),
            password: None,
            when_full: WhenFull::Refuse,
            allow_delete: false,
            max_connections: 1000,
            max_message_bytes: 4 << 20,
            max_waiting_bytes: 8 << 20,
            idle_timeout: None,
            tcp_keepalive: Some(Duration::from_secs(300)),
            max_arguments: 1 << 16,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(3),
            last_push: Duration::ZERO,
            wrong_password_pause: Duration::from_secs(1),
        }
    }
}
