//! What the agent does with signals: which one stops it, which one it does something with, and that none ends it without a word.
//!
//! What ends a process by default and is not named here leaves a core on purpose (SIGQUIT, SIGABRT), or is the process's own fault.

use std::{
    fs, io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::{Signal, WaitOptions, wait};
use signal_hook::{consts, iterator::Signals};
use slog::{Logger, error, info, warn};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    agent::{Order, code},
    observe::log::Output,
};

/// Signals that mean nothing to the agent, and would end it if they were not heard.
const MEANINGLESS: [(i32, &str); 8] = [
    (consts::SIGUSR1, "SIGUSR1"),
    (consts::SIGUSR2, "SIGUSR2"),
    (consts::SIGALRM, "SIGALRM"),
    (consts::SIGVTALRM, "SIGVTALRM"),
    (consts::SIGPROF, "SIGPROF"),
    (consts::SIGIO, "SIGIO"),
    (Signal::POWER.as_raw(), "SIGPWR"),
    (Signal::STKFLT.as_raw(), "SIGSTKFLT"),
];

/// The real-time signals, which end a process, too. The C library keeps those before them for itself.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Hears signals from now on, but none that was ignored when the process was started: that is how `nohup`, and a shell that
/// starts something behind it, protect what they start.
///
/// # Errors
/// When signals cannot be handled, or there can be no further thread.
pub(super) fn hear(orders: UnboundedSender<Order>, output: &Output) -> io::Result<()> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let hears = |signal: &i32| !is_in(ignored, *signal);
    let meaningless = MEANINGLESS.iter().map(|(signal, _)| *signal);
    let ours = [consts::SIGTERM, consts::SIGHUP, consts::SIGCHLD, consts::SIGXCPU, consts::SIGXFSZ];
    let mut signals = Signals::new(ours.into_iter().chain(meaningless).filter(hears))?;
    for signal in REAL_TIME.filter(hears) {
        // One that this system does not have cannot come.
        drop(signals.add_signal(signal));
    }
    let ears = Arc::new(Ears { orders, log: output.logger(), output: output.clone(), told: AtomicBool::new(false) });
    if hears(&consts::SIGINT) {
        let ears = Arc::clone(&ears);
        ctrlc::set_handler(move || ears.stop("SIGINT")).map_err(io::Error::other)?;
    }
    reap();
    thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(|signal| ears.hear(signal)))?;
    Ok(())
}

/// A write beyond the limit on the size of a file fails from now on, as on a full disk, and does not end the process.
pub(super) fn outlive_the_file_size_limit() {
    // Should that fail, all is as it was.
    drop(signal_hook::flag::register(consts::SIGXFSZ, Arc::default()));
}

struct Ears {
    orders: UnboundedSender<Order>,
    log: Logger,
    output: Output,
    told: AtomicBool,
}

impl Ears {
    fn hear(&self, signal: i32) {
        match signal {
            consts::SIGTERM => self.stop("SIGTERM"),
            consts::SIGHUP => {
                let _ = self.orders.send(Order::Reload);
            }
            consts::SIGCHLD => reap(),
            consts::SIGXCPU => {
                error!(self.log, "the limit on the time that this process may use a CPU is reached (SIGXCPU), and the system will kill it";
                    "mend" => "raise it (ulimit -t; LimitCPU= in a unit of systemd), or take it away");
            }
            // The write that it came with has failed, and says so.
            consts::SIGXFSZ => {}
            other => {
                let name = MEANINGLESS.iter().find(|(signal, _)| *signal == other);
                let name = name.map_or_else(|| format!("signal {other}"), |(_, name)| (*name).to_owned());
                info!(self.log, "{} means nothing to the agent, which goes on", name);
            }
        }
    }

    /// The first signal asks the agent to stop; the second one ends the process at once. What it holds then is leased in the
    /// channel, and waits there until the leases expire.
    fn stop(&self, by: &'static str) {
        if self.told.swap(true, Ordering::SeqCst) {
            warn!(self.log, "ended at once by a second signal; what was in flight waits in the channel until its leases expire";
                "by" => by, "exit_code" => code::SECOND_SIGNAL);
            drop(self.output.flush());
            process::exit(code::SECOND_SIGNAL.into());
        }
        let _ = self.orders.send(Order::Stop { by });
    }
}

/// Takes leave of children that have ended. The agent starts none, but those of others become the first process's of a
/// container when their parent has ended, and whoever becomes the agent by exec may have had some.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// The signals that a process ignores, a bit each, from what the system says of it.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_ignores_is_read_from_its_status() {
        // nohup, in the background of a shell that is not interactive.
        let mask = ignored("Name:\tkadabra\nSigBlk:\tffffffffffffffff\nSigIgn:\t8000000000001007\nSigCgt:\t0\n");
        let read: Vec<_> = (1..=64).filter(|signal| is_in(mask, *signal)).collect();
        assert_eq!(read, [1, 2, 3, 13, 64]);
        for none in ["", "SigIgn:\tx\n"] {
            assert_eq!(ignored(none), 0);
        }
    }
}
