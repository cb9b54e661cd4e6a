//! The Drops: tells the database what the agent had to drop, by a counter like any other metric.
//!
//! What is dropped is added up where it happens, in the channel's tally and at the door for statsd, and read here once an interval, so
//! that nothing is done where messages go. The counter's messages go through the channel like those of clients. An actor that is
//! restarted goes on with the same [`Account`], so that nothing is told twice.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use bytes::Bytes;
use slog::{Logger, warn};

use super::pushes::Pushes;
use crate::{
    channel::{Channel, Tally},
    config::{self, Consumer, Settings, WhenFull},
    statsd::{Counts, Door, Reason},
    supervision::{Drain, Life, Progress, answers_pings},
    wire::{MessageError, OutgoingMessage},
};

/// The counter's name; that of the Python client's own drops is `KadabraClientDropped`.
const NAME: &str = "KadabraAgentDropped";

/// How soon messages that the channel did not take are offered to it again, unless the interval is shorter.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the last messages may take to be queued at the end.
const AT_THE_END: Duration = Duration::from_secs(1);

/// What was dropped, of which one sum is told: the dimensions of the counter besides the agent's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    reason: &'static str,
    unit: &'static str,
    /// Where there are several.
    publisher: Option<String>,
}

/// What was told already, and what is to be told.
#[derive(Debug, Default)]
struct Account {
    told: BTreeMap<Series, u64>,
    /// Messages that the channel is not known to have. They never change, so that one that is queued twice is the same message.
    waiting: Vec<Bytes>,
    /// How many of these messages the channel has taken.
    own: u64,
    /// How many messages had come when drops of the queue were told last.
    came: u64,
    /// How many of these messages there were then, and the time before: those of the last time may not have come yet.
    owns: [u64; 2],
    /// How many messages were done when it was looked last.
    done: u64,
}

/// What was dropped of a series.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    series: Series,
    /// Since it was told last.
    count: u64,
    /// Since the start.
    total: u64,
}

/// What the channels say of all messages since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// How many have come, those of this actor included.
    came: u64,
    /// How many are done.
    done: u64,
    /// Whether there is a publisher of whose messages none was dropped.
    one_keeps_all: bool,
}

/// All that an actor of this kind works on.
pub(super) struct Drops {
    interval: Duration,
    agent: String,
    /// The channel of each publisher, with its name where there are several.
    channels: Vec<(Option<String>, Arc<dyn Channel>)>,
    statsd: Option<Arc<Door>>,
    account: Mutex<Account>,
}

impl Drops {
    /// `None` where nothing is ever dropped, or where nobody wants to be told.
    pub(super) fn new(
        settings: &Settings,
        channels: Vec<(Option<String>, Arc<dyn Channel>)>,
        statsd: Option<&Arc<Door>>,
    ) -> Option<Self> {
        let queue_drops = matches!(&settings.channel, config::Channel::Embedded(queue) if queue.when_full != WhenFull::Refuse);
        let drops_backlog = |consumer: &Consumer| !consumer.required && consumer.max_backlog.is_some();
        let backlog_drops = settings.several.iter().any(|publisher| drops_backlog(&publisher.consumer));
        let interval = settings.agent.drops_interval?;
        (queue_drops || backlog_drops || statsd.is_some()).then(|| Self {
            interval,
            agent: settings.agent.name.clone(),
            channels,
            statsd: statsd.cloned(),
            account: Mutex::default(),
        })
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        // Every change is whole before anything that could panic.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds up what was dropped since the last time, and queues that with what waits already. Returns how soon to do so again.
    async fn tell(&self, at_last: bool) -> Duration {
        let tallies: Vec<_> = self.channels.iter().map(|(name, channel)| (name.as_deref(), channel.tally())).collect();
        let totals = totals(&tallies, self.statsd.as_ref().map(|door| door.counts()).as_ref());
        let flow = Flow {
            came: tallies.iter().map(|(_, tally)| tally.came()).max().unwrap_or(0),
            done: tallies.iter().map(|(_, tally)| tally.published + tally.parked).sum(),
            one_keeps_all: tallies.iter().any(|(_, tally)| tally.dropped() == 0),
        };
        let waiting = {
            let mut account = self.account();
            // One message a series waits at most; what is dropped meanwhile is told later.
            if account.waiting.is_empty() {
                let now = SystemTime::now();
                let due = account.due(&totals, flow, at_last);
                // The clock may be of another age: then nothing is told, as nothing else is.
                let made = due.iter().filter_map(|due| message(&self.agent, due, now).ok());
                account.waiting = made.map(Bytes::from).collect();
            }
            account.waiting.clone()
        };
        let Some((_, channel)) = self.channels.first().filter(|_| !waiting.is_empty()) else { return self.interval };
        let count = waiting.len() as u64;
        // The channel itself says why it takes nothing.
        if channel.push(waiting).await.is_err() {
            return self.interval.min(AGAIN);
        }
        let mut account = self.account();
        account.waiting.clear();
        account.own += count;
        self.interval
    }

    /// Tells of the last interval, when nothing else lives any more.
    pub(super) async fn tell_the_rest(&self, log: &Logger) {
        let told = async {
            // What waits already, and then what was dropped since.
            self.tell(true).await;
            self.tell(true).await;
        };
        let in_time = tokio::time::timeout(AT_THE_END, told).await.is_ok();
        let waiting = self.account().waiting.len();
        if !in_time || waiting > 0 {
            warn!(log, "messages that tell the database what was dropped may be lost, since they are not known to be queued"; "messages" => waiting);
        }
    }
}

impl Account {
    /// What was dropped since it was told last, which is told now.
    ///
    /// What a queue has dropped is told when two things hold. A message about it will stay: either there is a publisher for which
    /// nothing was ever dropped, or something was published since the last look, since in a queue that nothing leaves it would be among
    /// the next to be dropped. And messages of others have come since the last telling: where each message drops another one, telling of
    /// that would go on for ever.
    fn due(&mut self, totals: &[(Series, u64)], flow: Flow, at_last: bool) -> Vec<Due> {
        let [_, before_last] = self.owns;
        let others_came = flow.came.saturating_sub(self.came) > self.own.saturating_sub(before_last);
        let is_published = flow.done > mem::replace(&mut self.done, flow.done);
        let queue_is_due = at_last || ((flow.one_keeps_all || is_published) && others_came);
        let mut due = Vec::new();
        for (series, total) in totals {
            let told = self.told.get(series).copied().unwrap_or(0);
            if *total <= told || (series.is_of_the_queue() && !queue_is_due) {
                continue;
            }
            if series.is_of_the_queue() {
                self.came = flow.came;
                if self.owns[0] != self.own {
                    self.owns = [self.own, self.owns[0]];
                }
            }
            self.told.insert(series.clone(), *total);
            due.push(Due { series: series.clone(), count: total - told, total: *total });
        }
        due
    }
}

impl Series {
    const QUEUE: &str = "queue";

