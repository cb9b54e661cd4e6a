//! What libraries say through `log` and `tracing`, in the same log, with their module.

use slog::{Level, Logger, Record};

use super::{INDENTED_LINES, TEXT_BLOCKS};

/// From now on the lines of libraries go to this logger. Below WARN they are shown only when the log's level is debug or
/// trace: an operator who asks for info wants to hear the agent.
pub fn capture_libraries(logger: &Logger, level: Level) {
    slog_scope::set_global_logger(logger.clone()).cancel_reset();
    // It fails only when it was done before, and then the bridge is there already.
    drop(slog_stdlog::init());
    set_level(level);
}

/// What libraries need not even hand over is below this.
pub(super) fn set_level(level: Level) {
    log::set_max_level(match threshold(level) {
        Level::Critical | Level::Error => log::LevelFilter::Error,
        Level::Warning => log::LevelFilter::Warn,
        Level::Info => log::LevelFilter::Info,
        Level::Debug => log::LevelFilter::Debug,
        Level::Trace => log::LevelFilter::Trace,
    });
}

/// The library's module that a record comes from; none for the agent's own. The bridge puts it into the record's tag,
/// which the agent itself uses only for [`TEXT_BLOCKS`] and [`INDENTED_LINES`].
pub(super) fn module<'a>(record: &'a Record<'_>) -> Option<&'a str> {
    Some(record.tag()).filter(|tag| !["", TEXT_BLOCKS, INDENTED_LINES].contains(tag))
}

/// Says as errors what whoever connects to the status page does wrong, as often as they like.
const OF_CLIENTS: &str = "actix_http::h1::";

/// Whether a record is the agent's own, or from a library and important enough for a log of this level.
pub(super) fn may_speak(record: &Record<'_>, level: Level) -> bool {
    module(record).is_none_or(|module| {
        let said = if module.starts_with(OF_CLIENTS) { Level::Debug } else { record.level() };
        said.is_at_least(threshold(level))
    })
}

fn threshold(level: Level) -> Level {
    if level == Level::Info { Level::Warning } else { level }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            lines::Form,
            tests::{Paper, written},
        },
        *,
    };

    fn library_lines(level: Level, form: Form) -> Paper {
        written(level, form, |logger| {
            capture_libraries(logger, level);
            log::debug!(target: "mio::poll", "debug");
            log::info!(target: "rustls::client", "info");
            tracing::warn!(target: "actix_http::h1", "warn");
            tracing::error!(target: "redis", "error");
            tracing::error!(target: "actix_http::h1::dispatcher", "no request");
            capture_libraries(&Logger::root(slog::Discard, slog::o!()), Level::Error);
        })
    }

    /// One test, since the bridge is the process's.
    #[test]
    fn libraries_speak_in_the_same_log_and_only_when_it_matters() {
        let said = |level| -> Vec<(String, String)> {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            library_lines(level, Form::Json).json().iter().map(|line| (text(&line["module"]), text(&line["msg"]))).collect()
        };
        let pair = |module: &str, message: &str| (module.to_owned(), message.to_owned());
        assert_eq!(said(Level::Info), [pair("actix_http::h1", "warn"), pair("redis", "error")]);
        assert_eq!(said(Level::Error), [pair("redis", "error")]);
        assert_eq!(said(Level::Debug).len(), 5);

        let text = library_lines(Level::Info, Form::Terminal { colour: false }).text();
        assert!(text.contains("ERRO error, module: redis\n"), "{text:?}");
    }
}
