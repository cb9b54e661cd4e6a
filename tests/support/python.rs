//! The Python with the real Kadabra in it, and the scripts in `tests/python`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::process::{self, Process};

/// Runs a script of `tests/python` to its end, which must be a success.
pub(crate) fn run<S: AsRef<str>>(script: &str, args: &[S]) -> Output {
    let output = command(script, args).output().unwrap_or_else(|e| panic!("cannot start {script}: {e}; run tests/run"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
    output
}

/// Starts a script of `tests/python`; its output goes to the file `log`.
pub(crate) fn start<S: AsRef<str>>(script: &str, args: &[S], log: &Path) -> Process {
    Process::start(script, command(script, args), log)
}

fn command<S: AsRef<str>>(script: &str, args: &[S]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = process::command(python());
    command.arg(folder.join(script)).args(args.iter().map(AsRef::as_ref));
    // The clients are of their time, and say at each start what has been deprecated since.
    command.env("PYTHONWARNINGS", "ignore").env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command
}

/// In the target folder, wherever that is: this test was built into it.
fn python() -> PathBuf {
    let test = env::current_exe().unwrap();
    let python = test.ancestors().map(|folder| folder.join("python/bin/python")).find(|python| python.exists());
    python.unwrap_or_else(|| panic!("no Python with Kadabra in the target folder of {}; run tests/run", test.display()))
}
