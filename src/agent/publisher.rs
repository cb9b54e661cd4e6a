//! The Publisher: writes one batch at a time, however often that takes, and settles its leases. While its destination is away it has
//! none, but for a small one to try now and then: messages wait in the channel, where another agent can have them.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use slog::Logger;
use tokio::time::Instant;

use super::{
    batch::Batch,
    batcher::{Free, Publish},
    channel_health::{ChannelHealth, Use, say_lost},
    idle::{Idleness, Look},
    limiter::{
        Failure, Wrote,
        permits::{Permit, Permits},
    },
    proving::question,
};
use crate::{
    backoff::Backoff,
    channel::{Channel, DeadLetter, RECONNECT},
    codes::Code,
    config,
    duration::for_people,
    failpoint::{fail_point, failing, stall_point},
    publisher::{Outcome, Publisher as Destination, Publishers, Refused},
    status::{
        conditions::{Condition, Conditions},
        counters::{Counters, PointRefusal, Retry},
        dead_letters::DeadLetterSayings,
    },
    supervision::{Closing, Drain, Life, Neighbour, Progress, answers_pings},
};

/// What the Publishers of one destination work with.
pub(super) struct Params {
    /// Makes the destination on the thread that will use it.
    pub(super) destination: Publishers,
    /// Where what was written is settled.
    pub(super) channel: Arc<dyn Channel>,
    pub(super) health: Arc<ChannelHealth>,
    pub(super) conditions: Arc<Conditions>,
    pub(super) dead_letters: Arc<DeadLetterSayings>,
    /// How much may be in flight to the destination now.
    pub(super) permits: Arc<Permits>,
    pub(super) counters: Arc<Counters>,
    /// Whether somebody can see whether the destination would take something.
    pub(super) is_seen: bool,
    pub(super) closing: Closing,
    /// In whose words remedies name keys.
    pub(super) settings: config::Pipeline,
    pub(super) log: Logger,
}

impl Params {
    /// The destination is not there, for this reason.
    pub(super) fn is_away(&self, why: &str) {
        let why = self.settings.said(why);
        self.counters.failed(&why);
        self.conditions.begin(Condition::Publisher, &why, None);
    }

    /// The destination takes nothing until somebody has done something.
    pub(super) fn is_held(&self, code: Code, what: &str, mend: &str) {
        let what = self.settings.said(what);
        self.counters.failed(&what);
        self.conditions.begin_with(Condition::Publisher, code, &what, Some(&self.settings.said(mend)));
    }
}

/// The actor.
pub(super) struct Publisher {
    params: Arc<Params>,
    life: Life,
    worker: usize,
    batcher: Option<Recipient<Free>>,
    /// Away while a batch is written.
    destination: Option<Box<dyn Destination>>,
    idleness: Idleness,
    draining: bool,
}

impl Publisher {
    /// The `worker`-th of them, from 0.
    pub(super) fn new(params: Arc<Params>, worker: usize, life: Life) -> Self {
        let destination = Some(params.destination.make());
        Self { params, life, worker, batcher: None, destination, idleness: Idleness::default(), draining: false }
    }

    fn say_free(&self, permit: Option<Permit>, ctx: &Context<Self>) {
        if self.destination.is_none() {
            return;
        }
        if self.draining {
            self.life.say_drained();
        } else if let Some(batcher) = &self.batcher {
            batcher.do_send(Free { worker: self.worker, publisher: ctx.address().recipient(), permit });
        }
    }

    /// Has the destination give back what it keeps for the next batch, once none has come for a while.
    fn look_later(wait: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(wait, |publisher, ctx| match publisher.idleness.look(Instant::now()) {
            Look::Works => {}
            Look::Again(wait) => Self::look_later(wait, ctx),
            Look::Idle => {
                if let Some(destination) = &mut publisher.destination {
                    destination.shrink();
                }
            }
        });
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;
}

impl Handler<Publish> for Publisher {
    type Result = ();

