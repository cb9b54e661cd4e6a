//! A pipeline: the Receiver, the Batcher and the Publishers of one publisher, with a channel, a limiter and conditions of their own, so
//! that none of several waits for another.

use std::sync::Arc;

use slog::{Logger, o};

use super::{
    Limits, Pipeline,
    batcher::{self, Batcher, Free},
    canary::{Read, Rounds},
    channel_health::ChannelHealth,
    filter::Filter,
    guards::Guards,
    limiter::permits::Permits,
    publisher::{self, Publisher},
    receiver::{self, Receiver, Wanted},
    snapshots::Told,
};
use crate::{
    channel::Channel,
    config,
    publisher::Publishers,
    status::{
        conditions::{Condition, Conditions},
        counters::Counters,
        dead_letters::DeadLetterSayings,
        seen::Seen,
        tap::Tap,
    },
    supervision::{Children, Closing, Held, Thread},
};

/// What the actors of one pipeline share.
pub(super) struct Wired {
    pub(super) channel: Arc<dyn Channel>,
    pub(super) publishers: Publishers,
    pub(super) settings: config::Pipeline,
    pub(super) health: Arc<ChannelHealth>,
    /// Names the publisher where there are several.
    pub(super) log: Logger,
    pub(super) conditions: Arc<Conditions>,
    counters: Arc<Counters>,
    /// Where this pipeline counts what comes through.
    seen: Option<Arc<Seen>>,
    permits: Arc<Permits>,
    dead_letters: Arc<DeadLetterSayings>,
    guards: Option<Arc<Guards>>,
    canary: Option<Arc<Rounds>>,
    /// Begins with the agent's, or when this pipeline is drained to be built anew.
    closing: Closing,
}

impl Wired {
    pub(super) fn new(
        of: Pipeline,
        settings: config::Pipeline,
        of_all: &config::Settings,
        closing: &Closing,
        log: &Logger,
    ) -> Self {
        let Pipeline { channel, publishers } = of;
        let log = settings.name.as_ref().map_or_else(|| log.clone(), |name| log.new(o!("publisher" => name.clone())));
        let conditions = Arc::new(Conditions::new(&log));
        let health = Arc::new(ChannelHealth::new(Arc::clone(&conditions)));
        let dead_letters = Arc::new(DeadLetterSayings::new(channel.look_at_dead_letters()));
        let permits = permits(&settings, &publishers);
        let guards = Guards::of(&of_all.guards, &conditions);
        let counters = Arc::default();
        let canary = of_all.status.canary_interval.map(|_| Arc::default());
        Self {
            channel,
            publishers,
            settings,
            health,
            log,
            conditions,
            counters,
            seen: None,
            permits,
            dead_letters,
            guards,
            canary,
            closing: closing.part(),
        }
    }

    /// The same pipeline with other settings, and publishers of these; `guards_differ` where those of all are others, too. What it has
    /// counted, and what is wrong with its channel, stays.
    pub(super) fn with(
        &self,
        settings: config::Pipeline,
        publishers: Publishers,
        of_all: &config::Settings,
        guards_differ: bool,
        closing: &Closing,
    ) -> Self {
        if settings.publisher.kind != self.settings.publisher.kind {
            // What is known of one destination says nothing about another.
            self.counters.unproven();
            self.conditions.forget(Condition::Publisher);
        }
        let mut guards = self.guards.clone();
        if guards_differ {
            self.conditions.forget(Condition::Times);
            self.conditions.forget(Condition::NewSeries);
            guards = Guards::of(&of_all.guards, &self.conditions);
        }
        Self {
            channel: Arc::clone(&self.channel),
            permits: permits(&settings, &publishers),
            publishers,
            settings,
            health: Arc::clone(&self.health),
            log: self.log.clone(),
            conditions: Arc::clone(&self.conditions),
            counters: Arc::clone(&self.counters),
            seen: self.seen.clone(),
            dead_letters: Arc::clone(&self.dead_letters),
            guards,
            canary: self.canary.clone(),
            closing: closing.part(),
        }
    }

    /// What its actors go by.
    pub(super) fn closing(&self) -> &Closing {
        &self.closing
    }

    /// The name of the group that its actors are.
    pub(super) fn group(&self) -> String {
        format!("publisher{}", self.of())
    }

    /// Has it count what comes through.
    pub(super) fn counts(&mut self, seen: &Arc<Seen>) {
        self.seen = Some(Arc::clone(seen));
    }

