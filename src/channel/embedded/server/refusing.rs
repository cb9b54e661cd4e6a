//! Why pushes are refused, for whoever asks and for the log: at once, since each refused push may be a message lost.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use slog::{Logger, warn};
use tokio::time::Instant;

use crate::{channel::embedded::backend::PushError, quote::quote, sparingly::Sparingly};

const FULL: &str = "the queue's file has no room for it within channel.embedded.max_bytes; see why messages are not published if many \
                    wait, delete dead letters, or raise channel.embedded.max_bytes";

/// Whether the last push was refused, and why.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    now: AtomicBool,
    why: Mutex<String>,
    saying: Mutex<Sparingly>,
}

impl Refusing {
    /// A push was taken.
    pub(super) fn taken(&self) {
        if self.now.load(Ordering::Relaxed) {
            self.now.store(false, Ordering::Relaxed);
        }
    }

    /// A push was refused.
    pub(super) fn refused(&self, error: &PushError, log: &Logger) {
        let why = match error {
            PushError::Full => FULL.to_owned(),
            PushError::Failed(sentence) => quote(sentence),
        };
        // What the file's disk or SQLite will not do is a condition of the channel, and said as such.
        if *error == PushError::Full {
            let due = self.saying.lock().unwrap_or_else(PoisonError::into_inner).note(1, Instant::now());
            if let Some(pushes) = due {
                warn!(log, "what clients push is refused"; "why" => &why, "pushes" => pushes);
            }
        }
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.now.store(true, Ordering::Relaxed);
    }

    /// Why the last push was refused, if it was.
    pub(super) fn why(&self) -> Option<String> {
        self.now.load(Ordering::Relaxed).then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
