//! Makes snapshots of the agent, of what its actors tell and count: on whichever thread asks, without waiting for any of them.

use std::{
    fs, iter, process,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{canary::Rounds, limiter::permits::Permits, remembered::Remembered};
use crate::{
    channel::{Channel, ChannelStatus, Refused, embedded::Outlook},
    config::{self, PublisherKind},
    observe::{log::Output, systemd::Notifier},
    statsd::{Counts, Door},
    status::{
        conditions::{ActiveCondition, Conditions},
        counters::Counters,
        dead_letters::DeadLetterSayings,
        past::Sample,
        snapshot::{
            self, Actor, ActorEvent, ActorState, AgentState, Budget, Counted, EventKind, History, Hold, MarkKind, Seen, Snapshot,
            Trouble,
        },
        words,
    },
    supervision::{ChildEventKind, ChildPhase, ChildReport, Reports},
};

/// One publisher, of which is told.
pub(super) struct Told {
    pub(super) settings: config::Pipeline,
    pub(super) conditions: Arc<Conditions>,
    pub(super) channel: Arc<dyn Channel>,
    pub(super) destination: String,
    pub(super) counters: Arc<Counters>,
    pub(super) permits: Arc<Permits>,
    pub(super) dead_letters: Arc<DeadLetterSayings>,
    pub(super) canary: Option<Arc<Rounds>>,
}

/// All that a snapshot is made of.
pub(super) struct Maker {
    /// Replaced one by one when they are built anew.
    pub(super) pipelines: RwLock<Vec<Arc<Told>>>,
    pub(super) statsd: Option<Arc<Door>>,
    pub(super) reports: Reports,
    pub(super) restarts: config::Supervisor,
    pub(super) warn_age: Duration,
    pub(super) output: Option<Output>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) configuration: RwLock<String>,
    pub(super) host: String,
    pub(super) started: (Timestamp, Instant),
    pub(super) open: AtomicBool,
    pub(super) stopping: AtomicBool,
    /// What is wrong with no publisher: whether the status can be served, and the configuration be reloaded.
    pub(super) page: Arc<Conditions>,
    /// None where it is served nowhere.
    pub(super) remembered: Option<Arc<Remembered>>,
}

impl Maker {
    /// The agent's channel is open.
    pub(super) fn is_open(&self) {
        self.open.store(true, Relaxed);
    }

