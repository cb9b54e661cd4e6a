//! Room on the disk for what is in the log and not in the file yet.
//!
//! A commit is in the log, which has its room from the start; only later is it moved into the file. Had the disk no room for that
//! then, nothing could be moved, the log would stay full, and not even deleting messages would mend it. So a commit that makes
//! the file larger is made only once the disk has given the room, and is refused otherwise.

use std::{fs::File, io, sync::Arc};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::limits;

/// What is asked of the disk at once, where it has so much.
const STEP: u64 = 1 << 20;

/// What is left of the limit on the size of a file, where there is one, for what settling adds to the file.
const SETTLING: u64 = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Preallocation {
    file: Arc<File>,
    /// Up to where the file has its room.
    until: u64,
}

impl Preallocation {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file, until: 0 }
    }

    /// Whether it is known that the file can have so many bytes.
    pub(super) fn covers(&self, bytes: u64) -> bool {
        bytes <= self.until
    }

    /// Sees to it that the file can have so many bytes, which are more than it had if it `grows`.
    ///
    /// # Errors
    /// When the disk has no room for them, or no file can have as many.
    pub(super) fn cover(&mut self, bytes: u64, grows: bool) -> io::Result<()> {
        if self.covers(bytes) {
            return Ok(());
        }
        // The system does not hold what is only reserved against the limit on the size of a file.
        let limit = limits::file_bytes();
        let most = limit.saturating_sub(SETTLING);
        if bytes > if grows { most } else { limit } {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // All of it, since there may be holes in the file: what was deleted before it was ever moved.
        let ask =
            |bytes| rustix::io::retry_on_intr(|| fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, bytes)).map(|()| bytes);
        self.until = match ask(bytes.next_multiple_of(STEP).min(most).max(bytes)) {
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ask(bytes)?,
            // Such a file system promises nothing.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => u64::MAX,
            asked => asked?,
        };
        Ok(())
    }

    /// The file may have been cut to what is in it.
    pub(super) fn forget(&mut self) {
        if self.until != u64::MAX {
            self.until = 0;
        }
    }
}
