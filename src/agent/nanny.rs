//! The Nanny: renews this process's leases, takes back leases that nobody holds, adopts what a Python agent left,
//! watches what threatens the messages that wait.

use std::{future::Future, sync::Arc, time::Duration};

use actix::prelude::*;
use slog::Logger;

use super::channel_health::{ChannelHealth, Reported, Use, say_lost};
use crate::{
    backoff::Backoff,
    channel::{Channel, ChannelError, Patience, RECONNECT},
    duration::for_people,
    failpoint::{fail_point, failing, stall_point},
    supervision::{Drain, Life, Progress, answers_pings},
};

/// Renew every open lease.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
struct Renew;

/// Take back what nobody holds.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
struct Recover;

/// Look how the channel stands.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
struct Look;

/// How the channel stands is asked for no more often than this, however often leases are looked for, and no less often than that.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// A warning comes in time, and what is said of the backlog is true.
fn look_every(params: &Params) -> Duration {
    params.recover_every.min(params.patience.age / 2).clamp(LOOK_EVERY.0, LOOK_EVERY.1)
}

/// What a Nanny works with.
pub(super) struct Params {
    pub(super) channel: Arc<dyn Channel>,
    pub(super) health: Arc<ChannelHealth>,
    /// How often to look for leases that nobody holds.
    pub(super) recover_every: Duration,
    /// From when on a backlog is worth a warning.
    pub(super) patience: Patience,
    pub(super) log: Logger,
}

/// The actor.
pub(super) struct Nanny {
    params: Arc<Params>,
    life: Life,
    backoff: Backoff,
    /// The next attempt after a failure.
    retry: Option<SpawnHandle>,
    /// Whether a command to the channel is under way; another one waits for its own time.
    busy: bool,
    /// What was asked for while busy.
    renew_due: bool,
    recover_due: bool,
    look_due: bool,
    reported: Reported,
    draining: bool,
}

impl Nanny {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        let backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        Self {
            params,
            life,
            backoff,
            retry: None,
            busy: false,
            renew_due: false,
            recover_due: false,
            look_due: false,
            reported: Reported::default(),
            draining: false,
        }
    }

    /// Does one thing at a time with the channel; renewing goes first, since leases run out.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        if self.draining {
            self.life.say_drained();
        } else if std::mem::take(&mut self.renew_due) {
            let renewed = renew(Arc::clone(&self.params), Arc::clone(&self.life.progress));
            self.during(renewed, ctx, |nanny| nanny.renew_due = true);
        } else if std::mem::take(&mut self.recover_due) {
            let recovered = recover(Arc::clone(&self.params), Arc::clone(&self.life.progress));
            self.during(recovered, ctx, |nanny| nanny.recover_due = true);
        } else if std::mem::take(&mut self.look_due) {
            self.busy = true;
            let look = look(Arc::clone(&self.params), Arc::clone(&self.life.progress));
            ctx.spawn(look.into_actor(self).map(|unknown, nanny, ctx| {
                nanny.busy = false;
                nanny.reported.report(unknown, &nanny.params.log);
                nanny.advance(ctx);
            }));
        }
    }

    /// Runs a command, which returns whether the channel was asked for it, and so works; when it fails, `again` says that it is due again,
    /// after a pause.
    fn during(
        &mut self,
        command: impl Future<Output = Result<bool, ChannelError>> + 'static,
        ctx: &mut Context<Self>,
        again: impl FnOnce(&mut Self) + 'static,
    ) {
        self.busy = true;
        ctx.spawn(command.into_actor(self).map(|result, nanny, ctx| {
            nanny.busy = false;
            match result {
                Ok(is_asked) => {
                    // While the destination is away no other actor asks the channel for anything.
                    if is_asked {
                        nanny.params.health.works(Use::Tend);
                        nanny.backoff.reset();
                    }
                    nanny.advance(ctx);
                }
                Err(error) => {
                    nanny.params.health.failed(Use::Tend, &error);
                    again(nanny);
                    let pause = nanny.backoff.next_pause();
                    // One attempt is to come, and not one more for each that came between because something else was due.
                    if let Some(before) = nanny.retry.replace(ctx.run_later(pause, Self::advance)) {
                        ctx.cancel_future(before);
                    }
                    if nanny.draining {
                        nanny.advance(ctx);
                    }
                }
            }
        }));
    }
}

