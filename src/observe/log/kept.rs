//! The log as a destination of what must not be dropped: whoever logs to it can wait until it is written.

use slog::Logger;

use super::queue::Queue;

/// A log that drops no line. Whoever logs to it waits for [`KeptLog::written`] before the next one, or memory grows.
#[derive(Clone)]
pub struct KeptLog {
    log: Logger,
    queue: Option<Queue>,
}

impl KeptLog {
    pub(super) fn new(log: Logger, queue: Queue) -> Self {
        Self { log, queue: Some(queue) }
    }

    /// A log whose lines are written by the time they are logged.
    #[must_use]
    pub fn at_once(log: Logger) -> Self {
        Self { log, queue: None }
    }

    /// Where to log.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// How much was logged so far, to be waited for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.queue.as_ref().map_or(0, Queue::position)
    }

    /// Completes when all is written that was logged up to a [`KeptLog::position`].
    pub async fn written(&self, position: u64) {
        if let Some(queue) = &self.queue {
            queue.reached(position).await;
        }
    }
}
