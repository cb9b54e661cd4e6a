//! `[log]`

use crate::config::{schema::Fallback::Is, value_type::ValueType};

const LEVELS: ValueType =
    ValueType::Choice { words: &["trace", "debug", "info", "warning", "error"], aliases: &[("warn", "warning")] };

section! {
    /// What is written to standard error.
    "log" pub struct Log derives Copy, Eq {
        /// The least important that is logged. What publisher.type = "debug" shows is logged at any level.
        level: slog::Level = Is("info"), LEVELS, on reload AtOnce;
        /// terminal writes lines for people, json one object a line for a log collector; auto writes for people on a
        /// terminal and JSON otherwise.
        format: LogFormat = Is("auto"), LogFormat::WORDS;
    }
    on reload Restart;
}

choice! {
    /// `log.format`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LogFormat {
        /// The terminal's when standard error is a terminal, JSON otherwise.
        Auto = "auto",
        /// A line for people, in colour where there is a terminal.
        Terminal = "terminal",
        /// A JSON object a line.
        Json = "json",
    }
}
