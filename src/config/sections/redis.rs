//! `[channel.redis]`, and what its keys mean for each other.

use std::time::Duration;

use super::{COUNT, LEASE, LIST, MESSAGE_BYTES, Sentinel, Supervisor, TIMEOUT, is_list};
use crate::config::{
    Queues, Secret, Tls,
    cross_checks::CrossChecks,
    queues,
    schema::{
        Fallback::{Is, Unset},
        Key,
    },
    setting::Setting,
    tls, url,
    value_type::ValueType,
    values::Values,
};

/// A user's name as Redis takes it: <https://redis.io/docs/latest/commands/acl-setuser/>.
pub(super) const USER: ValueType = ValueType::Text {
    expected: "a user's name of 1 to 255 bytes without spaces or control characters",
    fits: |text| (1..=255).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control()),
};

section! {
    /// The Redis list that Kadabra's clients push to, used when channel.type is "redis". Redis 6.2 or later, or Valkey.
    "channel.redis" pub struct Redis {
        /// What Redis is. single: one server, at url. sentinel: a primary with replicas, watched by Sentinels, which are asked where
        /// the primary is. cluster: a Redis Cluster; the agent speaks to the node that has the slot of queue_key,
        /// and with several queues to that of each.
        mode: RedisMode = Is("single"), ValueType::Choice { words: &["single", "sentinel", "cluster"], aliases: &[] };
        /// The server and the number of the database. Use rediss:// for TLS, unix:///run/redis/redis.sock?db=0 for
        /// a socket. It may hold a user (redis://user:password@host); a password is better kept in password_file.
        url = Is("redis://localhost:6379/0"), ValueType::RedisUrl, where mode = ["single"];
        /// The Sentinels, or some nodes of the cluster: those that are up tell of the others.
        nodes = Unset("redis1:26379,redis2:26379,redis3:26379"), ValueType::List {
            expected: "hosts with ports such as \"redis1:26379\", as a list or as one text with commas",
            fits: |text| host_and_port(text).is_some(),
        }, where mode = ["sentinel", "cluster"];
        /// What the Sentinels call the primary and its replicas (sentinel monitor).
        master_name = Unset("mymaster"), ValueType::Text {
            expected: "the name of a primary, as in the Sentinels' configuration: letters, digits, dots, hyphens and underscores",
            fits: |text| (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
        }, where mode = ["sentinel"];
        /// The user at the servers, if not the default one. The password goes into password_file.
        user = Unset("kadabra"), USER, where mode = ["sentinel", "cluster"];
        /// The number of the database.
        database = Is("0"), ValueType::Number { min: 0, max: 1_000_000 }, where mode = ["sentinel"];
        /// Whether the servers are spoken to by TLS.
        use_tls = Is("false"), ValueType::Flag, where mode = ["sentinel", "cluster"];
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
        /// What the server's certificate must be for, when that is not the host that is connected to; an address or
        /// another name.
        server_name = Unset("redis.example.com"), tls::SERVER_NAME;
        /// The list that clients push to. Change it when the clients are configured to push to another.
        queue_key: Queues = Is("kadabra_queue"), LIST;
        /// Several lists that clients push to, in place of queue_key; up to 64, all served by this agent, a full one no more
        /// than the others. In a cluster each is in the slot, and so on the node, that its name says. What the agent itself
        /// queues, as of statsd, goes to the first, and only the first adopts from inprogress_key.
        queue_keys = Unset("web:{a},web:{b}"), ValueType::List {
            expected: "the names of Redis lists: each 1 to 200 characters without spaces, control characters, commas or slashes",
            fits: |text| is_list(text) && !text.contains(['/', ',']),
        };
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
        /// How many replicas must have what this agent queues itself (metrics of statsd, what kadabra send sends) before it counts as
        /// queued, so that a failover does not lose it; 0 to wait for none. Waiting takes up to half of timeout, and then it is tried
        /// again. Clients push to Redis by themselves: for theirs, set min-replicas-to-write there.
        wait_replicas: usize = Is("0"), ValueType::Number { min: 0, max: 100 };
    }
    checks cross_check;
    on reload Restart;
}

/// `channel.redis.mode`, with what there is for each.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisMode {
    /// One server, at `url`.
    Single(Secret),
    /// A primary that Sentinels know.
    Sentinel {
        /// `nodes`: the Sentinels.
        nodes: Vec<HostAndPort>,
        /// `master_name`
        master_name: String,
        /// Who logs in at the primary.
        user: Option<String>,
        /// `database`
        database: u32,
        /// `use_tls`
        use_tls: bool,
        /// `[channel.redis.sentinel]`
        sentinel: Sentinel,
    },
    /// A Redis Cluster.
    Cluster {
        /// `nodes`
        nodes: Vec<HostAndPort>,
        /// Who logs in at the nodes.
        user: Option<String>,
        /// `use_tls`
        use_tls: bool,
    },
}

/// A name or an address, without the brackets of one of IPv6, and a port.
pub type HostAndPort = (String, u16);

