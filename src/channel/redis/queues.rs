//! Several queues as one channel: each is a [`RedisChannel`] with leases, dead letters and connections of its own, in a cluster to the node
//! that has its slot, and this asks them in turn.
//!
//! One queue after the other is asked for messages, so that one that is always full is asked no more often than the others, and no more
//! is taken than was demanded; a queue that had none waits for its first message by itself. What is slow to answer is not waited for, and
//! what cannot be used is tried again by itself: the others go on. With one queue nothing of this is used.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{RedisChannel, client::Task, queue::Queue, trouble::Use, turns::Round};
use crate::{
    channel::{
        Backlog, Channel, ChannelError, ChannelStatus, Completed, DeadLetter, Demand, Depth, Lease, LeaseId, LeaseRegistry,
        OneOfSeveral, Patience, Pressure, Recovered, Threat, Warning,
    },
    config,
    plural::count,
};

/// How long a queue is waited for that may have messages, or has to complete leases, before the others go on.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The channel of each consumer: of the queue, or of all the queues, that the settings name.
///
/// # Errors
/// [`ChannelError::Unusable`] when the URL is not one of a Redis.
pub fn open(
    settings: &config::Redis,
    agent: &str,
    threshold: Duration,
    consumers: &[(&str, &config::Consumer)],
) -> Result<Vec<Arc<dyn Channel>>, ChannelError> {
    let names: Vec<_> = settings.queue_key.all().collect();
    let registries: Vec<Arc<LeaseRegistry>> = (0..consumers.len().max(1)).map(|_| Arc::default()).collect();
    let are_several = settings.queue_key.are_several();
    let of_queue = |settings: &config::Redis| match (consumers, registries.first()) {
        ([], Some(registry)) => Ok(vec![RedisChannel::new(settings, agent, threshold)?.counted_in(registry)]),
        _ => RedisChannel::of_consumers_in((&registries, are_several), settings, agent, threshold, consumers),
    };
    if !are_several {
        return Ok(of_queue(settings)?.into_iter().map(|channel| Arc::new(channel) as Arc<dyn Channel>).collect());
    }
    let mut several: Vec<_> = registries.iter().map(Queues::new).collect();
    for (place, name) in names.into_iter().enumerate() {
        let own = config::Redis { queue_key: name.into(), ..settings.clone() };
        // One in-progress list goes into one queue, as does what the agent queues itself.
        let own = if place == 0 { own } else { config::Redis { inprogress_key: String::new(), wait_replicas: 0, ..own } };
        for (queues, channel) in several.iter_mut().zip(of_queue(&own)?) {
            queues.add(name, channel);
        }
    }
    Ok(several.into_iter().map(|queues| Arc::new(queues) as Arc<dyn Channel>).collect())
}

/// See the page.
pub(super) struct Queues {
    pub(super) queues: Vec<Arc<Queue>>,
    /// What is under way at each queue.
    tasks: Mutex<Vec<Option<Task>>>,
    registry: Arc<LeaseRegistry>,
    /// Which queue is asked first the next time.
    pub(super) next: AtomicUsize,
    /// Notified with each change of a queue.
    pub(super) changed: Arc<Notify>,
}

/// Leases of one queue, and the letters that go with them.
type Part = (Vec<Lease>, Vec<DeadLetter>);

impl Queues {
    fn new(registry: &Arc<LeaseRegistry>) -> Self {
        Self {
            queues: Vec::new(),
            tasks: Mutex::default(),
            registry: Arc::clone(registry),
            next: AtomicUsize::new(0),
            changed: Arc::default(),
        }
    }

