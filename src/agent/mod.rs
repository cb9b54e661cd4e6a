//! The actors, their messages, and the one function that wires them.
//!
//! ```text
//! Supervisor ─┬─ Receiver       leases messages from the channel, as many as were demanded
//!             ├─ Batcher        isolates what cannot be decoded, groups the rest; a batch is due by count, bytes or age
//!             ├─ Publisher(s)   write one batch at a time, settle its leases
//!             ├─ Nanny          renews our leases; takes back leases that nobody holds; adopts Kadabra's in-progress list;
//!             │                 watches what threatens the messages that wait
//!             └─ Listener       serves the clients that push to this process, where the channel is part of it
//!
//!             Wanted                    Free
//!  Receiver <───────── Batcher <────────────────── Publisher      demand goes up
//!  Receiver ─────────> Batcher ──────────────────> Publisher      data comes down
//!             Leased                    Publish
//! ```
//!
//! The life of an agent is [`live`], from top to bottom: it takes [`orders`] while it waits for its channel, then [`wire`]s every actor
//! and leaves them to their [supervision](crate::supervision), which restarts those that fail and drains them in the direction of the
//! data; at the [`ending`] every lease that is still open is given back.
//!
//! An actor is a file. It is made of a [`Life`](crate::supervision::Life), by which its supervisor knows it, and of `Params`, all
//! that it works with; it knows the actors beside it only by [recipients](crate::supervision::Neighbour) of the messages that it
//! sends. A message is declared beside the actor that handles it, and its answer with it. What an actor decides is in a file without
//! actors: when a batch is due in [`batching`], how many are in flight, and how little is tried after an outage, in the [`limiter`],
//! when memory is given back in [`idle`], and what is parked for its time or its series in [`guards`].
//!
//! Nothing is sent that was not asked for, so a mailbox never holds more than was demanded and a slow database leaves
//! the backlog in the channel. Whatever happens to an actor, a message that it held is on the [`LeaseRegistry`] and still
//! leased in the channel; dropping the lease gives it back.
//!
//! [`LeaseRegistry`]: crate::channel::LeaseRegistry

mod batch;
mod batcher;
mod batching;
mod channel_health;
mod ending;
mod exit;
mod guards;
mod idle;
mod limiter;
mod listener;
mod nanny;
mod orders;
mod publisher;
mod receiver;
mod status;

#[cfg(test)]
mod tests;

/// For the simulation in `benches/herd`, which lets many agents decide as this one does. No promise is made of it.
#[doc(hidden)]
pub use batching::Limits;
pub use exit::{Exit, code};
/// For the simulation, too.
#[doc(hidden)]
pub use limiter::{Failure, LIMIT_AT_FIRST, Limiter, Wrote};
pub use orders::Order;

use std::sync::Arc;

use slog::{Logger, info, warn};
use tokio::sync::mpsc::UnboundedReceiver;

use self::{
    batcher::{Batcher, Free},
    channel_health::ChannelHealth,
    guards::Guards,
    limiter::permits::Permits,
    listener::Listener,
    nanny::Nanny,
    publisher::Publisher,
    receiver::{Receiver, Wanted},
    status::Status,
};
use crate::{
    channel::{Channel, Patience},
    config::Settings,
    observe::{log::Output, systemd::Notifier},
    publisher::{Caution, Publishers},
    status::{conditions::Conditions, dead_letters::DeadLetterSayings},
    supervision::{Children, Closing, Rules, Stop, Supervision, Thread},
};

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

/// Runs the agent until it is told to stop, or until it cannot go on. Needs the thread for itself.
#[must_use]
pub fn run(settings: &Settings, parts: Parts) -> Exit {
    let system = actix_rt::System::new();
    let exit = system.block_on(live(settings, parts, |_| ()));
    // Dropping it would wait for what cannot be interrupted, such as a resolver that does not answer.
    std::mem::forget(system);
    exit
}

