//! The Batcher: isolates what cannot be decoded, groups the rest, and hands each batch to a publisher that is free.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    batch::Batch,
    batching::{Batching, Limits},
    filter::Filter,
    guards::Guards,
    limiter::permits::{Permit, Permits},
    proving, publisher,
    receiver::{Leased, Wanted},
};
use crate::{
    channel::Lease,
    failpoint::fail_point,
    status::{counters::Counters, seen::Seen, tap::Tap},
    supervision::{Drain, Life, Neighbour, answers_pings},
    wire::Decoder,
};

/// A publisher is free and asks for a batch. Answered once, with one [`Publish`].
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Free {
    pub(super) worker: usize,
    pub(super) publisher: Recipient<Publish>,
    /// The permit of the batch that it is done with. Free no sooner than its publisher is: another one would take it, whose buffers
    /// are memory as well.
    pub(super) permit: Option<Permit>,
}

/// A batch to write.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Publish {
    pub(super) batch: Batch,
    /// Whether it has about as much as it may have.
    pub(super) full: bool,
    /// What lets it be in flight.
    pub(super) permit: Permit,
}

/// What a Batcher works with.
pub(super) struct Params {
    /// The limits of a batch.
    pub(super) limits: Limits,
    /// How much of all that may be in flight to the destination now.
    pub(super) permits: Arc<Permits>,
    /// What the Publishers work with, to ask their destination.
    pub(super) publishers: Arc<publisher::Params>,
    /// What of the messages is published, if not everything.
    pub(super) filter: Option<Filter>,
    /// What is looked at before points are published, if anything is.
    pub(super) guards: Option<Arc<Guards>>,
    pub(super) counters: Arc<Counters>,
    /// Counts what comes through, where that is shown and this pipeline is the one that counts.
    pub(super) seen: Option<Arc<Seen>>,
    /// Whether there are several pipelines.
    pub(super) several: bool,
    /// Where what comes through is shown to those who watch.
    pub(super) tap: Tap,
    /// The publisher's name, where there are several.
    pub(super) publisher: Option<String>,
}

/// The actor.
pub(super) struct Batcher {
    params: Arc<Params>,
    life: Life,
    receiver: Option<Recipient<Wanted>>,
    /// Publishers that have asked. The last is taken first, since it has its buffers and its connection still: so many as write at
    /// once take memory, and not so many as there are.
    free: Vec<Free>,
    decoder: Decoder,
    batching: Batching,
    filling: Batch,
    /// Whether an answer of the Receiver is due.
    asked: bool,
    /// Whether the destination is being asked whether it would take something.
    proving: bool,
    timer: Option<SpawnHandle>,
    draining: bool,
}

impl Batcher {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        let batching = Batching::new(params.limits, Instant::now(), fastrand::f64());
        Self {
            params,
            life,
            receiver: None,
            free: Vec::new(),
            decoder: Decoder::new(),
            batching,
            filling: Batch::default(),
            asked: false,
            proving: false,
            timer: None,
            draining: false,
        }
    }

    /// Does whatever can be done now: hands on what is due, asks for what there is room for.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let permits = &self.params.permits;
        if permits.holds_back() && !self.draining && !self.batching.is_empty() {
            // Dropping it gives its leases back.
            self.batching.take();
            self.filling = Batch::default();
        }
        self.batching.limit(permits.limits(self.params.limits));
        // What is tried is small, and due at once.
        let is_due = self.batching.is_due(now) || permits.is_away();
        if ((is_due && permits.is_one_free()) || self.draining)
            && !self.batching.is_empty()
            && let Some(free) = self.free.pop()
        {
            let is_written = self.filling.set.point_count() > 0;
            let (full, permit) = (self.batching.is_half_full(), permits.take(self.batching.bytes(), is_written));
            self.batching.take();
            self.params.counters.lingers(self.batching.linger());
            // To a publisher that has died meanwhile this drops the batch, and its leases are given back.
            free.publisher.do_send(Publish { batch: std::mem::take(&mut self.filling), full, permit });
        }
        if self.draining {
            if self.batching.is_empty() {
                self.life.say_drained();
            }
            return;
        }
        self.ask(ctx);
        self.prove(ctx);
        self.wake_when_due(now, ctx);
    }

    /// Has the destination be asked whether it would take something, where that is not known and no batch shows it.
    fn prove(&mut self, ctx: &mut Context<Self>) {
        if self.proving || !proving::is_due(&self.params.publishers) {
            return;
        }
        self.proving = true;
        let publishers = Arc::clone(&self.params.publishers);
        let proven = async move { proving::ask(&publishers).await };
        ctx.spawn(proven.into_actor(self).map(|(), batcher, ctx| {
            batcher.proving = false;
            batcher.advance(ctx);
        }));
    }

    fn ask(&mut self, ctx: &Context<Self>) {
        if self.asked || self.params.permits.holds_back() {
            return;
        }
        let Some(receiver) = &self.receiver else { return };
        let Some(demand) = self.batching.demand(!self.free.is_empty() && self.params.permits.is_one_free()) else { return };
        receiver.do_send(Wanted { demand, answer_to: ctx.address().recipient() });
        self.asked = true;
    }

    fn wake_when_due(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(due) = self.batching.due_at()
            && due > now
        {
            // A millisecond later rather than earlier, so that it is due then.
            let wait = due.duration_since(now) + Duration::from_millis(1);
            self.timer = Some(ctx.run_later(wait, |batcher, ctx| {
                batcher.timer = None;
                batcher.advance(ctx);
            }));
        }
    }
}

impl Actor for Batcher {
    type Context = Context<Self>;
}

impl Handler<Leased> for Batcher {
    type Result = ();

    fn handle(&mut self, Leased(leases): Leased, ctx: &mut Self::Context) {
        fail_point!("batcher.leased");
        self.asked = false;
        if !leases.is_empty() {
            let _work = self.life.progress.begin("decoding");
            let sum = |of: fn(&Lease) -> usize| leases.iter().map(of).sum();
            let (messages, bytes) = (sum(|lease| lease.messages.len()), sum(|lease| lease.messages.bytes()));
            let more = leases.iter().any(|lease| lease.more);
            self.batching.add(messages, bytes, more, Instant::now());
            let params = &self.params;
            let sieves = (params.filter.as_ref(), params.guards.as_deref());
            let (seen, tap) = (params.seen.as_deref(), params.tap.watched().map(|tap| (tap, params.publisher.as_deref())));
            for lease in leases {
                self.filling.take_in(lease, &mut self.decoder, params.several, seen, sieves, tap);
            }
        }
        self.advance(ctx);
    }
}

impl Handler<Free> for Batcher {
    type Result = ();

    fn handle(&mut self, mut free: Free, ctx: &mut Self::Context) {
        fail_point!("batcher.free");
        drop(free.permit.take());
        // One place a worker: a new life of it takes the place of the one before.
        self.free.retain(|other| other.worker != free.worker);
        self.free.push(free);
        self.advance(ctx);
    }
}

impl Handler<Neighbour<Wanted>> for Batcher {
    type Result = ();

    fn handle(&mut self, Neighbour(receiver): Neighbour<Wanted>, ctx: &mut Self::Context) {
        fail_point!("batcher.receiver_is");
        self.receiver = Some(receiver);
        self.asked = false;
        self.advance(ctx);
    }
}

impl Handler<Drain> for Batcher {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        fail_point!("batcher.drain");
        self.draining = true;
        self.advance(ctx);
    }
}

answers_pings!(Batcher);
