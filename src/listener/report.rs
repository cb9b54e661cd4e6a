//! What an agent tells of itself over its listener: to people as a section of INFO, and to `kadabra check --online` as JSON. Only the
//! JSON is ever read back.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    backend::{ConsumerStatus, QueueStatus},
    cause::Cause,
};
use crate::quote::quote;

/// What an agent tells of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The name of the list that clients push to.
    pub(crate) queue: String,
    /// What the queue says of itself, where it can.
    pub(crate) status: Option<QueueStatus>,
    /// Messages that were queued since the start.
    pub(crate) queued: u64,
    /// Messages that were refused since the start.
    pub(crate) refused: u64,
    /// Messages that were dropped since the start, though their clients were told that they were queued.
    #[serde(default)]
    pub(crate) dropped: u64,
    /// Messages that were answered and wait for the disk now.
    #[serde(default)]
    pub(crate) answered_early: u64,
    /// Why the queue takes nothing, while that is so.
    pub(crate) refused_because: Option<String>,
    /// By the name of its [`Cause`], what was refused.
    pub(crate) refusals: BTreeMap<String, Times>,
    /// By name, what other parts of the agent count.
    #[serde(default)]
    pub(crate) others: Vec<(String, u64)>,
}

/// Counts of other parts of the agent by name, as they are when it is called.
pub(crate) type OtherCounts = Arc<dyn Fn() -> Vec<(String, u64)> + Send + Sync>;

/// How often something was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Since the start.
    pub(crate) times: u64,
    /// Whether it is not over.
    pub(crate) lasts: bool,
}

impl Report {
    /// How often something was refused for this cause.
    pub(crate) fn of(&self, cause: Cause) -> Times {
        self.refusals.get(cause.name()).copied().unwrap_or_default()
    }
}

/// The section `kadabra` of INFO.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue:{}\r\n", self.queue)?;
        if let Some(status) = &self.status {
            // LLEN, as of a Redis, counts only what is under no lease.
            for (field, number) in [
                ("queue_length", status.waiting),
                ("queue_in_hand", status.in_hand),
                ("used_bytes", status.used),
                ("max_bytes", status.max_bytes),
                ("dead_letters", status.dead),
                ("max_dead_letters", status.max_dead_letters),
                ("damaged_messages", status.damaged),
            ] {
                write!(f, "{field}:{number}\r\n")?;
            }
            if let Some(age) = status.age {
                write!(f, "oldest_message_seconds:{}\r\n", age.as_secs())?;
            }
            if let Some(outlook) = &status.outlook {
                write!(f, "outlook:{outlook}\r\n")?;
            }
            if let Some((what, remedy)) = &status.unsafe_because {
                write!(f, "unsafe_because:{}\r\nunsafe_mend:{}\r\n", quote(what), quote(remedy))?;
            }
            for ConsumerStatus { name, removed, waiting, in_hand, dropped, .. } in &status.consumers {
                let removed = u8::from(*removed);
                write!(f, "publisher_{name}:waiting={waiting},in_hand={in_hand},dropped={dropped},removed={removed}\r\n")?;
            }
            if status.broken {
                write!(f, "broken:1\r\n")?;
            }
        }
        write!(f, "messages_queued:{}\r\nmessages_refused:{}\r\n", self.queued, self.refused)?;
        write!(f, "dropped_newest:{}\r\ndropped_oldest:{}\r\n", self.dropped, self.of(Cause::DroppedOldest).times)?;
        write!(
            f,
            "answered_early:{}\r\nanswered_early_waiting:{}\r\n",
            self.of(Cause::AnsweredEarly).times,
            self.answered_early
        )?;
        write!(f, "wrong_passwords:{}\r\n", self.of(Cause::WrongPassword).times)?;
        if let Some(why) = &self.refused_because {
            write!(f, "refused_because:{why}\r\n")?;
        }
        let is_refused = |cause: &Cause| !matches!(cause, Cause::DroppedOldest | Cause::AnsweredEarly);
        for cause in Cause::ALL.into_iter().filter(is_refused) {
            write!(f, "refused_{cause}:{}\r\n", self.of(cause).times)?;
        }
        let lasting: Vec<_> = Cause::ALL.into_iter().filter(|cause| self.of(*cause).lasts).map(Cause::name).collect();
        write!(f, "refusing:{}\r\n", lasting.join(","))?;
        self.others.iter().try_for_each(|(name, count)| write!(f, "{name}:{count}\r\n"))
    }
}
