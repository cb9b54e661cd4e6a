//! The InfluxDB publisher against a real influxd: every verdict.
