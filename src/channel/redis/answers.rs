//! What Redis answered, taken apart. `None` is an answer of the wrong shape; nothing in here can panic.

use redis::Value;

/// Messages, moved out of the answer rather than copied.
pub(super) fn messages(value: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(items) = value else { return None };
    items.into_iter().map(bytes).collect()
}

/// Integers.
pub(super) fn integers(value: &Value) -> Option<Vec<i64>> {
    let Value::Array(items) = value else { return None };
    items.iter().map(integer).collect()
}

/// One integer.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// A number of something.
pub(super) fn count(value: &Value) -> Option<u64> {
    integer(value).and_then(|count| u64::try_from(count).ok())
}

/// One string of bytes.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

/// One text.
pub(super) fn text(value: Value) -> Option<String> {
    bytes(value).and_then(|bytes| String::from_utf8(bytes).ok())
}
