//! The Receiver: leases messages from the channel, as many as were demanded, and hands them to whoever asked.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use super::{
    drain::{Drain, Drained},
    environment::{Environment, Step},
    failpoint::{fail_point, failing, stall_point},
    progress::{Progress, answers_pings},
    supervisor::{ChildId, Supervisor},
};
use crate::{backoff::Backoff, channel};

/// How long one wait for a first message lasts before it is begun anew: only a bound on how late a broken
/// connection or an adopted message is noticed, since waiting costs nothing.
const WAIT: Duration = Duration::from_secs(5);

/// The pauses between attempts while the channel cannot be used.
pub(super) const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Asks for messages; takes the place of what was asked before. It is answered once, with one [`Leased`].
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wanted {
    pub(super) demand: channel::Demand,
    pub(super) answer_to: Recipient<Leased>,
}

/// Messages that were asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leased(pub(super) channel::Lease);

/// The actor.
pub(super) struct Receiver {
    environment: Arc<Environment>,
    progress: Arc<Progress>,
    supervisor: Addr<Supervisor>,
    receiving: Option<SpawnHandle>,
    /// How many demands there were: the answer to an earlier one is of no interest any more.
    demands: u64,
    draining: bool,
}

impl Receiver {
    pub(super) fn new(environment: Arc<Environment>, progress: Arc<Progress>, supervisor: Addr<Supervisor>) -> Self {
        Self { environment, progress, supervisor, receiving: None, demands: 0, draining: false }
    }

    fn say_drained(&self) {
        if self.draining && self.receiving.is_none() {
            self.supervisor.do_send(Drained(ChildId::Receiver));
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
        // Who asks again while an answer is due is a new Batcher; the one before is dead. What was leased for it
        // is on the book, and is given back.
        if let Some(before) = self.receiving.take() {
            ctx.cancel_future(before);
        }
        if self.draining {
            self.say_drained();
            return;
        }
        self.demands += 1;
        let demand = self.demands;
        let receive = receive(Arc::clone(&self.environment), Arc::clone(&self.progress), wanted);
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
async fn receive(environment: Arc<Environment>, progress: Arc<Progress>, wanted: Wanted) {
    let closing = &environment.closing;
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let answer = {
            let _work = progress.begin("receiving from the channel", WAIT + environment.hang_timeout);
            stall_point!("receiver.receive");
            // Dropping the other branch loses nothing: what it has leased by then is on the book, and is given back. Closing
            // is looked at first, so that nothing is taken any more once it has begun: when the process ends at once,
            // that would wait until its lease expires.
            tokio::select! {
                biased;
                () = closing.begun() => return,
                answer = failing("receiver.receive.error", environment.channel.receive(wanted.demand, WAIT)) => answer,
            }
        };
        let too_large = environment.channel.book().take_unsaid();
        environment.dead_letters.note_too_large(usize::try_from(too_large).unwrap_or(usize::MAX), &environment.log);
        match answer {
            Ok(lease) => {
                say_works(&environment, &progress).await;
                backoff.reset();
                if let Some(lease) = lease {
                    fail_point!("receiver.leased");
                    wanted.answer_to.do_send(Leased(lease));
                    return;
                }
            }
            Err(error) => {
                environment.channel_failed(Step::Receive, &error);
                if closing.begun_within(backoff.next_pause()).await {
                    return;
                }
            }
        }
    }
}

/// Says that receiving works. After a refusal that is not so yet when there are messages: nobody had to wait for them.
async fn say_works(environment: &Environment, progress: &Progress) {
    if environment.is_refused(Step::Receive) {
        let _work = progress.begin("asking the channel whether one may wait", environment.hang_timeout);
        if let Err(error) = environment.channel.may_wait().await {
            environment.channel_failed(Step::Receive, &error);
            return;
        }
    }
    environment.channel_works(Step::Receive);
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
