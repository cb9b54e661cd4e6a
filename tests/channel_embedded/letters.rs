//! Dead letters that are queued anew: each for the consumer that set it aside, and in the same step a dead letter no more.

use std::process::Command;

use kadabra::channel::embedded::{Backend, BackendError, ConsumerSettings};

use super::*;
use crate::{
    channel_contract::{ALL, NO_WAIT, letter},
    support::process::{Process, command, wait_for},
};

async fn several(path: &Path, names: &[&str]) -> Vec<EmbeddedChannel> {
    let consumer = |name: &&str| ConsumerSettings { name: (*name).to_owned(), required: true, max_backlog: None };
    let channels = EmbeddedChannel::several(&settings(path), "here", names.iter().map(consumer).collect());
    for channel in &channels {
        channel.open().await.unwrap();
    }
    channels
}

/// Sets everything aside that waits.
async fn set_aside(channel: &EmbeddedChannel) {
    while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
        let letters: Vec<_> = (0..lease.messages.len()).map(|message| letter(&lease, message)).collect();
        channel.complete(&mut vec![lease], &letters).await.unwrap();
    }
}

/// The number and the time of each dead letter.
async fn letters(backend: &dyn Backend) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    while let Some(fields) = backend.letter_after(all.last().map_or(i64::MIN, |(id, _)| *id)).await.unwrap() {
        let time = fields.iter().position(|field| field == b"time").unwrap();
        all.push((texts(&fields[..1])[0].parse().unwrap(), texts(&fields[time + 1..time + 2]).remove(0)));
    }
    all
}

async fn drain(channel: &EmbeddedChannel) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
        all.extend(texts(&lease.messages));
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    all
}

#[test]
fn a_letter_waits_for_the_one_that_set_it_aside_also_after_a_restart() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let channels = several(&path, &["a", "b", "c"]).await;
        push(&channels[0], ["0", "1", "2"]).await;
        set_aside(&channels[1]).await;
        drain(&channels[0]).await;
        let backend = channels[0].backend();
        let all = letters(backend.as_ref()).await;
        assert_eq!(all.len(), 3);
        let (id, time) = all[1].clone();
        assert!(!backend.take_out_letter(id, "another".to_owned(), true).await.unwrap(), "it is another one's number by now");
        assert!(backend.take_out_letter(id, time.clone(), true).await.unwrap());
        assert!(!backend.take_out_letter(id, time, true).await.unwrap(), "it is no dead letter any more");
        let (id, time) = all[0].clone();
        assert!(backend.take_out_letter(id, time.clone(), false).await.unwrap());
        assert!(!backend.take_out_letter(id, time, false).await.unwrap());
        for (channel, waits) in channels.iter().zip([0, 1, 3]) {
            assert_eq!(channel.depth().await.unwrap().queued, waits);
        }
        assert!(channels.iter().all(|channel| channel.tally().balances()));
        drop((channels, backend));

        let channels = several(&path, &["a", "b", "c"]).await;
        push(&channels[0], ["3"]).await;
        assert_eq!(drain(&channels[0]).await, ["3"]);
        assert_eq!(drain(&channels[1]).await, ["1", "3"]);
        assert_eq!(drain(&channels[2]).await, ["0", "1", "2", "3"]);
        assert_eq!(channels[1].depth().await.unwrap().dead, 1);
        drop(channels);
        let chunks = Connection::open(&path).unwrap().query_row("SELECT count(*) FROM chunks", [], |row| row.get(0));
        assert_eq!(chunks, Ok(0), "what all have done is deleted");

        // For one that is not configured any more there is nobody to take it.
        let channels = several(&path, &["a", "c"]).await;
        let (id, time) = letters(channels[0].backend().as_ref()).await.remove(0);
        let refused = channels[0].backend().take_out_letter(id, time.clone(), true).await.unwrap_err();
        assert!(matches!(&refused, BackendError(why) if why.contains("knows no publisher by the name of b")), "{refused}");
        assert!(channels[0].backend().take_out_letter(id, time, false).await.unwrap());
    });
}

#[test]
fn letters_that_are_taken_out_make_room_for_others() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let channel = open(&Embedded { max_dead_letters: 3, ..settings(&path) }).await;
        push(&channel, ["0", "1", "2"]).await;
        set_aside(&channel).await;
        for (id, time) in letters(channel.backend().as_ref()).await.into_iter().take(2) {
            assert!(channel.backend().take_out_letter(id, time, true).await.unwrap());
        }
        set_aside(&channel).await;
        assert_eq!(letters(channel.backend().as_ref()).await.len(), 3, "none was dropped");
        assert_eq!(channel.tally().letters_dropped, 0);
    });
}

fn replay(path: &Path, failpoints: &str) -> Command {
    let mut kadabra = command(env!("CARGO_BIN_EXE_kadabra"));
    kadabra.args(["dead-letters", "replay", "--all"]).env("KADABRA_CHANNEL__TYPE", "embedded");
    kadabra.env("KADABRA_CHANNEL__EMBEDDED__PATH", path).env("FAILPOINTS", failpoints);
    kadabra
}

/// At any instant it is either a dead letter or a message that waits.
#[test]
fn kill_9_in_the_midst_of_a_replay_loses_and_doubles_nothing() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let channel = open(&settings(&path)).await;
        push(&channel, (0..20).map(|number| number.to_string())).await;
        set_aside(&channel).await;
    });
    for round in 0..3 {
        let mut replay = Process::start("replay", replay(&path, "queue.replay=4*off->sleep(60000)"), &folder.path().join("log"));
        let waiting = || {
            let file = Connection::open(&path).ok()?;
            file.query_row("SELECT total(count) FROM chunks", [], |row| row.get::<_, f64>(0)).ok()
        };
        let goal = f64::from(4 * (round + 1));
        wait_for("four to be queued", std::time::Duration::from_secs(60), || (waiting()? >= goal).then_some(()));
        replay.kill();
        run(async {
            let channel = open(&settings(&path)).await;
            let depth = channel.depth().await.unwrap();
            assert_eq!((depth.queued as f64, depth.queued + depth.dead), (goal, 20));
        });
    }
    let output = replay(&path, "").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "8 dead letters are queued anew\n", "{output:?}");
    run(async {
        let channel = open(&settings(&path)).await;
        let mut all: Vec<usize> = drain(&channel).await.iter().map(|text| text.parse().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(channel.depth().await.unwrap().dead, 0);
    });
}
