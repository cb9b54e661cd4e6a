//! What the listener is told, and what it may not be told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::config::{self, Secret};

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
    /// Whether other machines may push without a password.
    pub(crate) allow_remote: bool,
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

impl From<&config::Embedded> for Settings {
    fn from(settings: &config::Embedded) -> Self {
        Self {
            listen: settings.listen.clone(),
            unix_socket: settings.unix_socket.clone(),
            unix_socket_mode: settings.unix_socket_mode,
            queue_key: settings.queue_key.clone(),
            password: settings.password.clone(),
            allow_remote: settings.allow_remote,
            allow_delete: settings.allow_delete,
            max_connections: settings.max_connections,
            max_message_bytes: settings.max_message_bytes,
            max_waiting_bytes: settings.max_waiting_bytes,
            idle_timeout: settings.idle_timeout,
            tcp_keepalive: settings.tcp_keepalive,
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6379))],
            unix_socket: None,
            unix_socket_mode: 0o660,
            queue_key: "kadabra_queue".to_owned(),
            password: None,
            allow_remote: false,
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

/// Refuses addresses that other machines can reach, when whoever reaches them would be let in.
///
/// # Errors
/// A sentence that says which address it is and what to do.
pub(crate) fn exposed(listen: &[SocketAddr], has_password: bool, allow_remote: bool) -> Result<(), String> {
    if has_password || allow_remote {
        return Ok(());
    }
    match config::open_to_others(listen) {
        None => Ok(()),
        Some(address) => Err(format!(
            "other machines can reach {address}, and nothing asks them for a password; set password_file, or listen on \
             127.0.0.1 only, or set allow_remote = true where everybody in the network may push"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_let_in_without_a_password() {
        for (address, fine) in [
            ("127.0.0.1:6379", true),
            ("127.8.0.1:6379", true),
            ("[::1]:6379", true),
            ("[::ffff:127.0.0.1]:6379", true),
            ("0.0.0.0:6379", false),
            ("[::]:6379", false),
            ("10.0.0.7:6379", false),
            ("[::ffff:10.0.0.7]:6379", false),
            ("[fe80::1]:6379", false),
        ] {
            let listen = ["127.0.0.1:1".parse().unwrap(), address.parse().unwrap()];
            assert_eq!(exposed(&listen, false, false).is_ok(), fine, "{address}");
            assert_eq!(exposed(&listen, true, false), Ok(()), "{address}");
            assert_eq!(exposed(&listen, false, true), Ok(()), "{address}");
        }
        let sentence = exposed(&["0.0.0.0:6379".parse().unwrap()], false, false).unwrap_err();
        assert!(sentence.starts_with("other machines can reach 0.0.0.0:6379"), "{sentence}");
    }
}