    fn handle(&mut self, order: Publish, ctx: &mut Self::Context) {
        fail_point!("publisher.publish");
        // A second batch was not asked for; dropping it gives it back.
        let Some(destination) = self.destination.take() else { return };
        self.idleness.work_begins();
        let publish = publish(destination, order, self.worker, Arc::clone(&self.params), Arc::clone(&self.life.progress));
        ctx.spawn(publish.into_actor(self).map(|(destination, permit), publisher, ctx| {
            publisher.destination = Some(destination);
            if let Some(wait) = publisher.idleness.work_ends(Instant::now()) {
                Self::look_later(wait, ctx);
            }
            publisher.say_free(Some(permit), ctx);
        }));
    }
}

/// Writes a batch and settles it, or gives it back when that must wait and should not wait here.
async fn publish(
    mut destination: Box<dyn Destination>,
    Publish { mut batch, full, permit }: Publish,
    worker: usize,
    params: Arc<Params>,
    progress: Arc<Progress>,
) -> (Box<dyn Destination>, Permit) {
    let set = std::mem::take(&mut batch.set);
    let points = set.point_count();
    let written = if points == 0 {
        // The destination would not be asked, and what it has not done says nothing about it.
        Some(Vec::new())
    } else {
        {
            let _work = progress.begin("encoding a batch");
            destination.load(set);
        }
        let begun = Instant::now();
        let written = write(destination.as_mut(), worker, &params, &progress).await;
        let done = Instant::now();
        if let Some(refused) = &written {
            count(points, refused, &params.counters, done - begun);
        }
        if written.is_some()
            && let Some(limit) = params.permits.wrote(Wrote { points, full, begun, done })
        {
            slog::debug!(params.log, "another number of batches may be in flight"; "limit" => limit);
        }
        written
    };
    match written {
        Some(refused) => {
            fail_point!("publisher.written");
            if let Some(age) = batch.age() {
                params.counters.push_to_stored.took(age);
            }
            let (unreadable, guarded) = batch.refused();
            params.counters.refused(unreadable as u64, PointRefusal::Unreadable);
            params.counters.refused(guarded as u64, PointRefusal::Guard);
            let parked = batch.dead_letters(refused);
            complete(&mut batch, &parked, &params, &progress).await;
            fail_point!("publisher.completed");
        }
        None => give_back(&mut batch, &params, &progress).await,
    }
    (destination, permit)
}

/// A batch was written, but for what was refused of it.
fn count(points: usize, refused: &[Refused], counters: &Counters, took: Duration) {
    counters.publish.took(took);
    let refused = refused.len().min(points) as u64;
    counters.wrote(points as u64 - refused);
    counters.refused(refused, PointRefusal::Destination);
}

/// After how many failures a batch that is stuck goes back to the others.
const ALONE: u32 = 8;

/// Writes until it is written, and returns what was refused. Not when the agent closes first, the destination is away or too many wait
/// for it, or the batch is better written together with others.
///
/// Once attempts have failed one after the other, or one so that no waiting mends it, the destination is asked whether it would take
/// something before the batch is sent again. If it would not, it is away, whatever the batch is; if it would, the batch stays here, so
/// that what is wrong with it is found.
async fn write(destination: &mut dyn Destination, worker: usize, params: &Params, progress: &Progress) -> Option<Vec<Refused>> {
    let conditions = &params.conditions;
    let settings = &params.settings.publisher;
    let mut backoff = Backoff::new(settings.backoff_min, settings.backoff_max);
    let (mut asks, mut failures) = (false, 0_u32);
    loop {
        let attempt = params.permits.attempt(&params.closing).await;
        // What fails while the agent closes is given back; what was pausing when that began has one more chance.
        let last = params.closing.has_begun();
        let outcome = {
            let _work = progress.begin("writing to the destination");
            stall_point!("publisher.write");
            if asks {
                question(destination).await
            } else {
                params.counters.attempt();
                destination.divide(attempt.divisor());
                failing("publisher.write.error", destination.write()).await
            }
        };
        let (failure, pause) = match outcome {
            Outcome::Progressed => {
                attempt.succeeded();
                continue;
            }
            Outcome::Written { .. } if asks => {
                params.counters.proven();
                asks = false;
                continue;
            }
            Outcome::Written { refused } => {
                attempt.succeeded();
                conditions.end(Condition::Publisher);
                return Some(refused);
            }
            Outcome::Retry { after, why } => {
                params.is_away(&why);
                // Behind what the server asked for, since it asks the same of every agent.
                (Failure::Retry, after.unwrap_or_default() + backoff.next_pause())
            }
            Outcome::Hold { code, what, mend } => {
                params.is_held(code, &what, &mend);
                (Failure::Hold, backoff.next_pause())
            }
        };
        let too_many = attempt.failed(failure);
        if asks || params.permits.is_away() {
            params.permits.goes_away(pause, backoff);
            return None;
        }
        params.counters.retry(if failure == Failure::Hold { Retry::Hold } else { Retry::Away });
        if last || too_many {
            return None;
        }
        asks = failure == Failure::Hold || params.permits.is_probing();
        slog::debug!(params.log, "a batch is not written yet"; "child" => format_args!("publisher {}", worker + 1),
            "next_attempt_in" => for_people(pause));
        params.closing.begun_within(pause).await;
        failures += 1;
        if failures >= ALONE && destination.is_stuck() {
            return None;
        }
    }
}

/// Completes what was written. It is tried for as long as it takes: it is written, so giving it back would only
/// have it written again.
async fn complete(batch: &mut Batch, parked: &[DeadLetter], params: &Params, progress: &Progress) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let completed = {
            let _work = progress.begin("completing leases");
            stall_point!("publisher.complete");
            failing("publisher.complete.error", params.channel.complete(&mut batch.leases, parked)).await
        };
        match completed {
            Ok(completed) => {
                params.health.works(Use::Complete);
                say_lost(completed, &params.log);
                params.dead_letters.note(parked, &params.log);
                return;
            }
            Err(error) => {
                params.health.failed(Use::Complete, &error);
                tokio::time::sleep(backoff.next_pause()).await;
            }
        }
    }
}

/// Gives a batch back, once: when that fails, dropping the leases leaves it to the end of the agent, or to their expiry.
async fn give_back(batch: &mut Batch, params: &Params, progress: &Progress) {
    let _work = progress.begin("giving leases back");
    stall_point!("publisher.release");
    if let Err(error) = failing("publisher.release.error", params.channel.release(&mut batch.leases)).await {
        slog::debug!(params.log, "leases could not be given back yet"; "error" => %error);
    }
}

/// A Batcher that has come up does not know yet which Publishers are free.
impl Handler<Neighbour<Free>> for Publisher {
    type Result = ();

    fn handle(&mut self, Neighbour(batcher): Neighbour<Free>, ctx: &mut Self::Context) {
        fail_point!("publisher.batcher_is");
        self.batcher = Some(batcher);
        self.say_free(None, ctx);
    }
}

impl Handler<Drain> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        fail_point!("publisher.drain");
        self.draining = true;
        self.say_free(None, ctx);
    }
}

answers_pings!(Publisher);
