//! `kadabra run`: the agent.

use std::{path::Path, sync::Arc};

use slog::{Level, error, info};
use tokio::sync::mpsc;

use super::{allocator, signals};
use crate::{
    agent::{self, Parts, Reloading, code},
    channel::{self, PassedSockets},
    config::{self, Loaded, Log, LogFormat},
    descriptors,
    limits::THREADS,
    observe::{log, systemd::Notifier},
    publisher,
    statsd::Door,
};

pub(super) fn run(file: Option<&Path>) -> u8 {
    allocator::fix_thresholds();
    let loaded = match config::load(file, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let log = log::at_once(Log { level: Level::Info, format: LogFormat::Auto });
            for problem in errors.problems() {
                error!(log, "{}", problem; "exit_code" => code::CONFIGURATION);
            }
            return code::CONFIGURATION;
        }
    };
    // Without them even the rest of the start fails, and with sentences about something else.
    if let Err(sentence) = descriptors::enough() {
        error!(log::at_once(loaded.settings.log), "{}", sentence; "exit_code" => code::CONFIGURATION);
        return code::CONFIGURATION;
    }
    // While this is the only thread.
    let passed = match PassedSockets::from_environment() {
        Ok(passed) => passed,
        Err(error) => {
            error!(log::at_once(loaded.settings.log), "{}", error; "exit_code" => code::CONFIGURATION);
            return code::CONFIGURATION;
        }
    };
    let output = match log::Output::start(loaded.settings.log) {
        Ok(output) => output,
        Err(error) => {
            error!(log::at_once(loaded.settings.log), "cannot start the thread that writes the log: {}", error;
                "mend" => THREADS, "exit_code" => code::FAILED);
            return code::FAILED;
        }
    };
    // What the environment says is what it said when the process started.
    let (file, environment): (_, Vec<_>) = (file.map(Path::to_owned), std::env::vars_os().collect());
    let load = move || config::load(file.as_deref(), environment.iter().cloned());
    let code = live(&loaded, load, &passed, &output);
    // Where it could be said why is what cannot be written.
    if output.flush().is_err() && code == 0 { code::OUTPUT } else { code }
}

fn live(
    loaded: &Loaded,
    load: impl Fn() -> Result<Loaded, config::ConfigErrors> + Send + Sync + 'static,
    passed: &PassedSockets,
    output: &log::Output,
) -> u8 {
    let settings = &loaded.settings;
    let logger = output.logger();
    log::install_panic_hook(output);
    log::capture_libraries(&logger, settings.log.level);
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();

    let (orders, ordered) = mpsc::unbounded_channel();
    if let Err(error) = signals::hear(orders, output) {
        error!(logger, "cannot handle signals: {}", error; "mend" => THREADS, "exit_code" => code::FAILED);
        return code::FAILED;
    }
    let channels = match channel::open(settings, passed, &logger) {
        Ok(channels) => channels,
        Err(error) => {
            error!(logger, "{}", error; "exit_code" => code::CONFIGURATION);
            return code::CONFIGURATION;
        }
    };
    info!(logger, "starting"; "version" => env!("CARGO_PKG_VERSION"), "agent" => &settings.agent.name,
        "config" => loaded.sources());
    let kept = output.clone();
    let publishers = move |of: &config::Publisher, written| {
        let kept = kept.clone();
        publisher::configured(of, written, move || kept.kept())
    };
    let mut pipelines = Vec::new();
    for (channel, of) in channels.into_iter().zip(settings.pipelines()) {
        pipelines.push(agent::Pipeline { channel, publishers: publishers(&of.publisher, settings.log) });
    }
    let parts = Parts {
        pipelines,
        statsd: Door::new(settings, passed, &logger).map(Arc::new),
        notifier: Notifier::from_environment(&logger),
        log: logger,
        output: Some(output.clone()),
        configuration: loaded.effective().to_string(),
        reloading: Some(Reloading { loaded: loaded.clone(), load: Arc::new(load), publishers: Box::new(publishers) }),
        orders: ordered,
    };
    agent::run(settings, parts).code()
}
