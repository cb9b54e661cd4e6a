//! One record, one line, one write: the drain under every logger. What it is asked to write it writes whole or not at all.

use std::{
    cell::Cell,
    io::Write,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use slog::{Drain, FnValue, Level, OwnedKVList, PushFnValue, Record, o};
use slog_json::Json;
use slog_term::FullFormat;

use super::{libraries, terminal::Line};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object.
    Json,
    /// For people.
    Terminal {
        /// Whether with ANSI colours.
        colour: bool,
    },
}

pub(super) struct Lines {
    level: Level,
    form: Form,
    sink: Mutex<Box<dyn Write + Send>>,
}

thread_local! {
    static FORMATTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in the middle of a line, where it cannot begin another.
pub(super) fn formatting() -> bool {
    FORMATTING.get()
}

struct Formatting;

impl Formatting {
    fn begin() -> Self {
        FORMATTING.set(true);
        Self
    }
}

impl Drop for Formatting {
    fn drop(&mut self) {
        FORMATTING.set(false);
    }
}

impl Lines {
    pub(super) fn new(level: Level, form: Form, sink: impl Write + Send + 'static) -> Self {
        Self { level, form, sink: Mutex::new(Box::new(sink)) }
    }
}

/// The line that so many lines are missing here.
pub(super) fn gap(form: Form, lines: u64) -> Vec<u8> {
    let message = "lines of the log are missing here, since nobody read it";
    let none = o!().into();
    line(form, &slog::record!(Level::Warning, "", &format_args!("{message}"), slog::b!("lines" => lines)), &none)
        .unwrap_or_default()
}

fn line(form: Form, record: &Record<'_>, values: &OwnedKVList) -> slog::Result<Vec<u8>> {
    let _formatting = Formatting::begin();
    let values: OwnedKVList = match libraries::module(record) {
        Some(module) => o!("module" => module.to_owned(), values.clone()).into(),
        None => values.clone(),
    };
    match form {
        Form::Json => {
            let mut line = Vec::with_capacity(256);
            // One at a time, because slog writes the values of one o! last to first.
            Json::new(&mut line)
                .add_key_value(o!("ts" => FnValue(|_: &Record<'_>| format!("{:.6}", Timestamp::now()))))
                .add_key_value(o!("level" => FnValue(|record: &Record<'_>| record.level().as_str())))
                .add_key_value(o!("msg" => PushFnValue(|record: &Record<'_>, s| s.emit(record.msg()))))
                .build()
                .log(record, &values)?;
            Ok(line)
        }
        Form::Terminal { colour } => {
            let line = Line::new(colour);
            FullFormat::new(line.clone())
                .use_custom_timestamp(|out: &mut dyn Write| write!(out, "{:.3}", Timestamp::now()))
                .use_original_order()
                .build()
                .log(record, &values)?;
            Ok(line.into_bytes())
        }
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if self.is_enabled(record.level())
            && libraries::may_speak(record, self.level)
            && let Ok(line) = line(self.form, record, values)
        {
            // The lock is taken only now, so that a value whose formatting panics or is slow holds up nobody.
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            // There is nowhere left to say that the log cannot be written.
            drop(sink.write_all(&line).and_then(|()| sink.flush()));
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.level)
    }
}
