//! What an operator is told when only an operator can mend it.

use crate::{
    config::InfluxdbV2,
    publisher::{Caution, line::Cause},
    quote::in_a_shell,
};

/// What is wrong, in InfluxDB's `words`, and what to do about it.
pub(super) fn remedy(url: &str, config: &InfluxdbV2, cause: Cause, words: &str) -> Caution {
    let InfluxdbV2 { org, bucket, token } = config;
    let (what, mend) = match cause {
        Cause::NoDatabase | Cause::NotCreated | Cause::NoRetentionPolicy => (
            format!("influxdb at {url} has no bucket \"{bucket}\" in an organization \"{org}\": {words}"),
            format!(
                "create it with: influx bucket create --host {url} --org {} --name {}, or correct publisher.influxdb.org and \
                 publisher.influxdb.bucket",
                in_a_shell(org),
                in_a_shell(bucket)
            ),
        ),
        Cause::Unauthenticated if token.is_none() => (
            format!("influxdb at {url} wants a token: {words}"),
            "set publisher.influxdb.token_file, or token, to one that may write to the bucket".to_owned(),
        ),
        Cause::Unauthenticated => (
            format!("influxdb at {url} does not accept the token: {words}"),
            "correct publisher.influxdb.token_file, or token; a token that was removed there does not come back".to_owned(),
        ),
        Cause::Forbidden => (
            format!("influxdb at {url} does not let us write to bucket \"{bucket}\": {words}"),
            "activate the token there, or set publisher.influxdb.token_file, or token, to one that may write to the bucket"
                .to_owned(),
        ),
        Cause::Limit => (
            format!("influxdb at {url} takes no new tables or columns: {words}"),
            "raise that limit, or drop what nobody needs; until then messages wait in the channel".to_owned(),
        ),
        Cause::Disk => (
            format!("influxdb at {url} cannot store points on its disk: {words}"),
            "free space on the disk of InfluxDB and restart it: a shard that it could not open stays closed until then"
                .to_owned(),
        ),
        Cause::TooLarge { size } => (
            format!("influxdb at {url} refuses a point of {size} bytes as too large: {words}"),
            "raise the limit of a request's body of the proxy that answers there".to_owned(),
        ),
        Cause::Foreign => (
            format!("what answers at {url} is not the write API of InfluxDB 2: {words}"),
            "correct publisher.influxdb.url or api, or the proxy that answers there".to_owned(),
        ),
    };
    Caution { what, mend }
}
