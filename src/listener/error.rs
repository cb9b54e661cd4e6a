//! Why an address cannot be listened on.

/// An address that cannot be had, and what an operator can do about that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct BindError {
    /// What is wrong: a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}
