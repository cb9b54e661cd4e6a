//! The way of messages: where they wait, and where they go.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Histogram;
use crate::channel;

pub use crate::channel::ChannelKind;

/// Where messages wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// What it is.
    pub kind: ChannelKind,
    /// Where it is: the path of the file, or the server's URL without its password.
    pub place: String,
    /// Messages whose push was answered since the process started, where clients push to this process.
    pub accepted: Option<u64>,
    /// Messages that an earlier process had accepted and this one has found, there.
    pub found: Option<u64>,
    /// Messages that were accepted and are not done, in hand or not, for the publisher for which the most waits. Unknown until the
    /// channel was asked.
    pub messages: Option<u64>,
    /// Of those: in some agent's hands.
    pub in_hand: Option<u64>,
    /// Bytes that are used of `max_bytes`.
    pub bytes: Option<u64>,
    /// How large it may be: the file, or the server's memory.
    pub max_bytes: Option<u64>,
    /// How many messages may wait, where that is bounded.
    pub max_messages: Option<u64>,
    /// For how long the oldest of the waiting messages has waited, as far as the channel tells.
    pub oldest_age_seconds: Option<f64>,
    /// From which age of the oldest on it is warned of.
    #[serde(default)]
    pub warn_age_seconds: Option<f64>,
    /// In how long it is full at the present rate, once that is known.
    pub full_in_seconds: Option<f64>,
    /// The same in words.
    pub full_in: Option<String>,
    /// How many messages cannot be read, since the file is damaged.
    pub damaged: u64,
    /// Clients that are connected to this process.
    pub clients: Option<u64>,
    /// How many may be.
    pub max_clients: Option<u64>,
    /// What becomes of a push when it is full: `refuse`, `drop_oldest` or `drop_newest`. A Redis decides that itself.
    pub when_full: Option<String>,
    /// What is refused to clients, and for what they are cut off: every reason there is. None where they do not push to this process.
    pub refusals: Vec<RefusedToClients>,
    /// Its queues, where there are several.
    #[serde(default)]
    pub queues: Vec<Queue>,
}

/// One of several queues of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages that were accepted and are not done, in hand or not, for the publisher for which the most waits in it. Unknown until it
    /// was asked.
    pub messages: Option<u64>,
    /// Of those: in some agent's hands.
    pub in_hand: Option<u64>,
    /// For how long the oldest message has waited, for any publisher, as far as it tells.
    pub oldest_age_seconds: Option<f64>,
    /// Why it cannot be used, while that is so.
    pub trouble: Option<String>,
}

/// A reason for which clients are refused something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedToClients {
    /// Its name, which never changes.
    pub reason: String,
    /// Its [code](crate::status::codes::Code).
    pub code: String,
    /// What it means: a sentence.
    pub what: String,
    /// More about the newest, where more is known.
    pub why: Option<String>,
    /// How often.
    pub count: u64,
    /// What is counted: `pushes`, `messages` or `clients`.
    pub unit: String,
    /// For how long already, while it is not over.
    pub lasting_seconds: Option<f64>,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publisher {
    /// Its name, where there are several.
    pub name: Option<String>,
    /// Its `type` in the configuration, such as `influxdb`.
    pub kind: String,
    /// Where it writes to, for people.
    pub destination: String,
    /// Whether the agent cannot do without it.
    pub required: bool,
    /// Whether it has shown that it can write: something was written, or the destination has answered that it would take it.
    pub proven: bool,
    /// What has become of its messages.
    pub tally: Tally,
    /// Messages that wait for it, in hand or not. Unknown until the channel was asked.
    pub waiting: Option<u64>,
    /// Of those: in some agent's hands.
    pub in_hand: Option<u64>,
    /// How many may wait for it, where that is bounded.
    pub max_backlog: Option<u64>,
    /// For how long the oldest of them has waited, as far as the channel tells.
    pub oldest_age_seconds: Option<f64>,
    /// Points that were written.
    pub points_written: u64,
    /// Points that were not, by reason.
    pub points_refused: Vec<Counted>,
    /// Attempts to write that failed and were or will be repeated, by cause.
    pub retries: Vec<Counted>,
    /// Batches that were written.
    pub batches: u64,
    /// Attempts to write.
    pub requests: u64,
    /// Attempts a second, of late.
    pub requests_per_second: f64,
    /// Messages that were done a second, of late.
    pub messages_per_second: f64,
    /// How long messages linger before they are taken, as the load has it now.
    pub linger_seconds: f64,
    /// How many batches are in flight, and may be.
    pub batches_in_flight: u64,
    /// How many batches may be in flight.
    pub max_batches_in_flight: u64,
    /// How long it took to write a batch once its publisher had it, all attempts together.
    pub publish_seconds: Histogram,
    /// How long it took from the push, or from the lease where that is not known, until a batch was stored: of its oldest message.
    pub push_to_stored_seconds: Histogram,
    /// When something was written last.
    pub last_success: Option<Timestamp>,
    /// What failed last, though it may be over.
    pub last_error: Option<LastError>,
    /// What it is held for, while it is.
    pub hold: Option<Hold>,
    /// What it has set aside.
    pub dead_letters: DeadLetters,
    /// How points come back from it, where that is looked at.
    #[serde(default)]
    pub canary: Option<Canary>,
}

