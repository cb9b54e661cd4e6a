//! `[channel.redis]`, and what its keys mean for each other.

use std::time::Duration;

use super::{COUNT, LEASE, LIST, MESSAGE_BYTES, Supervisor, TIMEOUT};
use crate::config::{
    Secret, Tls,
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    tls, url,
    value_type::ValueType,
};

section! {
    /// The Redis list that Kadabra's clients push to, used when channel.type is "redis". Redis 6.2 or later, or Valkey.
    "channel.redis" pub struct Redis {
        /// The server and the number of the database. Use rediss:// for TLS, unix:///run/redis/redis.sock?db=0 for
        /// a socket. It may hold a user (redis://user:password@host); a password is better kept in password_file.
        url: Secret = Is("redis://localhost:6379/0"), ValueType::RedisUrl;
        /// A file that holds nothing but the password; one newline at its end is not part of it. It takes the place
        /// of a password in the URL.
        password as "password_file": Option<Secret> = Unset("/etc/kadabra/redis-password"), ValueType::PasswordFile;
        /// Certificates, in PEM, that are trusted in place of the system's: those of authorities, or the server's own. Like
        /// every file of this section it is read again once it has changed.
        tls as "ca_file": Tls = Unset("/etc/kadabra/redis-ca.pem"), ValueType::PemFile;
        /// The certificate, in PEM, that is shown to a server that wants one of its clients, with those that lead to its
        /// authority behind it. Together with client_key.
        client_certificate = Unset("/etc/kadabra/redis-client.pem"), ValueType::PemFile;
        /// The key of client_certificate, in PEM, without a passphrase.
        client_key = Unset("/etc/kadabra/redis-client.key"), ValueType::PemFile;
        /// What the server's certificate must be for, when that is not the host in url; an address or another name.
        server_name = Unset("redis.example.com"), tls::SERVER_NAME;
        /// The list that clients push to. Change it when the clients are configured to push to another.
        queue_key: String = Is("kadabra_queue"), LIST;
        /// The list in which Kadabra's Python agent keeps what it is working on. What is left there is adopted, see
        /// nanny.threshold. Change it when the Python agent was configured to use another.
        inprogress_key: String = Is("kadabra_inprogress"), LIST;
        /// How long messages stay reserved for an agent that is not heard of any more; a living agent renews in time,
        /// however long an outage lasts. Shorter, and the messages of an agent that was killed are published sooner;
        /// longer, and an agent may be cut off from Redis for longer without another publishing the same. Longer than
        /// timeout.
        lease: Duration = Is("60s"), LEASE;
        /// How long to wait for a connection or an answer. Raise it for a Redis that is far away or often busy.
        timeout: Duration = Is("5s"), TIMEOUT;
        /// How many dead letters are kept, over all agents of this queue, and of several publishers for each of them;
        /// with each further one the oldest is dropped for good. They take memory of Redis: each has its message's
        /// bytes and about 300 more. Raise it to have longer to look into them, lower it when Redis is short of memory.
        max_dead_letters: usize = Is("10000"), COUNT;
        /// How large a message may be. A larger one becomes a dead letter within Redis and is never read by the
        /// agent, whose memory grows with this as with batch.max_bytes.
        max_message_bytes: usize = Is("4MiB"), MESSAGE_BYTES;
    }
    checks cross_check;
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    // A lease must outlive one attempt to renew it.
    checks.shorter(Redis::timeout, Redis::lease);
    // Waiting for a server that does not answer is not hanging.
    checks.shorter(Redis::timeout, Supervisor::hang_timeout);
    one_list_twice(checks);
    login(checks);
    let encrypted = checks.get::<Secret>(Redis::url).map(|url| url::scheme(url.expose()).as_deref() == Some("rediss"));
    TLS.check(checks, encrypted, Redis::url, "rediss://");
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Redis::tls,
    client_certificate: Redis::client_certificate,
    client_key: Redis::client_key,
    server_name: Redis::server_name,
};

fn one_list_twice(checks: &mut CrossChecks<'_>) {
    let (queue, inprogress) = (checks.found(Redis::queue_key), checks.found(Redis::inprogress_key));
    let name = checks.get::<String>(Redis::queue_key);
    if name.is_some() && name == checks.get(Redis::inprogress_key) {
        let queue_alone = queue.origin.is_some() && inprogress.origin.is_none();
        let (blamed, other) = if queue_alone { (queue, inprogress) } else { (inprogress, queue) };
        checks.report(&blamed, format!("expected another list than {}", other.described_to(&blamed)));
    }
}

fn login(checks: &mut CrossChecks<'_>) {
    let Some(url) = checks.get::<Secret>(Redis::url) else { return };
    if url::redis_login(url.expose()) == (true, false) && checks.found(Redis::password).is_unset() {
        let expected = "expected redis://user:password@host, redis://:password@host or";
        checks.report(&checks.found(Redis::url), format!("a user without a password; {expected} {}", Redis::password));
    }
}
