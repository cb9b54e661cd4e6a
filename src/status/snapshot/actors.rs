//! The actors, as their supervisor knows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Counted;

/// An actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Actor {
    /// Its name, as the log has it: `publisher 1 of influx`.
    pub name: String,
    /// What it does, without its number and its publisher: `receiver`, `batcher`, `publisher`, `nanny`, `listener`.
    pub role: String,
    /// Of which publisher it is, where there are several.
    pub publisher: Option<String>,
    /// The thread that it lives on.
    pub thread: String,
    /// How it is.
    pub state: ActorState,
    /// Which of its lives this is, from 1; each restart begins one.
    pub life: u64,
    /// For how long it has been in this state.
    pub state_seconds: f64,
    /// How often it was restarted, by cause: every cause there is.
    pub restarts: Vec<Counted>,
    /// How many restarts it has left.
    pub budget: Budget,
    /// How long ago it last began or ended something, or answered a sign of life.
    pub last_progress_seconds: f64,
    /// What it works at, unless it waits.
    pub at: Option<String>,
    /// For how long it works at that.
    pub at_seconds: Option<f64>,
    /// What has happened to it last, the newest first; at most ten.
    pub events: Vec<ActorEvent>,
}

/// How an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// It waits for its restart.
    Waiting,
    /// It is being started.
    Starting,
    /// It is at work.
    Up,
    /// It made no progress and was ended, and its thread has not reported that yet.
    Hung,
    /// It has drained.
    Finished,
}

/// The restarts that an actor may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How many it has used within the time of its budget.
    pub used: u64,
    /// How many it may use: `supervisor.max_restarts`.
    pub max: u64,
}

/// What has happened to an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// More about it: a sentence.
    pub what: String,
}

/// What can happen to an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It is up.
    Up,
    /// It failed.
    Failed,
    /// It made no progress and was ended.
    Hung,
    /// Its group is held.
    Held,
    /// It has drained.
    Drained,
}