    fn add(&mut self, name: &str, channel: RedisChannel) {
        self.queues.push(Arc::new(Queue::new(name, channel, &self.changed)));
        self.tasks().push(None);
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, Vec<Option<Task>>> {
        // Every change is whole before anything that could panic.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that what this agent queues itself goes to.
    fn first(&self) -> Result<&Queue, ChannelError> {
        self.queues.first().map(AsRef::as_ref).ok_or_else(|| ChannelError::Unusable {
            what: "there is no queue".to_owned(),
            mend: "name one in channel.redis.queue_keys".to_owned(),
        })
    }

    /// Why no queue can be used for one of these, if that is so.
    pub(super) fn trouble_of_all(&self, uses: &[Use]) -> Option<ChannelError> {
        let mut troubles = self.queues.iter().map(|queue| queue.trouble(uses));
        let first = troubles.next()??;
        troubles.all(|trouble| trouble.is_some()).then_some(first)
    }

    /// What some have done, unless all have failed.
    fn of_some<T>(outcomes: Vec<Result<T, ChannelError>>) -> Result<Vec<T>, ChannelError> {
        let (mut done, mut failed) = (Vec::new(), None);
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => done.push(outcome),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if done.is_empty() => Err(error),
            _ => Ok(done),
        }
    }

    /// Which queue a lease is of.
    fn whose(&self, lease: &LeaseId) -> Option<usize> {
        self.queues.iter().position(|queue| queue.channel.keys.has_named(lease))
    }

    /// Each queue's own leases, with the letters that go with them.
    fn parts(&self, leases: &mut Vec<Lease>, letters: &[DeadLetter]) -> Vec<(&Arc<Queue>, Part)> {
        let mut parts: Vec<(&Arc<Queue>, Part)> = self.queues.iter().map(|queue| (queue, Part::default())).collect();
        for lease in leases.drain(..) {
            if let Some((_, part)) = self.whose(lease.id()).and_then(|place| parts.get_mut(place)) {
                part.0.push(lease);
            }
        }
        for letter in letters {
            if let Some((_, part)) = self.whose(&letter.lease).and_then(|place| parts.get_mut(place)) {
                part.1.push(letter.clone());
            }
        }
        parts.retain(|(_, (leases, _))| !leases.is_empty());
        parts
    }
}

#[async_trait]
impl Channel for Queues {
    fn registry(&self) -> &Arc<LeaseRegistry> {
        &self.registry
    }

    fn queues(&self) -> Vec<OneOfSeveral> {
        let of = |queue: &Arc<Queue>| OneOfSeveral {
            name: queue.name.clone(),
            channel: Arc::<RedisChannel>::clone(&queue.channel),
            trouble: queue.trouble(Use::ALL),
        };
        self.queues.iter().map(of).collect()
    }

    /// Whether one can be used: the others are opened when they can be.
    async fn open(&self) -> Result<String, ChannelError> {
        let mut opened = join_all(self.queues.iter().map(|queue| queue.open())).await;
        if let Some(unusable) = opened.iter().position(|it| matches!(it, Err(ChannelError::Unusable { .. }))) {
            return opened.swap_remove(unusable);
        }
        Ok(Self::of_some(opened)?.join("; "))
    }

    async fn receive(&self, demand: Demand, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        let until = Instant::now() + wait;
        if let Some(begins) = demand.not_before {
            tokio::time::sleep_until(begins.min(until)).await;
            if begins > until {
                return Ok(None);
            }
        }
        // What does not wait looks at each queue itself.
        let eager = wait.is_zero();
        self.take(demand, until, &mut Round { asked: eager.then(|| vec![false; self.queues.len()]), eager }).await
    }

    fn is_of_several_queues(&self) -> bool {
        true
    }

    async fn receive_beside(&self, mut rest: Demand) -> Vec<Lease> {
        let mut leases = Vec::new();
        let mut round = Round { asked: Some(vec![false; self.queues.len()]), eager: false };
        while rest.messages > 0 && rest.bytes > 0 {
            // What cannot be used is said of it.
            let Ok(Some(lease)) = self.take(rest, Instant::now(), &mut round).await else { break };
            rest.messages = rest.messages.saturating_sub(lease.messages.len());
            rest.bytes = rest.bytes.saturating_sub(lease.bytes());
            leases.push(lease);
        }
        leases
    }

    fn lease(&self) -> Duration {
        self.queues.first().map(|queue| queue.channel.lease()).unwrap_or_default()
    }

    fn reconnect(&self) {
        self.queues.iter().for_each(|queue| queue.channel.reconnect());
    }

    async fn may_wait(&self) -> Result<(), ChannelError> {
        self.trouble_of_all(Use::RECEIVE).map_or(Ok(()), Err)
    }

