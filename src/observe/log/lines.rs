//! One record, one line, one write: the drain under every logger. What it is asked to write it writes whole or not at all.

use std::{
    cell::Cell,
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use jiff::Timestamp;
use slog::{Drain, FnValue, Level, OwnedKVList, PushFnValue, Record, o};
use slog_json::Json;
use slog_term::FullFormat;

use super::{buffer::Gap, libraries, terminal::Line};
use crate::duration::for_people;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON object.
    Json,
    /// For people.
    Terminal {
        /// Whether with ANSI colours.
        colour: bool,
    },
}

/// How lines look and what is before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) form: Form,
    /// Whether each line begins with its priority as journald reads it (sd-daemon(3)), which takes it off.
    pub(super) priorities: bool,
}

impl From<Form> for Style {
    fn from(form: Form) -> Self {
        Self { form, priorities: false }
    }
}

/// The least important that is written, which may change. A clone changes with it.
#[derive(Clone)]
pub(super) struct Threshold(Arc<AtomicUsize>);

impl Threshold {
    pub(super) fn set(&self, level: Level) {
        self.0.store(level.as_usize(), Relaxed);
    }

    fn get(&self) -> Level {
        Level::from_usize(self.0.load(Relaxed)).unwrap_or(Level::Info)
    }
}

impl From<Level> for Threshold {
    fn from(level: Level) -> Self {
        Self(Arc::new(AtomicUsize::new(level.as_usize())))
    }
}

pub(super) struct Lines {
    level: Threshold,
    style: Style,
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
    pub(super) fn new(level: Threshold, style: Style, sink: impl Write + Send + 'static) -> Self {
        Self { level, style, sink: Mutex::new(Box::new(sink)) }
    }
}

/// The line that lines are missing here, or were late.
pub(super) fn gap(style: Style, gap: &Gap) -> Vec<u8> {
    let none = o!().into();
    let made = match (gap.lines, &gap.refused) {
        (lines, None) => {
            let message = "lines of the log are missing here, since nobody read it";
            line(style, &slog::record!(Level::Warning, "", &format_args!("{message}"), slog::b!("lines" => lines)), &none)
        }
        (lines, Some((refusal, lasted))) => {
            let message = match lines {
                0 => "the log can be written again, and no line is missing",
                _ => "lines of the log are missing here, since it could not be written",
            };
            let (why, lasted) = (refusal.what.as_str(), for_people(*lasted));
            let values = slog::b!("why" => why, "for" => lasted, "lines" => lines);
            line(style, &slog::record!(Level::Warning, "", &format_args!("{message}"), values), &none)
        }
    };
    made.unwrap_or_default()
}

fn line(style: Style, record: &Record<'_>, values: &OwnedKVList) -> slog::Result<Vec<u8>> {
    let line = formatted(style.form, record, values)?;
    Ok(if style.priorities { with_priority(&line, record.level()) } else { line })
}

/// With the priority of syslog(3) before each line of it, since each is an entry of its own to journald.
fn with_priority(lines: &[u8], level: Level) -> Vec<u8> {
    let priority: &[u8] = match level {
        Level::Critical => b"<2>",
        Level::Error => b"<3>",
        Level::Warning => b"<4>",
        Level::Info => b"<6>",
        Level::Debug | Level::Trace => b"<7>",
    };
    lines.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [priority, line].concat()).collect()
}

fn formatted(form: Form, record: &Record<'_>, values: &OwnedKVList) -> slog::Result<Vec<u8>> {
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
            && libraries::may_speak(record, self.level.get())
            && let Ok(line) = line(self.style, record, values)
        {
            // The lock is taken only now, so that a value whose formatting panics or is slow holds up nobody.
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            // There is nowhere left to say that the log cannot be written.
            drop(sink.write_all(&line).and_then(|()| sink.flush()));
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.level.get())
    }
}
