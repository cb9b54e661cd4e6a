//! What no answer can do; see [`crate::fuzzing`].

use redis::{RedisError, Value};

use super::{answers, check, errors, resp::Scanner};
use crate::channel::ChannelError;

const TARGET: &str = "redis://host:6379/0";

/// More than that nobody reads in one sentence, and an answer has no end of its own.
const LONGEST_SENTENCE: usize = 4 << 10;

pub(crate) fn redis(bytes: &[u8]) {
    match ::redis::parse_redis_value(bytes) {
        Ok(value) => answer(&value, bytes.len()),
        Err(error) => explained(&error),
    }
    what_was_queued_is_what_is_taken(bytes);
    the_guard_sees_an_answer_end_where_the_parser_does(bytes);
    if let Ok(words) = std::str::from_utf8(bytes) {
        version(words);
        // The server's own words, which no grammar limits.
        let line = format!("-{}\r\n", words.replace(['\r', '\n'], " "));
        if let Ok(Err(error)) = ::redis::parse_redis_value(line.as_bytes()).map(Value::extract_error) {
            explained(&error);
        }
    }
}

fn answer(value: &Value, received: usize) {
    if let Err(error) = value.clone().extract_error() {
        explained(&error);
    }
    let items = if let Value::Array(items) = value { Some(items.len()) } else { None };
    if let Some(messages) = answers::messages(value.clone()) {
        assert_eq!(Some(messages.len()), items);
        assert!(messages.iter().map(Vec::len).sum::<usize>() <= received, "more came out than went in");
    }
    if let Some(integers) = answers::integers(value) {
        assert_eq!(Some(integers.len()), items);
    }
    let bytes = answers::bytes(value.clone());
    assert!(bytes.is_none() || answers::integer(value).is_none());
    match answers::text(value.clone()) {
        Some(text) => {
            version(&text);
            assert_eq!(bytes, Some(text.into_bytes()));
        }
        None => assert!(bytes.is_none_or(|bytes| std::str::from_utf8(&bytes).is_err())),
    }
}

/// Bytes that clients push come back as they are, whatever they are.
fn what_was_queued_is_what_is_taken(bytes: &[u8]) {
    let payloads: Vec<_> = bytes.split(|byte| *byte == 0xff).map(<[u8]>::to_vec).collect();
    let mut wire = format!("*{}\r\n", payloads.len()).into_bytes();
    for payload in &payloads {
        wire.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
        wire.extend_from_slice(payload);
        wire.extend_from_slice(b"\r\n");
    }
    let taken = ::redis::parse_redis_value(&wire).ok().and_then(answers::messages);
    assert_eq!(taken, Some(payloads));
}

/// Were it later, one answer would be given the room of two; were it earlier, one would be taken for two.
fn the_guard_sees_an_answer_end_where_the_parser_does(bytes: &[u8]) {
    let (mut scanner, mut begun) = (Scanner::default(), 0);
    for (at, byte) in bytes.iter().enumerate() {
        let one_more = || {
            begun += 1;
            true
        };
        if scanner.scan(&[*byte], usize::MAX, one_more).is_err() {
            return;
        }
        if begun == 2 {
            let (whole, short) = (bytes.get(..at).unwrap_or_default(), bytes.get(..at - 1).unwrap_or_default());
            let parsed = ::redis::parse_redis_value(whole);
            assert!(!parsed.is_err_and(|error| error.is_io_error()), "it goes on");
            assert!(::redis::parse_redis_value(short).is_err(), "it ends before");
            return;
        }
    }
}

/// What INFO may say of the version.
fn version(info: &str) {
    if let Some(version) = check::field(info, "redis_version") {
        let _ = check::number(version);
    }
}

/// An error becomes a sentence that fits into a log.
fn explained(error: &RedisError) {
    let server = errors::Server { url: TARGET.to_owned(), pattern: "~q".to_owned(), names: errors::KEYS };
    let _ = errors::wants_new_connection(error);
    for doing in ["connect", "take messages"] {
        let said = ChannelError::from(errors::explain(doing, &server, error));
        let sentence = said.to_string();
        assert!(sentence.starts_with(&format!("cannot {doing}")) && sentence.contains(TARGET), "{sentence}");
        assert!(sentence.len() <= LONGEST_SENTENCE, "{} bytes", sentence.len());
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
        assert!(!matches!(said, ChannelError::Refused { mend, .. } if mend.is_empty()));
    }
}
