//! What the agent says of itself while it runs: to systemd, in one sentence.

use std::{sync::Arc, time::Duration};

use crate::{
    channel::{Channel, Refused},
    observe::{log::Output, systemd::Notifier},
    status::conditions::Conditions,
    supervision::Observer,
};

/// Speaks for the agent; feeds the watchdog while every child makes progress.
pub(super) struct Status {
    notifier: Arc<Notifier>,
    pipelines: Vec<Told>,
    output: Option<Output>,
    stopping: bool,
}

/// One publisher, of which is told.
pub(super) struct Told {
    /// Its name where there are several.
    pub(super) name: Option<String>,
    pub(super) conditions: Arc<Conditions>,
    pub(super) channel: Arc<dyn Channel>,
    pub(super) destination: String,
}

impl Status {
    pub(super) fn new(notifier: Arc<Notifier>, pipelines: Vec<Told>, output: Option<Output>) -> Self {
        Self { notifier, pipelines, output, stopping: false }
    }

    fn sentence(&self) -> String {
        // What the log cannot say is said first.
        let log = self.output.as_ref().and_then(Output::refusal).map(|refusal| refusal.what);
        let told = |pipeline: &Told| {
            let name = pipeline.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            name + &pipeline.sentence(self.stopping, log.as_ref())
        };
        self.pipelines.iter().map(told).collect::<Vec<_>>().join("; ")
    }
}

impl Told {
    fn sentence(&self, stopping: bool, log: Option<&String>) -> String {
        let tally = self.channel.tally();
        let accepted = tally.accepted.map(|accepted| format!("{} accepted, ", accepted.all)).unwrap_or_default();
        let waiting = self.channel.backlog().map(|backlog| format!(", {backlog}")).unwrap_or_default();
        let waiting = waiting + &self.channel.full_in().map(|full_in| format!(", {full_in}")).unwrap_or_default();
        let counts =
            format!("{accepted}{} published, {} parked, {} in flight{waiting}", tally.published, tally.parked, tally.in_flight);
        if stopping {
            return format!("stopping; {counts}");
        }
        let (warnings, faults): (Vec<_>, Vec<_>) = self.conditions.active().into_iter().partition(|it| it.who.is_warning());
        let warning = log.or_else(|| warnings.first().map(|warning| &warning.what));
        let warning = warning.map(|what| format!("; warning: {what}")).unwrap_or_default() + &self.refusals();
        match faults.first() {
            Some(condition) => format!("waiting: {}; {counts}{warning}", condition.what),
            None => format!("publishing to {}; {counts}{warning}", self.destination),
        }
    }

    /// What is refused to clients, as long as it lasts.
    fn refusals(&self) -> String {
        let refused = self.channel.intake().map(|intake| intake.refused()).unwrap_or_default();
        let lasting = refused.into_iter().filter(|refused| refused.lasts.is_some());
        let said = |Refused { reason, what, times, unit, .. }| format!("; {what} ({reason}, {unit} since the start: {times})");
        lasting.map(said).collect()
    }
}

impl Observer for Status {
    /// How often the watchdog wants to be fed, if there is one.
    fn interval(&self) -> Option<Duration> {
        self.notifier.watchdog_interval()
    }

    fn looked(&mut self, healthy: bool) {
        if healthy {
            self.notifier.watchdog();
        }
        self.notifier.status(&self.sentence());
    }

    fn stopping(&mut self) {
        self.stopping = true;
        self.notifier.stopping();
    }
}
