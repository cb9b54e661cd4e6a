//! A durable queue in one file, for this process alone. It knows neither sockets nor Redis nor the configuration: `channel::embedded`
//! puts it behind the channel's contract and serves it to clients.
//!
//! [`Store`] is what callers have. A push is committed together with all that wait, as one row, a *chunk*: [`body`] is its bytes,
//! [`packing`] what goes into which. SQLite keeps chunks, which of their messages are done, and dead letters: see [`mod@file`]. What
//! waits and what is leased is in memory, in the [`state`], as few [`intervals`]; everything that is not done waits again when
//! the file is opened anew. Three threads are [`running`], each with a connection of its own: the [`writer`], the [`reader`], and
//! the [`checkpointer`], which syncs the log and empties it.
//!
//! Where the promises are kept:
//! - an answered push outlives the process, or a power cut: [`group_commit`], [`mod@file`], [`checkpointer`];
//! - each of several consumers gets every message, and none delays another: [`consumer`], [`state`]; in the file: [`consumers`], and
//!   what a consumer has done that is not configured any more: [`forget()`];
//! - nothing is lost or doubled when a lease is settled, given back or expires: [`settlement`], [`state`];
//! - a dead letter that is queued anew waits for whom it was set aside, and is gone in the same step: `writer/letters.rs`;
//! - the file is bounded, and a full disk refuses pushes without stopping what settles: [`space`], [`preallocation`], [`letters`];
//! - a damaged file delivers what can be read and takes no more: [`damage`], [`chunks`], and for the operator [`salvage()`];
//! - a disk that stalls keeps no answer waiting: [`stall`], which refuses, or [`early_answers`], as the settings say;
//! - how long its room lasts at the present rate: [`outlook`];
//! - everything refused has a typed reason: [`errors`].

mod accepted;
mod answers;
mod body;
mod checkpointer;
mod chunks;
mod consumer;
mod consumers;
mod damage;
mod deleting;
mod early_answers;
mod errors;
mod file;
mod forget;
mod found;
mod group_commit;
mod intervals;
mod letters;
mod outlook;
mod packing;
mod preallocation;
mod reader;
mod region;
mod running;
mod salvage;
mod settings;
mod settlement;
mod sibling;
mod snapshot;
mod space;
mod stall;
mod state;
mod stats;
mod store;
mod transaction;
mod work_queue;
mod writer;

use self::running::Shared;
pub(crate) use self::{
    consumer::Consumer,
    errors::{Failure, Problem, PushError, StoreError},
    file::is_in_use,
    forget::{Forgotten, forget},
    letters::{Letter, Origin},
    reader::TakeLimit,
    region::Region,
    salvage::salvage,
    settings::{Consumers, Durability, Settings, WhenStalled},
    sibling::sibling,
    state::LeaseEnd,
    stats::{ConsumerStats, Pending, Stats, Tally},
    store::Store,
};
pub use self::{outlook::Outlook, settings::ConsumerSettings, stall::Stalled};
