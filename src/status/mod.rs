//! What the agent says of its work.
//!
//! | promise | kept by |
//! |---|---|
//! | what lasts is said when it begins, at growing intervals, and when it ends | [`conditions`]; `conditions/history` decides when |
//! | each dead letter is in the log's count, however many there are | [`dead_letters`] |
//! | everything that is told is one [`snapshot`], made when somebody looks and by nobody else | [`latest`] |
//! | every message is accounted for at the end, and an account that does not balance is an error | [`ledger`] |

pub mod conditions;
pub mod dead_letters;
pub(crate) mod figures;
pub mod latest;
pub mod ledger;
pub mod snapshot;

pub use latest::Latest;
pub use snapshot::Snapshot;