    fn is_of_the_queue(&self) -> bool {
        self.reason == Self::QUEUE
    }
}

/// How much was dropped since the start.
fn totals(tallies: &[(Option<&str>, Tally)], statsd: Option<&Counts>) -> Vec<(Series, u64)> {
    let queue = tallies.iter().map(|(name, tally)| {
        let publisher = name.map(ToOwned::to_owned);
        (Series { reason: Series::QUEUE, unit: "messages", publisher }, tally.dropped())
    });
    let of_statsd = |counts: &Counts| {
        let refused = counts.refused.iter().map(|(reason, count)| {
            let unit = if *reason == Reason::Datagram { "datagrams" } else { "metrics" };
            (Series { reason: reason.name(), unit, publisher: None }, *count)
        });
        let kernel = (Series { reason: "kernel", unit: "datagrams", publisher: None }, counts.kernel);
        refused.chain([kernel]).collect::<Vec<_>>()
    };
    queue.chain(statsd.map(of_statsd).unwrap_or_default()).collect()
}

fn message(agent: &str, due: &Due, now: SystemTime) -> Result<String, MessageError> {
    let Due { series: Series { reason, unit, publisher }, count, total } = due;
    let mut message = OutgoingMessage::new();
    message.dimension("agent", agent).dimension("reason", *reason).dimension("unit", *unit);
    if let Some(publisher) = publisher {
        message.dimension("publisher", publisher);
    }
    message.summary(NAME, None, *count as f64, now, &[("total", *total as f64)])?;
    message.to_json(now)
}

/// The actor.
pub(super) struct DropsTeller {
    drops: Arc<Drops>,
    life: Life,
    pushes: Pushes,
}

impl DropsTeller {
    pub(super) fn new(drops: Arc<Drops>, life: Life) -> Self {
        Self { drops, life, pushes: Pushes::new() }
    }
}

impl Actor for DropsTeller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let tell = tell(Arc::clone(&self.drops), self.pushes.clone(), Arc::clone(&self.life.progress));
        ctx.spawn(tell.into_actor(self));
    }
}

/// Tells what is dropped, as long as it lives.
async fn tell(drops: Arc<Drops>, pushes: Pushes, progress: Arc<Progress>) {
    let mut pause = drops.interval;
    loop {
        tokio::time::sleep(pause).await;
        let _pushing = pushes.begin().await;
        let _work = progress.begin("telling the database what was dropped");
        pause = drops.tell(false).await;
    }
}

impl Handler<Drain> for DropsTeller {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        ctx.spawn(self.pushes.clone().end().into_actor(self).map(|(), teller, _| teller.life.say_drained()));
    }
}

answers_pings!(DropsTeller);

#[cfg(test)]
mod tests {
    use super::*;

    fn of_the_queue() -> Series {
        Series { reason: Series::QUEUE, unit: "messages", publisher: None }
    }

