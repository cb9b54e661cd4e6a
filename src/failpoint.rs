//! Places where a test can inject a panic, an error or a stall; nothing at all in a release.

/// Marks such a place: `receiver.leased` and so on. See the `fail` crate for what a test can do there.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
    // Only where a test has marked the text.
    ($name:literal, $text:expr) => {
        #[cfg(feature = "failpoints")]
        if $text.contains("failpoint!") {
            fail::fail_point!($name);
        }
    };
}

pub(crate) use fail_point;

/// A failpoint at which a test can also make a future never end: the action `return`.
macro_rules! stall_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        if fail::eval($name, |_| ()).is_some() {
            std::future::pending::<()>().await;
        }
    };
}

pub(crate) use stall_point;
