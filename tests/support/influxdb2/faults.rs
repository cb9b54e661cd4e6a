//! What InfluxDB 2 and Cloud answer when they are ill or busy.

use serde_json::json;

use super::{
    super::http_server::{Fault, Response},
    plain, refusal,
};

impl Fault {
    /// InfluxDB Cloud over a plan's limit, or busy: <https://docs.influxdata.com/influxdb/cloud/write-data/troubleshoot/>.
    pub(crate) fn cloud_throttles(status: u16, retry_after: Option<u64>) -> Self {
        let seconds = retry_after.map(|seconds| seconds.to_string());
        let mut headers = vec![("Content-Type", "application/json; charset=utf-8")];
        headers.extend(seconds.iter().map(|seconds| ("Retry-After", seconds.as_str())));
        let (code, message) = match status {
            429 => ("too many requests", "org 0123456789abcdef has exceeded limited_write plan limit"),
            _ => ("unavailable", "unexpected error writing points to database: timeout"),
        };
        Self::Answer(Response::new(status, &headers, json!({ "code": code, "message": message }).to_string()))
    }

    /// InfluxDB Cloud's gateway to a body over 50 MB: <https://docs.influxdata.com/influxdb/cloud/api/>, PostWrite.
    pub(crate) fn cloud_finds_too_large() -> Self {
        let page = "<html>\n  <head>\n    <title>413 Request Entity Too Large</title>\n  </head>\n  <body>\n    <center>\n      <h1>413 Request Entity Too Large</h1>\n    </center>\n    <hr>\n    <center>nginx</center>\n  </body>\n</html>\n";
        Self::Answer(Response::new(413, &[("Content-Type", "text/html")], page))
    }

    /// `http/points/points_parser.go` of v2.9.1, where a limit is set on a batch.
    pub(crate) fn v2_finds_too_large() -> Self {
        Self::Answer(refusal(("request too large", "unable to read data: points batch is too large".to_owned())))
    }

    /// `storage-cache-max-memory-size` is used up; recorded from 2.9.1.
    pub(crate) fn v2_cache_is_full() -> Self {
        let message = "unexpected error writing points to database: engine: cache-max-memory-size exceeded: (1577780/1000000)";
        Self::Storage(refusal(("internal error", message.to_owned())))
    }

    /// The disk of the engine is full, and until it is restarted, has been; recorded from 2.9.1.
    pub(crate) fn v2_disk_is_full() -> Self {
        let message = "unexpected error writing points to database: not attempting to open shard 2; opening shard previously failed with: error loading series file for database \"3e6afc022173477f\": write /engine/data/3e6afc022173477f/_series/00/0000.initializing: no space left on device";
        Self::Storage(refusal(("internal error", message.to_owned())))
    }

    /// `storage-write-timeout` has passed (`http/write_handler.go` of v2.9.1).
    pub(crate) fn v2_times_out() -> Self {
        Self::Storage(refusal(("internal error", "unexpected error writing points to database: timeout".to_owned())))
    }

    /// A body that came too slowly for `http-read-timeout`; recorded from 2.9.1.
    pub(crate) fn v2_reads_no_longer() -> Self {
        let message = "unable to read data: read tcp 127.0.0.1:8086->127.0.0.1:48412: i/o timeout";
        let mut response = refusal(("internal error", message.to_owned()));
        response.status = 499;
        Self::Answer(response)
    }

    /// While it starts: `http/check_handler.go` of main-2.x, in no release yet.
    pub(crate) fn v2_is_starting() -> Self {
        Self::Answer(plain(503, r#"{"status":"starting"}"#.to_owned()))
    }
}
