//! What the listener is told, and what it may not be told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::config::Secret;

/// How the listener listens, and its limits.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where clients push to.
    pub(crate) listen: Vec<SocketAddr>,
    /// A socket in the file system besides.
    pub(crate) unix_socket: Option<PathBuf>,
    /// Its permissions.
    pub(crate) unix_socket_mode: u32,
    /// The one list there is.
    pub(crate) queue_key: String,
    /// What clients must say to be let in.
    pub(crate) password: Option<Secret>,
    /// Whether DEL deletes the queue.
    pub(crate) allow_delete: bool,
    /// How many clients may be connected at once, where there are file descriptors for so many.
    pub(crate) max_connections: usize,
    /// How large a message may be.
    pub(crate) max_message_bytes: usize,
    /// How much requests and answers may take, over all connections, besides the first 16 KiB each way of each.
    pub(crate) max_waiting_bytes: usize,
    /// How long a client may be silent; `None` is for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long a client that is not on this machine's file system may be silent before it is asked whether it is still there;
    /// `None` is for ever.
    pub(crate) tcp_keepalive: Option<Duration>,
    /// How many arguments a command may have.
    pub(crate) max_arguments: usize,
    /// How long a request may take to arrive, and a transaction from its first command to its EXEC; how long it waits for memory
    /// that other requests have; and how long a client may take to read its answers, and to say the password.
    pub(crate) timeout: Duration,
    /// How long a client may hardly go on while others wait for memory that it has.
    pub(crate) patience: Duration,
    /// How long after a wrong password from an address the next one from there is looked at.
    pub(crate) wrong_password_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6379))],
            unix_socket: None,
            unix_socket_mode: 0o660,
            queue_key: "kadabra_queue".to_owned(),
            password: None,
            allow_delete: false,
            max_connections: 1000,
            max_message_bytes: 4 << 20,
            max_waiting_bytes: 8 << 20,
            idle_timeout: None,
            tcp_keepalive: Some(Duration::from_secs(300)),
            max_arguments: 1 << 16,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(3),
            wrong_password_pause: Duration::from_secs(1),
        }
    }
}
