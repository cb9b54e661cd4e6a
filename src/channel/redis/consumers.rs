//! Several consumers of one queue: each has a list of its own, `{Q}:for:<name>`, to which one script moves what waits in the queue, and
//! from which it leases as from a queue that is its alone.
//! Consumers of one agent that wait at the same time are given the same messages under their leases, past their lists: see
//! [`super::fan_out`].
//!
//! Messages stay in the queue, once, until a consumer has nothing left: only then are some moved, and so most of a backlog waits once
//! while all are away. An agent moves none unless every other agent that is at work has the same consumers; each has an entry among the
//! agents for that, which it renews with its leases.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
};

use redis::Value;
use tokio::sync::{Mutex, Notify};

use super::{RedisChannel, answers, errors::Error, keys::Keys, wishes::Wishes};
use crate::{
    channel::{ChannelError, LeaseRegistry, Threat, Warning},
    config,
    plural::messages_wait,
};

const JOIN: &str = "agree with other agents on the publishers";
const FORGET: &str = "let a publisher go";

/// One consumer among others.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) group: Arc<Group>,
    /// Which one.
    pub(super) index: usize,
}

/// The consumers of one agent.
#[derive(Debug)]
pub(super) struct Group {
    /// The queue itself, and what older agents or those with one publisher have left in it.
    pub(super) base: RedisChannel,
    /// This agent's entry among the agents, which ends with the names.
    pub(super) entry: String,
    /// The consumers' names, sorted.
    names: Vec<String>,
    /// What is known of each.
    pub(super) consumers: Vec<Known>,
    /// Held by the one that has messages moved.
    pub(super) moving: Mutex<()>,
    /// Whether a backlog is drained: the last time as much was there as was asked for, or about that.
    pub(super) drains: AtomicBool,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) keys: Arc<Keys>,
    pub(super) bound: Option<usize>,
    pub(super) required: bool,
    pub(super) registry: Arc<LeaseRegistry>,
    pub(super) wake: Arc<Notify>,
    /// What it wants.
    pub(super) wishes: Wishes,
}

impl RedisChannel {
    /// A channel for each consumer of a queue, as [`RedisChannel::new`] makes it for the only one.
    ///
    /// # Errors
    /// As there.
    pub fn of_consumers(
        settings: &config::Redis,
        agent: &str,
        threshold: std::time::Duration,
        consumers: &[(&str, &config::Consumer)],
    ) -> Result<Vec<Self>, ChannelError> {
        let registries: Vec<_> = consumers.iter().map(|_| Arc::default()).collect();
        Self::of_consumers_in((&registries, false), settings, agent, threshold, consumers)
    }

