//! A queue that is full, and a disk that is: what is pushed is refused, nothing is lost, and it goes on by itself.

use kadabra::channel::embedded::PushError;

use super::*;
use crate::{
    channel_contract::{ALL, LONG, NO_WAIT, letter, numbers, receive, settled},
    support::process::{Process, command},
};

fn disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Pushes until no more is taken. Returns how many messages were, and why no more.
async fn fill(channel: &EmbeddedChannel, size: usize) -> (u64, PushError) {
    let message = Bytes::from(vec![b'x'; size]);
    let mut pushed = 0;
    loop {
        match channel.backend().push(End::Newest, vec![message.clone(); 3]).await {
            Ok(_) => pushed += 3,
            Err(why) => return (pushed, why),
        }
    }
}

#[test]
fn at_its_bound_pushes_are_refused_as_by_a_full_redis_and_everything_else_works() {
    const BOUND: u64 = 8 << 20;
    for size in [10, 900, 50_000, 1_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        run(async {
            let channel = open(&Embedded { max_bytes: BOUND, ..settings(&path) }).await;
            let mut last = 0;
            for round in 0..4 {
                let (pushed, why) = fill(&channel, size).await;
                assert_eq!(why, PushError::Full);
                let least = if size == 10 { 4000 } else { BOUND / 2 / size as u64 };
                assert!(pushed >= least, "only {pushed} of {size} bytes");
                assert!(round < 2 || pushed > last / 2, "{pushed} after {last}: the room is not used again");
                last = pushed;
                assert_eq!(channel.backend().length().await.unwrap(), pushed);
                let threats: Vec<_> = pressure(&channel).await;
                assert!(threats.iter().any(|what| what.contains("little room left")), "{threats:?}");
                // A dead letter from the middle of a chunk takes room though none is free.
                let lease = receive(&channel, 2, 2_000_000).await.unwrap();
                let letters = [letter(&lease, 0)];
                channel.complete(&mut vec![lease], &letters).await.unwrap();
                while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                    channel.complete(&mut vec![lease], &[]).await.unwrap();
                }
                settled(&channel).await;
            }
            assert_eq!(channel.book().tally().parked, 4);
            drop(channel);
            assert!(disk(&path) <= BOUND + (1 << 20), "{} bytes", disk(&path));
        });
    }
}

async fn pressure(channel: &EmbeddedChannel) -> Vec<String> {
    let patience = kadabra::channel::Patience { age: LONG, messages: u64::MAX };
    channel.pressure(&patience).await.unwrap().warnings.into_iter().map(|warning| warning.what).collect()
}

#[test]
fn dead_letters_never_take_the_messages_room() {
    const BOUND: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let channel = open(&Embedded { max_bytes: BOUND, ..settings(&folder.path().join("q.db")) }).await;
        for _ in 0..40 {
            assert!(push(&channel, ["x".repeat(500_000)]).await > 0);
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
        }
        assert_eq!(channel.depth().await.unwrap().dead, 4, "a quarter of the room");
        assert_eq!(channel.book().tally().letters_dropped, 36);
    });
}

#[test]
fn a_large_file_becomes_small_once_it_is_drained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    run(async {
        let channel = open(&settings(&path)).await;
        for _ in 0..100 {
            push(&channel, vec!["x".repeat(1_000_000)]).await;
        }
        while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        push(&channel, ["last"]).await;
        crate::channel_contract::eventually("a small file", async || (disk(&path) < 32 << 20).then_some(())).await;
        assert_eq!(texts(&waiting(&channel).await), ["last"]);
    });
}

/// Not a test: what the next one runs with a limit on the size of files.
#[test]
#[ignore = "a child of another test"]
fn a_child_whose_disk_is_full() {
    let Some(folder) = std::env::var_os("KADABRA_TEST_FOLDER") else { return };
    let path = Path::new(&folder).join("q.db");
    run(async {
        let channel = open(&settings(&path)).await;
        let mut lost = 0;
        for round in 0..3 {
            let (pushed, why) = fill(&channel, 10_000).await;
            let PushError::Failed(why) = why else { panic!("{why:?}") };
            assert!(why.starts_with("cannot queue messages in ") && why.contains("q.db: "), "{why}");
            assert!(why.contains("; see whether the disk that ") || why.contains("; make room on the disk that "), "{why}");
            assert!(pushed > 100 || round > 0, "{pushed}");
            let depth = channel.depth().await.unwrap().queued;
            assert!(depth >= pushed, "{depth} of {pushed}");
            // What is there is drained. The log has room of its own once it was emptied.
            crate::channel_contract::eventually("what is queued to be done", async || {
                let Some(lease) = receive(&channel, 50, 10_000_000).await else { return Some(()) };
                let messages = lease.messages.len();
                let mut leases = vec![lease];
                if channel.complete(&mut leases, &[]).await.is_err() {
                    lost += messages;
                    channel.release(&mut leases).await.unwrap();
                }
                None
            })
            .await;
            assert_eq!(channel.backend().length().await.unwrap(), 0);
            settled(&channel).await;
        }
        push(&channel, numbers(0..10)).await;
    });
    std::fs::write(Path::new(&folder).join("passed"), "").unwrap();
}

#[test]
fn a_full_disk_refuses_pushes_and_loses_nothing_and_is_used_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command("bash");
    // What cannot be written then fails, as on a full disk, rather than end the process.
    child.args(["-c", "trap '' XFSZ; ulimit -f 12288; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    child.args(["channel_embedded::full::a_child_whose_disk_is_full", "--exact", "--ignored", "--nocapture"]);
    child.env("KADABRA_TEST_FOLDER", folder.path());
    let output = folder.path().join("output");
    Process::start("the child", child, &output).wait(Duration::from_secs(60));
    assert!(folder.path().join("passed").exists(), "{}", std::fs::read_to_string(&output).unwrap());
    run(async {
        let channel = open(&settings(&folder.path().join("q.db"))).await;
        assert_eq!(channel.receive(ALL, NO_WAIT).await.unwrap().unwrap().messages, numbers(0..10));
    });
}
