//! The canary: now and then a marked point is pushed as a client pushes, and read back from every destination. So what is proved is the
//! whole way of a message, and how long it takes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::prelude::*;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    channel::pusher::Pusher,
    config,
    duration::for_people,
    failpoint::fail_point,
    publisher::{Mark, Publisher as Destination, Publishers},
    status::{
        conditions::{Condition, Conditions},
        snapshot,
    },
    supervision::{Closing, Drain, Life, answers_pings},
    wire::OutgoingMessage,
};

/// How long a round may take at least, besides the time that a batch may linger: where rounds come seldom, as long as it is until the next.
const WITHIN: Duration = Duration::from_secs(5);
/// The pauses between questions for the point.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How the rounds of one publisher went.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    rounds: u64,
    failures: u64,
    last_seconds: Option<f64>,
    last_success: Option<Timestamp>,
    works: bool,
}

impl Rounds {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a snapshot has it.
    pub(super) fn snapshot(&self) -> snapshot::Canary {
        let Told { rounds, failures, last_seconds, last_success, works } = *self.told();
        snapshot::Canary { rounds, failures, last_seconds, last_success, works }
    }

    fn ended(&self, took: Option<Duration>) {
        let mut told = self.told();
        told.rounds += 1;
        told.works = took.is_some();
        match took {
            Some(took) => {
                told.last_seconds = Some(took.as_secs_f64());
                told.last_success = Some(Timestamp::now());
            }
            None => told.failures += 1,
        }
    }
}

/// One publisher whose points are read back.
pub(super) struct Read {
    pub(super) publishers: Publishers,
    pub(super) settings: config::Pipeline,
    pub(super) conditions: Arc<Conditions>,
    pub(super) rounds: Arc<Rounds>,
}

/// What a Canary works with.
pub(super) struct Params {
    pub(super) every: Duration,
    pub(super) channel: config::Channel,
    /// The agent's name, by which its points are told from those of others.
    pub(super) agent: String,
    pub(super) reads: Vec<Read>,
    pub(super) closing: Closing,
}

/// The actor.
pub(super) struct Canary {
    params: Arc<Params>,
    life: Life,
}

impl Canary {
    pub(super) fn new(params: Arc<Params>, life: Life) -> Self {
        Self { params, life }
    }
}

impl Actor for Canary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(live(Arc::clone(&self.params)).into_actor(self));
    }
}

impl Handler<Drain> for Canary {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        // A point that is on its way is a message like any other.
        self.life.say_drained();
    }
}

answers_pings!(Canary);

async fn live(params: Arc<Params>) {
    let mut destinations: Vec<_> = params.reads.iter().map(|read| read.publishers.make()).collect();
    let mut pusher = None;
    while !params.closing.has_begun() {
        fail_point!("canary.round");
        round(&params, &mut destinations, &mut pusher).await;
        params.closing.begun_within(params.every).await;
    }
}

fn within(params: &Params) -> Duration {
    params.every.max(WITHIN)
}

/// Pushes a point, and waits until each publisher has it or its time is up.
async fn round(params: &Params, destinations: &mut [Box<dyn Destination>], pusher: &mut Option<Pusher>) {
    let (begun, now) = (Instant::now(), SystemTime::now());
    // Larger each time, and exact as a float.
    let value = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
    let mark = Mark { agent: params.agent.clone(), value };
    let pushed = match timeout(within(params), push(params, pusher, &mark, now)).await {
        Ok(pushed) => pushed,
        Err(_) => Err("the channel did not answer".to_owned()),
    };
    if pushed.is_err() {
        // The next round connects anew.
        *pusher = None;
    }
    let waits = params.reads.iter().zip(destinations).map(|(read, destination)| {
        let pushed = pushed.clone();
        async {
            let took = match pushed {
                Ok(()) => back(read, destination.as_mut(), &mark, (begun, within(params)), &params.closing).await,
                Err(why) => Err(format!("the canary's point was not taken: {why}")),
            };
            // What is not back when the agent closes says nothing.
            if took.is_err() && params.closing.has_begun() {
                return;
            }
            read.rounds.ended(took.as_ref().ok().copied());
            match took {
                Ok(_) => read.conditions.end(Condition::Canary),
                Err(why) => {
                    let mend = "see whether messages wait or the publisher is held; the login must be one that may read, too";
                    read.conditions.begin(Condition::Canary, &read.settings.said(&why), Some(mend));
                }
            }
        }
    });
    join_all(waits).await;
}

async fn push(params: &Params, pusher: &mut Option<Pusher>, mark: &Mark, now: SystemTime) -> Result<(), String> {
    let mut message = OutgoingMessage::new();
    message.dimension(Mark::DIMENSION, &mark.agent);
    message.counter(Mark::METRIC, mark.value, now, Vec::new()).map_err(|error| error.to_string())?;
    let pusher = match pusher {
        Some(pusher) => pusher,
        None => pusher.insert(Pusher::as_client(&params.channel).map_err(|error| error.to_string())?),
    };
    pusher.send(&message).await.map_err(|error| error.to_string())
}

/// How long it took until the point could be read.
async fn back(
    read: &Read,
    destination: &mut dyn Destination,
    mark: &Mark,
    (begun, within): (Instant, Duration),
    closing: &Closing,
) -> Result<Duration, String> {
    let within = within + read.settings.batch.interval + read.settings.batch.max_linger;
    let mut pause = ASK_AGAIN.0;
    loop {
        let (found, asked) = (destination.newest(mark).await, Instant::now());
        let why = match found {
            Ok(Some(newest)) if newest >= mark.value => return Ok(asked - begun),
            Ok(_) => format!("the canary's point cannot be read back within {}", for_people(within)),
            Err(why) => format!("the canary's point cannot be read back: {why}"),
        };
        if begun.elapsed() + pause >= within || closing.has_begun() {
            return Err(why);
        }
        sleep(pause).await;
        pause = (pause * 2).min(ASK_AGAIN.1);
    }
}
