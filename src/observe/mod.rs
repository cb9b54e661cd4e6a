//! What the agent says of itself: its log, lasting conditions, its ledger, and systemd.

pub mod conditions;
pub mod dead_letters;
pub mod ledger;
pub mod log;
pub mod systemd;
