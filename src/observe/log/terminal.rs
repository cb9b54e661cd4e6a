//! A line for people: slog-term decides what comes after what, this decides how it looks. slog-term passes on whatever is
//! in a value, so here is where a hostile value loses its newlines and escape sequences.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use slog::{Level, OwnedKVList, Record};
use slog_term::{Decorator, RecordDecorator};

use super::{INDENTED_LINES, TEXT_BLOCKS};
use crate::quote::is_treacherous;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";

/// A line that is being made. In memory, since slog-term panics when a write fails between two values.
#[derive(Clone)]
pub(super) struct Line {
    colour: bool,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Line {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, bytes: Arc::default() }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Decorator for Line {
    fn with_record<F>(&self, record: &Record<'_>, _: &OwnedKVList, format: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        let mut parts = Parts {
            bytes: Vec::with_capacity(256),
            level: record.level(),
            colour: self.colour,
            styled: false,
            foreign: false,
            blocks: record.tag() == TEXT_BLOCKS,
            indented: record.tag() == INDENTED_LINES,
        };
        format(&mut parts)?;
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = parts.bytes;
        Ok(())
    }
}

struct Parts {
    bytes: Vec<u8>,
    level: Level,
    colour: bool,
    /// Whether an ANSI style is on.
    styled: bool,
    /// Whether what is written now may come from outside.
    foreign: bool,
    /// Whether the message's newlines are its own.
    blocks: bool,
    /// Whether there may be lines, if they are indented.
    indented: bool,
}

impl Parts {
    fn style(&mut self, style: &str) {
        if self.colour {
            self.bytes.extend_from_slice(style.as_bytes());
            self.styled = true;
        }
    }

    fn plain(&mut self) {
        if mem::take(&mut self.styled) {
            self.bytes.extend_from_slice(RESET.as_bytes());
        }
    }

    fn start_foreign(&mut self) -> io::Result<()> {
        self.reset()?;
        self.foreign = true;
        Ok(())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.foreign {
            self.bytes.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        // Formatting writes whole strings, so that nothing is lost here.
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '\n' if self.blocks => self.bytes.push(b'\n'),
                '\n' if self.indented => self.bytes.extend_from_slice(b"\n    "),
                c if is_treacherous(c) => write!(self.bytes, "{}", c.escape_default())?,
                c => write!(self.bytes, "{c}")?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RecordDecorator for Parts {
    fn reset(&mut self) -> io::Result<()> {
        self.plain();
        self.foreign = false;
        Ok(())
    }

    fn start_level(&mut self) -> io::Result<()> {
        self.reset()?;
        self.style(match self.level {
            Level::Critical | Level::Error => "\x1b[31m",
            Level::Warning => "\x1b[33m",
            Level::Info => "\x1b[32m",
            Level::Debug => "\x1b[36m",
            Level::Trace => "\x1b[34m",
        });
        Ok(())
    }

    fn start_msg(&mut self) -> io::Result<()> {
        self.start_foreign()?;
        self.style(BOLD);
        Ok(())
    }

    fn start_key(&mut self) -> io::Result<()> {
        self.blocks = false;
        self.start_foreign()?;
        self.style(BOLD);
        Ok(())
    }

    fn start_value(&mut self) -> io::Result<()> {
        self.blocks = false;
        self.start_foreign()
    }
}
