//! `[publisher.influxdb]`, and what its keys mean for each other.

use std::time::Duration;

use super::{Supervisor, TIMEOUT};
use crate::config::{
    Proxy, Secret, Tls,
    cross_checks::CrossChecks,
    schema::{
        Fallback::{Is, Unset},
        Key,
    },
    setting::Setting,
    tls, url,
    value_type::ValueType,
    values::Values,
};

/// What InfluxDB 1.x itself takes as a name.
const NAME: ValueType = ValueType::Text {
    expected: "a name of 1 to 255 bytes without control characters, / or \\",
    fits: |text| {
        (1..=255).contains(&text.len())
            && !text.contains(|c: char| c.is_control() || "/\\".contains(c))
            && text != "."
            && text != ".."
    },
};

/// A name, or the identity that stands beside it in the user interface: <https://docs.influxdata.com/influxdb/v2/api/>.
const NAME_OR_ID: ValueType = ValueType::Text {
    expected: "a name or an ID of 1 to 255 bytes without control characters",
    fits: |text| (1..=255).contains(&text.len()) && !text.contains(char::is_control),
};

section! {
    /// InfluxDB, used when publisher.type is "influxdb": 1.x with api v1, 2 and Cloud with v2, 3 Core and Enterprise with v3.
    "publisher.influxdb" pub struct Influxdb {
        /// The server, and the path if a proxy puts it below one. Use https:// for TLS. User and password, or token, have
        /// keys of their own.
        url: String = Is("http://localhost:8086"), ValueType::HttpUrl { example: "http://localhost:8086" };
        /// The version of its interface. v1 is that of InfluxDB 1.x, v2 that of 2 and of all kinds of Cloud, v3 that of 3 Core and
        /// Enterprise.
        api: InfluxdbApi = Is("v1"), ValueType::Choice { words: &["v1", "v2", "v3"], aliases: &[] };
        /// The database that points are written to. InfluxDB 3 creates it with the first point when it is missing.
        database = Is("kadabra"), NAME, where api = ["v1", "v3"];
        /// The user that may write to the database. Needs a password too.
        username = Unset("kadabra"), ValueType::Text {
            expected: "a user's name of 1 to 255 bytes without control characters or colons",
            fits: |text| (1..=255).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == ':'),
        }, where api = ["v1"];
        /// The user's password. Better kept in password_file.
        password = Unset("in password_file rather than here"), ValueType::Password, where api = ["v1"];
        /// A file that holds nothing but the password; one newline at its end is not part of it. Not together with
        /// password.
        password_file = Unset("/etc/kadabra/influxdb-password"), ValueType::PasswordFile, where api = ["v1"];
        /// The retention policy to write under, if not the database's default one.
        retention_policy = Unset("two_weeks"), NAME, where api = ["v1"];
        /// How many nodes of a cluster of InfluxDB Enterprise 1.x must have a point before it counts as written, if not as many
        /// as its configuration says.
        consistency = Unset("quorum"), ValueType::Choice { words: &["any", "one", "quorum", "all"], aliases: &[] },
            where api = ["v1"];
        /// Whether to create the database when it is missing; the user must be an administrator then. Otherwise
        /// messages wait in the channel until somebody creates it.
        create_database = Is("false"), ValueType::Flag, where api = ["v1"];
        /// The organization that the bucket is of.
        org = Unset("example"), NAME_OR_ID, where api = ["v2"];
        /// The bucket that points are written to.
        bucket = Is("kadabra"), NAME_OR_ID, where api = ["v2"];
        /// The token that may write to the bucket or the database. Better kept in token_file. None for a server that wants none.
        token = Unset("in-token_file-rather-than-here"), ValueType::Token, where api = ["v2", "v3"];
        /// A file that holds nothing but the token; one newline at its end is not part of it. Not together with token.
        token_file = Unset("/etc/kadabra/influxdb-token"), ValueType::TokenFile, where api = ["v2", "v3"];
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
        /// The proxy over HTTP to reach the server through, with user:password@ before its host if it wants a login. Where
        /// this is unset, https_proxy or http_proxy, all_proxy and no_proxy in the environment say so, but not for a
        /// server on this machine. "" is none.
        proxy: Option<Proxy> = Unset("http://proxy.example.com:3128"), ValueType::Proxy;
        /// Whether InfluxDB writes the good points of a request when there are bad ones among them. With false it writes
        /// nothing of such a request and names one bad point at a time: the same is written in the end, with more requests.
        accept_partial = Is("true"), ValueType::Flag, where api = ["v3"];
        /// Whether InfluxDB answers before a point is in its log, within a millisecond and not after up to a second. What it
        /// answered like that it loses when it crashes or is killed, up to a second's worth.
        no_sync = Is("false"), ValueType::Flag, where api = ["v3"];
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
    on reload Rebuilds;
}

/// `publisher.influxdb.api`, with what there is for each.
#[derive(Clone, Debug, PartialEq)]
pub enum InfluxdbApi {
    /// That of InfluxDB 1.x.
    V1(InfluxdbV1),
    /// That of InfluxDB 2 and Cloud.
    V2(InfluxdbV2),
    /// That of InfluxDB 3 Core and Enterprise.
    V3(InfluxdbV3),
}

