//! Notices that the thread hangs on which the supervisor lives, and with it every child there. The supervisor watches every other
//! thread, so this one is watched from a thread of its own.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use slog::{Logger, warn};

use crate::limits::THREADS;

/// How often the beats are counted: this often in the time that none may come, within these bounds.
const TICKS: u32 = 10;
const SHORTEST_TICK: Duration = Duration::from_secs(1);
const LONGEST_TICK: Duration = Duration::from_secs(5);

/// The supervisor's signs of life.
#[derive(Clone, Debug, Default)]
pub(super) struct Heartbeat(Arc<AtomicU64>);

/// Ends the watch when it is dropped.
pub(super) struct Watch {
    _watched: Sender<()>,
}

/// The count of beats at the last tick, and for how many ticks it has been that.
///
/// Ticks are counted rather than time: while the whole process stands still (a stopped process, a paused machine)
/// there are none, and no thread is to blame.
#[derive(Debug, Default)]
struct Pulse {
    beats: u64,
    missed: u32,
}

impl Heartbeat {
    /// A sign of life.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Watches until the [`Watch`] is dropped. A thread without a beat for longer than it `may_take` ends the process, with the exit
    /// code that `hung` gives.
    pub(super) fn watch(&self, may_take: Duration, log: &Logger, hung: impl FnOnce() -> u8 + Send + 'static) -> Watch {
        let (watched, end) = mpsc::channel();
        let beats = self.clone();
        let watches = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let tick = (may_take / TICKS).clamp(SHORTEST_TICK, LONGEST_TICK);
            let ticks = may_take.as_millis() / tick.as_millis();
            if beats.stop_for(tick, u32::try_from(ticks).unwrap_or(u32::MAX), &end) {
                process::exit(hung().into());
            }
        });
        if let Err(error) = watches {
            warn!(log, "nobody watches whether the supervisor's thread hangs, since there is no thread for that: {}", error; "mend" => THREADS);
        }
        Watch { _watched: watched }
    }

    /// Waits for the end of the watch, or until there has been no beat for more than so many ticks; returns whether there has not.
    fn stop_for(&self, tick: Duration, ticks: u32, end: &Receiver<()>) -> bool {
        let mut pulse = Pulse::default();
        while end.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
            if pulse.missed(self.0.load(Ordering::Relaxed)) > ticks {
                return true;
            }
        }
        false
    }
}

impl Pulse {
    /// For how many ticks there has been no beat.
    fn missed(&mut self, beats: u64) -> u32 {
        self.missed = if self.beats == beats { self.missed.saturating_add(1) } else { 0 };
        self.beats = beats;
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_without_a_beat_are_counted_and_a_beat_ends_them() {
        let mut pulse = Pulse::default();
        assert_eq!([1, 1, 1, 2, 2, 3].map(|beats| pulse.missed(beats)), [0, 1, 2, 0, 1, 0]);
    }
}
