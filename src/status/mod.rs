//! What the agent says of its work.
//!
//! | promise | kept by |
//! |---|---|
//! | what lasts is said when it begins, at growing intervals, and when it ends | [`conditions`]; `conditions/history` decides when |
//! | each dead letter is in the log's count, however many there are | [`dead_letters`] |
//! | everything that is told is one [`snapshot`], made when somebody looks and by nobody else | [`latest`] |
//! | what is written, refused and repeated is counted, always | [`counters`] |
//! | the last hour is remembered in a fixed amount of memory, and outlives the process | `past`, `history_file` |
//! | what comes through is counted a line a metric, in a fixed amount of memory | `seen` |
//! | what comes through can be watched, and waits for nobody who watches | `tap` |
//! | all sentences about the whole are made of a snapshot | [`words`] |
//! | every message is accounted for at the end, and an account that does not balance is an error | [`ledger`] |

pub mod conditions;
pub mod counters;
pub mod dead_letters;
pub(crate) mod figures;
pub(crate) mod history_file;
pub mod latest;
pub mod ledger;
pub(crate) mod past;
pub(crate) mod seen;
pub mod snapshot;
pub(crate) mod tap;
pub mod words;

pub use crate::codes;
pub use latest::Latest;
pub use snapshot::Snapshot;
