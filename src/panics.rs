//! A panic that costs one message, and not the actor that came upon it: with the actor, all the messages beside it would
//! be given back and taken again, and the next life would end on the same message.
//!
//! Whatever looks into a message is called through [`catch`]. Everything else handles messages as bytes that are all alike.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::quote::quote;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: Cell<usize> = const { Cell::new(0) };
}

/// Calls what looks into a message. The error is why that message is set aside: what panicked was `doing` it.
///
/// Whatever `work` changes must be brought back, or thrown away, by the caller.
pub(crate) fn catch<T>(doing: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    outcome.map_err(|payload| {
        CAUGHT.set(CAUGHT.get() + 1);
        // The words come last: a reason is cut at its end.
        let words = quote(&words(payload.as_ref()));
        format!(
            "the agent panicked while {doing}, a fault of the agent: please report it with this message; the panic said: {words}"
        )
    })
}

/// Whether a panic on this thread will cost one message only.
pub(crate) fn is_caught() -> bool {
    CATCHING.get()
}

/// How many panics have been caught on this thread: a reason may quote words that tell of one.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn caught() -> usize {
    CAUGHT.get()
}

/// What a panic said.
pub(crate) fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it gave no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_is_caught_says_what_it_was_and_whose_fault() {
        assert_eq!((catch("adding", || 1 + 1), caught()), (Ok(2), 0));
        let outcome: Result<(), _> = catch("reading it", || {
            assert!(is_caught());
            panic!("two\nlines and {}", "x".repeat(10_000))
        });
        let reason = outcome.unwrap_err();
        assert!(reason.starts_with("the agent panicked while reading it, a fault of the agent: please report it"), "{reason}");
        assert!(reason.contains("the panic said: two lines and xxx") && reason.len() < 600, "{reason}");
        assert!(!is_caught() && caught() == 1);
        let outcome: Result<(), _> = catch("reading it", || std::panic::panic_any(7));
        assert!(outcome.unwrap_err().ends_with("it gave no message"));
    }
}
