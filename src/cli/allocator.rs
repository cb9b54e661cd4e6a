//! Has the allocator of glibc give back to the system what large messages took.
//!
//! By default it raises its threshold for blocks of their own to the largest block that was freed, and from then on keeps blocks up
//! to that size in each thread's heap, and free memory up to twice that size at the end of each heap ([mallopt(3)]). After a few
//! messages of 4 MiB an agent that needs 10 MiB keeps 90. Fixed thresholds end that. They are read from the environment when a
//! process begins, or set by a call that takes `unsafe`, so the agent begins anew with them: the same process, by another execve.
//!
//! [mallopt(3)]: https://man7.org/linux/man-pages/man3/mallopt.3.html

use std::{env, os::unix::process::CommandExt as _, process::Command};

/// By their names, in bytes. No usual batch has a block as large as the first; the second is kept so that it is not taken anew for
/// each batch.
const THRESHOLDS: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// Begins this program anew with the thresholds. Returns when they are set, by this or by somebody else, or cannot be:
/// without them the agent takes more memory and does the same.
pub(super) fn fix_thresholds() {
    if !cfg!(target_env = "gnu") || THRESHOLDS.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    // By its own path, and not by /proc/self/exe, which would be the process's name in ps and top.
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let _refused = command.args(arguments).envs(THRESHOLDS).exec();
}
