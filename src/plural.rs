//! Numbers in sentences.

use std::fmt::Display;

/// "1 message", "2 messages".
pub(crate) fn count<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let end = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// The form of a verb that fits: `either(n, "waits", "wait")`.
pub(crate) fn either<N: PartialEq + From<u8>>(number: N, one: &'static str, several: &'static str) -> &'static str {
    if number == N::from(1) { one } else { several }
}

/// "1 message waits", "2 messages wait".
pub(crate) fn messages_wait(number: u64) -> String {
    format!("{} {}", count(number, "message"), either(number, "waits", "wait"))
}

/// "1 lease is open", "2 leases are open".
pub(crate) fn leases_are_open(number: u64) -> String {
    format!("{} {} open", count(number, "lease"), either(number, "is", "are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(messages_wait), ["0 messages wait", "1 message waits", "2 messages wait"]);
        assert_eq!([1, 2].map(leases_are_open), ["1 lease is open", "2 leases are open"]);
        assert_eq!((count(1_usize, "client"), count(21_usize, "client")), ("1 client".to_owned(), "21 clients".to_owned()));
    }
}