    /// How many are due, after so many drops and so many messages that came, its own included. Something is published all the time.
    fn due(account: &mut Account, dropped: u64, came: u64) -> u64 {
        let flow = Flow { came, done: account.done + 1, ..Flow::default() };
        account.due(&[(of_the_queue(), dropped)], flow, false).iter().map(|due| due.count).sum()
    }

    #[test]
    fn what_was_dropped_is_told_once_and_nothing_where_nothing_was() {
        let mut account = Account::default();
        assert_eq!(due(&mut account, 0, 10), 0);
        assert_eq!(due(&mut account, 3, 20), 3);
        assert_eq!(due(&mut account, 3, 30), 0);
        assert_eq!(due(&mut account, 5, 31), 2);
    }

    #[test]
    fn its_own_messages_are_no_others_though_the_last_of_them_come_only_after_the_next_telling() {
        let mut account = Account::default();
        assert_eq!(due(&mut account, 3, 20), 3);
        account.own = 1;
        assert_eq!(due(&mut account, 103, 25), 100);
        account.own = 2;
        for came in 25..=27 {
            assert_eq!(due(&mut account, 104, came), 0, "{came}");
        }
        assert_eq!(due(&mut account, 104, 28), 1);
    }

    #[test]
    fn what_its_own_messages_have_dropped_is_told_with_the_next_of_others_and_never_by_itself() {
        let mut account = Account::default();
        assert_eq!(due(&mut account, 3, 20), 3);
        for own in 1..=3 {
            account.own = own;
            // Each makes the queue drop a hundred others.
            assert_eq!(due(&mut account, 3 + 100 * own, 20 + own), 0, "{own}");
        }
        assert_eq!(due(&mut account, 304, 24), 301);
        account.own += 1;
        assert_eq!(due(&mut account, 404, 25), 0);
        let last = account.due(&[(of_the_queue(), 404)], Flow { came: 25, done: account.done, ..Flow::default() }, true);
        assert_eq!(last, [Due { series: of_the_queue(), count: 100, total: 404 }]);
    }

    #[test]
    fn what_one_of_several_publishers_has_dropped_is_told_at_once_though_nothing_is_published_any_more() {
        let mut account = Account::default();
        let flow = Flow { came: 10, done: 10, one_keeps_all: true };
        assert_eq!(account.due(&[(of_the_queue(), 0)], flow, false), []);
        let due = account.due(&[(of_the_queue(), 4)], flow, false);
        assert_eq!(due, [Due { series: of_the_queue(), count: 4, total: 4 }]);
    }

    #[test]
    fn while_nothing_is_published_what_the_queue_drops_is_added_up_and_what_statsd_refuses_is_told() {
        let mut account = Account::default();
        let kernel = Series { reason: "kernel", unit: "datagrams", publisher: None };
        let mut due = |dropped, done| {
            let totals = [(of_the_queue(), dropped), (kernel.clone(), dropped)];
            let due = account.due(&totals, Flow { came: dropped, done, one_keeps_all: false }, false);
            due.iter().map(|due| format!("{} {}", due.series.reason, due.count)).collect::<Vec<_>>()
        };
        assert_eq!(due(2, 0), ["kernel 2"]);
        assert_eq!(due(5, 0), ["kernel 3"]);
        assert_eq!(due(6, 1), ["queue 6", "kernel 1"]);
        assert_eq!(due(7, 1), ["kernel 1"]);
    }

    #[test]
    fn each_reason_and_each_publisher_is_a_series_with_its_unit() {
        let tally = |dropped| Tally { backlog_dropped: dropped, ..Tally::default() };
        let counts = Counts { refused: vec![(Reason::Series, 2), (Reason::Datagram, 3)], kernel: 4, ..Counts::default() };
        let totals = totals(&[(Some("a"), tally(1)), (Some("b"), tally(0))], Some(&counts));
        let shown = totals.iter().map(|(Series { reason, unit, publisher }, total)| {
            format!("{reason} {unit} {} {total}", publisher.as_deref().unwrap_or("-"))
        });
        let wanted =
            ["queue messages a 1", "queue messages b 0", "series metrics - 2", "datagram datagrams - 3", "kernel datagrams - 4"];
        assert_eq!(shown.collect::<Vec<_>>(), wanted);
        let due = Due { series: totals[0].0.clone(), count: 7, total: 9 };
        let text = message("here", &due, SystemTime::UNIX_EPOCH).unwrap();
        let start = r#"{"dimensions": [{"name": "agent", "value": "here"}, {"name": "reason", "value": "queue"}, {"name": "unit", "value": "messages"}, {"name": "publisher", "value": "a"}], "counters": [{"name": "KadabraAgentDropped", "#;
        assert!(text.starts_with(start) && text.contains(r#""metadata": {"total": 9.0}"#), "{text}");
        assert!(text.contains(r#""value": 7.0"#), "{text}");
    }
}
