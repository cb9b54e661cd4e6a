//! Counts what a case costs, by valgrind.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use super::{
    case::{BATCH, Case},
    stand_in::{Reply, StandIn},
};

/// The instructions of one message.
pub(crate) fn per_message(case: Case) -> f64 {
    let [few, many] = case.batches();
    let (less, more) = thread::scope(|scope| {
        let less = scope.spawn(|| instructions(case, few));
        let more = instructions(case, many);
        (less.join().expect("valgrind counts"), more)
    });
    (more as f64 - less as f64) / ((many - few) * BATCH) as f64
}

/// Where valgrind's account of a case is.
pub(crate) fn account(case: Case) -> PathBuf {
    let [_, many] = case.batches();
    file(case, many)
}

fn file(case: Case, batches: usize) -> PathBuf {
    let program = env::current_exe().expect("a program has a path");
    let folder = program.parent().expect("a program is in a folder").join("instructions");
    fs::create_dir_all(&folder).expect("a folder beside the program can be made");
    folder.join(format!("{}-{batches}.callgrind", case.name()))
}

/// The instructions of a whole process.
fn instructions(case: Case, batches: usize) -> u64 {
    let file = file(case, batches);
    let server = StandIn::start(vec![Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]);
    let status = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--fair-sched=try"])
        .arg(["--callgrind-out-file=", &file.display().to_string()].concat())
        .arg(env::current_exe().expect("a program has a path"))
        .args(["run", case.name(), &batches.to_string(), &server.url()])
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("cannot start valgrind: {error}; install it: apt-get install valgrind"));
    assert!(status.success(), "{} with {batches} batches did not end well under valgrind: {status}", case.name());
    let account = fs::read_to_string(&file).expect("valgrind has written its account");
    let totals = account.lines().find_map(|line| line.strip_prefix("totals: "));
    totals.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("{} has no totals", file.display()))
}
