//! What waits at one server of several, message by message: what a failover undoes is what differs.

use std::{collections::HashSet, path::Path, process::Command, time::Duration};

use redis::Connection;

use super::whereabouts::connect;
use crate::support::process::{self, Process, free_port, wait_for};

/// How long a server may take to read its files.
const START: Duration = Duration::from_secs(20);

/// The messages that wait, each with whom it waits for: all, or one of several publishers.
pub(crate) type Held = HashSet<(String, Vec<u8>)>;

/// What a server holds that can be asked.
pub(crate) fn held(connection: &mut Connection) -> Option<Held> {
    // A replica in a cluster answers only then.
    drop(redis::cmd("READONLY").query::<()>(connection));
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(connection).ok()?;
    let mut held = Held::new();
    for key in keys {
        let whom = key.split_once(":for:").map_or("", |(_, rest)| rest.split(':').next().unwrap_or_default()).to_owned();
        match redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query::<Vec<Vec<u8>>>(connection) {
            Ok(messages) => held.extend(messages.into_iter().map(|message| (whom.clone(), message))),
            // What is no list has no messages.
            Err(error) if error.code() == Some("WRONGTYPE") => {}
            Err(_) => return None,
        }
    }
    Some(held)
}

/// What a server would hold if it was started again with the files that it has now.
pub(crate) fn held_in_files(dir: &Path) -> Held {
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(dir.join("appendonlydir")).arg(copy.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy what is in {}", dir.display());
    let port = free_port();
    let mut command = process::command("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"]);
    command.arg(copy.path());
    let _server = Process::start("redis-server", command, &copy.path().join("log"));
    wait_for("what is in the files of a redis-server", START, || held(&mut connect(port)?))
}
