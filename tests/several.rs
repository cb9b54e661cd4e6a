//! Several publishers: each gets every message, once, and none waits for another.

#[path = "several/consumers.rs"]
mod consumers;
#[path = "several/dead_letters.rs"]
mod dead_letters;
#[path = "several/pipelines.rs"]
pub(crate) mod pipelines;
#[path = "several/undone.rs"]
mod undone;