    /// The same, with the leases of each consumer in a registry, which may hold those of other queues as well.
    pub(super) fn of_consumers_in(
        (registries, are_several_queues): (&[Arc<LeaseRegistry>], bool),
        settings: &config::Redis,
        agent: &str,
        threshold: std::time::Duration,
        consumers: &[(&str, &config::Consumer)],
    ) -> Result<Vec<Self>, ChannelError> {
        let base = Self::new(settings, agent, threshold)?;
        let names: BTreeSet<&str> = consumers.iter().map(|(name, _)| *name).collect();
        let names: Vec<_> = names.into_iter().map(ToOwned::to_owned).collect();
        let entry = format!("{}|{}", base.keys.new_lease(false).0, names.join(","));
        let of = |((name, _), registry): (&(&str, &config::Consumer), &Arc<LeaseRegistry>)| {
            let own = config::Redis { queue_key: base.keys.list_for(name).into(), ..settings.clone() };
            Ok(Self::new(&own, agent, threshold)?.counted_in(registry))
        };
        let mut channels = consumers.iter().zip(registries).map(of).collect::<Result<Vec<_>, ChannelError>>()?;
        let known = |(channel, (_, consumer)): (&Self, &(&str, &config::Consumer))| Known {
            keys: Arc::clone(&channel.keys),
            bound: consumer.max_backlog,
            required: consumer.required,
            registry: Arc::clone(&channel.registry),
            wake: Arc::clone(&channel.adopted),
            wishes: Wishes::of(are_several_queues),
        };
        let known = channels.iter().zip(consumers).map(known).collect();
        let group =
            Arc::new(Group { base, entry, names, consumers: known, moving: Mutex::default(), drains: AtomicBool::default() });
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.membership = Some(Membership { group: Arc::clone(&group), index });
        }
        Ok(channels)
    }

    /// Whether the queue has had a consumer of that name.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub(crate) async fn has_had_consumer(&self, name: &str) -> Result<bool, ChannelError> {
        let known = self.named(self.removed(&[]).await).await?;
        Ok(known.iter().any(|(known, _)| known == name))
    }

    /// Lets a consumer go that is not configured any more, with all that waits for it: how many messages, and how many dead letters.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it, when an agent that is at work has it, or when there is none of that name.
    pub async fn forget_consumer(&self, name: &str) -> Result<(u64, u64), ChannelError> {
        let keys = &self.keys;
        let of = Keys::new(&keys.list_for(name), "", "");
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(&keys.agents).key(&keys.consumers).key(&of.queue).key(&of.adopted);
        script.key(&of.leases).key(&of.dead).arg(name).arg(of.lease_prefix());
        let refused = |what: String, mend: &str| ChannelError::Refused { what, mend: mend.to_owned() };
        match self.named(self.link.script(FORGET, &script).await).await? {
            Value::Int(-1) => {
                let what = format!("an agent at {} has a publisher {name}", self.link.server);
                Err(refused(
                    what,
                    "take it out of every agent's configuration, restart them, and try again in the time of a lease",
                ))
            }
            Value::Int(-2) => {
                let known = self.removed(&[]).await?.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                Err(refused(
                    format!("the queue {} has no publisher {name}", keys.queue),
                    &format!("those that it has had: {known}"),
                ))
            }
            value => {
                let counts = answers::integers(&value).filter(|counts| counts.len() == 2);
                let mut counts = counts.unwrap_or_default().into_iter().map(|count| u64::try_from(count).unwrap_or(0));
                counts.next().zip(counts.next()).ok_or_else(|| self.link.garbled(FORGET).into())
            }
        }
    }

    /// How much memory the lists take that only this consumer leases from: estimated from a few messages of each.
    pub(super) async fn memory_of_copies(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        for list in [&self.keys.queue, &self.keys.adopted].into_iter().filter(|_| self.membership.is_some()) {
            let mut command = redis::cmd("MEMORY");
            let answer = self.link.command("ask for the memory of a list", command.arg("USAGE").arg(list).arg("SAMPLES").arg(5));
            // Nothing of a list that is not there.
            bytes += answers::count(&answer.await?).unwrap_or(0);
        }
        Ok(bytes)
    }

    /// That no agent with other publishers is at work on the queue; with one publisher, none with several.
    pub(super) async fn agrees(&self) -> Result<(), Error> {
        match &self.membership {
            Some(Membership { group, .. }) => group.join(false).await,
            None => join(self, "", &[], 0).await,
        }
    }

    /// Consumers that the queue has had and that are none of these, each with how many messages wait for it.
    pub(super) async fn removed(&self, names: &[String]) -> Result<Vec<(String, u64)>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        let known = self.link.command(JOIN, command.arg(&self.keys.consumers).arg("-inf").arg("+inf")).await?;
        let known = answers::messages(known).ok_or_else(|| self.link.garbled(JOIN))?;
        let mut removed = Vec::new();
        for name in known.into_iter().filter_map(|name| String::from_utf8(name).ok()).filter(|name| !names.contains(name)) {
            let mut command = redis::cmd("LLEN");
            let waiting = self.link.command(JOIN, command.arg(self.keys.list_for(&name))).await?;
            removed.push((name, answers::count(&waiting).unwrap_or(0)));
        }
        Ok(removed)
    }

    /// What an operator should know of consumers: those that are not configured any more, and this one when it is at its bound.
    pub(super) async fn consumer_warnings(&self) -> Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        let names = self.membership.as_ref().map(|membership| membership.group.names.as_slice()).unwrap_or_default();
        if self.membership.as_ref().is_none_or(Membership::is_first) {
            let base = self.membership.as_ref().map_or(self, |membership| &membership.group.base);
            let removed = base.removed(names).await?;
            if let [(first, _), ..] = removed.as_slice() {
                let of = |(name, waiting): &(String, u64)| format!("{} for {name}", messages_wait(*waiting));
                let named: Vec<_> = removed.iter().map(|(name, _)| name.as_str()).collect();
                warnings.push(Warning {
                    threat: Threat::RemovedPublisher,
                    what: format!(
                        "publishers that this agent does not have any more are still known to the queue: {}",
                        named.join(", ")
                    ),
                    now: removed.iter().map(of).collect::<Vec<_>>().join(", "),
                    mend: format!(
                        "configure [publishers.{first}] again, or let it go with all that waits: kadabra queue forget {first}"
                    ),
                });
            }
        }
        if let Some(known) = self.membership.as_ref().and_then(Membership::known)
            && let Some(bound) = known.bound
        {
            let mut command = redis::cmd("LLEN");
            let waiting = answers::integer(&self.link.command(JOIN, command.arg(&known.keys.queue)).await?).unwrap_or(0);
            if usize::try_from(waiting).is_ok_and(|waiting| waiting >= bound) {
                let what = if known.required {
                    "no publisher is given more, since as many messages wait for this one as its max_backlog allows; pushes wait in the queue"
                } else {
                    "the oldest messages of this publisher are dropped, since as many wait for it as its max_backlog allows"
                };
                warnings.push(Warning {
                    threat: Threat::MaxBacklog,
                    what: what.to_owned(),
                    now: format!(
                        "{}, {} dropped since the start",
                        messages_wait(u64::try_from(waiting).unwrap_or(0)),
                        self.registry.tally().backlog_dropped
                    ),
                    mend: "see why it does not publish, or raise its max_backlog".to_owned(),
                });
            }
        }
        Ok(warnings)
    }
}