/// Points that are pushed as clients push, and read back from the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// How many were pushed and are done with.
    pub rounds: u64,
    /// Of those: could not be pushed, or did not come back in time.
    pub failures: u64,
    /// How long the last one took that came back, from its push until it could be read.
    pub last_seconds: Option<f64>,
    /// When that was.
    pub last_success: Option<Timestamp>,
    /// Whether the last one came back.
    pub works: bool,
}

/// What has become of messages, taken at one moment, so that it balances: `accepted` are `published`, `parked`, `dropped` or
/// `waiting` where clients push to this process; else `leased` are `published`, `parked`, `given_back` or `in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that were accepted for it, with those that were found at the start; none where clients push to a Redis.
    pub accepted: Option<u64>,
    /// Of those: an earlier process had accepted them.
    pub found: u64,
    /// Leased from the channel, each time anew.
    pub leased: u64,
    /// Done, in full or in part, and not set aside.
    pub published: u64,
    /// Set aside as dead letters.
    pub parked: u64,
    /// Given back to the channel, to be leased again.
    pub given_back: u64,
    /// Of those: another agent had taken them over, or a failover had undone that they were leased.
    pub lost: u64,
    /// Deleted before they were published, and dropped for newer ones.
    pub dropped: u64,
    /// Accepted and neither published nor set aside nor dropped; what is in flight, too.
    pub waiting: Option<u64>,
    /// Leased and not settled.
    pub in_flight: u64,
    /// Dead letters that this process dropped to make room for newer ones; they were set aside before.
    #[serde(default)]
    pub letters_dropped: u64,
    /// Messages that this process dropped before they were leased, since more waited than may, where clients push to a Redis.
    #[serde(default)]
    pub backlog_dropped: u64,
    /// How many are not accounted for: negative when more are than should be. Anything but zero is a fault of the agent.
    pub difference: i64,
}

impl From<&channel::Tally> for Tally {
    fn from(tally: &channel::Tally) -> Self {
        let queue = tally.accepted.unwrap_or_default();
        let difference = i128::from(tally.due()) - i128::from(tally.accounted_for());
        Self {
            accepted: tally.accepted.map(|accepted| accepted.all),
            found: queue.found,
            leased: tally.leased,
            published: tally.published,
            parked: tally.parked,
            given_back: tally.given_back,
            lost: tally.lost,
            dropped: queue.dropped,
            waiting: tally.accepted.map(|accepted| accepted.waiting),
            in_flight: tally.in_flight,
            letters_dropped: tally.letters_dropped,
            backlog_dropped: tally.backlog_dropped,
            difference: i64::try_from(difference).unwrap_or(i64::MAX),
        }
    }
}

/// A counter by a reason or a cause. The names are few and do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The reason or the cause.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// What failed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What happened: a sentence.
    pub what: String,
}

/// A publisher that waits for something to be mended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// The [code](crate::status::codes::Code) of the trouble.
    pub code: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// For how long.
    pub lasted_seconds: f64,
}

/// What was set aside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// How many there are, as far as the channel tells.
    pub count: Option<u64>,
    /// How many may be kept.
    pub max: Option<u64>,
    /// How many this process has set aside.
    pub parked: u64,
    /// How many this process has dropped to make room for newer ones.
    pub dropped: u64,
    /// Those that this process has set aside, by reason, the newest first; of so many reasons as are kept.
    pub by_reason: Vec<DeadLetterReason>,
    /// How many had a reason that is not among them any more.
    pub other: u64,
}

impl DeadLetters {
    /// How many there are; those of this process, until the channel has told.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.count.unwrap_or(self.parked)
    }
}

/// Dead letters of one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterReason {
    /// The reason with what differs from message to message left out.
    pub reason: String,
    /// The newest one's, whole.
    pub example: String,
    /// How many.
    pub count: u64,
    /// When the newest was set aside.
    pub newest: Timestamp,
}
