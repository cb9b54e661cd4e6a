//! `[publisher.influxdb]`, and what its keys mean for each other.

use std::time::Duration;

use super::{Supervisor, TIMEOUT};
use crate::config::{
    Secret, Tls,
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    tls, url,
    value_type::ValueType,
};

/// What InfluxDB itself takes as a name.
const NAME: ValueType = ValueType::Text {
    expected: "a name of 1 to 255 bytes without control characters, / or \\",
    fits: |text| {
        (1..=255).contains(&text.len())
            && !text.contains(|c: char| c.is_control() || "/\\".contains(c))
            && text != "."
            && text != ".."
    },
};

section! {
    /// InfluxDB 1.x, used when publisher.type is "influxdb".
    "publisher.influxdb" pub struct Influxdb {
        /// The server, and the path if a proxy puts it below one. Use https:// for TLS. User and password
        /// have keys of their own.
        url: String = Is("http://localhost:8086"), ValueType::HttpUrl { example: "http://localhost:8086" };
        /// The version of its interface.
        api = Is("v1"), ValueType::Choice { words: &["v1"], aliases: &[] };
        /// The database that points are written to.
        database: String = Is("kadabra"), NAME;
        /// The user that may write to the database. Needs a password too.
        username: Option<String> = Unset("kadabra"), ValueType::Text {
            expected: "a user's name of 1 to 255 bytes without control characters or colons",
            fits: |text| (1..=255).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == ':'),
        };
        /// The user's password. Better kept in password_file.
        password: Option<Secret> = Unset("in password_file rather than here"), ValueType::Password;
        /// A file that holds nothing but the password; one newline at its end is not part of it. Not together with
        /// password.
        password_file = Unset("/etc/kadabra/influxdb-password"), ValueType::PasswordFile;
        /// Certificates, in PEM, that are trusted in place of the system's: those of authorities, or the server's own. Like
        /// every file of this section it is read again once it has changed.
        tls as "ca_file": Tls = Unset("/etc/kadabra/influxdb-ca.pem"), ValueType::PemFile;
        /// The certificate, in PEM, that is shown to a server that wants one of its clients, with those that lead to its
        /// authority behind it. Together with client_key.
        client_certificate = Unset("/etc/kadabra/influxdb-client.pem"), ValueType::PemFile;
        /// The key of client_certificate, in PEM, without a passphrase.
        client_key = Unset("/etc/kadabra/influxdb-client.key"), ValueType::PemFile;
        /// What the server's certificate must be for, when that is not the host in url; an address or another name.
        server_name = Unset("influxdb.example.com"), tls::SERVER_NAME;
        /// The retention policy to write under, if not the database's default one.
        retention_policy: Option<String> = Unset("two_weeks"), NAME;
        /// Whether to create the database when it is missing; the user must be an administrator then. Otherwise
        /// messages wait in the channel until somebody creates it.
        create_database: bool = Is("false"), ValueType::Flag;
        /// How long to wait for a connection, and for the answer to a write. Raise it when the log tells of writes
        /// that time out though the database is well.
        timeout: Duration = Is("5s"), TIMEOUT;
        /// Whether to compress what is written. Worth it when the way to the database is slow or paid by the byte; it
        /// costs CPU on both ends.
        gzip: bool = Is("false"), ValueType::Flag;
        /// Whether the points of each message are moved by less than a microsecond, always by the same for the same
        /// message, so that two messages of one series and microsecond stay two points. With false the later
        /// overwrites the earlier, as with Kadabra's Python agent.
        unique_timestamps: bool = Is("true"), ValueType::Flag;
    }
    checks cross_check;
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    // Waiting for a server that does not answer is not hanging.
    checks.shorter(Influxdb::timeout, Supervisor::hang_timeout);
    checks.not_both(Influxdb::password, Influxdb::password_file);
    let [username, password, file] =
        [Influxdb::username, Influxdb::password, Influxdb::password_file].map(|key| checks.found(key));
    match (username.is_unset(), password.is_unset() && file.is_unset()) {
        (true, false) => {
            let given = if password.is_unset() { file } else { password };
            checks.report(&given, format!("a password without a user; expected {} too", Influxdb::username));
        }
        (false, true) => {
            let (file, password) = (Influxdb::password_file, Influxdb::password);
            checks.report(&username, format!("a user without a password; expected {file} or {password} too"));
        }
        _ => {}
    }
    let encrypted = checks.get::<String>(Influxdb::url).map(|url| url::scheme(&url).as_deref() == Some("https"));
    TLS.check(checks, encrypted, Influxdb::url, "https://");
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Influxdb::tls,
    client_certificate: Influxdb::client_certificate,
    client_key: Influxdb::client_key,
    server_name: Influxdb::server_name,
};
