//! The Receiver: leases messages from the channel, as many as were demanded, and hands them to the actor that asked.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use slog::Logger;
use tokio::time::Instant;

use super::{
    channel_health::{ChannelHealth, Use},
    limiter::permits::Permits,
};
use crate::{
    backoff::Backoff,
    channel::{self, Channel, RECONNECT, WAIT},
    failpoint::{fail_point, failing, stall_point},
    status::dead_letters::DeadLetterSayings,
    supervision::{Closing, Drain, Life, Progress, answers_pings},
};

/// Asks for messages; takes the place of what was asked before. It is answered once, with one [`Leased`].
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wanted {
    pub(super) demand: channel::Demand,
    pub(super) answer_to: Recipient<Leased>,
}

/// Messages that were asked for: under one lease, and where the channel is of several queues, under others beside it. None where they
/// must not be taken any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leased(pub(super) Vec<channel::Lease>);

/// What a Receiver works with.
pub(super) struct Params {
    pub(super) channel: Arc<dyn Channel>,
    pub(super) health: Arc<ChannelHealth>,
    pub(super) dead_letters: Arc<DeadLetterSayings>,
    /// Whether messages may be taken.
    pub(super) permits: Arc<Permits>,
    pub(super) closing: Closing,
    pub(super) log: Logger,
}

/// The actor.
pub(super) struct Receiver {
    params: Arc<Params>,
    life: Life,
    receiving: Option<SpawnHandle>,
    /// How many demands there were: the answer to an earlier one is of no interest any more.
    demands: u64,
    draining: bool,
}

impl Receiver {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        Self { params, life, receiving: None, demands: 0, draining: false }
    }

    fn say_drained(&self) {
        if self.draining && self.receiving.is_none() {
            self.life.say_drained();
        }
    }
}

impl Actor for Receiver {
    type Context = Context<Self>;
}

impl Handler<Wanted> for Receiver {
    type Result = ();

    fn handle(&mut self, wanted: Wanted, ctx: &mut Self::Context) {
        fail_point!("receiver.wanted");
        // A demand while an answer is due comes from a new Batcher; the one before is dead. What was leased for that one
        // is in the registry, and is given back.
        if let Some(before) = self.receiving.take() {
            ctx.cancel_future(before);
        }
        if self.draining {
            self.say_drained();
            return;
        }
        self.demands += 1;
        let demand = self.demands;
        let receive = receive(Arc::clone(&self.params), Arc::clone(&self.life.progress), wanted);
        let receiving = ctx.spawn(receive.into_actor(self).map(move |(), receiver, _| {
            // A future that was cancelled may still end once.
            if receiver.demands == demand {
                receiver.receiving = None;
                receiver.say_drained();
            }
        }));
        self.receiving = Some(receiving);
    }
}

/// Waits for messages until they come or the agent closes.
async fn receive(params: Arc<Params>, progress: Arc<Progress>, wanted: Wanted) {
    let Params { channel, health, dead_letters, permits, closing, log } = params.as_ref();
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let answer = {
            let _work = progress.begin_waiting("receiving from the channel", WAIT);
            stall_point!("receiver.receive");
            // Dropping the other branch loses nothing: what it has leased by then is in the registry, and is given back. Closing
            // is looked at first, so that nothing is taken any more once it has begun, but for what is there and lingers:
            // when the process ends at once, that would wait until its lease expires.
            tokio::select! {
                biased;
                () = closing.begun() => {
                    if lingers(&wanted.demand) {
                        let demand = channel::Demand { not_before: None, ..wanted.demand };
                        if let Ok(Some(lease)) = failing("receiver.receive.error", channel.receive(demand, Duration::ZERO)).await {
                            wanted.answer_to.do_send(with_others(channel.as_ref(), &demand, lease).await);
                        }
                    }
                    return;
                }
                () = permits.held_back() => {
                    wanted.answer_to.do_send(Leased(Vec::new()));
                    return;
                }
                answer = failing("receiver.receive.error", channel.receive(wanted.demand, WAIT)) => answer,
            }
        };
        let too_large = channel.registry().take_unreported();
        dead_letters.note_too_large(usize::try_from(too_large).unwrap_or(usize::MAX), log);
        match answer {
            Ok(lease) => {
                say_works(channel.as_ref(), health, &progress).await;
                backoff.reset();
                if let Some(lease) = lease {
                    fail_point!("receiver.leased");
                    wanted.answer_to.do_send(with_others(channel.as_ref(), &wanted.demand, lease).await);
                    return;
                }
            }
            Err(error) => {
                health.failed(Use::Receive, &error);
                if closing.begun_within(backoff.next_pause()).await {
                    return;
                }
            }
        }
    }
}

/// With what there is of several queues, so that it can be written together.
async fn with_others(channel: &dyn Channel, demand: &channel::Demand, lease: channel::Lease) -> Leased {
    let messages = demand.messages.saturating_sub(lease.messages.len());
    let bytes = demand.bytes.saturating_sub(lease.bytes());
    let mut leases = vec![lease];
    if channel.is_of_several_queues() {
        leases.extend(channel.receive_beside(channel::Demand { messages, bytes, not_before: None }).await);
    }
    Leased(leases)
}

/// Whether what waits was not taken yet only so that more comes to it.
fn lingers(demand: &channel::Demand) -> bool {
    demand.not_before.is_some_and(|begins| begins > Instant::now())
}

/// Says that receiving works. After a refusal, messages do not show that yet: the channel may give them and still let no client wait.
async fn say_works(channel: &dyn Channel, health: &ChannelHealth, progress: &Progress) {
    if health.is_refused(Use::Receive) {
        let _work = progress.begin("asking the channel whether one may wait");
        if let Err(error) = channel.may_wait().await {
            health.failed(Use::Receive, &error);
            return;
        }
    }
    health.works(Use::Receive);
}

impl Handler<Drain> for Receiver {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        fail_point!("receiver.drain");
        self.draining = true;
        self.say_drained();
    }
}

answers_pings!(Receiver);