    async fn push(&self, messages: Vec<Bytes>) -> Result<(), ChannelError> {
        Channel::push(&*self.first()?.channel, messages).await
    }

    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError> {
        let parts = self.parts(leases, parked).into_iter();
        let each =
            parts.map(|(queue, (part, letters))| timeout(PATIENCE, tokio::spawn(Arc::clone(queue).complete(part, letters))));
        // What takes longer, or fails, is completed nevertheless.
        join_all(each).await;
        // While none can be, there is nothing else that could be done meanwhile.
        let is_left = self.queues.iter().any(|queue| queue.has_unsettled());
        match self.trouble_of_all(&[Use::Settle]).filter(|_| is_left) {
            Some(error) => Err(error),
            None => Ok(self.registry.take_completed()),
        }
    }

    async fn release(&self, leases: &mut Vec<Lease>) -> Result<(), ChannelError> {
        let each = self.parts(leases, &[]).into_iter().map(|(queue, (mut part, _))| async move {
            let released = queue.noted(Use::Settle, queue.channel.release(&mut part).await);
            (released, part)
        });
        let mut outcome = Ok(());
        for (released, mut left) in join_all(each).await {
            leases.append(&mut left);
            outcome = outcome.and(released);
        }
        outcome
    }

    async fn renew(&self) -> Result<bool, ChannelError> {
        let renewed = join_all(self.queues.iter().map(|queue| queue.renew())).await;
        let is_asked = renewed.iter().any(|renewed| matches!(renewed, Ok(true)));
        // One where that fails is tried again by itself. One without leases is not asked, and shows nothing of the others.
        match renewed.into_iter().find_map(Result::err).filter(|_| self.trouble_of_all(Use::ALL).is_some()) {
            Some(error) if !is_asked => Err(error),
            _ => Ok(is_asked),
        }
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        let each = self.queues.iter().filter(|queue| !queue.is_away()).map(|queue| async {
            queue.give_up();
            queue.renew_if_due().await?;
            queue.settle_the_rest().await?;
            queue.noted(Use::Tend, queue.channel.recover().await)
        });
        let each = join_all(each).await;
        if each.is_empty()
            && let Some(error) = self.trouble_of_all(Use::ALL)
        {
            return Err(error);
        }
        let mut all = Recovered::default();
        for one in Self::of_some(each)? {
            all.dropped += one.dropped;
            all.expired += one.expired;
            all.adopted += one.adopted;
            all.orphaned += one.orphaned;
        }
        Ok(all)
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        let each = self.queues.iter().map(|queue| async {
            queue.settle_the_rest().await?;
            queue.channel.give_back().await
        });
        join_all(each).await.into_iter().sum()
    }

    async fn rest(&self) -> Result<(), ChannelError> {
        join_all(self.queues.iter().map(|queue| queue.channel.rest())).await.into_iter().collect()
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        let each = self.queues.iter().map(|queue| async {
            if !queue.is_away() {
                return queue.noted(Use::Tend, queue.channel.depth().await);
            }
            // As it was when it was counted last.
            let Backlog { waiting, in_hand, age } = queue.channel.backlog().unwrap_or_default();
            Ok(Depth { queued: waiting.saturating_sub(in_hand), leased: in_hand, age, ..Depth::default() })
        });
        let mut all = Depth::default();
        for one in Self::of_some(join_all(each).await)? {
            all.queued += one.queued;
            all.leased += one.leased;
            all.leases += one.leases;
            all.dead += one.dead;
            all.inprogress += one.inprogress;
            all.age = all.age.max(one.age);
        }
        Ok(all)
    }

    async fn peek(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        // What cannot be reached is found out of all at once; what they have is taken into memory one after the other.
        let asked = self.queues.iter().map(|queue| async move { queue.channel.waiting().await.map(|_| queue) });
        let (mut found, mut room): (Vec<Vec<u8>>, usize) = (Vec::new(), most.bytes);
        let mut shown = Vec::new();
        for queue in Self::of_some(join_all(asked).await)? {
            let left = Demand { messages: most.messages.saturating_sub(found.len()), bytes: room, not_before: None };
            if left.messages == 0 || left.bytes == 0 {
                break;
            }
            shown.push(queue.channel.peek(left).await.map(|shown| {
                room = room.saturating_sub(shown.iter().map(Vec::len).sum());
                found.extend(shown);
            }));
        }
        Self::of_some(shown).map(|_| found)
    }

