//! The queue in a file.
//!
//! All pushes that wait are one commit, and their messages one row, a *chunk*: [`body`] is its bytes. [`mod@file`] is what SQLite
//! keeps: chunks, which of their messages are done, dead letters. What waits and what is leased is in memory, on the
//! [`shelf`], as few [`spans`] of places; since only this process has the file, everything that is not done waits again
//! when it is opened anew. Three threads are [`running`], each with a connection of its own: the [`writer`]'s, the [`reader`]'s, and the
//! [`keeper`]'s of the log. A usual push wakes none of them: it is committed at the writer's [`desk`] by whoever brings it.

mod accepted;
mod answers;
mod body;
mod chunks;
mod damage;
mod deleting;
mod desk;
mod errors;
mod extent;
mod file;
mod inbox;
mod keeper;
mod letters;
mod packing;
mod reader;
mod reserve;
mod running;
mod salvage;
mod settings;
mod settlement;
mod shelf;
mod spans;
mod stats;
mod store;
mod transaction;
mod writer;

use self::running::Shared;
pub(crate) use self::{
    errors::{Failure, Problem, PushError, StoreError},
    file::is_in_use,
    letters::{Letter, Origin},
    reader::TakeLimit,
    salvage::salvage,
    settings::{Durability, Settings},
    shelf::{LeaseEnd, Region},
    stats::{Pending, Stats, Tally},
    store::Store,
};
