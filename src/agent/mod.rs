//! The actors, their messages, and the one function that wires them. Knows channels and publishers by their traits only.
//!
//! ```text
//! Supervisor ─┬─ Receiver       leases messages from the channel, as many as were demanded
//!             ├─ Batcher        isolates what cannot be decoded, groups the rest; a batch is due by count, bytes or age
//!             ├─ Publisher(s)   write one batch at a time, settle its leases
//!             ├─ Nanny          renews our leases; takes back leases that nobody holds; adopts Kadabra's in-progress list;
//!             │                 watches how the channel stands
//!             └─ Listener       serves the clients that push to this process, where the channel is part of it
//!
//!             Wanted                    Free
//!  Receiver <───────── Batcher <────────────────── Publisher      demand goes up
//!  Receiver ─────────> Batcher ──────────────────> Publisher      data comes down
//!             Leased                    Publish
//! ```
//!
//! How many batches are in flight to the destination, and how little is tried after an outage of it, is found by the [`limiter`].
//!
//! Nothing is sent that was not asked for, so a mailbox never holds more than was demanded and a slow database leaves
//! the backlog in the channel. Whatever happens to an actor, a message it held is on the [`LeaseBook`] and still
//! leased in the channel; dropping the lease gives it back.
//!
//! [`LeaseBook`]: crate::channel::LeaseBook

mod batch;
mod batcher;
mod batching;
mod child;
mod drain;
mod environment;
mod exit;
mod heartbeat;
mod idle;
mod limiter;
mod listener;
mod nanny;
mod progress;
mod publisher;
mod receiver;
mod restart;
mod status;
mod supervisor;
mod watch;

#[cfg(test)]
mod tests;

/// For the simulation in `benches/herd`, which lets many agents decide as this one does. No promise is made of it.
#[doc(hidden)]
pub use batching::Limits;
pub use exit::{Exit, code};
/// For the simulation, too.
#[doc(hidden)]
pub use limiter::{Failure, LIMIT_AT_FIRST, Limiter, Wrote};

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use actix::prelude::*;
use slog::{Logger, error, info, warn};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use self::{
    drain::Closing,
    environment::{Environment, Refused, Threads, say_channel_failed},
    failpoint::failing,
    heartbeat::Heartbeat,
    limiter::permits::Permits,
    receiver::RECONNECT,
    status::Status,
    supervisor::{Arbiters, Stop, Supervisor},
};
use crate::{
    backoff::Backoff,
    channel::{Channel, ChannelError, Patience, Tally},
    config::Settings,
    connect, failpoint,
    observe::{
        log::{INDENTED_LINES, Output},
        systemd::Notifier,
    },
    publisher::{Caution, Publishers},
    status::{
        conditions::{Condition, Conditions},
        dead_letters::DeadLetterSayings,
        ledger::Ledger,
    },
};

/// How long giving back what is left may take at the end, beyond the shutdown time-out.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

/// How long counting what waits may take at the end.
const COUNT_WITHIN: Duration = Duration::from_millis(500);

/// How long to wait at the end for the threads.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// How long the channel may take to tidy up.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// What the agent is made of.
pub struct Parts {
    /// Where messages come from.
    pub channel: Arc<dyn Channel>,
    /// Makes publishers.
    pub publishers: Publishers,
    /// The log.
    pub log: Logger,
    /// What writes the log, where it can be asked whether it does.
    pub output: Option<Output>,
    /// systemd, if it listens.
    pub notifier: Notifier,
    /// What the agent is told to do.
    pub orders: UnboundedReceiver<Order>,
}

/// What the agent is told to do while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To stop: flush what can be flushed, give the rest back.
    Stop {
        /// Which signal says so.
        by: &'static str,
    },
    /// To read passwords, tokens and certificates again.
    ReadSecrets,
}

/// Runs the agent until it is told to stop, or until it cannot go on. Needs the thread for itself.
#[must_use]
pub fn run(settings: &Settings, parts: Parts) -> Exit {
    let system = actix_rt::System::new();
    let exit = system.block_on(live(settings, parts, Threads::Own));
    // Dropping it would wait for what cannot be interrupted, such as a resolver that does not answer.
    std::mem::forget(system);
    exit
}

