//! The actors, their messages, and the one function that wires them.
//!
//! ```text
//! Supervisor ─┬─ Receiver       leases messages from the channel, as many as were demanded   ┐ a pipeline, one a
//!             ├─ Batcher        isolates what cannot be decoded, filters and groups the rest; │ publisher: a group
//!             │                 a batch is due by count, bytes or age; asks a destination     │ that is held by itself
//!             │                 that is away, or in doubt, whether it would take one          │
//!             ├─ Publisher(s)   write one batch at a time, settle its leases                  ┘ if it is not required
//!             ├─ Nanny          one a pipeline: renews our leases; takes back leases that nobody holds; adopts Kadabra's
//!             │                 in-progress list; watches what threatens the messages that wait
//!             ├─ Listener       serves the clients that push to this process, where the channel is part of it
//!             ├─ Statsd         aggregates what clients of statsd send, and queues what that comes to, where it is on
//!             ├─ Drops          queues a counter of what the agent had to drop, where it may drop anything
//!             ├─ Canary         pushes a marked point now and then, and reads it back from every destination, where that is asked for
//!             └─ Web            serves the status, where that is asked for: a group, which the others can do without
//!
//!             Wanted                    Free
//!  Receiver <───────── Batcher <────────────────── Publisher      demand goes up
//!  Receiver ─────────> Batcher ──────────────────> Publisher      data comes down
//!             Leased                    Publish
//! ```
//!
//! The life of an agent is [`live`], from top to bottom: it takes [`orders`] while it waits for its channel, then [`wire`]s every actor
//! and leaves them to their [supervision](crate::supervision), which restarts those that fail and drains them in the direction of the
//! data; a [`reload`] of the configuration has pipelines drained and built anew beside all others; at the [`ending`] every lease that is still open is given back.
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
mod canary;
mod channel_health;
mod dead_letters;
mod drops;
mod ending;
mod exit;
mod filter;
mod guards;
mod idle;
mod limiter;
mod linger;
mod listener;
mod nanny;
mod orders;
mod pipeline;
mod proving;
mod publisher;
mod pushes;
mod receiver;
mod reload;
mod remembered;
mod snapshots;
mod statsd;
mod status;

#[cfg(test)]
mod tests;

/// For the simulation in `benches/herd`, which lets many agents decide as this one does. No promise is made of it.
#[doc(hidden)]
pub use batching::Limits;
pub use exit::{Exit, code};
pub(crate) use filter::Filter;
/// For the simulation, too.
#[doc(hidden)]
pub use limiter::{Failure, LIMIT_AT_FIRST, Limiter, Wrote};
pub use orders::Order;
pub use reload::Reloading;

use std::sync::{Arc, RwLock, atomic::AtomicBool};

use jiff::Timestamp;

use slog::{Logger, info, warn};
use tokio::{
    sync::{Notify, mpsc::UnboundedReceiver},
    time::Instant,
};

use self::{
    canary::Canary,
    dead_letters::DeadLetters,
    drops::{Drops, DropsTeller},
    listener::Listener,
    nanny::Nanny,
    pipeline::Wired,
    reload::Reloader,
    remembered::Remembered,
    snapshots::Maker,
    statsd::Statsd,
    status::Status,
};
use crate::{
    channel::{Channel, Patience},
    config::{self, Settings},
    observe::{log::Output, systemd::Notifier},
    publisher::{Caution, Publishers},
    statsd::Door,
    status::{Latest, conditions::Conditions, history_file::HistoryFile, tap::Tap, words},
    supervision::{Children, Closing, Reports, Rules, Stop, Supervision, Thread},
    web::{self, Web},
};

/// What the agent is made of.
pub struct Parts {
    /// Each publisher's, in the order of [`Settings::pipelines`].
    pub pipelines: Vec<Pipeline>,
    /// Where clients of statsd send to, if they may.
    pub statsd: Option<Arc<Door>>,
    /// The log.
    pub log: Logger,
    /// What writes the log, where it can be asked whether it does.
    pub output: Option<Output>,
    /// systemd, if it listens.
    pub notifier: Notifier,
    /// The configuration that holds, for people.
    pub configuration: String,
    /// How the configuration is loaded again, where it can be.
    pub reloading: Option<Reloading>,
    /// What the agent is told to do.
    pub orders: UnboundedReceiver<Order>,
}

