//! The log as a destination of what must not be dropped: whoever logs to it can wait until it is written.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use slog::Logger;

use super::{
    buffer::{Buffer, Withdrawn},
    refusal::Refusal,
    standard_error,
};

/// A log that drops no line. What is logged to it is collected until [`KeptLog::submit`], and then written together or not at
/// all, as far as where it is written to allows that.
pub struct KeptLog {
    log: Logger,
    lines: Collected,
    buffer: Option<Buffer>,
}

/// Lines that are not submitted yet.
#[derive(Clone, Default)]
pub(super) struct Collected(Arc<Mutex<Vec<u8>>>);

/// Lines that were submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted(u64);

impl Collected {
    /// What was logged so far.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl KeptLog {
    pub(super) fn new(log: impl FnOnce(Collected) -> Logger, buffer: Buffer) -> Self {
        let lines = Collected::default();
        Self { log: log(lines.clone()), lines, buffer: Some(buffer) }
    }

    /// A log whose lines are written by the time they are logged.
    #[must_use]
    pub fn at_once(log: Logger) -> Self {
        Self { log, lines: Collected::default(), buffer: None }
    }

    /// Where to log.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// Why nothing should be logged here, where it would be nowhere.
    #[must_use]
    pub fn missing(&self) -> Option<Refusal> {
        let buffer = self.buffer.as_ref().filter(|_| standard_error::is_missing())?;
        buffer.withhold(Refusal::missing());
        Some(Refusal::missing())
    }

    /// Has what was logged since written.
    pub fn submit(&self) -> Submitted {
        let lines = mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner));
        Submitted(self.buffer.as_ref().map_or(0, |buffer| buffer.keep(lines)))
    }

    /// Completes when these lines are written.
    ///
    /// # Errors
    /// Why the log cannot be written, as soon as it has refused a line.
    pub async fn written(&self, lines: Submitted) -> Result<(), Refusal> {
        match &self.buffer {
            Some(buffer) => buffer.written(lines.0).await,
            None => Ok(()),
        }
    }

    /// Takes lines back that are not written yet.
    pub fn withdraw(&self, lines: Submitted) -> Withdrawn {
        self.buffer.as_ref().map_or(Withdrawn::Written, |buffer| buffer.withdraw(lines.0))
    }

    /// Why the log cannot be written, while there is a line that it has refused.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.buffer.as_ref().and_then(Buffer::refusal)
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