/// The life of an agent, from top to bottom. A test may `arrange` the children anew.
async fn live(settings: &Settings, parts: Parts, arrange: impl FnOnce(&mut Children)) -> Exit {
    let Parts { channel, publishers, log, output, notifier, mut orders } = parts;
    let (notifier, conditions) = (Arc::new(notifier), Arc::new(Conditions::new(&log)));
    let health = Arc::new(ChannelHealth::new(Arc::clone(&conditions)));
    let exit = orders::open(channel.as_ref(), &health, &notifier, &log, &mut orders).await;
    if let Some(exit) = exit {
        ending::say_end(&exit, &channel.tally(), &log);
        return exit;
    }

    let (destination, closing) = (publishers.make().destination(), Closing::default());
    let shared = Shared { channel: Arc::clone(&channel), conditions, health, closing: closing.clone(), log: log.clone() };
    let status = Status::new(
        Arc::clone(&notifier),
        Arc::clone(&shared.conditions),
        Arc::clone(&channel),
        destination.clone(),
        output.clone(),
    );
    let receipt = publishers.receipt.clone();
    let mut children = wire(settings, &shared, publishers);
    arrange(&mut children);
    let rules = Rules {
        restarts: settings.supervisor.clone(),
        drain_within: settings.agent.shutdown_timeout,
        observer: Box::new(status),
        closing: closing.clone(),
        log: log.clone(),
    };
    let supervision = Supervision::start(children, rules, move || {
        shared.closing.begin();
        let code = ending::without_the_supervisor(shared.channel, shared.log);
        // There is a worse reason to end with than a log that cannot be written.
        drop(output.map(|output| output.flush()));
        code
    });
    info!(log, "publishing"; "to" => &destination);
    if let Some(Caution { what, mend }) = receipt {
        warn!(log, "{}", what; "mend" => mend);
    }
    notifier.ready(&format!("publishing to {destination}"));

    let (stop, said) = (supervision.stop(), log.clone());
    actix_rt::spawn(async move {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop { by } => stop.do_send(Stop { by }),
                Order::ReadSecrets => {
                    orders::read_secrets(&said);
                    closing.try_again();
                }
            }
        }
    });
    let (end, joined) = supervision.ended().await;
    ending::give_back(channel.as_ref(), end.map_or_else(Exit::GivenUp, |()| Exit::Clean), joined, &log).await
}

/// What several actors share.
struct Shared {
    channel: Arc<dyn Channel>,
    conditions: Arc<Conditions>,
    health: Arc<ChannelHealth>,
    closing: Closing,
    log: Logger,
}

/// Every actor, with all that it works with, in the order of this page's picture. A new one is one more entry.
///
/// The numbers are the turns to drain: in the direction of the data, so that no child drains that still gets some.
fn wire(settings: &Settings, Shared { channel, conditions, health, closing, log }: &Shared, publishers: Publishers) -> Children {
    let mut children = Children::default();
    let dead_letters = Arc::new(DeadLetterSayings::new(channel.look_at_dead_letters()));
    let max_bytes = settings.batch.max_bytes.min(publishers.max_batch_bytes);
    let permits = Arc::new(Permits::new(settings.publisher.workers, max_bytes));
    // Receiving and decoding keep a thread busy.
    let intake = Thread::Named("intake".to_owned());

    let params = Arc::new(receiver::Params {
        channel: Arc::clone(channel),
        health: Arc::clone(health),
        dead_letters: Arc::clone(&dead_letters),
        closing: closing.clone(),
        log: log.clone(),
    });
    let receiver = children.add("receiver", intake.clone(), 0, move |life| Receiver::new(Arc::clone(&params), life));

    let params = Arc::new(batcher::Params {
        limits: Limits { interval: settings.batch.interval, max_messages: settings.batch.max_messages, max_bytes },
        permits: Arc::clone(&permits),
        guards: Guards::of(&settings.guards, conditions),
    });
    let batcher = children.add("batcher", intake, 1, move |life| Batcher::new(Arc::clone(&params), life));
    children.introduce::<Wanted, _, _>(&batcher, &receiver);

    let params = Arc::new(publisher::Params {
        destination: publishers,
        channel: Arc::clone(channel),
        health: Arc::clone(health),
        conditions: Arc::clone(conditions),
        dead_letters,
        permits,
        retry: (settings.publisher.backoff_min, settings.publisher.backoff_max),
        closing: closing.clone(),
        log: log.clone(),
    });
    for worker in 0..settings.publisher.workers {
        let params = Arc::clone(&params);
        let name = format!("publisher {}", worker + 1);
        let make = move |life| Publisher::new(Arc::clone(&params), worker, life);
        let publisher = children.add(name.clone(), Thread::Named(name), 2, make);
        children.introduce::<Free, _, _>(&publisher, &batcher);
        children.hands_on(&batcher, &publisher);
    }

    let params = Arc::new(nanny::Params {
        channel: Arc::clone(channel),
        health: Arc::clone(health),
        recover_every: settings.nanny.frequency,
        patience: Patience::from(&settings.nanny),
        log: log.clone(),
    });
    children.add("nanny", Thread::Supervisors, 3, move |life| Nanny::new(Arc::clone(&params), life));

    if let Some(intake) = channel.intake() {
        let params = Arc::new(listener::Params { intake, health: Arc::clone(health) });
        let thread = Thread::Named("listener".to_owned());
        children.add("listener", thread, 4, move |life| Listener::new(Arc::clone(&params), life));
    }
    children
}
