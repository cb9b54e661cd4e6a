//! What an operator is told when only an operator can mend it.

use super::verdict::Cause;
use crate::{config::Influxdb, publisher::Outcome};

/// What is wrong, in InfluxDB's `words`, and what to do about it.
pub(super) fn hold(config: &Influxdb, cause: Cause, words: &str) -> Outcome {
    let (url, database) = (&config.url, quoted(&config.database));
    let policy = quoted(config.retention_policy.as_deref().unwrap_or_default());
    let user = quoted(config.username.as_deref().unwrap_or_default());
    let (what, mend) = match cause {
        Cause::NoDatabase => (
            format!("influxdb at {url} has no database {database}: {words}"),
            format!(
                "create it with: influx -execute 'CREATE DATABASE {database}', or set publisher.influxdb.create_database = true"
            ),
        ),
        Cause::NoRetentionPolicy => (
            format!("influxdb at {url} has no retention policy {policy} on database {database}: {words}"),
            format!(
                "create it with: influx -execute 'CREATE RETENTION POLICY {policy} ON {database} DURATION INF REPLICATION 1', or \
                 correct publisher.influxdb.retention_policy"
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
                format!("let the user write with: influx -execute 'GRANT WRITE ON {database} TO {user}'")
            } else {
                "set publisher.influxdb.username, and password_file or password, to those of a user who may write".to_owned()
            },
        ),
        Cause::NotInfluxdb => (
            format!("what answers at {url} is not the write API of InfluxDB 1.x: {words}"),
            "correct publisher.influxdb.url, or the proxy that answers there".to_owned(),
        ),
    };
    Outcome::Hold { what, mend }
}

/// What is wrong when the database is missing and could not be created.
pub(super) fn not_created(config: &Influxdb, words: &str) -> Outcome {
    let (url, database) = (&config.url, quoted(&config.database));
    Outcome::Hold {
        what: format!("influxdb at {url} has no database {database}, and creating it failed: {words}"),
        mend: format!("create it as an administrator with: influx -execute 'CREATE DATABASE {database}'"),
    }
}

/// A name as an identifier of InfluxQL.
pub(super) fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_statement() {
        assert_eq!(quoted(r#"a"; DROP DATABASE "b\"#), r#""a\"; DROP DATABASE \"b\\""#);
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
    }
}
