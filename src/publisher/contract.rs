//! What the agent asks of a destination, and what it is told.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{codes::Code, wire::MessageSet};

/// A point that the destination refused, or of which it cannot hold a part; the reason says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message's index in the set.
    pub message: usize,
    /// The metric's name; `None` when the whole message is meant.
    pub metric: Option<String>,
    /// Why, with the destination's own words.
    pub reason: String,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was written, except for the points that were refused for good.
    Written {
        /// The refused points, in the order of the set; of more than 100 of one message that the publisher itself refused, 101.
        refused: Vec<Refused>,
    },
    /// One request is done and more are to come: call again at once. A long isolation is many short steps, so that
    /// the watchdog sees the progress.
    Progressed,
    /// Try again later; what has been settled of the batch so far is remembered.
    Retry {
        /// Not before this, when the destination said so.
        after: Option<Duration>,
        /// What happened: a sentence.
        why: String,
    },
    /// An operator must mend something: stop asking for more and [`Publisher::probe`] until it is mended.
    Hold {
        /// What kind of thing.
        code: Code,
        /// What is wrong, with the destination's own words.
        what: String,
        /// What to do about it.
        mend: String,
    },
}

/// A destination for metrics. Lives on one actor's thread; one batch at a time.
#[async_trait(?Send)]
pub trait Publisher {
    /// Where this writes to, for people: `influxdb http://localhost:8086 database kadabra`.
    fn destination(&self) -> String;

    /// Takes a batch in, and forgets the one before. Other publishers may read the same batch, so this one changes nothing in it, and
    /// lets go of it as soon as it is encoded: the last one to do so gives its memory back.
    fn load(&mut self, batch: Arc<MessageSet>);

    /// From now on a request has at most one in `divisor` of what it could have; 1 is everything. What was loaded before an
    /// outage is written in small requests at first, too. Where nothing is sent, nothing is to be done.
    fn divide(&mut self, _divisor: usize) {}

    /// Writes the next part of what is left of the loaded batch, with one request. Goes on where it was after
    /// `Progressed`, `Retry` and `Hold`; writing the same point again changes nothing at the destination. Once all is written, it
    /// writes nothing more and gives the same answer until the next [`Publisher::load`], so that an answer that is lost can be asked for again.
    async fn write(&mut self) -> Outcome;

    /// Whether a write could work now, without writing anything: `Written` with nothing refused when it could.
    async fn probe(&mut self) -> Outcome;

    /// What to know of a destination that works, for `check --online`; nothing is written.
    async fn inspect(&mut self) -> Inspection {
        Inspection::default()
    }

    /// What of messages that wait conflicts with the types that the destination has, for `check --online`; nothing is written. Nothing
    /// where it has none.
    async fn compare(&mut self, _waiting: &MessageSet) -> Inspection {
        Inspection::default()
    }

    /// The newest value that the destination has of a canary's point, as far as it can be read; words where it cannot be asked.
    async fn newest(&mut self, _mark: &Mark) -> Result<Option<f64>, String> {
        Err("this destination cannot be asked for it".to_owned())
    }

    /// Whether the destination has a metric of this name, else why that is not known: words. `None` where it cannot be asked. Nothing is
    /// written.
    async fn has_metric(&mut self, _name: &str) -> Option<Result<bool, String>> {
        None
    }

    /// Whether more attempts with this batch alone would tell nothing new about what is wrong with it. Then its messages are better
    /// off in the channel, from where they come back among others.
    fn is_stuck(&self) -> bool {
        false
    }

    /// Forgets the batch that was written and gives back the memory that is kept for the next one, since none has come for
    /// a while. Where nothing is kept, nothing is to be done.
    fn shrink(&mut self) {}
}

/// A canary's point: a counter whose value is larger each time.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The name of the agent that pushes it.
    pub agent: String,
    /// Its value: when it was pushed, in milliseconds since 1970.
    pub value: f64,
}

impl Mark {
    /// The metric's name.
    pub const METRIC: &'static str = "kadabra_canary";
    /// The dimension whose value is the agent's name.
    pub const DIMENSION: &'static str = "agent";
}

/// What a destination that works says of itself, and what is said of how it is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Facts that follow the destination in a sentence, such as its version.
    pub facts: Option<String>,
    /// What to know though nothing is wrong.
    pub cautions: Vec<Caution>,
}

/// What an operator should know of a destination though nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caution {
    /// What to know: a sentence.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

/// The publishers of one destination: how one is made, and what the agent must know of all of them.
#[derive(Clone)]
pub struct Publishers {
    pub(super) make: Arc<dyn Fn() -> Box<dyn Publisher> + Send + Sync>,
    /// How many bytes of messages a batch may have at most, whatever is configured.
    pub max_batch_bytes: usize,
    /// What a written point is not worth; told when publishing begins.
    pub receipt: Option<Caution>,
}

impl Publishers {
    /// Publishers of which there is nothing to know. `make` is called on the thread that will use the publisher.
    #[must_use]
    pub fn new(make: impl Fn() -> Box<dyn Publisher> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), max_batch_bytes: usize::MAX, receipt: None }
    }

    /// Makes a publisher for the thread that this is called on.
    #[must_use]
    pub fn make(&self) -> Box<dyn Publisher> {
        (self.make)()
    }
}

impl fmt::Debug for Publishers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publishers").field("max_batch_bytes", &self.max_batch_bytes).finish_non_exhaustive()
    }
}

#[cfg(feature = "failpoints")]
impl crate::failpoint::Failing for Outcome {
    fn failed(what: String, refused: bool) -> Self {
        if refused {
            Self::Hold { code: Code::HeldOtherwise, what, mend: "this is a test".to_owned() }
        } else {
            Self::Retry { after: None, why: what }
        }
    }
}