/// What there is for `api = "v1"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfluxdbV1 {
    /// `database`
    pub database: String,
    /// `username`
    pub username: Option<String>,
    /// `password`, or what `password_file` holds.
    pub password: Option<Secret>,
    /// `retention_policy`
    pub retention_policy: Option<String>,
    /// `consistency`
    pub consistency: Option<String>,
    /// `create_database`
    pub create_database: bool,
}

/// What there is for `api = "v2"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfluxdbV2 {
    /// `org`
    pub org: String,
    /// `bucket`
    pub bucket: String,
    /// `token`, or what `token_file` holds.
    pub token: Option<Secret>,
}

/// What there is for `api = "v3"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InfluxdbV3 {
    /// `database`
    pub database: String,
    /// `token`, or what `token_file` holds.
    pub token: Option<Secret>,
    /// `accept_partial`
    pub accept_partial: bool,
    /// `no_sync`
    pub no_sync: bool,
}

impl Setting for InfluxdbApi {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        fn of<T: Setting>(values: &Values, key: &'static Key) -> Option<T> {
            T::of(values, key)
        }
        Some(match of::<String>(values, key)?.as_str() {
            "v1" => Self::V1(InfluxdbV1 {
                database: of(values, Influxdb::database)?,
                username: of(values, Influxdb::username)?,
                password: of(values, Influxdb::password)?,
                retention_policy: of(values, Influxdb::retention_policy)?,
                consistency: of(values, Influxdb::consistency)?,
                create_database: of(values, Influxdb::create_database)?,
            }),
            "v2" => Self::V2(InfluxdbV2 {
                org: of(values, Influxdb::org)?,
                bucket: of(values, Influxdb::bucket)?,
                token: of(values, Influxdb::token)?,
            }),
            "v3" => Self::V3(InfluxdbV3 {
                database: of(values, Influxdb::database)?,
                token: of(values, Influxdb::token)?,
                accept_partial: of(values, Influxdb::accept_partial)?,
                no_sync: of(values, Influxdb::no_sync)?,
            }),
            _ => return None,
        })
    }
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    // Waiting for a server that does not answer is not hanging.
    checks.shorter(Influxdb::timeout, Supervisor::hang_timeout);
    let encrypted = checks.get::<String>(Influxdb::url).map(|url| url::scheme(&url).as_deref() == Some("https"));
    TLS.check(checks, encrypted, Influxdb::url, "https://");
    let Some(api) = checks.get::<String>(Influxdb::api) else { return };
    for key in Influxdb::SECTION.keys {
        let found = checks.found(key);
        if found.origin.is_some() && !checks.has_key(key) {
            let chosen = checks.found(Influxdb::api);
            checks.report(&found, format!("not together with {}; {}", chosen.described_to(&found), instead_of(key, &api)));
        }
    }
    match api.as_str() {
        "v1" => login(checks),
        "v2" => {
            let org = checks.found(Influxdb::org);
            if org.is_unset() {
                let api = checks.found(Influxdb::api);
                checks.report(&api, format!("expected {} too", Influxdb::org));
            }
            checks.not_both(Influxdb::token, Influxdb::token_file);
        }
        _ => {
            let database = checks.found(Influxdb::database);
            if checks.get::<String>(Influxdb::database).is_some_and(|name| !is_name_of_v3(&name)) {
                checks.report(&database, NAME_OF_V3);
            }
            checks.not_both(Influxdb::token, Influxdb::token_file);
        }
    }
}

/// What to do about a key that there is not with this interface.
fn instead_of(key: &Key, api: &str) -> String {
    let instead: &[&Key] = match (key.name(), api) {
        ("database", _) => &[Influxdb::bucket],
        ("bucket", _) => &[Influxdb::database],
        ("username" | "password" | "password_file", _) => &[Influxdb::token_file, Influxdb::token],
        ("token" | "token_file", _) => &[Influxdb::username, Influxdb::password_file],
        ("retention_policy", "v2") => return "a bucket has its own retention".to_owned(),
        ("create_database", "v3") => return "InfluxDB 3 creates the database by itself".to_owned(),
        _ => return "nothing there needs it".to_owned(),
    };
    let instead: Vec<String> = instead.iter().map(ToString::to_string).collect();
    let between = if matches!(key.name(), "token" | "token_file") { " and " } else { " or " };
    format!("expected {}", instead.join(between))
}

/// <https://docs.influxdata.com/influxdb3/core/admin/databases/create/>
fn is_name_of_v3(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

const NAME_OF_V3: &str = "expected what InfluxDB 3 takes as a database's name: 1 to 64 letters, digits, underscores and hyphens \
                          of ASCII, the first of them a letter or a digit";

fn login(checks: &mut CrossChecks<'_>) {
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
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Influxdb::tls,
    client_certificate: Influxdb::client_certificate,
    client_key: Influxdb::client_key,
    server_name: Influxdb::server_name,
};
