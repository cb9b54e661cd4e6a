//! Passwords that are kept in files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::Secret;
use super::contradictions::about;
use super::error::Problem;
use super::values::Values;

/// Far above any password, and what is not a password file is not read to its end.
const LONGEST: u64 = 4096;

/// The password in the file that a key names; `None` if the key is unset, or if there is a problem.
pub(super) fn read(values: &Values, path: &str, problems: &mut Vec<Problem>) -> Option<Secret> {
    let file: String = values.get(path)?;
    match content(&file) {
        Ok(password) => Some(Secret::new(password)),
        Err(sentence) => {
            problems.extend(values.found(path).map(|found| about(found, sentence)));
            None
        }
    }
}

/// The password in a file.
///
/// # Errors
/// A sentence that names the file, and not what is in it.
pub fn password_in(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let path = path.to_str().ok_or_else(|| format!("{shown}: expected a path that is UTF-8 text"))?;
    content(path).map(Secret::new).map_err(|sentence| format!("{shown}: {sentence}"))
}

fn content(path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let unreadable = |why| format!("cannot be read: {why}");
    File::open(path).map_err(unreadable)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("the file has more than {LONGEST} bytes; expected a password and nothing else"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text; expected a password".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("the file is empty; expected a password".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (written, read) in [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), ("p\n\n", "p\n"), (" p ", " p ")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(content(path.to_str().unwrap()).as_deref(), Ok(read), "{written:?}");
        }
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for written in [&b""[..], b"\n", b"\xff\xfe", &[b'x'; 5000]] {
            std::fs::write(&path, written).unwrap();
            assert!(content(path.to_str().unwrap()).is_err());
        }
        assert!(content(folder.path().to_str().unwrap()).unwrap_err().contains("Is a directory"));
        assert!(content("/nonexistent").unwrap_err().contains("No such file"));
    }
}