/// What one publisher is made of.
pub struct Pipeline {
    /// Where its messages come from. The first has the intake, if there is one.
    pub channel: Arc<dyn Channel>,
    /// Makes publishers.
    pub publishers: Publishers,
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
    let Parts { pipelines, statsd, log, output, notifier, configuration, reloading, mut orders } = parts;
    let (notifier, closing, reloads) = (Arc::new(notifier), Closing::default(), Arc::new(Notify::new()));
    let wired = |(pipeline, of)| Wired::new(pipeline, of, settings, &closing, &log);
    let mut pipelines: Vec<Wired> = pipelines.into_iter().zip(settings.pipelines()).map(wired).collect();
    let reports = Reports::default();
    let started = (Timestamp::now(), Instant::now());
    let remembered = settings.status.is_served().then(|| {
        let file = match &settings.channel {
            config::Channel::Embedded(embedded) => Some(HistoryFile::beside(&embedded.path)),
            config::Channel::Redis(_) => None,
        };
        Arc::new(Remembered::new(file, started.0, &log))
    });
    // Each message comes to every pipeline: one counts it, which the agent cannot do without.
    let counting = pipelines.iter().position(|pipeline| pipeline.settings.consumer.required).unwrap_or(0);
    if let (Some(remembered), Some(pipeline)) = (&remembered, pipelines.get_mut(counting)) {
        pipeline.counts(remembered.seen());
    }
    let maker = Arc::new(Maker {
        pipelines: RwLock::new(pipelines.iter().map(|pipeline| Arc::new(pipeline.told())).collect()),
        statsd: statsd.clone(),
        reports: reports.clone(),
        restarts: settings.supervisor.clone(),
        warn_age: settings.nanny.warn_age,
        output: output.clone(),
        notifier: Arc::clone(&notifier),
        configuration: RwLock::new(configuration),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        started,
        open: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        page: Arc::new(Conditions::new(&log)),
        remembered,
    });
    let (whole, brief) = (Arc::clone(&maker), Arc::clone(&maker));
    let latest = Latest::new(move || whole.make(), move || brief.make_brief());
    let say_status = || notifier.status(&words::line(&maker.make_brief()));
    let tap = Tap::default();
    let served = settings.status.is_served().then(|| {
        let actions = Arc::new(DeadLetters::new(settings, &maker, &log));
        Arc::new(web::Params::new(&settings.status, &latest, &tap, actions, &maker.page, &log))
    });
    let early = served.as_ref().map(web::Early::serve);
    for pipeline in &pipelines {
        let Wired { channel, health, log, .. } = pipeline;
        let exit = orders::open(channel.as_ref(), health, say_status, log, (&mut orders, &reloads)).await;
        if let Some(exit) = exit {
            ending::say_end(&exit, true, log);
            return exit;
        }
    }

    maker.is_open();
    if let Some(remembered) = &maker.remembered {
        remembered.recall();
    }
    drop(early);

    let status = Status::new(Arc::clone(&notifier), Arc::clone(&maker));
    let named = |pipeline: &Wired| (pipeline.settings.name.clone(), Arc::clone(&pipeline.channel));
    let drops = Drops::new(settings, pipelines.iter().map(named).collect(), statsd.as_ref()).map(Arc::new);
    let mut children = wire(settings, &pipelines, statsd.as_ref(), &tap, &closing);
    if let Some(drops) = drops.clone() {
        children.add("drops", Thread::Supervisors, 4, move |life| DropsTeller::new(Arc::clone(&drops), life));
    }
    if let Some(served) = served {
        serve_status(&served, &mut children);
    }
    arrange(&mut children);
    let rules = Rules {
        restarts: settings.supervisor.clone(),
        drain_within: settings.agent.shutdown_timeout,
        observer: Box::new(status),
        reports,
        closing: closing.clone(),
        log: log.clone(),
    };
    let consumers: Vec<_> = pipelines.iter().map(|it| (Arc::clone(&it.channel), it.log.clone())).collect();
    let (of_hung, told, said, begun, written) = (consumers.clone(), latest.clone(), log.clone(), closing.clone(), output.clone());
    let supervision = Supervision::start(children, rules, move || {
        begun.begin();
        let code = ending::without_the_supervisor(of_hung, told, said);
        // There is a worse reason to end with than a log that cannot be written.
        drop(written.map(|output| output.flush()));
        code
    });
    for (pipeline, told) in pipelines.iter().zip(maker.pipelines()) {
        say_publishing(pipeline, &told.destination);
    }
    notifier.ready(&words::line(&maker.make_brief()));

