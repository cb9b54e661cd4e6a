//! How an InfluxDB is asked: in InfluxQL, which 1.x and 2 speak at `/query`, and in SQL, which 3 speaks; and how an answer is read.

use serde::Deserialize;

use super::encoded;
use crate::publisher::{http::Answer, line::Hide};

pub(super) const NOT_UNDERSTOOD: &str = "the answer was not understood";

/// The path at which a statement of InfluxQL is asked of a database.
pub(super) fn influxql(database: &str, statement: &str) -> String {
    ["/query?db=", &encoded(database), "&q=", &encoded(statement)].concat()
}

/// The path at which a query in SQL is asked of a database of 3.
pub(super) fn sql(database: &str, query: &str) -> String {
    ["/api/v3/query_sql?db=", &encoded(database), "&format=json&q=", &encoded(query)].concat()
}

/// A retention policy as InfluxQL has it before a measurement, if there is one.
pub(super) fn prefix(policy: Option<&str>) -> String {
    policy.map(|policy| [&quoted(policy), "."].concat()).unwrap_or_default()
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

/// A text as a literal of SQL.
pub(super) fn literal(text: &str) -> String {
    ["'", &text.replace('\'', "''"), "'"].concat()
}

/// The JSON of an answer; else why there is none. `reader` may ask.
pub(super) fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, reader: &str, hide: Hide<'_>) -> Result<T, String> {
    if answer.status != 200 {
        return Err(unknown(answer, error(&answer.body).as_deref(), reader, hide));
    }
    serde_json::from_str(&answer.body).map_err(|_| NOT_UNDERSTOOD.to_owned())
}

/// What is said where an answer does not tell what was asked for, and who may ask.
pub(super) fn unknown(answer: &Answer, error: Option<&str>, reader: &str, hide: Hide<'_>) -> String {
    let words = answer.words(error, hide);
    let needs_rights = matches!(answer.status, 401 | 403) || error.is_some_and(|error| error.contains("database not found"));
    if needs_rights { format!("{words}; for that, configure {reader}") } else { words }
}

fn error(body: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(json.get("error").or_else(|| json.get("message"))?.as_str()?.to_owned())
}
