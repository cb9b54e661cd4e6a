//! The Python with the real Kadabra in it, and the scripts in `tests/python`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::process::{self, Process};

/// Runs a script of `tests/python` to its end, which must be a success.
pub(crate) fn run<S: AsRef<str>>(script: &str, args: &[S]) -> Output {
    finished(script, command(script, args))
}

/// The same with the redis-py of Kadabra's time.
pub(crate) fn run_old<S: AsRef<str>>(script: &str, args: &[S]) -> Output {
    finished(script, in_python("python-old", script, args))
}

/// The same with the packages that web applications have.
pub(crate) fn run_web<S: AsRef<str>>(script: &str, args: &[S]) -> Output {
    finished(script, in_python("python-web", script, args))
}

fn finished(script: &str, mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {script}: {e}; run tests/run"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
    output
}

/// Starts a script of `tests/python`; its output goes to the file `log`.
pub(crate) fn start<S: AsRef<str>>(script: &str, args: &[S], log: &Path) -> Process {
    Process::start(script, command(script, args), log)
}

fn command<S: AsRef<str>>(script: &str, args: &[S]) -> Command {
    in_python("python", script, args)
}

fn in_python<S: AsRef<str>>(python: &str, script: &str, args: &[S]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = process::command(installed(&format!("{python}/bin/python")));
    command.arg(folder.join(script)).args(args.iter().map(AsRef::as_ref));
    // The clients are of their time, and say at each start what has been deprecated since.
    command.env("PYTHONWARNINGS", "ignore").env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command
}

/// What tests/run has put into the target folder, wherever that is: this test was built into it.
pub(crate) fn installed(path: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let found = test.ancestors().map(|folder| folder.join(path)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("there is no {path} in the target folder of {}; run tests/run", test.display()))
}