    /// What is told of it.
    pub(super) fn told(&self) -> Told {
        Told {
            settings: self.settings.clone(),
            conditions: Arc::clone(&self.conditions),
            channel: Arc::clone(&self.channel),
            counters: Arc::clone(&self.counters),
            permits: Arc::clone(&self.permits),
            dead_letters: Arc::clone(&self.dead_letters),
            canary: self.canary.clone(),
            destination: self.publishers.make().destination(),
        }
    }

    /// What the canary reads back from it.
    pub(super) fn read_back(&self) -> Option<Read> {
        Some(Read {
            publishers: self.publishers.clone(),
            settings: self.settings.clone(),
            conditions: Arc::clone(&self.conditions),
            rounds: Arc::clone(self.canary.as_ref()?),
        })
    }

    /// What follows the name of an actor where there are several pipelines.
    pub(super) fn of(&self) -> String {
        self.settings.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default()
    }

    /// Adds its actors. The numbers are the turns to drain: in the direction of the data, so that no child drains that still gets
    /// some. `several`: it is not the only pipeline; `tap` is where what comes through is shown.
    pub(super) fn add_to(&self, of_all: &config::Settings, several: bool, tap: &Tap, children: &mut Children) {
        let Self {
            channel,
            publishers,
            settings,
            health,
            log,
            conditions,
            counters,
            seen,
            permits,
            dead_letters,
            guards,
            closing,
            ..
        } = self;
        let (of, first) = (self.of(), children.len());
        let max_bytes = settings.batch.max_bytes.min(publishers.max_batch_bytes);
        // Receiving and decoding keep a thread busy.
        let intake = Thread::Named(format!("intake{of}"));

        let of_publishers = Arc::new(publisher::Params {
            destination: publishers.clone(),
            channel: Arc::clone(channel),
            health: Arc::clone(health),
            conditions: Arc::clone(conditions),
            counters: Arc::clone(counters),
            is_seen: of_all.status.is_served(),
            dead_letters: Arc::clone(dead_letters),
            permits: Arc::clone(permits),
            closing: closing.clone(),
            settings: settings.clone(),
            log: log.clone(),
        });

        let params = Arc::new(receiver::Params {
            channel: Arc::clone(channel),
            health: Arc::clone(health),
            dead_letters: Arc::clone(dead_letters),
            permits: Arc::clone(permits),
            closing: closing.clone(),
            log: log.clone(),
        });
        let make = move |life| Receiver::new(Arc::clone(&params), life);
        let receiver = children.add(format!("receiver{of}"), intake.clone(), 0, make);

        let params = Arc::new(batcher::Params {
            limits: Limits {
                interval: settings.batch.interval,
                linger: settings.batch.linger,
                max_linger: settings.batch.max_linger,
                max_messages: settings.batch.max_messages,
                max_bytes,
            },
            permits: Arc::clone(permits),
            publishers: Arc::clone(&of_publishers),
            counters: Arc::clone(counters),
            seen: seen.clone(),
            filter: Filter::of(&settings.consumer),
            guards: guards.clone(),
            several,
            tap: tap.clone(),
            publisher: settings.name.clone(),
        });
        let batcher = children.add(format!("batcher{of}"), intake, 1, move |life| Batcher::new(Arc::clone(&params), life));
        children.introduce::<Wanted, _, _>(&batcher, &receiver);

        for worker in 0..settings.publisher.workers {
            let params = Arc::clone(&of_publishers);
            let name = format!("publisher {}{of}", worker + 1);
            let make = move |life| Publisher::new(Arc::clone(&params), worker, life);
            let publisher = children.add(name.clone(), Thread::Named(name), 2, make);
            children.introduce::<Free, _, _>(&publisher, &batcher);
            children.hands_on(&batcher, &publisher);
        }
        let conditions = Arc::clone(conditions);
        let held = move |why: Option<&str>| match why {
            Some(why) => conditions.begin(Condition::Pipeline, why, None),
            None => conditions.end(Condition::Pipeline),
        };
        let held: Option<Held> = if settings.consumer.required { None } else { Some(Box::new(held)) };
        children.group_since(first, self.group(), held);
    }
}

fn permits(settings: &config::Pipeline, publishers: &Publishers) -> Arc<Permits> {
    let max_bytes = settings.batch.max_bytes.min(publishers.max_batch_bytes);
    Arc::new(Permits::new(settings.publisher.workers, max_bytes))
}
