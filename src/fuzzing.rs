//! What bytes from outside can never do, a function a place that reads them; each panics when its promise breaks.
//!
//! The fuzz targets in `tests/fuzz` call these with bytes that nobody thought of. The tests call them with the bytes that
//! were worth keeping, so that what was found once stays found, without a fuzzer and on any Rust.

/// No input makes anything panic, caught or not.
fn calmly(target: impl FnOnce()) {
    let before = crate::panics::caught();
    target();
    assert_eq!(crate::panics::caught(), before, "a panic was caught");
}

/// A message, as it is in the queue.
pub fn decode(bytes: &[u8]) {
    calmly(|| crate::wire::fuzz_decode(bytes));
}

/// A timestamp format, a NUL, and a timestamp.
pub fn timestamp(bytes: &[u8]) {
    calmly(|| crate::wire::fuzz_timestamp(bytes));
}

/// Messages as they are after decoding, to be encoded as line protocol.
pub fn line(bytes: &[u8]) {
    calmly(|| crate::publisher::fuzz_line(bytes));
}

/// An answer of whatever stands where InfluxDB should: a line with the status, one with `Retry-After`, and the body.
pub fn answer(bytes: &[u8]) {
    calmly(|| crate::publisher::fuzz_answer(bytes));
}

/// An answer of whatever stands where Redis should, as it is on the wire.
pub fn redis(bytes: &[u8]) {
    calmly(|| crate::channel::redis::fuzz_redis(bytes));
}

/// What a client sends to the embedded channel, after a byte that chooses how it is treated and how its bytes are cut.
pub fn resp(bytes: &[u8]) {
    calmly(|| crate::listener::fuzz_resp(bytes));
}

/// Datagrams of clients of statsd, each ended by a NUL; the first byte chooses how gauges with a sign are taken.
pub fn statsd(bytes: &[u8]) {
    calmly(|| crate::statsd::fuzz_statsd(bytes));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Calls a target with every file of its corpus.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 20, "{} has hardly any files", folder.display());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // The name of the file is what a panic does not tell.
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{} breaks a promise", file.display());
        }
    }

    #[test]
    fn hostile_messages() {
        replay("decode", super::decode);
    }

    #[test]
    fn hostile_timestamps() {
        replay("timestamp", super::timestamp);
    }

    #[test]
    fn hostile_names_and_values() {
        replay("line", super::line);
    }

    #[test]
    fn hostile_answers_to_writes() {
        replay("answer", super::answer);
    }

    #[test]
    fn hostile_answers_to_commands() {
        replay("redis", super::redis);
    }

    #[test]
    fn hostile_clients() {
        replay("resp", super::resp);
    }

    #[test]
    fn hostile_datagrams() {
        replay("statsd", super::statsd);
    }
}
