//! One request over HTTP and its answer, whatever the server does.

mod interim;
mod transport;

pub(super) use self::transport::{How, NoAnswer, Transport};
