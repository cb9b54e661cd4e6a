//! `[publisher.victoriametrics]`, and what its keys mean for each other.

use std::time::Duration;

use super::{Supervisor, TIMEOUT};
use crate::config::{
    Proxy, Secret, Tls,
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    tls, url,
    value_type::ValueType,
};

section! {
    /// VictoriaMetrics, used when publisher.type is "victoriametrics". It keeps numbers and milliseconds only, keeps what is
    /// written twice twice unless it runs with -dedup.minScrapeInterval=1ms, and answers before it has anything on disk:
    /// docs/destinations.md says what that means.
    "publisher.victoriametrics" pub struct Victoriametrics {
        /// The server: a single VictoriaMetrics, vminsert of a cluster, vmagent or vmauth, and the path if a proxy puts it below
        /// one. Use https:// for TLS. Tenant and login have keys of their own.
        url: String = Is("http://localhost:8428"), ValueType::HttpUrl { example: "http://localhost:8428" };
        /// The tenant of a cluster, which writes to /insert/TENANT/influx/write instead of /write.
        tenant: Option<String> = Unset("42"), ValueType::Text {
            expected: "an account such as 42, an account and a project such as 42:7, or multitenant",
            fits: is_tenant,
        };
        /// The user, where a login is wanted. Needs a password too. Not together with token.
        username: Option<String> = Unset("kadabra"), ValueType::Text {
            expected: "a user's name of 1 to 255 bytes without control characters or colons",
            fits: |text| (1..=255).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == ':'),
        };
        /// The user's password. Better kept in password_file.
        password: Option<Secret> = Unset("in password_file rather than here"), ValueType::Password;
        /// A file that holds nothing but the password; one newline at its end is not part of it. Not together with
        /// password.
        password_file = Unset("/etc/kadabra/victoriametrics-password"), ValueType::PasswordFile;
        /// The token, where a vmauth or a proxy wants one ("Bearer"). Better kept in token_file.
        token: Option<Secret> = Unset("in-token_file-rather-than-here"), ValueType::Token;
        /// A file that holds nothing but the token; one newline at its end is not part of it. Not together with token.
        token_file = Unset("/etc/kadabra/victoriametrics-token"), ValueType::TokenFile;
        /// Certificates, in PEM, that are trusted in place of the system's: those of authorities, or the server's own. Like
        /// every file of this section it is read again once it has changed.
        tls as "ca_file": Tls = Unset("/etc/kadabra/victoriametrics-ca.pem"), ValueType::PemFile;
        /// The certificate, in PEM, that is shown to a server that wants one of its clients, with those that lead to its
        /// authority behind it. Together with client_key.
        client_certificate = Unset("/etc/kadabra/victoriametrics-client.pem"), ValueType::PemFile;
        /// The key of client_certificate, in PEM, without a passphrase.
        client_key = Unset("/etc/kadabra/victoriametrics-client.key"), ValueType::PemFile;
        /// What the server's certificate must be for, when that is not the host in url; an address or another name.
        server_name = Unset("victoriametrics.example.com"), tls::SERVER_NAME;
        /// The proxy over HTTP to reach the server through, as publisher.influxdb.proxy.
        proxy: Option<Proxy> = Unset("http://proxy.example.com:3128"), ValueType::Proxy;
        /// Labels for every series that this agent writes, with commas between them. Several agents with a queue of their own each
        /// and the same series need one that tells them apart, or one overwrites what another wrote in the same millisecond.
        extra_labels: Option<String> = Unset("instance=web-1, region=eu"), ValueType::Text {
            expected: "labels such as instance=web-1, with commas between them",
            fits: |text| text.split(',').all(is_label),
        };
        /// What becomes of metadata that is text, which VictoriaMetrics would store as 0. park: the point is written without it,
        /// and its message is set aside as a dead letter that says so. label: it becomes a label; each of its values makes new
        /// series, so only where there are few. drop: the point is written without it.
        text_metadata: TextMetadata = Is("park"), TextMetadata::WORDS;
        /// How many labels a series may have besides its name. A point with more becomes a dead letter, since VictoriaMetrics would
        /// cut labels off, or drop the point, without a word. Not more than its -maxLabelsPerTimeseries, 30 or 40 by default.
        max_labels: usize = Is("30"), ValueType::Number { min: 1, max: 1000 };
        /// Whether of several points of one series and one millisecond each gets a millisecond of its own, the next that is free.
        /// With -dedup.minScrapeInterval=1ms, VictoriaMetrics then keeps each and stores nothing twice. With false times stay as
        /// they are: without that flag nothing is lost either, and what is written again is stored twice.
        unique_timestamps: bool = Is("true"), ValueType::Flag;
        /// How long to wait for a connection, and for the answer to a write.
        timeout: Duration = Is("5s"), TIMEOUT;
        /// Whether to compress what is written. Worth it when the way there is slow or paid by the byte; it costs CPU on
        /// both ends.
        gzip: bool = Is("false"), ValueType::Flag;
    }
    checks cross_check;
    on reload Rebuilds;
}

choice! {
    /// `publisher.victoriametrics.text_metadata`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum TextMetadata {
        /// Left out, and the message is a dead letter.
        Park = "park",
        /// A label.
        Label = "label",
        /// Left out.
        Drop = "drop",
    }
}

fn is_tenant(text: &str) -> bool {
    let is_id = |text: &str| text.parse::<u32>().is_ok() && !text.starts_with('+');
    text == "multitenant"
        || text.split_once(':').map_or_else(|| is_id(text), |(account, project)| is_id(account) && is_id(project))
}

fn is_label(text: &str) -> bool {
    text.trim().split_once('=').is_some_and(|(name, value)| {
        !name.is_empty() && name != "__name__" && !value.is_empty() && name.len() <= 256 && !text.contains(char::is_control)
    })
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    // Waiting for a server that does not answer is not hanging.
    checks.shorter(Victoriametrics::timeout, Supervisor::hang_timeout);
    checks.not_both(Victoriametrics::password, Victoriametrics::password_file);
    checks.not_both(Victoriametrics::token, Victoriametrics::token_file);
    for secret in [Victoriametrics::token, Victoriametrics::token_file] {
        checks.not_both(Victoriametrics::username, secret);
    }
    let username = checks.found(Victoriametrics::username);
    let passwords = [Victoriametrics::password, Victoriametrics::password_file];
    let given = passwords.map(|key| checks.found(key)).into_iter().find(|found| !found.is_unset());
    match given {
        Some(password) if username.is_unset() => {
            checks.report(&password, format!("a password without a user; expected {} too", Victoriametrics::username));
        }
        None if !username.is_unset() => {
            let [password, file] = passwords;
            checks.report(&username, format!("a user without a password; expected {file} or {password} too"));
        }
        _ => {}
    }
    let encrypted = checks.get::<String>(Victoriametrics::url).map(|url| url::scheme(&url).as_deref() == Some("https"));
    TLS.check(checks, encrypted, Victoriametrics::url, "https://");
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Victoriametrics::tls,
    client_certificate: Victoriametrics::client_certificate,
    client_key: Victoriametrics::client_key,
    server_name: Victoriametrics::server_name,
};

impl Victoriametrics {
    /// Each of `extra_labels`, as `name=value`.
    pub(crate) fn labels_of_all(&self) -> impl Iterator<Item = &str> {
        self.extra_labels.iter().flat_map(|labels| labels.split(',')).map(str::trim)
    }
}
