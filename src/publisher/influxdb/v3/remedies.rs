//! What an operator is told when only an operator can mend it.

use crate::{
    config::InfluxdbV3,
    publisher::{Caution, line::Cause},
};

/// What is wrong, in InfluxDB's `words`, and what to do about it.
pub(super) fn remedy(url: &str, config: &InfluxdbV3, cause: Cause, words: &str) -> Caution {
    let InfluxdbV3 { database, token, .. } = config;
    let (what, mend) = match cause {
        Cause::NoDatabase | Cause::NotCreated | Cause::NoRetentionPolicy => (
            format!("influxdb at {url} takes no points for a database \"{database}\": {words}"),
            "correct publisher.influxdb.database".to_owned(),
        ),
        Cause::Unauthenticated if token.is_none() => (
            format!("influxdb at {url} wants a token: {words}"),
            "set publisher.influxdb.token_file, or token, to one that may write to the database".to_owned(),
        ),
        Cause::Unauthenticated => (
            format!("influxdb at {url} does not accept the token: {words}"),
            "correct publisher.influxdb.token_file, or token; one that has expired is created anew with: influxdb3 create token"
                .to_owned(),
        ),
        Cause::Forbidden => (
            format!("influxdb at {url} does not let us write to database \"{database}\": {words}"),
            "set publisher.influxdb.token_file, or token, to one that may write to the database".to_owned(),
        ),
        Cause::Limit => (
            format!("influxdb at {url} takes no new databases, tables or columns: {words}"),
            "raise that limit (InfluxDB 3 Core has 5 databases, 2,000 tables and 500 columns a table), drop what nobody needs, or \
             send fewer names of metrics, dimensions and metadata; until then those messages wait in the channel"
                .to_owned(),
        ),
        Cause::Disk => (
            format!("influxdb at {url} cannot write its log: {words}"),
            "free space where InfluxDB keeps its data, or mend its object store".to_owned(),
        ),
        Cause::TooLarge { size } => (
            format!("influxdb at {url} refuses a point of {size} bytes as too large: {words}"),
            "start InfluxDB with a larger --max-http-request-size, or raise the limit of the proxy that answers there".to_owned(),
        ),
        Cause::Foreign => (
            format!("what answers at {url} is not the write API of InfluxDB 3: {words}"),
            "correct publisher.influxdb.url or api, or the proxy that answers there".to_owned(),
        ),
    };
    Caution { what, mend }
}
