//! `[status]`, and who may look.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use wildmatch::WildMatch;

use super::{
    Consumer, HOUR, Publisher, Victoriametrics,
    embedded::{one_address_twice, open_to_others},
    secs,
};
use crate::config::{
    Secret,
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    value_type::ValueType,
};

section! {
    /// How the agent is, over HTTP: a page at /, /health/live and /health/ready for whoever starts it, /metrics for
    /// Prometheus, /api/status as JSON. docs/status.md says what each answers, docs/threat-model.md who may do what.
    "status" pub struct Status {
        /// Where it is served: several as ["127.0.0.1:9636", "[::1]:9636"], "" nowhere. Beyond this machine only with a
        /// password; HTTP is not encrypted. An address that is taken is said once, and tried again; the agent works
        /// without it.
        listen: Vec<SocketAddr> = Is("127.0.0.1:9636"), ValueType::Addresses;
        /// A socket in the file system where it is served, besides listen. Who may use that file may look without a
        /// password.
        unix_socket: Option<PathBuf> = Unset("/run/kadabra/status.sock"), ValueType::Path;
        /// Who may use that socket, as chmod takes it.
        unix_socket_mode: u32 = Is("0660"), ValueType::Permissions;
        /// What whoever comes by listen must say: as the password of any user, as a browser asks for it, or as a bearer
        /// token, as Prometheus sends it. /health asks for none, and tells little. Better kept in password_file.
        password: Option<Secret> = Unset("in password_file rather than here"), ValueType::Password;
        /// A file that holds nothing but the password; one newline at its end is not part of it. Not together with
        /// password.
        password_file = Unset("/etc/kadabra/status-password"), ValueType::PasswordFile;
        /// How often a marked point, the counter kadabra_canary, is pushed as a client pushes, and read back from every
        /// database; /health/ready is 200 only while it comes back. The login of each publisher must be one that may read,
        /// too. 0s is never.
        canary_interval: Option<Duration> = Is("0s"), ValueType::Duration { min: Duration::ZERO, max: secs(HOUR) };
        /// The names by which whoever has no password may come by listen, besides localhost and every IP address: those of a
        /// proxy in front of it, or of a container. Without that, a page elsewhere could have a browser on this machine
        /// look.
        allowed_hosts: Vec<String> = Unset("metrics.example.com"), ValueType::List { expected: "a host's name without a port", fits: is_host };
    }
    checks cross_check;
    on reload Restart;
}

impl Status {
    /// Whether it is served anywhere.
    #[must_use]
    pub fn is_served(&self) -> bool {
        !self.listen.is_empty() || self.unix_socket.is_some()
    }
}

fn is_host(name: &str) -> bool {
    (1..=253).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// That what the canary pushes can be read back from this publisher.
pub(super) fn canary(checks: &mut CrossChecks<'_>) {
    if checks.get::<Option<Duration>>(Status::canary_interval).flatten().is_none() {
        return;
    }
    let fits = |key| checks.get::<Vec<String>>(key).unwrap_or_default().iter().any(|text| WildMatch::new(text).matches(CANARY));
    let only = checks.get::<Vec<String>>(Consumer::only).unwrap_or_default();
    let why = match checks.get::<String>(Publisher::kind).as_deref() {
        Some("debug") => format!("what {} = \"debug\" shows cannot be read back", Publisher::kind),
        Some("victoriametrics") if !checks.found(Victoriametrics::tenant).is_unset() => {
            format!("a cluster, which {} is for, cannot be asked where it is written to", Victoriametrics::tenant)
        }
        _ if !only.is_empty() && !fits(Consumer::only) => format!("{} leaves out {CANARY}", Consumer::only),
        _ if fits(Consumer::except) => format!("{} leaves out {CANARY}", Consumer::except),
        _ => return,
    };
    let interval = checks.found(Status::canary_interval);
    checks.report(&interval, format!("{why}; expected 0s, or publishers whose points can all be read back"));
}

/// The metric that the canary pushes.
const CANARY: &str = "kadabra_canary";

fn cross_check(checks: &mut CrossChecks<'_>) {
    checks.not_both(Status::password, Status::password_file);
    let Some(addresses) = checks.get::<Vec<SocketAddr>>(Status::listen) else { return };
    let listen = checks.found(Status::listen);
    if let Some(sentence) = one_address_twice(&addresses) {
        checks.report(&listen, sentence);
    }
    let has_password = [Status::password, Status::password_file].map(|key| !checks.found(key).is_unset()).contains(&true);
    if let Some(remote) = open_to_others(&addresses).filter(|_| !has_password) {
        let sentence = format!(
            "other machines could look at {remote} without a password; expected {} too, or an address of this machine alone such as \
             127.0.0.1:{}",
            Status::password_file,
            remote.port()
        );
        checks.report(&listen, sentence);
    }
}
