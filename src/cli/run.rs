//! `kadabra run`: the agent.

use std::{
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{complain, load};
use crate::{
    agent::{self, Parts, code},
    channel, descriptors,
    observe::{log, systemd::Notifier},
    publisher,
};

pub(super) fn run(file: Option<&Path>) -> u8 {
    let loaded = match load(file, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let settings = loaded.settings;
    // Without them even the rest of the start fails, and with sentences about something else.
    if let Err(sentence) = descriptors::enough() {
        complain(sentence);
        return code::CONFIGURATION;
    }
    let output = match log::Output::start(settings.log) {
        Ok(output) => output,
        Err(error) => {
            complain(format_args!("cannot start the thread that writes the log: {error}"));
            return code::FAILED;
        }
    };
    let _flushed = output.flushed_at_end();
    let logger = output.logger();
    log::install_panic_hook(&output);
    log::capture_libraries(&logger, settings.log.level);
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();

    let (stop, stopped) = mpsc::unbounded_channel();
    if let Err(error) = on_signal(stop, &output) {
        complain(format_args!("cannot handle SIGINT and SIGTERM: {error}"));
        return code::FAILED;
    }
    let channel = match channel::open(&settings, &logger) {
        Ok(channel) => channel,
        Err(error) => {
            complain(error);
            return code::CONFIGURATION;
        }
    };
    slog::info!(logger, "starting"; "version" => env!("CARGO_PKG_VERSION"), "agent" => &settings.agent.name,
        "config" => loaded.file.as_ref().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string()));
    if let Some(variable) = publisher::ignored_proxy(&settings) {
        slog::warn!(logger, "{} is set, and the agent makes no use of it: it connects to publisher.influxdb.url without a proxy", variable;
            "mend" => "let this machine reach it directly, and put its host into no_proxy");
    }
    let parts = Parts {
        channel,
        publishers: publisher::factory(&settings, &output.kept()),
        notifier: Notifier::from_environment(&logger),
        log: logger,
        flush_log: Box::new(move || output.flush()),
        stop: stopped,
    };
    agent::run(&settings, parts).code()
}

/// The first signal asks the agent to stop; the second one ends the process at once. What it holds then is leased
/// in the channel, and waits there until the leases expire.
fn on_signal(stop: mpsc::UnboundedSender<()>, output: &log::Output) -> Result<(), ctrlc::Error> {
    let (log, output) = (output.logger(), output.clone());
    let told = Arc::new(AtomicBool::new(false));
    ctrlc::set_handler(move || {
        if told.swap(true, Ordering::SeqCst) {
            slog::warn!(log, "ended at once by a second signal; what was in flight waits in the channel until its leases expire";
                "exit_code" => code::SECOND_SIGNAL);
            output.flush();
            process::exit(code::SECOND_SIGNAL.into());
        }
        let _ = stop.send(());
    })
}
