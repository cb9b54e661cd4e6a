//! Signals: SIGTERM and SIGINT stop the agent, which tests/shutdown.rs shows; no other ends it, and what was ignored at the start
//! stays ignored.

use std::{
    path::Path,
    process::{Child, Command},
};

use super::support::{
    agent::{kadabra, kadabra_that_ignores},
    pipeline::{PATIENCE, Pipeline, config},
    process::{self, wait_for},
};

#[test]
fn sighup_is_no_end() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    agent.wait_log("publishing");
    agent.signal("HUP");
    agent.wait_log("told to read passwords, tokens and certificates again");
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn no_signal_that_means_nothing_to_the_agent_ends_it() {
    let pipeline = Pipeline::start();
    let mut agent = pipeline.agent().start();
    agent.wait_log("publishing");
    let named = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT"];
    for name in named {
        agent.signal(name);
        agent.wait_log(&format!("SIG{name} means nothing"));
    }
    for other in ["PIPE", "CHLD", "XFSZ", "URG", "WINCH", "CONT"] {
        agent.signal(other);
    }
    for real_time in 34..=64 {
        agent.signal(&real_time.to_string());
    }
    agent.wait_log("signal 64 means nothing");
    agent.signal("XCPU");
    assert!(agent.wait_log("SIGXCPU")["mend"].as_str().unwrap().contains("LimitCPU="));
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let pipeline = Pipeline::start();
    // As nohup starts something, and a shell without job control in its background.
    let mut agent = pipeline.agent().started_by(kadabra_that_ignores("HUP,INT")).start();
    agent.wait_log("publishing");
    agent.signal("HUP");
    agent.signal("INT");
    // Signals are heard in turn.
    agent.signal("USR1");
    agent.wait_log("SIGUSR1");
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert!(agent.logged("stopping").is_empty() && agent.logged("told").is_empty());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert_eq!(agent.wait_log("stopping")["by"], "SIGTERM");
}

/// The children of a process, with the letter of their state.
fn children(parent: i32) -> Vec<(i32, char)> {
    let all = procfs::process::all_processes().unwrap().filter_map(|process| process.ok()?.stat().ok());
    all.filter(|process| process.ppid == parent).map(|process| (process.pid, process.state)).collect()
}

/// Killed when it is dropped, with everything in its namespace.
struct Container(Child);

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn as_the_first_process_of_a_container_it_hears_signals_and_reaps_what_is_left_to_it() {
    let pipeline = Pipeline::start();
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("kadabra.toml"), folder.path().join("log"));
    std::fs::write(&path, config(&pipeline.redis.url(), &pipeline.influxd.url())).unwrap();
    let mut container = process::command("unshare");
    container.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    // One that ends before the shell becomes the agent, one that is left to it, and one that has yet to end.
    container.arg("true & (sleep 2 & exec true) & exec \"$0\" \"$@\"");
    container.arg(kadabra().get_program()).args(kadabra().get_args()).arg("run").arg("--config").arg(&path);
    let mut container = Container(container.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    let said = |part: &str| std::fs::read_to_string(&log).unwrap().contains(part);
    wait_for("the agent", PATIENCE, || said("\"publishing\"").then_some(()));
    let unshare = i32::try_from(container.0.id()).unwrap();
    let [(agent, _)] = children(unshare)[..] else { panic!("{:?}", children(unshare)) };
    let is_first = || std::fs::read_to_string(format!("/proc/{agent}/status")).unwrap().contains("\t1\n");
    assert!(is_first());
    wait_for("the end of the last child", PATIENCE, || children(agent).is_empty().then_some(()));
    pipeline.push_numbers(0..10);
    pipeline.assert_all_written(0..10);
    assert!(Path::new("/proc").join(agent.to_string()).exists());
    assert!(Command::new("kill").arg(agent.to_string()).status().unwrap().success());
    let ended = wait_for("the end of the container", PATIENCE, || container.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert!(said("SIGTERM"));
}
