//! The last hour in a small file beside the queue, so that it is there after a restart. The file is replaced as a whole and not synced: one
//! that is damaged, or that a power failure has emptied, is as good as none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::snapshot::History;
use crate::{failpoint::fail_point, queue::sibling};

/// What the file begins with, its version, before the checksum of the rest.
const HEAD: &str = "kadabra history 1";

/// No history is as large as this, in bytes.
const LARGEST: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct HistoryFile {
    path: PathBuf,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl HistoryFile {
    /// The file beside this queue: `queue.db-history`.
    pub(crate) fn beside(queue: &Path) -> Self {
        Self { path: sibling(queue, "-history"), writing: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was written last; an empty history where there is no file.
    ///
    /// # Errors
    /// Why it is of no use: a sentence.
    pub(crate) fn read(&self) -> Result<History, String> {
        let mut text = String::new();
        match File::open(&self.path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            Err(error) => return Err(error.to_string()),
            Ok(_) if text.len() as u64 > LARGEST => return Err("it is too large".to_owned()),
            Ok(_) => {}
        }
        let (head, json) = text.split_once('\n').unwrap_or_default();
        let checksum = head.strip_prefix(HEAD).ok_or("it is of another version, or no such file")?;
        if checksum != checksum_of(json) {
            return Err("it is damaged".to_owned());
        }
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// Replaces the file, for its owner alone. Waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, history: &History) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        fail_point!("history.write");
        let json = serde_json::to_string(history)?;
        let new = sibling(&self.path, "-new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(format!("{HEAD}{}\n{json}", checksum_of(&json)).as_bytes())?;
        fs::rename(&new, &self.path)
    }
}

fn checksum_of(json: &str) -> String {
    format!(" {:08x}", crc32fast::hash(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::status::Snapshot;

    #[test]
    fn what_was_written_is_read_and_belongs_to_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = HistoryFile::beside(&folder.path().join("queue.db"));
        assert_eq!(file.read(), Ok(History::default()), "there is none at first");
        let history = Snapshot::example().history;
        for _ in 0..2 {
            file.write(&history).unwrap();
        }
        assert_eq!(file.read().unwrap(), history);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["queue.db-history"]);
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn whatever_is_wrong_with_it_is_said_and_nothing_of_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = HistoryFile::beside(&folder.path().join("queue.db"));
        file.write(&Snapshot::example().history).unwrap();
        let whole = fs::read(file.path()).unwrap();
        for place in (0..whole.len()).step_by(997) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            for damaged in [&flipped[..], &whole[..place]] {
                fs::write(file.path(), damaged).unwrap();
                assert!(file.read().is_err(), "{place}");
            }
        }
        fs::write(file.path(), vec![b' '; LARGEST as usize + 1]).unwrap();
        assert_eq!(file.read(), Err("it is too large".to_owned()));
        fs::remove_file(file.path()).unwrap();
        fs::create_dir(file.path()).unwrap();
        assert!(file.read().is_err() && file.write(&History::default()).is_err());
    }
}