impl Setting for RedisMode {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        fn of<T: Setting>(values: &Values, key: &'static Key) -> Option<T> {
            T::of(values, key)
        }
        let nodes = || {
            let texts: Vec<String> = of(values, Redis::nodes)?;
            Some(texts.iter().filter_map(|text| host_and_port(text)).collect())
        };
        Some(match of::<String>(values, key)?.as_str() {
            "single" => Self::Single(of(values, Redis::url)?),
            "sentinel" => Self::Sentinel {
                nodes: nodes()?,
                master_name: of(values, Redis::master_name)?,
                user: of(values, Redis::user)?,
                database: of(values, Redis::database)?,
                use_tls: of(values, Redis::use_tls)?,
                sentinel: Sentinel::build(values)?,
            },
            "cluster" => Self::Cluster { nodes: nodes()?, user: of(values, Redis::user)?, use_tls: of(values, Redis::use_tls)? },
            _ => return None,
        })
    }
}

/// Taken apart; none where it is no such thing.
fn host_and_port(text: &str) -> Option<HostAndPort> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = bare.map_or_else(
        || !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
        |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    let port = port.parse().ok().filter(|port| *port > 0)?;
    is_host.then(|| (bare.unwrap_or(host).to_owned(), port))
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    // A lease must outlive one attempt to renew it.
    checks.shorter(Redis::timeout, Redis::lease);
    // Waiting for a server that does not answer is not hanging.
    checks.shorter(Redis::timeout, Supervisor::hang_timeout);
    lists(checks);
    let Some(mode) = checks.get::<String>(Redis::mode) else { return };
    let chosen = checks.found(Redis::mode);
    for key in Redis::SECTION.keys {
        let found = checks.found(key);
        if found.origin.is_some() && !checks.has_key(key) {
            checks.report(&found, format!("not together with {}; {}", chosen.described_to(&found), instead_of(key, &mode)));
        }
    }
    for key in Sentinel::SECTION.keys {
        let found = checks.found(key);
        if mode != "sentinel" && !found.is_unset() && key.path != Sentinel::use_tls.path {
            checks.report(&found, format!("of no use with {}; nothing there is asked of Sentinels", chosen.described_to(&found)));
        }
    }
    if mode == "single" {
        login(checks);
        let encrypted = checks.get::<Secret>(Redis::url).map(|url| url::scheme(url.expose()).as_deref() == Some("rediss"));
        TLS.check(checks, encrypted, Redis::url, "rediss://");
        return;
    }
    for key in [Redis::nodes].into_iter().chain((mode == "sentinel").then_some(Redis::master_name)) {
        if checks.found(key).is_unset() {
            checks.report(&chosen, format!("expected {key} too"));
        }
    }
    checks.user_with_password(Redis::user, Redis::password);
    TLS.check(checks, checks.get(Redis::use_tls), Redis::use_tls, "true");
}

/// What to do about a key that there is not with this mode.
fn instead_of(key: &Key, mode: &str) -> String {
    match (key.name(), mode) {
        ("url", _) => format!("expected {} and {}", Redis::nodes, Redis::user),
        ("nodes" | "user" | "database" | "use_tls", "single") => format!("expected it in {}", Redis::url),
        ("database", _) => "a cluster has one database".to_owned(),
        _ => "nothing there needs it".to_owned(),
    }
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Redis::tls,
    client_certificate: Redis::client_certificate,
    client_key: Redis::client_key,
    server_name: Redis::server_name,
};

/// That each list is another one, with all that is kept of it.
fn lists(checks: &mut CrossChecks<'_>) {
    let (one, several) = (checks.found(Redis::queue_key), checks.found(Redis::queue_keys));
    let chosen = if several.is_unset() { &one } else { &several };
    if one.origin.is_some() && !several.is_unset() {
        checks.report(&several, format!("not together with {}; expected one of the two", one.described_to(&several)));
    }
    let Some(names) = checks.get::<Queues>(Redis::queue_key) else { return };
    let names: Vec<_> = names.all().collect();
    if names.len() > queues::MOST {
        checks.report(chosen, format!("expected at most {} queues, not {}", queues::MOST, names.len()));
        return;
    }
    let pairs = names.iter().enumerate().flat_map(|(place, one)| names.iter().skip(place + 1).map(move |other| (one, other)));
    if let Some(why) = pairs.filter_map(|(one, other)| queues::collision(one, other)).next() {
        checks.report(chosen, format!("expected different queues: {why}"));
    }
    if checks.get::<String>(Redis::mode).as_deref() == Some("cluster")
        && let Some(name) = names.iter().find(|name| !queues::shares_its_slot(name))
    {
        checks.report(
            chosen,
            format!("expected names without braces, or with a part in braces that is not empty; what the agent keeps of {name} would be in another slot of the cluster"),
        );
    }
    let inprogress = checks.found(Redis::inprogress_key);
    let name = checks.get::<String>(Redis::inprogress_key).unwrap_or_default();
    if names.contains(&name.as_str()) {
        let queue_alone = chosen.origin.is_some() && inprogress.origin.is_none();
        let (blamed, other) = if queue_alone { (chosen, &inprogress) } else { (&inprogress, chosen) };
        checks.report(blamed, format!("expected another list than {}", other.described_to(blamed)));
    }
}

fn login(checks: &mut CrossChecks<'_>) {
    let Some(url) = checks.get::<Secret>(Redis::url) else { return };
    if url::redis_login(url.expose()) == (true, false) && checks.found(Redis::password).is_unset() {
        let expected = "expected redis://user:password@host, redis://:password@host or";
        checks.report(&checks.found(Redis::url), format!("a user without a password; {expected} {}", Redis::password));
    }
}