/// The life of an agent, from top to bottom.
async fn live(settings: &Settings, parts: Parts, threads: Threads) -> Exit {
    let Parts { channel, publishers, log, output, notifier, mut orders } = parts;
    let (notifier, conditions) = (Arc::new(notifier), Arc::new(Conditions::new(&log)));

    let exit = open(channel.as_ref(), &conditions, &notifier, &log, &mut orders).await;
    if let Some(exit) = exit {
        say_end(&exit, &channel.tally(), &log);
        return exit;
    }

    let destination = publishers.make().destination();
    let max_bytes = settings.batch.max_bytes.min(publishers.max_batch_bytes);
    let receipt = publishers.receipt.clone();
    let environment = Arc::new(Environment {
        channel: Arc::clone(&channel),
        publishers,
        conditions: Arc::clone(&conditions),
        refused: Refused::default(),
        dead_letters: DeadLetterSayings::new(channel.look_at_dead_letters()),
        log: log.clone(),
        closing: Closing::default(),
        output: output.clone(),
        heartbeat: Heartbeat::default(),
        limits: Limits { interval: settings.batch.interval, max_messages: settings.batch.max_messages, max_bytes },
        permits: Arc::new(Permits::new(settings.publisher.workers, max_bytes)),
        retry: (settings.publisher.backoff_min, settings.publisher.backoff_max),
        hang_timeout: settings.supervisor.hang_timeout,
        lease: channel.lease(),
        recover_every: settings.nanny.frequency,
        patience: Patience::from(&settings.nanny),
        threads,
    });
    let (ended, end) = oneshot::channel();
    let watch = heartbeat::watch(Arc::clone(&environment));
    let closing = environment.closing.clone();
    let supervisor = Supervisor::new(
        environment,
        settings.supervisor.clone(),
        settings.agent.shutdown_timeout,
        settings.publisher.workers,
        Status::new(Arc::clone(&notifier), conditions, Arc::clone(&channel), destination.clone(), output),
        ended,
    )
    .start();
    info!(log, "publishing"; "to" => &destination);
    if let Some(Caution { what, mend }) = receipt {
        warn!(log, "{}", what; "mend" => mend);
    }
    notifier.ready(&format!("publishing to {destination}"));

    let (told, said) = (supervisor.clone(), log.clone());
    actix_rt::spawn(async move {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop { by } => told.do_send(Stop { by }),
                Order::ReadSecrets => {
                    read_secrets(&said);
                    closing.try_again();
                }
            }
        }
    });

    let (exit, arbiters) = end.await.unwrap_or_else(|_| (Exit::SupervisorFailed, Arbiters::new()));
    drop(watch);
    let joined = join(arbiters);
    give_back(channel.as_ref(), exit, joined, &log).await
}

/// Opens the channel, however long that takes. Gives the reason when it cannot be done, or when told to stop first.
async fn open(
    channel: &dyn Channel,
    conditions: &Conditions,
    notifier: &Notifier,
    log: &Logger,
    orders: &mut UnboundedReceiver<Order>,
) -> Option<Exit> {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let opened = tokio::select! {
            opened = failing("agent.open.error", channel.open()) => opened,
            () = stopped(orders, log) => return Some(Exit::Clean),
        };
        match opened {
            Ok(reached) => {
                conditions.end(Condition::Channel);
                info!(log, "receiving"; "from" => reached);
                return None;
            }
            Err(error @ ChannelError::Unusable { .. }) => return Some(Exit::ChannelUnusable { why: error.to_string() }),
            Err(error) => {
                say_channel_failed(conditions, &error);
                notifier.status(&format!("waiting: {error}"));
            }
        }
        if let Ok(Told::Stop) = tokio::time::timeout(backoff.next_pause(), told(orders, log)).await {
            return Some(Exit::Clean);
        }
    }
}

/// What the agent was told before it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// To stop.
    Stop,
    /// To use what may have been mended.
    TryAgain,
}

