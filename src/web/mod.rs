//! How the agent is, for a browser.
//!
//! | promise | kept by |
//! |---|---|
//! | one page tells how the agent is, made from a snapshot and nothing else | [`page`] |

pub mod page;
