//! One request over HTTP and its answer, whatever the server does.
//!
//! [`Transport`] sends and waits, [`Login`] says as whom, [`Answer`] is what came back. What an answer means is the
//! destination's to say.

mod answer;
mod interim;
mod login;
mod transport;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use self::answer::MAX_RETRY_AFTER;
pub(crate) use self::transport::client_by;
pub(super) use self::{
    answer::Answer,
    login::Login,
    transport::{How, NoAnswer, To, Transport},
};