    /// Whether it is.
    pub(super) fn has_opened(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// The end has begun.
    pub(super) fn is_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Measures, if it is time, so that rates and the history are known when somebody asks. Nothing where nobody can.
    pub(super) fn measure(&self) {
        let Some(remembered) = &self.remembered else { return };
        let now = Instant::now();
        if !remembered.past().is_due(now) {
            return;
        }
        let pipelines = self.pipelines();
        let samples = pipelines.iter().map(|told| told.sample()).collect();
        let at = Timestamp::now();
        let mut past = remembered.past();
        past.measure(now, at, samples);
        for told in &pipelines {
            past.note_faults(told.conditions.take_changes());
        }
        let restarts = self.restarts_since(past.noted());
        past.note_restarts(&restarts);
        drop(past);
        remembered.measured();
    }

    /// Of each publisher, what is told of it.
    pub(super) fn pipelines(&self) -> Vec<Arc<Told>> {
        self.pipelines.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One publisher is another now.
    pub(super) fn is_rebuilt(&self, place: usize, told: Told) {
        // Every change is whole before anything that could panic.
        if let Some(before) = self.pipelines.write().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            *before = Arc::new(told);
        }
    }

    /// Another configuration holds.
    pub(super) fn is_configured(&self, configuration: String) {
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = configuration;
    }

    /// The agent was told to reload its configuration, which had this end.
    pub(super) fn was_reloaded(&self, what: &str) {
        if let Some(remembered) = &self.remembered {
            remembered.mark(MarkKind::Reload, what);
        }
    }

    /// Restarts of actors, the oldest first, that happened after this.
    fn restarts_since(&self, noted: Timestamp) -> Vec<(Timestamp, String)> {
        let mut restarts = Vec::new();
        for report in self.reports.read() {
            let failed = report.events.iter().filter(|event| event.kind == ChildEventKind::Failed);
            restarts.extend(failed.filter_map(|event| {
                let at = Timestamp::try_from(event.at).ok().filter(|at| *at > noted)?;
                Some((at, format!("{} {}", report.name, event.what)))
            }));
        }
        restarts.sort();
        restarts
    }

    /// How the agent is now.
    pub(super) fn make(&self) -> Snapshot {
        let (history, seen) = match &self.remembered {
            Some(remembered) => (remembered.past().history(), remembered.seen().snapshot()),
            None => Default::default(),
        };
        Snapshot { history, seen, ..self.make_brief() }
    }

    /// The same without what is long and only for those who look at the status: the last hour, and what came through.
    pub(super) fn make_brief(&self) -> Snapshot {
        let (at, now) = (Timestamp::now(), Instant::now());
        let (started, since) = self.started;
        let uptime = now.saturating_duration_since(since);
        let rates = self.remembered.as_ref().map(|remembered| remembered.past().rates()).unwrap_or_default();
        let rates = rates.into_iter().chain(iter::repeat((0.0, 0.0)));
        let pipelines = self.pipelines();
        let publishers: Vec<_> = pipelines.iter().zip(rates).map(|(told, rates)| told.publisher(at, rates)).collect();
        let channel = self.channel(&publishers);
        let of_publishers = pipelines.iter().map(|told| (&told.conditions, &told.settings.name));
        let conditions = of_publishers.chain([(&self.page, &None)]);
        let mut troubles: Vec<_> = conditions.flat_map(|(conditions, of)| troubles(conditions, of.as_ref(), at)).collect();
        if let Some(refusal) = self.output.as_ref().and_then(Output::refusal) {
            troubles.insert(0, words::log_trouble(&refusal.what, &refusal.mend, at));
        }
        troubles.extend(channel.refusals.iter().filter_map(|refused| words::refusal_trouble(refused, at)));
        troubles.extend(publishers.iter().filter_map(|publisher| words::unbalanced(publisher, at)));
        troubles.sort_by_key(words::rank);
        let state = self.state(&publishers);
        let (memory_bytes, cpu_seconds) = process_use();
        Snapshot {
            version: snapshot::VERSION,
            at,
            agent: snapshot::Agent {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                host: self.host.clone(),
                pid: process::id(),
                started,
                uptime_seconds: uptime.as_secs_f64(),
                state,
                systemd: self.notifier.told(),
                memory_bytes,
                cpu_seconds,
            },
            verdict: words::verdict(state, &troubles, &publishers, &channel),
            troubles,
            channel,
            publishers,
            statsd: self.statsd.as_ref().map(|door| statsd_of(&door.counts())),
            actors: self.reports.read().iter().map(|report| self.actor(report, now)).collect(),
            history: History::default(),
            seen: Seen::default(),
            configuration: self.configuration.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn state(&self, publishers: &[snapshot::Publisher]) -> AgentState {
        if self.stopping.load(Relaxed) {
            return AgentState::Stopping;
        }
        let required = || publishers.iter().filter(|publisher| publisher.required || publishers.len() == 1);
        if required().any(|publisher| publisher.hold.is_some()) {
            AgentState::Held
        } else if !self.has_opened()
            || required().any(|publisher| !publisher.proven || publisher.canary.as_ref().is_some_and(|canary| !canary.works))
        {
            AgentState::Starting
        } else {
            AgentState::Running
        }
    }

    fn channel(&self, publishers: &[snapshot::Publisher]) -> snapshot::Channel {
        let pipelines = self.pipelines();
        let first = pipelines.first();
        let channel_status = first.map(|told| told.channel.channel_status()).unwrap_or_default();
        let ChannelStatus { kind, place, used, max_bytes, full_in, damaged, when_full, .. } = channel_status;
        let intake = pipelines.iter().find_map(|told| told.channel.intake());
        let clients = intake.as_ref().map(|intake| intake.clients());
        let most = publishers.iter().max_by_key(|publisher| publisher.waiting);
        let oldest = publishers.iter().filter_map(|publisher| publisher.oldest_age_seconds).reduce(f64::max);
        let tally = publishers.first().map(|publisher| publisher.tally).unwrap_or_default();
        snapshot::Channel {
            kind,
            place,
            accepted: tally.accepted.map(|accepted| accepted.saturating_sub(tally.found)),
            found: tally.accepted.map(|_| tally.found),
            messages: most.and_then(|publisher| publisher.waiting),
            in_hand: most.and_then(|publisher| publisher.in_hand),
            bytes: used,
            max_bytes,
            max_messages: publishers.iter().filter(|publisher| publisher.required).filter_map(|it| it.max_backlog).min(),
            oldest_age_seconds: oldest,
            warn_age_seconds: Some(self.warn_age.as_secs_f64()),
            full_in_seconds: full_in.map(|time| time.as_secs_f64()),
            full_in: full_in.map(|time| Outlook::FullIn(time).to_string()),
            damaged,
            clients: clients.map(|(connected, _)| connected),
            max_clients: clients.map(|(_, most)| most),
            when_full: when_full.map(str::to_owned),
            refusals: intake.map(|intake| intake.refused()).unwrap_or_default().into_iter().map(refused).collect(),
            queues: queues(&pipelines),
        }
    }

    fn actor(&self, report: &ChildReport, now: Instant) -> Actor {
        let (name, publisher) = match report.name.split_once(" of ") {
            Some((name, publisher)) => (name, Some(publisher.to_owned())),
            None => (report.name.as_str(), None),
        };
        let (work, last) = report.progress(now);
        let event = |event: &crate::supervision::ChildEvent| ActorEvent {
            at: Timestamp::try_from(event.at).unwrap_or_default(),
            kind: match event.kind {
                ChildEventKind::Up => EventKind::Up,
                ChildEventKind::Failed => EventKind::Failed,
                ChildEventKind::Hung => EventKind::Hung,
                ChildEventKind::Held => EventKind::Held,
                ChildEventKind::Drained => EventKind::Drained,
            },
            what: event.what.clone(),
        };
        let since = now.saturating_duration_since(report.since);
        Actor {
            name: report.name.clone(),
            role: name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == ' ').to_owned(),
            publisher,
            thread: report.thread.clone(),
            state: match report.phase {
                ChildPhase::Waiting => ActorState::Waiting,
                ChildPhase::Starting => ActorState::Starting,
                ChildPhase::Up => ActorState::Up,
                ChildPhase::Hung => ActorState::Hung,
                ChildPhase::Finished => ActorState::Finished,
            },
            life: report.life,
            state_seconds: since.as_secs_f64(),
            restarts: ChildReport::CAUSES
                .iter()
                .zip(report.failures)
                .map(|(cause, count)| Counted { name: (*cause).to_owned(), count })
                .collect(),
            budget: Budget { used: report.used as u64, max: self.restarts.max_restarts.into() },
            last_progress_seconds: last.map_or(since, |last| last.min(since)).as_secs_f64(),
            at: work.map(|(at, _)| at.to_owned()),
            at_seconds: work.map(|(_, time)| time.as_secs_f64()),
            events: report.events.iter().rev().map(event).collect(),
        }
    }
}

/// Where there are several queues, how each stands: for the publisher for which the most waits in it, and the oldest message for any.
fn queues(pipelines: &[Arc<Told>]) -> Vec<snapshot::Queue> {
    let mut all: Vec<snapshot::Queue> = Vec::new();
    for (place, queue) in pipelines.iter().flat_map(|told| told.channel.queues().into_iter().enumerate()) {
        let backlog = queue.channel.backlog();
        let one = snapshot::Queue {
            name: queue.name,
            messages: backlog.map(|backlog| backlog.waiting),
            in_hand: backlog.map(|backlog| backlog.in_hand),
            oldest_age_seconds: backlog.and_then(|backlog| backlog.age).map(|age| age.as_secs_f64()),
            trouble: queue.trouble.map(|error| error.to_string()),
        };
        match all.get_mut(place) {
            None => all.push(one),
            Some(before) => {
                let trouble = before.trouble.take().or_else(|| one.trouble.clone());
                let oldest = [before.oldest_age_seconds, one.oldest_age_seconds].into_iter().flatten().reduce(f64::max);
                if one.messages > before.messages {
                    *before = one;
                }
                (before.trouble, before.oldest_age_seconds) = (trouble, oldest);
            }
        }
    }
    all
}

/// What came over statsd, as a snapshot has it.
pub(super) fn statsd_of(counts: &Counts) -> snapshot::Statsd {
    snapshot::Statsd {
        datagrams: counts.datagrams,
        aggregated: counts.aggregated,
        ignored: counts.ignored,
        refused: counts.refused.iter().map(|(reason, count)| Counted { name: reason.name().to_owned(), count: *count }).collect(),
        dropped_by_kernel: counts.kernel,
        queued: counts.messages,
    }
}

impl Told {
    fn sample(&self) -> Sample {
        let tally = self.channel.tally();
        let backlog = self.channel.backlog();
        Sample {
            came: tally.came(),
            done: tally.published.saturating_add(tally.parked),
            requests: self.counters.requests(),
            publish: self.counters.publish.histogram(),
            oldest_age: backlog.and_then(|backlog| backlog.age),
            waiting: backlog.map(|backlog| backlog.waiting),
        }
    }

    fn publisher(&self, at: Timestamp, (messages_per_second, requests_per_second): (f64, f64)) -> snapshot::Publisher {
        let Self { settings, conditions, channel, counters, .. } = self;
        let tally = channel.tally();
        let channel_status = channel.channel_status();
        let backlog = channel.backlog();
        let (in_flight, most) = self.permits.in_flight();
        let hold = conditions.fault().map(|active| Hold {
            code: active.code.name().to_owned(),
            since: words::ago(at, active.lasted),
            lasted_seconds: active.lasted.as_secs_f64(),
            what: active.what,
            remedy: active.mend,
        });
        snapshot::Publisher {
            name: settings.name.clone(),
            kind: match &settings.publisher.kind {
                PublisherKind::Debug(_) => "debug",
                PublisherKind::Influxdb(_) => "influxdb",
                PublisherKind::Victoriametrics(_) => "victoriametrics",
            }
            .to_owned(),
            destination: self.destination.clone(),
            required: settings.consumer.required,
            proven: counters.is_proven(),
            waiting: backlog.map(|backlog| backlog.waiting),
            in_hand: backlog.map(|backlog| backlog.in_hand),
            max_backlog: channel_status.max_backlog,
            oldest_age_seconds: backlog.and_then(|backlog| backlog.age).map(|age| age.as_secs_f64()),
            points_written: counters.points_written(),
            points_refused: counters.points_refused(),
            retries: counters.retries(),
            batches: counters.batches(),
            requests: counters.requests(),
            requests_per_second,
            messages_per_second,
            linger_seconds: counters.linger().as_secs_f64(),
            batches_in_flight: in_flight,
            max_batches_in_flight: most,
            publish_seconds: counters.publish.histogram(),
            push_to_stored_seconds: counters.push_to_stored.histogram(),
            last_success: counters.last_success(),
            last_error: counters.last_error(),
            hold,
            dead_letters: self.dead_letters.told(channel_status.dead, channel_status.max_dead, &tally),
            tally: (&tally).into(),
            canary: self.canary.as_ref().map(|rounds| rounds.snapshot()),
        }
    }
}

/// What is wrong, with one of several publishers or else with the agent.
fn troubles(conditions: &Conditions, publisher: Option<&String>, at: Timestamp) -> impl Iterator<Item = Trouble> {
    conditions.active().into_iter().map(move |active| {
        let ActiveCondition { who, code, what, mend, now, lasted, attempts } = active;
        Trouble {
            code: code.name().to_owned(),
            what,
            now,
            remedy: mend,
            since: words::ago(at, lasted),
            lasted_seconds: lasted.as_secs_f64(),
            attempts,
            warning: who.is_warning(),
            publisher: publisher.cloned(),
        }
    })
}

fn refused(refused: Refused) -> snapshot::RefusedToClients {
    let Refused { reason, code, what, why, times, unit, lasts } = refused;
    snapshot::RefusedToClients {
        reason: reason.to_owned(),
        code: code.name().to_owned(),
        what,
        why,
        count: times,
        unit: unit.to_owned(),
        lasting_seconds: lasts.map(|lasts| lasts.as_secs_f64()),
    }
}

/// The process's resident memory and its CPU time, as far as the system tells.
fn process_use() -> (Option<u64>, Option<f64>) {
    let memory = fs::read_to_string("/proc/self/statm").ok();
    let pages = memory.as_deref().and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    let stat = fs::read_to_string("/proc/self/stat").ok();
    // Behind the name, which may have anything in it.
    let ticks = stat.as_deref().and_then(|stat| {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    });
    let bytes = pages.map(|pages| pages.saturating_mul(rustix::param::page_size() as u64));
    (bytes, ticks.map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64))
}
