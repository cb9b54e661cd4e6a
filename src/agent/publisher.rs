//! The Publisher: writes one batch at a time, however often that takes, and settles its leases.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    batch::Batch,
    batcher::{Batcher, Free},
    drain::{Drain, Drained},
    environment::{Environment, Step},
    failpoint::{fail_point, failing, stall_point},
    idle::{Idleness, Look},
    limiter::{Failure, Wrote, permits::Permit},
    progress::{Progress, answers_pings},
    receiver::RECONNECT,
    supervisor::{ChildId, Supervisor},
};
use crate::{
    backoff::Backoff,
    channel::DeadLetter,
    duration::for_people,
    publisher::{Outcome, Publisher as Destination, Refused},
    status::conditions::Condition,
};

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

/// Where the Batcher is now; it does not know yet who is free.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct BatcherIs(pub(super) Addr<Batcher>);

/// The actor.
pub(super) struct Publisher {
    environment: Arc<Environment>,
    progress: Arc<Progress>,
    supervisor: Addr<Supervisor>,
    worker: usize,
    batcher: Option<Addr<Batcher>>,
    /// Away while a batch is written.
    destination: Option<Box<dyn Destination>>,
    idleness: Idleness,
    draining: bool,
}

impl Publisher {
    pub(super) fn new(
        environment: Arc<Environment>,
        progress: Arc<Progress>,
        supervisor: Addr<Supervisor>,
        worker: usize,
    ) -> Self {
        let destination = Some(environment.publishers.make());
        Self {
            environment,
            progress,
            supervisor,
            worker,
            batcher: None,
            destination,
            idleness: Idleness::default(),
            draining: false,
        }
    }

    fn say_free(&self, permit: Option<Permit>, ctx: &Context<Self>) {
        if self.destination.is_none() {
            return;
        }
        if self.draining {
            self.supervisor.do_send(Drained(ChildId::Publisher(self.worker)));
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
        let publish = publish(destination, order, self.worker, Arc::clone(&self.environment), Arc::clone(&self.progress));
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
    environment: Arc<Environment>,
    progress: Arc<Progress>,
) -> (Box<dyn Destination>, Permit) {
    let set = std::mem::take(&mut batch.set);
    let points = set.point_count();
    let written = if points == 0 {
        // The destination would not be asked, and what it has not done says nothing about it.
        Some(Vec::new())
    } else {
        {
            let _work = progress.begin("encoding a batch", environment.hang_timeout);
            destination.load(Arc::new(set));
        }
        let begun = Instant::now();
        let written = write(destination.as_mut(), worker, &environment, &progress).await;
        if written.is_some()
            && let Some(limit) = environment.permits.wrote(Wrote { points, full, begun, done: Instant::now() })
        {
            slog::debug!(environment.log, "another number of batches may be in flight"; "limit" => limit);
        }
        written
    };
    match written {
        Some(refused) => {
            fail_point!("publisher.written");
            let parked = batch.dead_letters(refused);
            complete(&mut batch, &parked, &environment, &progress).await;
            fail_point!("publisher.completed");
        }
        None => give_back(&mut batch, &environment, &progress).await,
    }
    (destination, permit)
}

/// After how many failures a batch that is stuck goes back to the others.
const ALONE: u32 = 8;

/// Writes until it is written, and returns what was refused; `None` when the agent closes first, too many wait for a destination that
/// is away, or the batch is better written together with others.
async fn write(
    destination: &mut dyn Destination,
    worker: usize,
    environment: &Environment,
    progress: &Progress,
) -> Option<Vec<Refused>> {
    let conditions = &environment.conditions;
    let mut backoff = Backoff::new(environment.retry.0, environment.retry.1);
    let (mut holding, mut failures) = (false, 0_u32);
    loop {
        let attempt = environment.permits.attempt(&environment.closing).await;
        // What fails while the agent closes is given back; what was pausing when that began has one more chance.
        let last = environment.closing.has_begun();
        let outcome = {
            let _work = progress.begin("writing to the destination", environment.hang_timeout);
            stall_point!("publisher.write");
            if holding {
                failing("publisher.probe.error", destination.probe()).await
            } else {
                destination.divide(attempt.divisor());
                failing("publisher.write.error", destination.write()).await
            }
        };
        let (failure, pause) = match outcome {
            Outcome::Progressed => {
                attempt.succeeded();
                continue;
            }
            Outcome::Written { .. } if holding => {
                holding = false;
                continue;
            }
            Outcome::Written { refused } => {
                attempt.succeeded();
                conditions.end(Condition::Publisher);
                return Some(refused);
            }
            Outcome::Retry { after, why } => {
                conditions.begin(Condition::Publisher, &why, None);
                // Behind what the server asked for, since it asks the same of everybody.
                (Failure::Retry, after.unwrap_or_default() + backoff.next_pause())
            }
            Outcome::Hold { what, mend } => {
                conditions.begin(Condition::Publisher, &what, Some(&mend));
                holding = true;
                (Failure::Hold, backoff.next_pause())
            }
        };
        let too_many = attempt.failed(failure);
        if last || too_many {
            return None;
        }
        slog::debug!(environment.log, "a batch is not written yet"; "child" => %ChildId::Publisher(worker),
            "next_attempt_in" => for_people(pause));
        environment.closing.begun_within(pause).await;
        failures += 1;
        if failures >= ALONE && destination.is_stuck() {
            return None;
        }
    }
}

/// Completes what was written. It is tried for as long as it takes: it is written, so giving it back would only
/// have it written again.
async fn complete(batch: &mut Batch, parked: &[DeadLetter], environment: &Environment, progress: &Progress) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let completed = {
            let _work = progress.begin("completing leases", environment.hang_timeout);
            stall_point!("publisher.complete");
            failing("publisher.complete.error", environment.channel.complete(&mut batch.leases, parked)).await
        };
        match completed {
            Ok(completed) => {
                environment.channel_works(Step::Complete);
                if completed.lost > 0 {
                    slog::warn!(environment.log, "leases had expired before they were completed; another agent has their messages, and writing them again changes nothing";
                        "messages" => completed.lost);
                }
                environment.dead_letters.note(parked, &environment.log);
                return;
            }
            Err(error) => {
                environment.channel_failed(Step::Complete, &error);
                tokio::time::sleep(backoff.next_pause()).await;
            }
        }
    }
}

/// Gives a batch back, once: when that fails, dropping the leases leaves it to the end of the agent, or to their expiry.
async fn give_back(batch: &mut Batch, environment: &Environment, progress: &Progress) {
    let _work = progress.begin("giving leases back", environment.hang_timeout);
    stall_point!("publisher.release");
    if let Err(error) = failing("publisher.release.error", environment.channel.release(&mut batch.leases)).await {
        slog::debug!(environment.log, "leases could not be given back yet"; "error" => %error);
    }
}

impl Handler<BatcherIs> for Publisher {
    type Result = ();

    fn handle(&mut self, BatcherIs(batcher): BatcherIs, ctx: &mut Self::Context) {
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
