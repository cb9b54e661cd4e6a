//! The stand-ins and the real servers that the tests use besides influxd answer as the ones that users run do. Of InfluxDB 2 and 3 no
//! Debian package exists: `tests/data/influxdb2.jsonl` and `influxdb3.jsonl` are what a real 2.9.1 and a real Core 3.6.0 were asked and
//! answered, `characters.jsonl` what each of both stores of what may stand in a line.
#![cfg(test)]

#[path = "stand_ins/forward_proxy.rs"]
mod forward_proxy;
#[path = "stand_ins/influxdb2.rs"]
mod influxdb2;
#[path = "stand_ins/influxdb3.rs"]
mod influxdb3;
#[path = "stand_ins/recorded.rs"]
mod recorded;
#[path = "stand_ins/victoriametrics.rs"]
mod victoriametrics;
