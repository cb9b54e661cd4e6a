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
