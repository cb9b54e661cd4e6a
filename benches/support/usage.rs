//! What a process has used, as the kernel counts it.

use std::time::Duration;

use procfs::process::Process;

/// CPU time, memory and context switches of a process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Resident memory now, in bytes.
    pub(crate) rss: u64,
    /// The most resident memory so far, in bytes.
    pub(crate) peak_rss: u64,
    /// Voluntary and involuntary context switches of all living threads.
    pub(crate) switches: u64,
    /// How many threads live.
    pub(crate) threads: usize,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(id: u32) -> Self {
        let process = Process::new(id.cast_signed()).unwrap();
        let mut usage = Self::default();
        for task in process.tasks().unwrap().flatten() {
            let Ok(status) = task.status() else { continue };
            // To the nanosecond, but only of threads that live.
            usage.cpu += task.schedstat().map_or(Duration::ZERO, |stat| Duration::from_nanos(stat.sum_exec_runtime));
            usage.switches += status.voluntary_ctxt_switches.unwrap_or(0) + status.nonvoluntary_ctxt_switches.unwrap_or(0);
            usage.threads += 1;
        }
        // Of threads that have ended, too, but rounded down to ticks. Neither is ever too much.
        let stat = process.stat().unwrap();
        let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        usage.cpu = usage.cpu.max(Duration::from_secs_f64(ticks));
        let status = process.status().unwrap();
        usage.rss = status.vmrss.unwrap_or(0) * 1024;
        usage.peak_rss = status.vmhwm.unwrap_or(0) * 1024;
        usage
    }
}
