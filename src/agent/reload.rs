//! The configuration is reloaded while the agent works: judged as a whole, then taken as far as it can be without a restart. The pipelines
//! that it concerns are drained and built anew, one after the other, while the listener and the queue go on.

use std::{panic::AssertUnwindSafe, sync::Arc};

use actix::prelude::*;
use futures_util::FutureExt as _;
use slog::{Logger, info, warn};
use tokio::sync::{Notify, oneshot};

use super::{add_canary, orders, pipeline::Wired, say_publishing, snapshots::Maker};
use crate::{
    codes::Code,
    config::{self, ConfigErrors, Loaded},
    failpoint::fail_point,
    observe::log::Output,
    panics,
    publisher::Publishers,
    status::{conditions::Condition, tap::Tap, words},
    supervision::{Children, Closing, Rebuild},
};

/// What an agent needs that can reload its configuration.
pub struct Reloading {
    /// What holds.
    pub loaded: Loaded,
    /// Loads it again.
    pub load: Load,
    /// Makes publishers of other settings.
    pub publishers: MakePublishers,
}

type Load = Arc<dyn Fn() -> Result<Loaded, ConfigErrors> + Send + Sync>;
type MakePublishers = Box<dyn Fn(&config::Publisher, config::Log) -> Publishers>;

/// See the module.
pub(super) struct Reloader {
    pub(super) reloading: Option<Reloading>,
    pub(super) pipelines: Vec<Wired>,
    pub(super) maker: Arc<Maker>,
    pub(super) output: Option<Output>,
    pub(super) tap: Tap,
    pub(super) closing: Closing,
    pub(super) rebuild: Recipient<Rebuild>,
    pub(super) log: Logger,
}

impl Reloader {
    /// Reloads whenever that is asked for: one at a time, and once for all that was asked for meanwhile.
    pub(super) async fn run(mut self, asked: Arc<Notify>) {
        loop {
            asked.notified().await;
            let notifier = Arc::clone(&self.maker.notifier);
            notifier.reloading("reloading the configuration");
            orders::read_secrets(&self.log);
            self.closing.try_again();
            // A fault of it takes no later one with it.
            let said = AssertUnwindSafe(self.reload()).catch_unwind().await;
            let said =
                said.unwrap_or_else(|panic| self.refuse(&[format!("a fault of the agent: {}", panics::words(panic.as_ref()))]));
            if self.closing.has_begun() {
                return;
            }
            self.maker.was_reloaded(&said);
            notifier.ready(&format!("{said}; {}", words::line(&self.maker.make_brief())));
        }
    }

    /// Reloads, and says what has become of it.
    async fn reload(&mut self) -> String {
        fail_point!("agent.reload");
        let Some(Reloading { loaded, load, .. }) = &self.reloading else {
            return "passwords, tokens and certificates are read again".to_owned();
        };
        let load = Arc::clone(load);
        let newer = match actix_rt::task::spawn_blocking(move || load()).await {
            Ok(Ok(newer)) => newer,
            Ok(Err(errors)) => return self.refuse(&all_of(&errors, "")),
            Err(error) => return self.refuse(&[format!("a fault of the agent: {error}")]),
        };
        match loaded.take(&newer) {
            Ok((loaded, changes)) => self.take(loaded, &changes).await,
            Err(errors) => self.refuse(&all_of(&errors, "right alone with a restart: ")),
        }
    }

    /// Nothing changes. Each mistake has a line of its own; the status has the first.
    fn refuse(&self, mistakes: &[String]) -> String {
        let Some((first, others)) = mistakes.split_first() else { return String::new() };
        let code = Code::NotReloaded;
        for other in others {
            warn!(self.log, "wrong, too: {}", other; "code" => code.name());
        }
        let more = if others.is_empty() { String::new() } else { format!("; and {} more, which the log has", others.len()) };
        let what = format!("the configuration was not reloaded, and the one before holds: {first}{more}");
        self.warn(code, &what);
        what
    }

    /// What a warning is about lasts until the next reload, and is said at each, however soon it comes.
    fn warn(&self, code: Code, what: &str) {
        let conditions = &self.maker.page;
        conditions.forget(Condition::Configuration);
        conditions.begin_with(Condition::Configuration, code, what, Some(code.remedy()));
    }

    async fn take(&mut self, loaded: Loaded, changes: &config::Changes) -> String {
        if let Some(output) = &self.output {
            output.set_level(loaded.settings.log.level);
        }
        let before = self.reloading.as_ref().map(|reloading| reloading.loaded.settings.guards.clone());
        let guards_differ = before.as_ref() != Some(&loaded.settings.guards);
        let mut canary_is_concerned = false;
        for (place, settings) in loaded.settings.pipelines().into_iter().enumerate() {
            if !changes.rebuilt.contains(&settings.name) {
                continue;
            }
            if !self.rebuild(place, settings, &loaded.settings, guards_differ).await {
                return "the agent stops".to_owned();
            }
            canary_is_concerned = true;
        }
        if canary_is_concerned && loaded.settings.status.canary_interval.is_some() {
            let mut children = Children::default();
            add_canary(&loaded.settings, &self.pipelines, &self.closing, &mut children);
            // It does not pause when it drains.
            self.ask("canary".to_owned(), Closing::default(), children).await;
        }
        self.maker.is_configured(loaded.effective().to_string());
        if let Some(reloading) = &mut self.reloading {
            reloading.loaded = loaded;
        }
        let list = |changes: &[config::Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let taken = if changes.taken.is_empty() { "nothing has changed".to_owned() } else { list(&changes.taken) };
        info!(self.log, "reloaded: {}", taken);
        if changes.restart.is_empty() {
            self.maker.page.end(Condition::Configuration);
            return format!("reloaded: {taken}");
        }
        let what = format!("the configuration was reloaded, and needs a restart for: {}", list(&changes.restart));
        self.warn(Code::RestartNeeded, &what);
        format!("reloaded: {taken}; a restart is needed for: {}", list(&changes.restart))
    }

    /// Drains a pipeline, and begins it with other settings. Returns whether it has begun.
    async fn rebuild(
        &mut self,
        place: usize,
        settings: config::Pipeline,
        of_all: &config::Settings,
        guards_differ: bool,
    ) -> bool {
        let (Some(before), Some(reloading)) = (self.pipelines.get(place), &self.reloading) else { return true };
        let publishers = (reloading.publishers)(&settings.publisher, of_all.log);
        let pipeline = before.with(settings, publishers, of_all, guards_differ, &self.closing);
        let (closing, several) = (before.closing().clone(), self.pipelines.len() > 1);
        let mut children = Children::default();
        pipeline.add_to(of_all, several, &self.tap, &mut children);
        if !self.ask(pipeline.group(), closing, children).await {
            return false;
        }
        self.maker.is_rebuilt(place, pipeline.told());
        say_publishing(&pipeline, &pipeline.publishers.make().destination());
        if let Some(before) = self.pipelines.get_mut(place) {
            *before = pipeline;
        }
        true
    }

    async fn ask(&self, group: String, closing: Closing, with: Children) -> bool {
        let (rebuilt, answer) = oneshot::channel();
        self.rebuild.do_send(Rebuild { group, closing, with, rebuilt });
        answer.await.is_ok()
    }
}

/// Everything that is wrong, with this before each of it.
fn all_of(errors: &ConfigErrors, before: &str) -> Vec<String> {
    errors.problems().map(|problem| format!("{before}{problem}")).collect()
}
