//! Questions for the newest value of a counter, and what is answered to them. No more is read than the last hour, since a question comes
//! every few seconds.

use serde_json::Value;

use super::questions::{self, NOT_UNDERSTOOD, literal, quoted, read, unknown};
use crate::publisher::{Mark, http::Answer, line::Hide};

/// Asks for it in a database, or in a retention policy of it.
pub(super) fn influxql(database: &str, policy: Option<&str>, mark: &Mark) -> String {
    let (policy, name, dimension) = (questions::prefix(policy), quoted(Mark::METRIC), quoted(Mark::DIMENSION));
    let agent = mark.agent.replace('\\', "\\\\").replace('\'', "\\'");
    let statement = format!("SELECT last(\"value\") FROM {policy}{name} WHERE {dimension} = '{agent}' AND time > now() - 1h");
    questions::influxql(database, &statement)
}

/// Asks for it in a database of 3.
pub(super) fn sql(database: &str, mark: &Mark) -> String {
    let (name, dimension, agent) = (Mark::METRIC, Mark::DIMENSION, literal(&mark.agent));
    let query = format!("SELECT max(value) AS last FROM {name} WHERE {dimension} = {agent} AND time > now() - interval '1 hour'");
    questions::sql(database, &query)
}

/// What an answer to [`influxql`] has; `reader` may read it.
pub(super) fn of_influxql(answer: &Answer, reader: &str, hide: Hide<'_>) -> Result<Option<f64>, String> {
    let answered: Value = read(answer, reader, hide)?;
    let result = answered.pointer("/results/0").ok_or(NOT_UNDERSTOOD)?;
    if let Some(error) = result.get("error").and_then(Value::as_str) {
        return Err(unknown(answer, Some(error), reader, hide));
    }
    Ok(result.pointer("/series/0/values/0/1").and_then(Value::as_f64))
}

/// What an answer to [`sql`] has; `reader` may read it.
pub(super) fn of_sql(answer: &Answer, reader: &str, hide: Hide<'_>) -> Result<Option<f64>, String> {
    // Nothing was written to it yet.
    if answer.status != 200 && answer.body.contains("not found") {
        return Ok(None);
    }
    let answered: Value = read(answer, reader, hide)?;
    let rows = answered.as_array().ok_or(NOT_UNDERSTOOD)?;
    Ok(rows.first().and_then(|row| row.get("last")?.as_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned(), ..Answer::default() }
    }

    #[test]
    fn the_newest_value_is_found_or_it_is_said_why_not() {
        let keep = |text: String| text;
        let found = r#"{"results":[{"statement_id":0,"series":[{"name":"kadabra_canary","columns":["time","last"],"values":[["t",1.5e3]]}]}]}"#;
        assert_eq!(of_influxql(&answer(200, found), "R", &keep), Ok(Some(1500.0)));
        assert_eq!(of_influxql(&answer(200, r#"{"results":[{"statement_id":0}]}"#), "R", &keep), Ok(None));
        for (status, body) in [(200, r#"{"results":[{"error":"database not found: d"}]}"#), (401, r#"{"error":"no"}"#), (403, "")]
        {
            let refused = of_influxql(&answer(status, body), "R", &keep).unwrap_err();
            assert!(refused.ends_with("for that, configure R"), "{refused}");
        }
        assert!(of_influxql(&answer(200, "{}"), "R", &keep).is_err() && of_influxql(&answer(200, "<html>"), "R", &keep).is_err());
        assert_eq!(of_sql(&answer(200, r#"[{"last":3}]"#), "R", &keep), Ok(Some(3.0)));
        for none in [answer(200, r#"[{"last":null}]"#), answer(200, "[{}]"), answer(200, "[]"), answer(404, "database not found")]
        {
            assert_eq!(of_sql(&none, "R", &keep), Ok(None));
        }
        assert!(of_sql(&answer(401, ""), "R", &keep).unwrap_err().ends_with("for that, configure R"));
    }

    #[test]
    fn an_agents_name_stays_within_its_quotes() {
        let mark = Mark { agent: r"it's\".to_owned(), value: 1.0 };
        let question = |path: String| {
            let url = url::Url::parse(&["http://host", &path].concat()).unwrap();
            url.query_pairs().find(|(name, _)| name == "q").unwrap().1.into_owned()
        };
        let statement = question(influxql("d", Some("r"), &mark));
        assert!(
            statement.starts_with(r#"SELECT last("value") FROM "r"."kadabra_canary" WHERE "agent" = 'it\'s\\' AND"#),
            "{statement}"
        );
        assert!(question(sql("d", &mark)).contains(r"agent = 'it''s\' AND"));
    }
}
