//! Passwords and tokens that are kept in files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::Secret;
use super::error::Problem;
use super::reread::{Kind, Reread};
use super::schema::Key;
use super::setting::Setting as _;
use super::value_type::{ValueType, check_token};
use super::values::Values;

/// Far above any password and token, so that a file of another kind is not read to its end.
const LONGEST: u64 = 4096;

/// What a file holds.
struct Sort {
    /// `password`
    noun: &'static str,
    /// Whether a text can be one.
    check: fn(&str) -> Result<(), &'static str>,
    kind: Kind,
}

static PASSWORD: Sort = Sort {
    noun: "password",
    check: |_| Ok(()),
    kind: Kind {
        name: "password file",
        lost: "has no password any more, and the one that it had is used",
        mend: "write the password into it, in a file that the agent may read",
    },
};

static TOKEN: Sort = Sort {
    noun: "token",
    check: check_token,
    kind: Kind {
        name: "token file",
        lost: "has no token any more, and the one that it had is used",
        mend: "write the token into it, in a file that the agent may read",
    },
};

/// The secret in the file that a key names; `None` if the key is unset, or if there is a problem.
pub(super) fn read(values: &Values, key: &'static Key, problems: &mut Vec<Problem>) -> Option<Secret> {
    let sort = if matches!(key.value_type, ValueType::TokenFile) { &TOKEN } else { &PASSWORD };
    let file = String::of(values, key)?;
    secret_in(&file, sort).map_err(|sentence| problems.push(values.found(key).problem(sentence))).ok()
}

/// The password in a file.
///
/// # Errors
/// A sentence that names the file, and not what is in it.
pub fn password_in(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let path = path.to_str().ok_or_else(|| format!("{shown}: expected a path that is UTF-8 text"))?;
    secret_in(path, &PASSWORD).map_err(|sentence| format!("{shown}: {sentence}"))
}

fn secret_in(path: &str, sort: &'static Sort) -> Result<Secret, String> {
    let file = path.to_owned();
    Reread::new(&sort.kind, vec![path.to_owned()], move || content(&file, sort)).map(Secret::in_file)
}

fn content(path: &str, Sort { noun, check, .. }: &Sort) -> Result<String, String> {
    let mut bytes = Vec::new();
    let unreadable = |why| format!("cannot be read: {why}");
    File::open(path).map_err(unreadable)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("the file has more than {LONGEST} bytes; expected a {noun} and nothing else"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("the file is not UTF-8 text; expected a {noun}"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("the file is empty; expected a {noun}"));
    }
    check(&text).map_err(|expected| format!("the file has something else in it; {expected}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (written, read) in [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), ("p\n\n", "p\n"), (" p ", " p ")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(content(path.to_str().unwrap(), &PASSWORD).as_deref(), Ok(read), "{written:?}");
        }
    }

    #[test]
    fn a_token_is_what_a_header_can_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let path = path.to_str().unwrap();
        for (written, read) in [
            ("t0k-en==\n", Ok("t0k-en==")),
            ("\n", Err("the file is empty; expected a token")),
            ("a token", Err("the file has something else in it; expected a token, of ASCII characters without spaces")),
            ("token\n\n", Err("the file has something else in it; expected a token, of ASCII characters without spaces")),
        ] {
            std::fs::write(path, written).unwrap();
            assert_eq!(content(path, &TOKEN).as_deref().map_err(String::as_str), read, "{written:?}");
        }
    }

    #[test]
    fn a_password_is_what_its_file_has_now_or_had_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "one\n").unwrap();
        let secret = password_in(&path).unwrap();
        let copy = secret.clone();
        for (written, now) in
            [(&b"two\n"[..], "two"), (b"", "two"), (b"\xff", "two"), (&[b'x'; 5000], "two"), (b"three", "three")]
        {
            fs::write(&path, written).unwrap();
            assert_eq!((secret.now().as_ref(), copy.now().as_ref()), (now, now));
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(secret.now(), "three");
        assert_eq!((secret.expose(), format!("{secret:?}")), ("one", "***".to_owned()));
        fs::write(&path, "four").unwrap();
        assert_eq!(copy.now(), "four");
    }

    #[test]
    fn a_password_that_came_through_a_pipe_is_kept_and_the_pipe_left_alone() {
        let (read, mut write) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut write, b"secret\n").unwrap();
        drop(write);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
        let secret = password_in(Path::new(&path)).unwrap();
        assert_eq!((secret.now(), secret.now()), ("secret".into(), "secret".into()));
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for written in [&b""[..], b"\n", b"\xff\xfe", &[b'x'; 5000]] {
            std::fs::write(&path, written).unwrap();
            assert!(content(path.to_str().unwrap(), &PASSWORD).is_err());
        }
        assert!(content(folder.path().to_str().unwrap(), &PASSWORD).unwrap_err().contains("Is a directory"));
        assert!(content("/nonexistent", &PASSWORD).unwrap_err().contains("No such file"));
    }
}
