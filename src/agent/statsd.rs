//! The Statsd: serves the clients of statsd, and queues what they have sent as messages of the channel, interval by interval.
//!
//! All that it works on is the [`Door`]'s, so that nothing is lost with the actor. It goes on until all other children have finished, as
//! the Listener does; then [`queue_the_rest`] makes messages of the last interval.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use slog::{Logger, info, warn};
use tokio::time::{Instant, sleep_until};

use super::{pushes::Pushes, snapshots::statsd_of};
use crate::{
    backoff::Backoff,
    channel::{Channel, ChannelError, RECONNECT},
    failpoint::{fail_point, failing},
    plural::count,
    statsd::Door,
    status::conditions::{Condition, Conditions},
    supervision::{Closing, Drain, Life, Progress, answers_pings},
};

/// How long the last messages may take to be queued at the end.
const LAST_PUSHES: Duration = Duration::from_secs(3);

/// What a Statsd works with.
pub(super) struct Params {
    pub(super) door: Arc<Door>,
    pub(super) channel: Arc<dyn Channel>,
    pub(super) conditions: Arc<Conditions>,
    pub(super) closing: Closing,
}

/// The actor.
pub(super) struct Statsd {
    params: Arc<Params>,
    life: Life,
    pushes: Pushes,
}

impl Statsd {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        Self { params, life, pushes: Pushes::new() }
    }
}

impl Actor for Statsd {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(serve(Arc::clone(&self.params)).into_actor(self));
        let queue = queue(Arc::clone(&self.params), self.pushes.clone(), Arc::clone(&self.life.progress));
        ctx.spawn(queue.into_actor(self));
    }
}

/// Takes datagrams, as long as it lives.
async fn serve(params: Arc<Params>) {
    let Params { door, conditions, .. } = params.as_ref();
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        fail_point!("statsd.serve");
        match door.open() {
            Ok(()) => {
                conditions.end(Condition::Statsd);
                let error = door.serve().await;
                conditions.begin(Condition::Statsd, &format!("cannot read statsd's datagrams: {error}"), None);
            }
            Err(error) => conditions.begin(Condition::Statsd, &error.what, Some(&error.remedy)),
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Ends the intervals, and queues what they come to, as long as it lives.
async fn queue(params: Arc<Params>, pushes: Pushes, progress: Arc<Progress>) {
    let Params { door, channel, conditions, closing } = params.as_ref();
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    let (mut due, mut again) = (Instant::now() + door.interval(), None);
    let mut hurry = false;
    loop {
        let next = again.map_or(due, |again: Instant| again.min(due));
        if hurry {
            sleep_until(next).await;
        } else {
            // What has come so far is still published, if it is queued before the others have finished.
            hurry = tokio::time::timeout_at(next, closing.begun()).await.is_ok();
        }
        let now = Instant::now();
        if now >= due || closing.has_begun() {
            door.end_interval(false);
            due = now + door.interval();
        }
        if again.is_some_and(|again| now < again) {
            continue;
        }
        let _pushing = pushes.begin().await;
        let work = progress.begin("queueing metrics of statsd");
        let pushed = push_all(door, channel.as_ref()).await;
        drop(work);
        again = match &pushed {
            Ok(()) => {
                conditions.end(Condition::StatsdQueue);
                backoff.reset();
                None
            }
            Err(error) => {
                begin(conditions, error);
                Some(Instant::now() + backoff.next_pause())
            }
        };
    }
}

fn begin(conditions: &Conditions, error: &ChannelError) {
    let (what, mend) = match error {
        ChannelError::Unreachable { .. } => (error.to_string(), None),
        ChannelError::Refused { what, mend } | ChannelError::Unusable { what, mend } => (what.clone(), Some(mend.as_str())),
    };
    conditions.begin(Condition::StatsdQueue, &format!("metrics of statsd wait in memory: {what}"), mend);
}

/// Queues all that waits for it.
async fn push_all(door: &Door, channel: &dyn Channel) -> Result<(), ChannelError> {
    loop {
        let messages = door.waiting();
        if messages.is_empty() {
            return Ok(());
        }
        let count = messages.len();
        failing("statsd.push.error", channel.push(messages)).await?;
        door.queued(count);
    }
}

/// Makes messages of all that has come and queues them, when nothing else lives any more; says what came.
pub(super) async fn queue_the_rest(door: &Door, channel: &dyn Channel, log: &Logger) {
    let queued = if door.close() {
        push_within(door, channel, LAST_PUSHES).await
    } else {
        Err("the thread that has them hangs".to_owned())
    };
    if let Err(why) = queued {
        warn!(log, "metrics of statsd may be lost, since they are not known to be queued"; "messages" => door.waiting_messages(), "why" => why);
    }
    let counts = door.counts();
    info!(log, "statsd: {}, {} queued", statsd_of(&counts), count(counts.messages, "message"); counts.clone());
}

/// Tries until it is done or the time is over.
async fn push_within(door: &Door, channel: &dyn Channel, time: Duration) -> Result<(), String> {
    let mut why = "the channel did not answer in time".to_owned();
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    let pushes = async {
        while let Err(error) = push_all(door, channel).await {
            why = error.to_string();
            tokio::time::sleep(backoff.next_pause()).await;
        }
    };
    let pushed = tokio::time::timeout(time, pushes).await;
    pushed.map_err(|_| why)
}

impl Handler<Drain> for Statsd {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        fail_point!("statsd.drain");
        ctx.spawn(self.pushes.clone().end().into_actor(self).map(|(), statsd, _| statsd.life.say_drained()));
    }
}

answers_pings!(Statsd);
