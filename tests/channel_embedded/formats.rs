//! Files of every version of the format, as agents of that version have left them, are opened and delivered by this one.
//!
//! A new version of the format adds its files, made by [`a_file_of_this_version_is_made`], and leaves the older ones.

use std::fs;

use kadabra::channel::redis::StoredLetter;

use super::*;
use crate::channel_contract::{ALL, NO_WAIT, letter, receive};

/// Messages a push, and so a chunk, and pushes.
const EACH: usize = 10;
const PUSHES: usize = 8;
/// Of which so many are done, the first as a dead letter.
const DONE: usize = 15;

fn message(number: usize) -> String {
    format!("{number} {}", "x".repeat(number * 37 % 997))
}

fn imported() -> StoredLetter {
    StoredLetter {
        id: "1-1".to_owned(),
        payload: Some(b"imported".to_vec()),
        reason: "a reason".to_owned(),
        refused: "[]".to_owned(),
        agent: "there".to_owned(),
        time: "2026-01-01T00:00:00Z".to_owned(),
        publisher: None,
    }
}

#[test]
#[ignore = "writes KADABRA_TEST_FIXTURE"]
fn a_file_of_this_version_is_made() {
    let path = std::env::var_os("KADABRA_TEST_FIXTURE").unwrap();
    run(async {
        let channel = open(&settings(Path::new(&path))).await;
        for chunk in 0..PUSHES {
            push(&channel, (chunk * EACH..(chunk + 1) * EACH).map(message)).await;
        }
        let lease = receive(&channel, DONE, 10_000_000).await.unwrap();
        let letters = [letter(&lease, 0)];
        channel.complete(&mut vec![lease], &letters).await.unwrap();
        channel.backend().push(End::Oldest, vec![Bytes::from_static(b"the next")]).await.unwrap();
        channel.adopt(vec![Bytes::from_static(b"adopted")]).await.unwrap();
        channel.import("portion", false, vec![Bytes::from_static(b"the newest")]).await.unwrap();
        channel.import_letter("letter", imported()).await.unwrap();
    });
}

/// Of the second of several consumers, so many are done.
const DONE_BY_THE_OTHER: usize = 35;

#[test]
#[ignore = "writes KADABRA_TEST_FIXTURE"]
fn a_file_of_this_version_of_several_consumers_is_made() {
    let path = std::env::var_os("KADABRA_TEST_FIXTURE").unwrap();
    run(async {
        let channels = several(Path::new(&path)).await;
        for chunk in 0..PUSHES {
            push(&channels[0], (chunk * EACH..(chunk + 1) * EACH).map(message)).await;
        }
        for (channel, done) in channels.iter().zip([DONE, DONE_BY_THE_OTHER]) {
            let lease = receive(channel, done, 10_000_000).await.unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
        }
        channels[0].backend().push(End::Oldest, vec![Bytes::from_static(b"the next")]).await.unwrap();
        channels[0].adopt(vec![Bytes::from_static(b"adopted")]).await.unwrap();
        channels[0].import("portion", false, vec![Bytes::from_static(b"the newest")]).await.unwrap();
    });
}

async fn several(path: &Path) -> Vec<EmbeddedChannel> {
    let channels = EmbeddedChannel::several(&settings(path), "here", ["a", "b"].map(super::consumers::consumer).into());
    channels[0].open().await.unwrap();
    channels
}

#[test]
fn what_waits_in_a_file_of_several_consumers_is_delivered_to_each() {
    for (name, unreadable) in [("2.db", 0..0), ("2-damaged.db", 4 * EACH..5 * EACH)] {
        let (_folder, path) = fixture(name);
        run(async {
            let channels = several(&path).await;
            let without = |done: std::ops::Range<usize>| {
                let done: Vec<_> = done.map(message).collect();
                expected().into_iter().filter(move |text| !done.contains(text)).collect::<Vec<_>>()
            };
            let of_the_other = || {
                without(0..DONE_BY_THE_OTHER)
                    .into_iter()
                    .filter(|text| !unreadable.clone().map(message).any(|lost| lost == *text))
            };
            assert_eq!(drain(&channels[0]).await, without(unreadable.clone()), "{name}");
            assert!(drain(&channels[1]).await.into_iter().eq(of_the_other()), "{name}");
            drop(channels);
            for channel in several(&path).await {
                assert!(drain(&channel).await.is_empty(), "{name}");
                assert_eq!(channel.depth().await.unwrap().dead, 1, "{name}");
            }
        });
    }
}

/// What waits in it, the oldest first.
pub(super) fn expected() -> Vec<String> {
    let messages = (DONE..PUSHES * EACH).map(message);
    ["adopted", "the next"].map(str::to_owned).into_iter().chain(messages).chain(["the newest".to_owned()]).collect()
}

/// A copy of a fixture.
pub(super) fn fixture(name: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    fs::copy(format!("{}/tests/data/queue/{name}", env!("CARGO_MANIFEST_DIR")), &path).unwrap();
    (folder, path)
}

/// A file of each version that is well.
const HEALTHY: &[&str] = &["1.db"];
/// A file of each version with damage in it.
const DAMAGED: &[&str] = &["1-damaged.db"];

async fn drain(channel: &EmbeddedChannel) -> Vec<String> {
    let mut there = Vec::new();
    while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
        there.extend(texts(&lease.messages));
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    there
}

#[test]
fn a_file_of_each_version_is_opened_and_what_is_in_it_delivered() {
    for name in HEALTHY {
        let (_folder, path) = fixture(name);
        run(async {
            let channel = open(&settings(&path)).await;
            let depth = channel.depth().await.unwrap();
            assert_eq!((depth.queued, depth.dead), (expected().len() as u64, 2), "{name}");
            assert!(depth.age.is_some_and(|age| age > Duration::from_secs(1)), "{name}: {:?}", depth.age);
            assert_eq!(channel.identity().unwrap().len(), 16, "{name}");
            assert!(!channel.import("portion", false, vec![Bytes::from_static(b"once more")]).await.unwrap(), "{name}");
            assert!(!channel.import_letter("letter", imported()).await.unwrap(), "{name}");
            push(&channel, ["pushed"]).await;
            let expected: Vec<_> = expected().into_iter().chain(["pushed".to_owned()]).collect();
            assert_eq!(drain(&channel).await, expected, "{name}");
            drop(channel);
            assert_eq!(open(&settings(&path)).await.depth().await.unwrap().queued, 0, "{name}");
        });
    }
}

#[test]
fn what_can_be_read_of_a_damaged_file_of_each_version_is_delivered_once() {
    for name in DAMAGED {
        let (_folder, path) = fixture(name);
        run(async {
            let channel = open(&settings(&path)).await;
            let unreadable = 4 * EACH..5 * EACH;
            let expected: Vec<_> =
                expected().into_iter().filter(|text| !unreadable.clone().any(|at| *text == message(at))).collect();
            assert_eq!(drain(&channel).await, expected, "{name}");
            drop(channel);
            assert!(drain(&open(&settings(&path)).await).await.is_empty(), "{name}");
        });
    }
}