/// Gives up what asks the channel for several things one after the other, each with a time-out of its own, before all of them together
/// count as hung: a channel that is slow is no reason to restart the Nanny.
async fn in_time<T>(
    progress: &Progress,
    doing: &str,
    work: impl Future<Output = Result<T, ChannelError>>,
) -> Result<T, ChannelError> {
    let within = progress.patience();
    tokio::time::timeout(within, work).await.unwrap_or_else(|_| {
        Err(ChannelError::Unreachable {
            what: format!("cannot {doing}"),
            why: format!("its answers took longer than {} together", for_people(within)),
        })
    })
}

async fn renew(params: Arc<Params>, progress: Arc<Progress>) -> Result<bool, ChannelError> {
    let _work = progress.begin("renewing leases");
    stall_point!("nanny.renewing");
    in_time(&progress, "renew leases", failing("nanny.renew.error", params.channel.renew())).await
}

async fn recover(params: Arc<Params>, progress: Arc<Progress>) -> Result<bool, ChannelError> {
    let _work = progress.begin("recovering leases");
    stall_point!("nanny.recovering");
    let recovered = in_time(&progress, "recover leases", failing("nanny.recover.error", params.channel.recover())).await?;
    fail_point!("nanny.recovered");
    let log = &params.log;
    // Of leases that could not be completed when their Publisher asked for that.
    say_lost(params.channel.registry().take_completed(), log);
    if recovered.dropped > 0 {
        slog::info!(log, "messages that were dropped unsettled wait again"; "messages" => recovered.dropped);
    }
    if recovered.expired > 0 {
        slog::warn!(log, "messages of expired leases wait again"; "messages" => recovered.expired);
    }
    if recovered.adopted > 0 {
        slog::info!(log, "messages were adopted that a Python agent had left in progress"; "messages" => recovered.adopted);
    }
    if recovered.orphaned > 0 {
        slog::warn!(log, "messages were found that belong to no lease; they wait again in the time that one lasts";
            "messages" => recovered.orphaned);
    }
    Ok(true)
}

/// Returns what the channel could not tell of itself. Where it cannot be asked, whichever actor needs it says so.
async fn look(params: Arc<Params>, progress: Arc<Progress>) -> Vec<String> {
    let _work = progress.begin("looking how the channel stands");
    stall_point!("nanny.looking");
    let looked = failing("nanny.look.error", params.channel.pressure(&params.patience));
    match in_time(&progress, "look how it stands", looked).await {
        Ok(pressure) => {
            params.health.note(&pressure);
            pressure.unknown
        }
        Err(error) => {
            slog::debug!(params.log, "cannot tell how the channel stands"; "error" => %error);
            Vec::new()
        }
    }
}

impl Actor for Nanny {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify(Recover);
        ctx.notify(Look);
        // Three chances before a lease runs out.
        ctx.run_interval((self.params.channel.lease() / 3).max(Duration::from_millis(10)), |_, ctx| ctx.notify(Renew));
        ctx.run_interval(self.params.recover_every, |_, ctx| ctx.notify(Recover));
        ctx.run_interval(look_every(&self.params), |_, ctx| ctx.notify(Look));
        let channel = Arc::clone(&self.params.channel);
        let address = ctx.address();
        ctx.spawn(
            async move {
                loop {
                    channel.registry().wait_dropped().await;
                    address.do_send(Recover);
                }
            }
            .into_actor(self),
        );
    }
}

impl Handler<Renew> for Nanny {
    type Result = ();

    fn handle(&mut self, _: Renew, ctx: &mut Self::Context) {
        fail_point!("nanny.renew");
        self.renew_due = true;
        self.advance(ctx);
    }
}

impl Handler<Recover> for Nanny {
    type Result = ();

    fn handle(&mut self, _: Recover, ctx: &mut Self::Context) {
        fail_point!("nanny.recover");
        self.recover_due = true;
        self.advance(ctx);
    }
}

impl Handler<Look> for Nanny {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        fail_point!("nanny.look");
        self.look_due = true;
        self.advance(ctx);
    }
}

impl Handler<Drain> for Nanny {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        fail_point!("nanny.drain");
        self.draining = true;
        self.advance(ctx);
    }
}

answers_pings!(Nanny);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_take_too_long_together_are_a_failure_before_they_count_as_hung() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let hang_timeout = Duration::from_secs(30);
            let (progress, begun) = (Progress::new(hang_timeout), tokio::time::Instant::now());
            let steps = async {
                for _ in 0..8 {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                }
                Ok(())
            };
            let failed = in_time(&progress, "recover leases", steps).await.unwrap_err();
            assert!(begun.elapsed() < hang_timeout, "{:?}", begun.elapsed());
            assert_eq!(failed.to_string(), "cannot recover leases: its answers took longer than 20s together");
        });
    }
}
