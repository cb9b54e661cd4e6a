//! What the agent says of its work: conditions that last, what was set aside, and the ledger of every message.

pub mod conditions;
pub mod dead_letters;
pub mod ledger;