    async fn copies(&self) -> Option<u64> {
        join_all(self.queues.iter().map(|queue| queue.channel.copies())).await.into_iter().flatten().reduce(|a, b| a + b)
    }

    fn backlog(&self) -> Option<Backlog> {
        let known = self.queues.iter().filter_map(|queue| queue.channel.backlog());
        known.reduce(|all, one| Backlog {
            waiting: all.waiting + one.waiting,
            in_hand: all.in_hand + one.in_hand,
            age: all.age.max(one.age),
        })
    }

    fn channel_status(&self) -> ChannelStatus {
        let mut each = self.queues.iter().map(|queue| queue.channel.channel_status());
        let first = each.next().unwrap_or_default();
        each.fold(first, |all, one| {
            // Of several servers the one that has the least memory left.
            let share = |status: &ChannelStatus| Some(status.used? as f64 / status.max_bytes?.max(1) as f64);
            let (used, max_bytes) = if share(&one) > share(&all) { (one.used, one.max_bytes) } else { (all.used, all.max_bytes) };
            let sum = |a: Option<u64>, b: Option<u64>| [a, b].into_iter().flatten().reduce(|a, b| a + b);
            let (dead, max_dead) = (sum(all.dead, one.dead), sum(all.max_dead, one.max_dead));
            ChannelStatus { used, max_bytes, dead, max_dead, ..all }
        })
    }

    fn look_at_dead_letters(&self) -> String {
        "kadabra dead-letters list, with this agent's configuration".to_owned()
    }

    async fn pressure(&self, patience: &Patience) -> Result<Pressure, ChannelError> {
        let each = self.queues.iter().filter(|queue| !queue.is_away());
        let each = each.map(|queue| async { queue.noted(Use::Tend, queue.channel.pressure(patience).await) });
        let mut all = Pressure::default();
        for Pressure { warnings, unknown, .. } in join_all(each).await.into_iter().flatten() {
            warnings.into_iter().for_each(|warning| note(&mut all.warnings, warning));
            all.unknown.extend(unknown);
        }
        all.unknown.dedup();
        all.warnings.extend(self.without_some());
        Ok(all)
    }
}

impl Queues {
    /// That some queues cannot be used.
    fn without_some(&self) -> Option<Warning> {
        let troubles: Vec<_> = self.queues.iter().filter_map(|queue| Some((&queue.name, queue.trouble(Use::ALL)?))).collect();
        let (_, first) = troubles.first()?;
        let mend = match first {
            ChannelError::Refused { mend, .. } | ChannelError::Unusable { mend, .. } => mend.clone(),
            ChannelError::Unreachable { .. } => {
                "see that its server runs and can be reached from here; it is tried by itself, what clients push waits there"
                    .to_owned()
            }
        };
        let what = |(name, error): &(&String, ChannelError)| match error {
            ChannelError::Unreachable { .. } => format!("the queue {name} cannot be used: {error}"),
            ChannelError::Refused { what, .. } | ChannelError::Unusable { what, .. } => {
                format!("the queue {name} cannot be used: {what}")
            }
        };
        Some(Warning {
            threat: Threat::Queue,
            what: troubles.iter().map(what).collect::<Vec<_>>().join("; "),
            now: format!("{} of {} are served", self.queues.len() - troubles.len(), count(self.queues.len(), "queue")),
            mend,
        })
    }
}

/// Adds a warning: of each threat there is one, which names all queues that it is told of.
fn note(warnings: &mut Vec<Warning>, warning: Warning) {
    match warnings.iter_mut().find(|other| other.threat == warning.threat) {
        // What is the server's, several have found.
        Some(other) if other.what == warning.what => {}
        Some(other) => {
            other.what = [other.what.as_str(), warning.what.as_str()].join("; ");
            other.now = [other.now.as_str(), warning.now.as_str()].join("; ");
        }
        None => warnings.push(warning),
    }
}
