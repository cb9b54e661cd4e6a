//! Files that may change while the agent runs: each is read again when it has changed, and only then. While a changed file is of no
//! use, the content that was read last holds.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use slog::{info, warn};

/// A file that changes twice within a step of its file system's clock has one time for both. FAT's steps are the longest, two seconds.
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// What kind of file it is, in the log.
#[derive(Debug)]
pub(super) struct Kind {
    /// `password file`
    pub(super) name: &'static str,
    /// What is said of a file that is of no use any more: `has no password any more, and the one that it had is used`.
    pub(super) lost: &'static str,
    /// How that is mended.
    pub(super) mend: &'static str,
}

/// The content of one or more files that belong together.
pub(super) struct Reread<T> {
    kind: &'static Kind,
    files: Vec<String>,
    read: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    /// How old a change must be before the files' times tell of the next one.
    step: Duration,
    last: Mutex<Last<T>>,
}

struct Last<T> {
    content: Arc<T>,
    /// The files as they were when that was read; absent while their times would not tell of a change.
    seen: Option<Vec<Seen>>,
    /// Why they could not be read since, once that is said.
    trouble: Option<String>,
}

/// What differs once a file is another, or has another content.
#[derive(PartialEq)]
struct Seen {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T: PartialEq> Reread<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn new(
        kind: &'static Kind,
        files: Vec<String>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let last = Last { content: Arc::new(read()?), seen: None, trouble: None };
        Ok(Self { kind, files, read: Box::new(read), step: LONGEST_STEP, last: Mutex::new(last) })
    }

    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// The content that was read last, without another look at the files.
    pub(super) fn last(&self) -> Arc<T> {
        Arc::clone(&self.last.lock().unwrap_or_else(PoisonError::into_inner).content)
    }

    /// The content of the files now. While there is none, the last one, which is said once.
    pub(super) fn now(&self) -> Arc<T> {
        // Every change is whole before anything that could panic.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let found: io::Result<Vec<Metadata>> = self.files.iter().map(fs::metadata).collect();
        // The content of a pipe can be read once.
        if found.as_ref().is_ok_and(|found| found.iter().any(|file| !file.is_file())) {
            return Arc::clone(&last.content);
        }
        let seen: Option<Vec<Seen>> = found.ok().map(|found| found.iter().map(Seen::of).collect());
        if seen.is_some() && seen == last.seen {
            return Arc::clone(&last.content);
        }
        let (kind, files) = (self.kind, self.files.join(", "));
        match (self.read)() {
            Ok(content) => {
                let mended = last.trouble.take().is_some();
                if content != *last.content {
                    info!(slog_scope::logger(), "a {} has changed and was read again", kind.name; "file" => files);
                    last.content = Arc::new(content);
                } else if mended {
                    info!(slog_scope::logger(), "a {} can be read again, and has not changed", kind.name; "file" => files);
                }
                last.seen = seen.filter(|seen| seen.iter().all(|file| file.is_older_than(self.step)));
            }
            Err(why) => {
                last.seen = None;
                if last.trouble.as_ref() != Some(&why) {
                    warn!(slog_scope::logger(), "a {} {}", kind.name, kind.lost;
                        "file" => files, "why" => &why, "mend" => kind.mend);
                    last.trouble = Some(why);
                }
            }
        }
        Arc::clone(&last.content)
    }
}

impl Seen {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    fn is_older_than(&self, age: Duration) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = self.modified.max(self.changed);
        let latest = Duration::new(latest.0.try_into().unwrap_or(0), latest.1.try_into().unwrap_or(0));
        now.checked_sub(latest).is_some_and(|since| since > age)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KIND: Kind = Kind { name: "test file", lost: "is lost", mend: "write it" };

    /// A file's text, and how often it was read.
    fn counted(path: &Path, step: Duration) -> (Reread<String>, Arc<AtomicUsize>) {
        let (reads, file) = (Arc::new(AtomicUsize::new(0)), path.to_owned());
        let counting = Arc::clone(&reads);
        let read = move || {
            counting.fetch_add(1, Ordering::Relaxed);
            fs::read_to_string(&file).map_err(|why| why.to_string())
        };
        let reread = Reread::new(&KIND, vec![path.to_str().unwrap().to_owned()], read).unwrap();
        (Reread { step, ..reread }, reads)
    }

    #[test]
    fn a_file_that_has_not_changed_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let (file, reads) = counted(&path, Duration::ZERO);
        for _ in 0..5 {
            assert_eq!(*file.now(), "one");
        }
        // The second time to know that nothing had changed between the look at it and the first.
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        // Another file of the same size and time takes its place.
        let (other, time) = (folder.path().join("other"), fs::metadata(&path).unwrap().modified().unwrap());
        fs::write(&other, "two").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(*file.now(), "two");
        fs::remove_file(&path).unwrap();
        assert_eq!(*file.now(), "two");
        fs::write(&path, "one").unwrap();
        assert_eq!(*file.now(), "one");
    }

    #[test]
    fn a_change_in_the_same_step_of_the_clock_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let (file, reads) = counted(&path, LONGEST_STEP);
        for text in ["two", "six", "ten"] {
            fs::write(&path, text).unwrap();
            assert_eq!(*file.now(), text);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 4);
    }
}
