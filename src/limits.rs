//! What to do about a limit that the system sets to this process, for the person who can raise it.

use std::{fs, path::Path, process};

use rustix::process::{Resource, getrlimit};

/// Where there can be no further thread.
pub(crate) const THREADS: &str = "raise the limit on threads (ulimit -u; TasksMax= or LimitNPROC= in a unit of systemd; the \
    limit on processes of a container), or give the machine more memory";

/// How many bytes a file can have.
pub(crate) fn file_bytes() -> u64 {
    getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX)
}

/// Where a file can have no more bytes.
pub(crate) fn file_size() -> String {
    let limit = getrlimit(Resource::Fsize).current.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
    format!(
        "raise the limit on the size of a file{limit} (ulimit -f; LimitFSIZE= in a unit of systemd; prlimit --fsize=unlimited \
         --pid {} for this process)",
        process::id()
    )
}

/// Whether the limit on the size of a file keeps one of these from growing by so many bytes.
pub(crate) fn keeps_small<'a>(files: impl IntoIterator<Item = &'a Path>, by: u64) -> bool {
    files.into_iter().any(|file| fs::metadata(file).map_or(0, |found| found.len()) + by > file_bytes())
}
