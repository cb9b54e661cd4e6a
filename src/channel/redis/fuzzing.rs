//! What no answer can do; see [`crate::fuzzing`].

use redis::{RedisError, Value};

use super::{
    answers, check, errors,
    resp::{Budget, Decoder, Excess},
};
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
    an_answer_is_what_it_is_to_the_client(bytes);
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

/// However it comes: at once or byte by byte. And it takes no more memory than was charged for it.
fn an_answer_is_what_it_is_to_the_client(bytes: &[u8]) {
    let (mut budget, mut left) = (Budget::ORDINARY, bytes);
    let answer = Decoder::default().decode(&mut left, &mut budget);
    if let Ok(Some(answer)) = &answer {
        let whole = bytes.get(..bytes.len() - left.len()).unwrap_or_default();
        assert_eq!(::redis::parse_redis_value(whole).ok().as_ref(), Some(answer));
        assert!(memory(answer) <= budget.spent(), "{} bytes were charged, {} taken", budget.spent(), memory(answer));
    }
    assert_eq!(in_pieces(bytes), answer);
}

fn in_pieces(bytes: &[u8]) -> Result<Option<Value>, Excess> {
    let (mut decoder, mut budget, mut unread) = (Decoder::default(), Budget::ORDINARY, 0..0);
    for end in 1..=bytes.len() {
        unread.end = end;
        let mut left = bytes.get(unread.clone()).unwrap_or_default();
        if let Some(answer) = decoder.decode(&mut left, &mut budget)? {
            return Ok(Some(answer));
        }
        unread.start = end - left.len();
    }
    Ok(None)
}

/// What a value takes, with what an allocator adds.
fn memory(value: &Value) -> usize {
    let allocated = |bytes: usize| if bytes == 0 { 0 } else { bytes + 32 };
    let content = match value {
        Value::BulkString(bytes) => allocated(bytes.capacity()),
        Value::SimpleString(text) => allocated(text.capacity()),
        Value::Array(values) => {
            let unused = values.capacity() - values.len();
            allocated(unused * size_of::<Value>()) + values.iter().map(|value| memory(value) + 32).sum::<usize>()
        }
        _ => 0,
    };
    size_of::<Value>() + content
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
