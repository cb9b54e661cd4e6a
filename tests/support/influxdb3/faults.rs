//! What InfluxDB 3 answers when it is ill or busy.

use super::{super::http_server::Fault, text};

impl Fault {
    /// The disk of its log is full; recorded from 3.6.0, which takes 11 s to say so.
    pub(crate) fn v3_log_fails() -> Self {
        let message = "write buffer error: error from wal: object_store error: Generic LocalFileSystem error: Unable to open file: No space left on device (os error 28)";
        Self::Storage(text(500, message))
    }

    /// `wal buffer full` of `influxdb3_wal/src/lib.rs`, v3.6.0.
    pub(crate) fn v3_log_is_full() -> Self {
        Self::Storage(text(500, "write buffer error: error from wal: wal buffer full with 100000 ops"))
    }

    /// `RequestLimit` of `influxdb3_server/src/http.rs`, v3.10.1. It has no Retry-After.
    pub(crate) fn v3_is_overloaded() -> Self {
        Self::Answer(text(429, "this service is overloaded, please try again later"))
    }
}
