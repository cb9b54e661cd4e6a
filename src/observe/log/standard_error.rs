//! Standard error as what lines are written to. A line of which a full disk took only the beginning is taken back, so that the
//! log has it whole or not at all.

use std::{
    ffi::OsStr,
    io::{self, Write},
};

use rustix::{
    fs::{FileType, OFlags, SeekFrom, fcntl_getfl, fstat, ftruncate, major, minor, seek},
    io::Errno,
};

use super::buffer::Sink;

/// Without a buffer.
pub(super) struct StandardError;

/// Whether this is the stream that systemd says (`JOURNAL_STREAM`, systemd.exec(5)) leads to journald.
pub(super) fn is_journald(stream: Option<&OsStr>) -> bool {
    let stream = stream.and_then(OsStr::to_str).and_then(|stream| stream.split_once(':'));
    let Some((device, inode)) = stream.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?))) else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|found| (found.st_dev, found.st_ino) == (device, inode))
}

/// Whether the process was started without a standard error (`2>&-`): the standard library then opens the null device in its
/// place, for reading and writing. Who discards it on purpose (`2>/dev/null`) opens it for writing alone.
pub(super) fn is_missing() -> bool {
    const NULL: (u32, u32) = (1, 3);
    let is_null = fstat(io::stderr()).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
            && (major(found.st_rdev), minor(found.st_rdev)) == NULL
    });
    is_null && fcntl_getfl(io::stderr()).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for StandardError {
    fn take_back(&mut self, written: usize) -> bool {
        shorten(written as u64).unwrap_or(false)
    }
}

/// Shortens a file by what was written last. Says whether the next line begins where a line should.
fn shorten(written: u64) -> Result<bool, Errno> {
    let log = io::stderr();
    let found = fstat(&log)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        // Who reads a pipe has ended with it, and the next one begins anew.
        return Ok(true);
    }
    let end = seek(&log, SeekFrom::Current(0))?;
    if u64::try_from(found.st_size) != Ok(end) {
        // Another process has written behind it, lines that it has ended.
        return Ok(true);
    }
    let begin = end.saturating_sub(written);
    ftruncate(&log, begin)?;
    // A file that is not appended to would have a hole there.
    seek(&log, SeekFrom::Start(begin))?;
    Ok(true)
}
