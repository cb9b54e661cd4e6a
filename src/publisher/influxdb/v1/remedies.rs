//! What an operator is told when only an operator can mend it.

use url::Url;

use crate::{
    config::InfluxdbV1,
    publisher::{Caution, influxdb::questions::quoted, line::Cause},
    quote::in_a_shell,
};

/// What is wrong, in InfluxDB's `words`, and what to do about it.
pub(super) fn remedy(url: &str, config: &InfluxdbV1, cause: Cause, words: &str) -> Caution {
    let database = quoted(&config.database);
    let policy = quoted(config.retention_policy.as_deref().unwrap_or_default());
    let user = quoted(config.username.as_deref().unwrap_or_default());
    let influx = |statement: String| influx(url, config, &statement);
    let (what, mend) = match cause {
        Cause::NoDatabase => (
            format!("influxdb at {url} has no database {database}: {words}"),
            format!(
                "create it with: {}, or set publisher.influxdb.create_database = true",
                influx(format!("CREATE DATABASE {database}"))
            ),
        ),
        Cause::NotCreated => (
            format!("influxdb at {url} has no database {database}, and creating it failed: {words}"),
            format!("create it with: {}", influx(format!("CREATE DATABASE {database}"))),
        ),
        Cause::NoRetentionPolicy => (
            format!("influxdb at {url} has no retention policy {policy} on database {database}: {words}"),
            format!(
                "create it with: {}, or correct publisher.influxdb.retention_policy",
                influx(format!("CREATE RETENTION POLICY {policy} ON {database} DURATION INF REPLICATION 1"))
            ),
        ),
        Cause::Unauthenticated if config.username.is_none() => (
            format!("influxdb at {url} wants a user and a password: {words}"),
            "set publisher.influxdb.username, and password_file or password".to_owned(),
        ),
        Cause::Unauthenticated => (
            format!("influxdb at {url} does not accept the user {user} or the password: {words}"),
            "correct publisher.influxdb.username, and password_file or password".to_owned(),
        ),
        Cause::Forbidden => (
            format!("influxdb at {url} does not let us write to database {database}: {words}"),
            if config.username.is_some() {
                format!("let the user write with: {}", influx(format!("GRANT WRITE ON {database} TO {user}")))
            } else {
                "set publisher.influxdb.username, and password_file or password, to those of a user who may write".to_owned()
            },
        ),
        Cause::Limit => (
            format!("influxdb at {url} takes no new series, tag values or points: {words}"),
            "raise that limit in the section [data] of InfluxDB's configuration (0 is none) and restart it, or drop series that \
             nobody needs; until then messages wait in the channel"
                .to_owned(),
        ),
        Cause::TooLarge { size } => (
            format!("influxdb at {url} refuses a point of {size} bytes as too large: {words}"),
            "raise max-body-size in the section [http] of InfluxDB's configuration, or the same of the proxy that answers there"
                .to_owned(),
        ),
        Cause::Disk => (
            format!("influxdb at {url} cannot store points on its disk: {words}"),
            "free space on the disk of InfluxDB, and restart it if it stays like this".to_owned(),
        ),
        Cause::Foreign => (
            format!("what answers at {url} is not the write API of InfluxDB 1.x: {words}"),
            "correct publisher.influxdb.url, or the proxy that answers there".to_owned(),
        ),
    };
    Caution { what, mend }
}

/// The command for a shell that executes a statement at the server of the configuration. Where a login is wanted the statement wants
/// an administrator's, whom only the operator knows; `influx` asks for the password.
fn influx(url: &str, config: &InfluxdbV1, statement: &str) -> String {
    let ssl = if url.starts_with("https:") { " -ssl" } else { "" };
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("localhost");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.as_ref().and_then(Url::port_or_known_default).unwrap_or(8086);
    let login = if config.username.is_some() { " -username ADMINISTRATOR -password ''" } else { "" };
    format!("influx{ssl} -host {host} -port {port}{login} -execute {}", in_a_shell(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_reaches_the_server_of_the_configuration() {
        let mend = |url: &str, username: Option<&str>| {
            let config =
                InfluxdbV1 { database: "it's".to_owned(), username: username.map(str::to_owned), ..InfluxdbV1::default() };
            let Caution { mend, .. } = remedy(url, &config, Cause::NotCreated, "");
            mend
        };
        assert_eq!(
            mend("http://db:18086", None),
            r#"create it with: influx -host db -port 18086 -execute 'CREATE DATABASE "it'\''s"'"#
        );
        assert_eq!(
            mend("https://[::1]/influx", Some("me")),
            r#"create it with: influx -ssl -host ::1 -port 443 -username ADMINISTRATOR -password '' -execute 'CREATE DATABASE "it'\''s"'"#
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_its_statement() {
        assert_eq!(quoted(r#"a"; DROP DATABASE "b\"#), r#""a\"; DROP DATABASE \"b\\""#);
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
    }
}
