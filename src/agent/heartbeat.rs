//! Notices that the thread hangs on which the supervisor lives, and the Nanny with it. Who notices every other thread
//! is the supervisor, so this one is watched from a thread of its own.

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

use slog::warn;

use super::{
    GIVE_BACK_WITHIN, JOIN_WITHIN,
    environment::Environment,
    exit::{Exit, code},
    give_back,
    supervisor::ABORT_GRACE,
};
use crate::limits::THREADS;

/// How often the beats are counted.
const TICK: Duration = Duration::from_secs(1);

/// The supervisor's signs of life.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

/// Ends the watch when it is dropped.
pub(super) struct Watch {
    _watched: Sender<()>,
}

/// The count of beats at the last tick, and for how many ticks it has been that.
///
/// Ticks are counted rather than time: while the whole process stands still (a stopped process, a paused machine)
/// there are none, and nobody is to blame.
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
}

impl Pulse {
    /// For how many ticks there has been no beat.
    fn missed(&mut self, beats: u64) -> u32 {
        self.missed = if self.beats == beats { self.missed.saturating_add(1) } else { 0 };
        self.beats = beats;
        self.missed
    }
}

/// Watches until the [`Watch`] is dropped. A thread without a beat for as long as any other may hang ends the process.
pub(super) fn watch(environment: Arc<Environment>) -> Watch {
    let (watched, end) = mpsc::channel();
    let log = environment.log.clone();
    let watches = thread::Builder::new().name("watch".to_owned()).spawn(move || {
        if hangs(&environment, &end) {
            let code = end_of(Arc::clone(&environment));
            if let Some(output) = &environment.output {
                // There is a worse reason to end with.
                drop(output.flush());
            }
            process::exit(code.into());
        }
    });
    if let Err(error) = watches {
        warn!(log, "nobody watches whether the supervisor's thread hangs, since there is no thread for that: {}", error; "mend" => THREADS);
    }
    Watch { _watched: watched }
}

/// Waits for the end of the watch, or until the thread hangs; says whether it does.
fn hangs(environment: &Environment, end: &Receiver<()>) -> bool {
    let most = (environment.hang_timeout + ABORT_GRACE).as_secs();
    let mut pulse = Pulse::default();
    while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if u64::from(pulse.missed(environment.heartbeat.0.load(Ordering::Relaxed))) > most {
            return true;
        }
    }
    false
}

/// Gives back what can be given back without the thread that hangs, and says so. Gives the exit code.
fn end_of(environment: Arc<Environment>) -> u8 {
    environment.closing.begin();
    let (ended, end) = mpsc::channel();
    // What the thread hangs at may be the log, and then this hangs there, too.
    let gives_back = thread::Builder::new().spawn(move || {
        let Ok(runtime) = actix_rt::Runtime::new() else { return };
        let exit = Exit::ThreadHung { child: "supervisor".to_owned() };
        let exit = runtime.block_on(give_back(environment.channel.as_ref(), exit, false, &environment.log));
        let _ = ended.send(exit.code());
    });
    if gives_back.is_err() {
        return code::HUNG;
    }
    end.recv_timeout(GIVE_BACK_WITHIN + JOIN_WITHIN).unwrap_or(code::HUNG)
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