    let (stop, rebuild) = (supervision.stop(), supervision.rebuild());
    let (maker_of_all, log_of_all) = (Arc::clone(&maker), log.clone());
    let reloader = Reloader { reloading, pipelines, maker: maker_of_all, output, tap, closing, rebuild, log: log_of_all };
    actix_rt::spawn(reloader.run(Arc::clone(&reloads)));
    actix_rt::spawn(async move {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Stop { by } => stop.do_send(Stop { by }),
                Order::Reload => reloads.notify_one(),
            }
        }
    });
    let (end, joined) = supervision.ended().await;
    maker.is_stopping();
    if let (Some(door), Some((channel, log))) = (&statsd, consumers.first()) {
        statsd::queue_the_rest(door, channel.as_ref(), log).await;
    }
    if let Some(drops) = drops {
        drops.tell_the_rest(&log).await;
    }
    let exit = end.map_or_else(Exit::GivenUp, |()| Exit::Clean);
    let keep = async {
        if let Some(remembered) = &maker.remembered {
            remembered.keep().await;
        }
    };
    tokio::join!(ending::give_back(&consumers, &latest, exit, joined, &log), keep).0
}

/// Every actor, with all that it works with, in the order of this page's picture.
fn wire(settings: &Settings, pipelines: &[Wired], statsd: Option<&Arc<Door>>, tap: &Tap, closing: &Closing) -> Children {
    let mut children = Children::default();
    let several = pipelines.len() > 1;
    for pipeline in pipelines {
        pipeline.add_to(settings, several, tap, &mut children);
    }
    for pipeline in pipelines {
        let params = Arc::new(nanny::Params {
            channel: Arc::clone(&pipeline.channel),
            health: Arc::clone(&pipeline.health),
            recover_every: settings.nanny.frequency,
            patience: Patience::from(&settings.nanny),
            log: pipeline.log.clone(),
        });
        let name = format!("nanny{}", pipeline.of());
        children.add(name, Thread::Supervisors, 3, move |life| Nanny::new(Arc::clone(&params), life));
    }
    let listened = pipelines.iter().find_map(|pipeline| Some((pipeline.channel.intake()?, pipeline)));
    if let Some((intake, pipeline)) = listened {
        if let Some(door) = statsd.map(Arc::clone) {
            intake.tell_of(Arc::new(move || snapshots::statsd_of(&door.counts()).by_name()));
        }
        let params = Arc::new(listener::Params { intake, health: Arc::clone(&pipeline.health) });
        let thread = Thread::Named("listener".to_owned());
        children.add("listener", thread, 4, move |life| Listener::new(Arc::clone(&params), life));
    }
    if let (Some(door), Some(pipeline)) = (statsd, pipelines.first()) {
        let params = Arc::new(statsd::Params {
            door: Arc::clone(door),
            channel: Arc::clone(&pipeline.channel),
            conditions: Arc::clone(&pipeline.conditions),
            closing: closing.clone(),
        });
        let thread = Thread::Named("statsd".to_owned());
        children.add("statsd", thread, 4, move |life| Statsd::new(Arc::clone(&params), life));
    }
    add_canary(settings, pipelines, closing, &mut children);
    children
}

/// Adds the canary, where there is one.
fn add_canary(settings: &Settings, pipelines: &[Wired], closing: &Closing, children: &mut Children) {
    let Some(every) = settings.status.canary_interval else { return };
    let first = children.len();
    let params = Arc::new(canary::Params {
        every,
        channel: settings.channel.clone(),
        agent: settings.agent.name.clone(),
        reads: pipelines.iter().filter_map(Wired::read_back).collect(),
        closing: closing.clone(),
    });
    children.add("canary", Thread::Supervisors, 0, move |life| Canary::new(Arc::clone(&params), life));
    children.group_since(first, "canary", None);
}

/// A pipeline begins.
fn say_publishing(pipeline: &Wired, destination: &str) {
    info!(pipeline.log, "publishing"; "to" => destination);
    if let Some(Caution { what, mend }) = &pipeline.publishers.receipt {
        warn!(pipeline.log, "{}", what; "mend" => pipeline.settings.said(mend));
    }
}

/// Adds what serves the status. It goes last, so that whoever looks sees the agent stop.
fn serve_status(served: &Arc<web::Params>, children: &mut Children) {
    let (params, held) = (Arc::clone(served), Arc::clone(served));
    let first = children.len();
    children.add("status page", Thread::Named("status page".to_owned()), 5, move |life| Web::new(Arc::clone(&params), life));
    children.group_since(first, "status page", Some(Box::new(move |why| held.held(why))));
}
