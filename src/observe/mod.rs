//! Where the agent says something: its log, and systemd. Knows nothing of messages.

pub mod log;
pub mod systemd;