/// Completes when the agent is told something.
async fn told(orders: &mut UnboundedReceiver<Order>, log: &Logger) -> Told {
    match orders.recv().await {
        Some(Order::Stop { by }) => {
            info!(log, "stopping"; "by" => by);
            Told::Stop
        }
        Some(Order::ReadSecrets) => {
            read_secrets(log);
            Told::TryAgain
        }
        // Nobody is left to say so.
        None => std::future::pending().await,
    }
}

/// Completes when the agent is told to stop.
async fn stopped(orders: &mut UnboundedReceiver<Order>, log: &Logger) {
    while told(orders, log).await != Told::Stop {}
}

/// Password files are read when they are used, so that only certificates are kept in between.
fn read_secrets(log: &Logger) {
    connect::read_certificates_anew();
    info!(log, "told to read password files and certificates again; what was refused is tried again at once");
}

/// Ends the threads and waits for them, so that what their actors hold is dropped. Says whether all have ended.
fn join(arbiters: Arbiters) -> bool {
    let (joined, all) = mpsc::channel();
    for arbiter in &arbiters {
        arbiter.stop();
    }
    // A hung thread would hang the join; then the wait for it ends first, and the process with it. Where there can be no thread
    // for that, there is nothing to wait for.
    let joins = thread::Builder::new().spawn(move || {
        for arbiter in arbiters {
            let _ = arbiter.join();
        }
        let _ = joined.send(());
    });
    joins.is_ok() && all.recv_timeout(JOIN_WITHIN).is_ok()
}

/// Gives back every lease that is still open, and says how the books stand.
async fn give_back(channel: &dyn Channel, exit: Exit, joined: bool, log: &Logger) -> Exit {
    let book = channel.book();
    if !joined {
        warn!(log, "a thread did not end; what it holds is given back under it");
        // Should it serve the connection, a call would find out after its whole time-out, and there is no more time than that.
        channel.reconnect();
    }
    let open = book.abandon();
    let exit = if book.dropped().is_empty() {
        exit
    } else {
        match give_back_within(channel, GIVE_BACK_WITHIN).await {
            Ok(messages) => {
                // A receiver that was waiting for the first message has left a lease with none.
                if messages > 0 {
                    info!(log, "messages were given back"; "messages" => messages, "open" => open);
                }
                exit
            }
            Err(why) => not_given_back(&why, exit, log),
        }
    };
    let depth = tokio::time::timeout(COUNT_WITHIN, channel.depth());
    let backlog = if joined && exit != Exit::NotGivenBack {
        depth.await.ok().and_then(Result::ok).map(|depth| depth.backlog())
    } else {
        None
    };
    // It is as safe without that, and only less tidy. A thread that hangs may keep it from coming.
    if joined && let Ok(Err(why)) = tokio::time::timeout(REST_WITHIN, channel.rest()).await {
        warn!(log, "the channel could not be tidied up"; "why" => %why);
    }
    let tally = channel.tally();
    Ledger(tally, backlog).say(log);
    say_end(&exit, &tally, log);
    exit
}

/// Tries until it is done or the time is over: the connection may have been made by a thread that has ended.
async fn give_back_within(channel: &dyn Channel, time: Duration) -> Result<usize, String> {
    let mut why = "the channel did not answer in time".to_owned();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let tries = async {
        loop {
            match failing("agent.give_back.error", channel.give_back()).await {
                Ok(messages) => return messages,
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    };
    let given_back = tokio::time::timeout(time, tries).await;
    given_back.map_err(|_| why)
}

fn not_given_back(why: &str, exit: Exit, log: &Logger) -> Exit {
    warn!(log, "messages could not be given back; another agent has them when their leases expire"; "why" => why);
    if exit == Exit::Clean { Exit::NotGivenBack } else { exit }
}

fn say_end(exit: &Exit, tally: &Tally, log: &Logger) {
    match exit {
        Exit::Clean => info!(log, "stopped"; "exit_code" => exit.code()),
        // Why may be with lines to copy into the configuration.
        other => error!(
            log, #INDENTED_LINES, "stopped"; "exit_code" => other.code(), "balanced" => tally.balances(), "why" => %other
        ),
    }
}
