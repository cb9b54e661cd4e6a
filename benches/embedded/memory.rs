//! What a long queue takes of memory, and of a start.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::Command,
    time::{Duration, Instant},
};

use redis::Commands;

use super::Options;
use crate::support::{
    message,
    queue::{NOBODY, Own},
    report::{Targets, figure, megabytes},
    usage::Usage,
    world::QUEUE,
};

const MESSAGES: u64 = 1_000_000;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(options: &Options, targets: &mut Targets) -> String {
    let messages = options.count(MESSAGES);
    let own = Own::new("process");
    let mut agent = own.agent(NOBODY).start();
    drop(own.connection());
    let status = Command::new("redis-benchmark")
        .args(["-p", &own.port.to_string(), "-c", "50", "-P", "16", "-n", &messages.to_string(), "-q"])
        .args(["LPUSH", QUEUE, &message::message(0)])
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let peak = Usage::of(agent.id()).peak_rss as f64;
    agent.kill9();
    drop(agent);

    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = Instant::now();
    let agent = own.agent(NOBODY).env("NOTIFY_SOCKET", notify.to_str().unwrap()).start();
    let mut said = [0; 4096];
    loop {
        let length = socket.recv(&mut said).unwrap();
        if String::from_utf8_lossy(&said[..length]).contains("READY=1") {
            break;
        }
    }
    let ready = begun.elapsed();
    let waits: u64 = own.connection().llen(QUEUE).unwrap();
    let answered = begun.elapsed();
    assert!(waits > messages / 2, "{waits} messages wait after the start");
    let start_peak = Usage::of(agent.id()).peak_rss as f64;
    let file = fs::metadata(own.path()).unwrap().len() as f64;
    let count = figure(messages as f64);
    targets.at_most(&format!("peak RSS, {count} messages queued"), 48.0, peak / f64::from(1 << 20), " MiB");
    targets.at_most(&format!("start to ready with {count} messages"), 1.0, ready.as_secs_f64(), " s");
    format!(
        "{count} messages queued while the database is away: {} MB in the file, at most {} MB resident. After SIGKILL the next agent \
         is ready after {} ms and has answered how many wait after {} ms, with at most {} MB resident.\n\n",
        figure(megabytes(file)),
        figure(megabytes(peak)),
        figure(ready.as_secs_f64() * 1e3),
        figure(answered.as_secs_f64() * 1e3),
        figure(megabytes(start_peak)),
    )
}
