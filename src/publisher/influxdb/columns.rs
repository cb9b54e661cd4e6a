//! Questions for the types of columns, and what is answered to them.
//!
//! - <https://docs.influxdata.com/influxdb/v1/query_language/explore-schema/#show-field-keys>: in 1.x and 2 a field has a type in each
//!   shard, and all of them are told, of one retention policy;
//! - <https://docs.influxdata.com/influxdb/v2/api-guide/influxdb-1x/query/>: in 2 a bucket is a database if it is mapped, as it is by its
//!   name; 2.9.1 says of one that the token may not read that there is none;
//! - <https://docs.influxdata.com/influxdb3/core/reference/sql/information-schema/>: in 3 a column has one type, and tags are columns.

use serde::Deserialize;

use super::questions::{self, NOT_UNDERSTOOD, literal, quoted, read, unknown};
use crate::publisher::{
    http::Answer,
    line::{ColumnType, Columns, Hide},
};

/// Asks for the fields of measurements of a database, or of a retention policy of it.
pub(super) fn influxql(database: &str, policy: Option<&str>, measurements: &[&str]) -> String {
    let policy = questions::prefix(policy);
    let from: Vec<_> = measurements.iter().map(|name| [&policy, quoted(name).as_str()].concat()).collect();
    questions::influxql(database, &["SHOW FIELD KEYS FROM ", &from.join(", ")].concat())
}

/// Asks for the columns of tables.
pub(super) fn sql(database: &str, tables: &[&str]) -> String {
    let tables: Vec<_> = tables.iter().map(|name| literal(name)).collect();
    let query = format!(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'iox' AND table_name IN ({})",
        tables.join(", ")
    );
    questions::sql(database, &query)
}

/// What is answered to InfluxQL.
#[derive(Deserialize)]
struct Answered {
    results: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    error: Option<String>,
    #[serde(default)]
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    name: String,
    values: Vec<(String, String)>,
}

/// The fields that an answer to [`influxql`] tells; else why they are not known. `reader` may read them.
pub(super) fn of_influxql(answer: &Answer, reader: &str, hide: Hide<'_>) -> Result<Columns, String> {
    let answered: Answered = read(answer, reader, hide)?;
    // Of what speaks as InfluxDB does and stores nothing itself, such as Telegraf.
    if answered.results.is_empty() {
        return Err(NOT_UNDERSTOOD.to_owned());
    }
    let mut columns = Columns::default();
    for statement in answered.results {
        if let Some(error) = statement.error {
            return Err(unknown(answer, Some(&error), reader, hide));
        }
        for series in statement.series {
            for (field, of) in series.values {
                let of = match of.as_str() {
                    "float" => ColumnType::Float,
                    "integer" => ColumnType::Integer,
                    "unsigned" => ColumnType::Unsigned,
                    "string" => ColumnType::Text,
                    "boolean" => ColumnType::Boolean,
                    _ => continue,
                };
                columns.add(&series.name, &field, of);
            }
        }
    }
    Ok(columns)
}

/// A row of the answer to SQL.
#[derive(Deserialize)]
struct Row {
    table_name: String,
    column_name: String,
    data_type: String,
}

/// The columns that an answer to [`sql`] tells; else why they are not known. `reader` may read them.
pub(super) fn of_sql(answer: &Answer, reader: &str, hide: Hide<'_>) -> Result<Columns, String> {
    // Nothing was written to it yet.
    if answer.status == 404 && answer.body.contains("database not found") {
        return Ok(Columns::default());
    }
    let rows: Vec<Row> = read(answer, reader, hide)?;
    let mut columns = Columns::default();
    for Row { table_name, column_name, data_type } in rows {
        let of = match data_type.as_str() {
            "Float64" => ColumnType::Float,
            "Int64" => ColumnType::Integer,
            "UInt64" => ColumnType::Unsigned,
            "Utf8" => ColumnType::Text,
            "Boolean" => ColumnType::Boolean,
            dictionary if dictionary.starts_with("Dictionary(") => ColumnType::Tag,
            _ => continue,
        };
        columns.add(&table_name, &column_name, of);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned(), ..Answer::default() }
    }

    fn keep(text: String) -> String {
        text.replace("secret", "***")
    }

    #[test]
    fn names_are_quoted_as_the_language_wants_them() {
        let question = |path: String| {
            let url = url::Url::parse(&["http://host", &path].concat()).unwrap();
            url.query_pairs().find(|(name, _)| name == "q").unwrap().1.into_owned()
        };
        let statement = question(influxql("d", Some("r p"), &["a\"b\\c", "m"]));
        assert_eq!(statement, r#"SHOW FIELD KEYS FROM "r p"."a\"b\\c", "r p"."m""#);
        assert_eq!(question(influxql("d", None, &["m"])), r#"SHOW FIELD KEYS FROM "m""#);
        assert!(question(sql("d", &["it's", "m"])).ends_with("table_name IN ('it''s', 'm')"));
    }

    #[test]
    fn an_answer_without_types_is_said_with_who_may_read_them_and_without_secrets() {
        for (status, body, expected) in [
            (200, r#"{"results":[{"error":"database not found: b"}]}"#, "200 database not found: b; for that, configure R"),
            (403, r#"{"error":"no right for secret"}"#, "403 no right for ***; for that, configure R"),
            (401, r#"{"code":"unauthorized","message":"unauthorized access"}"#, "401 unauthorized access; for that, configure R"),
            (404, "not found", "404 not found"),
            (200, r#"{"results":[{"series":"#, "the answer was not understood"),
            (200, "", "the answer was not understood"),
            (200, r#"{"results":[]}"#, "the answer was not understood"),
            (0, "", "0"),
        ] {
            assert_eq!(of_influxql(&answer(status, body), "R", &keep).unwrap_err(), expected);
        }
        assert_eq!(of_sql(&answer(401, ""), "R", &keep).unwrap_err(), "401; for that, configure R");
        assert!(of_sql(&answer(404, r#"{"error": "query error: database not found: d"}"#), "R", &keep).is_ok());
        assert!(of_sql(&answer(500, "query error: x"), "R", &keep).is_err());
    }
}
