//! The Listener: serves the clients that push to this process, where the channel is part of it.
//!
//! What it takes from them is the channel's as soon as it is answered, so it holds nothing that could be lost. It goes on
//! until all other children have finished: a client of a stopping agent can queue until the end.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::sync::watch;

use super::channel_health::{ChannelHealth, Use};
use crate::{
    backoff::Backoff,
    channel::{ChannelError, Intake, RECONNECT},
    failpoint::fail_point,
    supervision::{Drain, Life, answers_pings},
};

/// What a Listener works with.
pub(super) struct Params {
    pub(super) intake: Arc<dyn Intake>,
    pub(super) health: Arc<ChannelHealth>,
}

/// The actor.
pub(super) struct Listener {
    params: Arc<Params>,
    life: Life,
    closing: watch::Sender<bool>,
}

impl Listener {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        Self { params, life, closing: watch::Sender::new(false) }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let serving = serve(Arc::clone(&self.params), self.closing.subscribe());
        ctx.spawn(serving.into_actor(self).map(|(), listener, _| {
            listener.life.say_drained();
        }));
    }
}

/// Serves until it is told to close.
async fn serve(params: Arc<Params>, closing: watch::Receiver<bool>) {
    let Params { intake, health } = params.as_ref();
    let closed = |within: Duration| {
        let mut closing = closing.clone();
        // When the sender is gone, so is the actor.
        async move { tokio::time::timeout(within, closing.wait_for(|closing| *closing)).await.is_ok() }
    };
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        fail_point!("listener.serve");
        let ended = match intake.bind() {
            Err(error) => Err(error),
            Ok(()) => {
                health.works(Use::Serve);
                let mut closing = closing.clone();
                let close = Box::pin(async move { drop(closing.wait_for(|closing| *closing).await) });
                intake.serve(close).await
            }
        };
        if let Err(error) = &ended {
            health.failed(Use::Serve, &refused(error));
        }
        if closed(if ended.is_ok() { Duration::ZERO } else { backoff.next_pause() }).await {
            return;
        }
    }
}

/// Clients cannot come, whatever the reason, until an operator mends it or the reason goes away; the rest works.
fn refused(error: &ChannelError) -> ChannelError {
    match error {
        ChannelError::Unreachable { what, why } => {
            ChannelError::Refused { what: format!("{what}: {why}"), mend: "it is tried again by itself".to_owned() }
        }
        ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend } => {
            ChannelError::Refused { what: what.clone(), mend: mend.clone() }
        }
    }
}

impl Handler<Drain> for Listener {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        fail_point!("listener.drain");
        self.closing.send_replace(true);
    }
}

answers_pings!(Listener);
