//! What came over statsd and what became of it, since the start; and the lines of the log about what was not taken.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use slog::{KV, Logger, Record, Serializer, warn};
use tokio::time::Instant;

use super::Reason;
use crate::{
    quote::{cut, quote},
    rate_limit::RateLimit,
};

/// How many characters of a line are shown.
const EXAMPLE: usize = 200;

/// Counts, and logs what an operator should know.
#[derive(Debug)]
pub(super) struct Counter {
    log: Logger,
    datagrams: AtomicU64,
    aggregated: AtomicU64,
    ignored: AtomicU64,
    kernel: AtomicU64,
    messages: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    unlogged: Mutex<Unlogged>,
}

/// What no line of the log has told of yet.
#[derive(Debug, Default)]
struct Unlogged {
    refused: [(RateLimit, String); Reason::ALL.len()],
    kernel: RateLimit,
    gauges: RateLimit,
}

/// What came since the start, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that were read. One that was too long is among them.
    pub datagrams: u64,
    /// Metrics that are, or will be, part of a message.
    pub aggregated: u64,
    /// Events and service checks.
    pub ignored: u64,
    /// Metrics that were not taken, by why; all reasons there are.
    pub refused: Vec<(Reason, u64)>,
    /// Datagrams that the kernel dropped since they were not read soon enough.
    pub kernel: u64,
    /// Messages that the channel has.
    pub messages: u64,
}

impl Counter {
    pub(super) fn new(log: &Logger) -> Self {
        Self {
            log: log.clone(),
            datagrams: AtomicU64::default(),
            aggregated: AtomicU64::default(),
            ignored: AtomicU64::default(),
            kernel: AtomicU64::default(),
            messages: AtomicU64::default(),
            refused: Default::default(),
            unlogged: Mutex::default(),
        }
    }

    pub(super) fn datagram(&self) {
        self.datagrams.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn aggregated(&self) {
        self.aggregated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    /// So many messages are queued.
    pub(super) fn queued(&self, messages: usize) {
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// A line, or a whole datagram, was not taken.
    pub(super) fn refused(&self, reason: Reason, line: &[u8]) {
        let index = reason as usize;
        if let Some(times) = self.refused.get(index) {
            times.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((_, example)) = self.unlogged().refused.get_mut(index)
            && example.is_empty()
        {
            let start = line.get(..4 * EXAMPLE).unwrap_or(line);
            *example = quote(&cut(&String::from_utf8_lossy(start), EXAMPLE));
        }
        self.say_refused(reason, 1);
    }

    /// The kernel dropped datagrams.
    pub(super) fn dropped_by_kernel(&self, datagrams: u32) {
        self.kernel.fetch_add(u64::from(datagrams), Ordering::Relaxed);
        self.say_kernel(datagrams as usize);
    }

    /// Gauges were forgotten.
    pub(super) fn forgotten(&self, gauges: u64) {
        let due = self.unlogged().gauges.note(usize::try_from(gauges).unwrap_or(usize::MAX), Instant::now());
        if let Some(gauges) = due {
            warn!(self.log, "statsd: how gauges stood that were not set for a while is forgotten, to make room; one that is changed by \
                             a plus or a minus begins at 0"; "gauges" => gauges, "mend" => Reason::Series.remedy());
        }
    }

    /// Logs what is due though nothing more comes.
    pub(super) fn say(&self) {
        for reason in Reason::ALL {
            self.say_refused(reason, 0);
        }
        self.say_kernel(0);
        self.forgotten(0);
    }

    pub(super) fn now(&self) -> Counts {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Counts {
            datagrams: of(&self.datagrams),
            aggregated: of(&self.aggregated),
            ignored: of(&self.ignored),
            refused: Reason::ALL.into_iter().zip(self.refused.iter().map(of)).collect(),
            kernel: of(&self.kernel),
            messages: of(&self.messages),
        }
    }

    fn say_refused(&self, reason: Reason, times: usize) {
        let mut unlogged = self.unlogged();
        let Some((limit, example)) = unlogged.refused.get_mut(reason as usize) else { return };
        if let Some(times) = limit.note(times, Instant::now()) {
            let example = std::mem::take(example);
            drop(unlogged);
            let what = if reason == Reason::Datagram { "datagrams" } else { "metrics" };
            warn!(self.log, "statsd: {} not taken: {}", what, reason;
                "times" => times, "reason" => reason.name(), "for_example" => example, "mend" => reason.remedy());
        }
    }

    fn say_kernel(&self, datagrams: usize) {
        let due = self.unlogged().kernel.note(datagrams, Instant::now());
        if let Some(datagrams) = due {
            warn!(self.log, "statsd: the kernel dropped datagrams, since they came faster than they were read"; "datagrams" => datagrams,
                "mend" => "raise listener.statsd.receive_buffer, and net.core.rmem_max with sysctl, which bounds it; or have clients \
                           put several metrics into a datagram, or sample");
        }
    }

    fn unlogged(&self) -> MutexGuard<'_, Unlogged> {
        // Every change is whole before anything that could panic.
        self.unlogged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// How many metrics and datagrams were not taken.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.iter().map(|(_, times)| times).sum()
    }
}

impl KV for Counts {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        serializer.emit_u64("datagrams", self.datagrams)?;
        serializer.emit_u64("aggregated", self.aggregated)?;
        serializer.emit_u64("ignored", self.ignored)?;
        serializer.emit_u64("refused", self.all_refused())?;
        serializer.emit_u64("dropped_by_kernel", self.kernel)?;
        serializer.emit_u64("messages", self.messages)
    }
}