impl Membership {
    /// Whether it is the one that cares for what is all consumers'.
    pub(super) fn is_first(&self) -> bool {
        self.index == 0
    }

    pub(super) fn known(&self) -> Option<&Known> {
        self.group.consumers.get(self.index)
    }
}

impl Group {
    /// Has this agent be at work, or asks whether it could; refused while another agent has other consumers.
    pub(super) async fn join(&self, work: bool) -> Result<(), Error> {
        join(&self.base, &self.entry, &self.names, if work { self.base.lease_ms() } else { 0 }).await
    }

    /// This agent is not at work any more.
    pub(super) async fn leave(&self) -> Result<(), Error> {
        let mut command = redis::cmd("ZREM");
        self.base.link.command(JOIN, command.arg(&self.base.keys.agents).arg(&self.entry)).await.map(drop)
    }

    /// Has every consumer look for messages.
    pub(super) fn wake(&self) {
        self.consumers.iter().for_each(|consumer| consumer.wake.notify_waiters());
    }
}

async fn join(base: &RedisChannel, entry: &str, names: &[String], expires_in_ms: u64) -> Result<(), Error> {
    let mut script = base.scripts.join.prepare_invoke();
    script.key(&base.keys.agents).key(&base.keys.consumers).arg(entry).arg(expires_in_ms).arg(names.join(","));
    for name in names {
        script.arg(name);
    }
    match base.link.script(JOIN, &script).await? {
        Value::Int(1) => Ok(()),
        others => {
            let others = answers::text(others).ok_or_else(|| base.link.garbled(JOIN))?;
            let own = if names.is_empty() {
                "one publisher, [publisher]".to_owned()
            } else {
                format!("the publishers {}", names.join(", "))
            };
            Err(Error::Other(ChannelError::Refused {
                what: format!(
                    "other agents on the queue {} at {} have the publishers {}, and this one has {own}, so that it takes nothing",
                    base.keys.queue,
                    base.link.server,
                    others.replace(',', ", ")
                ),
                mend: "give all agents on this queue the same [publishers]; one that was stopped or killed counts until its lease expires"
                    .to_owned(),
            }))
        }
    }
}
