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

/// A call of a channel or of a publisher that a test can make fail; see the other one.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn failing<T>(_: &'static str, call: impl Future<Output = T>) -> impl Future<Output = T> {
    call
}

#[cfg(feature = "failpoints")]
pub(crate) use errors::{Failing, failing};

#[cfg(feature = "failpoints")]
mod errors {
    /// What a call answers that a test can make fail; each contract says how its own does.
    pub(crate) trait Failing {
        /// That the call failed: for a reason that passes, or one that an operator must mend.
        fn failed(what: String, refused: bool) -> Self;
    }

    /// A call that a test can make fail by the action `return(…)`: with `before` in place of the call, with `after` once
    /// it is done, so that what it has done is not known; as something that an operator must mend with `refused`.
    pub(crate) async fn failing<T: Failing>(name: &'static str, call: impl Future<Output = T>) -> T {
        let Some(action) = fail::eval(name, Option::unwrap_or_default) else { return call.await };
        if action.contains("after") {
            drop(call.await);
        }
        T::failed(name.to_owned(), action.contains("refused"))
    }
}
