//! A queue that is full, and a disk that is: what is pushed is refused, nothing is lost, and it goes on by itself.

use kadabra::channel::embedded::PushError;

use super::*;
use crate::{
    channel_contract::{ALL, LONG, NO_WAIT, letter, receive, settled},
    support::process::{Process, command, wait_for},
};

fn disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Pushes until no more is taken. Returns how many messages were, and why no more.
async fn fill(channel: &EmbeddedChannel, size: usize) -> (u64, PushError) {
    let message = Bytes::from(vec![b'x'; size]);
    let at_once = (2000 / size).max(2);
    let mut pushed = 0;
    loop {
        match channel.backend().push(End::Newest, vec![message.clone(); at_once]).await {
            Ok(_) => pushed += at_once as u64,
            Err(why) => return (pushed, why),
        }
    }
}

#[test]
fn at_its_bound_pushes_are_refused_as_by_a_full_redis_and_everything_else_works() {
    const BOUND: u64 = 2 << 20;
    for size in [10, 900, 20_000, 200_000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        run(async {
            let channel = open(&Embedded { max_bytes: BOUND, ..settings(&path) }).await;
            let mut last = 0;
            for round in 0..3 {
                let (pushed, why) = fill(&channel, size).await;
                assert_eq!(why, PushError::Full);
                let least = if size == 10 { 10_000 } else { BOUND / 2 / size as u64 };
                assert!(pushed >= least, "only {pushed} of {size} bytes");
                assert!(round < 1 || pushed > last / 2, "{pushed} after {last}: the room is not used again");
                last = pushed;
                assert_eq!(channel.backend().length().await.unwrap(), pushed);
                let threats: Vec<_> = pressure(&channel).await;
                assert!(size > 900 || threats.iter().any(|what| what.contains("little room left")), "{threats:?}");
                // A dead letter from the middle of a chunk takes room though none is free.
                let lease = receive(&channel, 1, 2_000_000).await.unwrap();
                let letters = [letter(&lease, 0)];
                channel.complete(&mut vec![lease], &letters).await.unwrap();
                while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                    channel.complete(&mut vec![lease], &[]).await.unwrap();
                }
                settled(&channel).await;
            }
            assert_eq!(channel.registry().tally().parked, 3);
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
        assert_eq!(channel.registry().tally().letters_dropped, 36);
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

/// Not a test: what the next one runs with a limit on the size of files, and gives room when it is full.
#[test]
#[ignore = "a child of another test"]
fn a_child_whose_disk_is_full() {
    let Some(folder) = std::env::var_os("KADABRA_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    run(async {
        let channel = open(&settings(&folder.join("q.db"))).await;
        let (pushed, why) = fill(&channel, 10_000).await;
        let PushError::Failed { why, .. } = why else { panic!("{why:?}") };
        assert!(why.contains("q.db: ") && why.contains("raise the limit on the size of a file, 20971520 bytes"), "{why}");
        assert!(pushed > 500, "{pushed}");
        assert_eq!(channel.depth().await.unwrap().queued, pushed);
        // The agent that publishes does not stop: the log has some room of its own.
        for _ in 0..5 {
            let lease = receive(&channel, 10, 10_000_000).await.unwrap();
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        std::fs::write(folder.join("full"), "").unwrap();
        crate::channel_contract::eventually("what is pushed to be taken again", async || {
            channel.backend().push(End::Newest, vec![Bytes::from_static(b"last")]).await.ok()
        })
        .await;
        assert_eq!(channel.depth().await.unwrap().queued, pushed - 50 + 1);
    });
    std::fs::write(folder.join("passed"), "").unwrap();
}

#[test]
fn a_full_disk_refuses_pushes_and_loses_nothing_and_is_used_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command("bash");
    // What cannot be written then fails, as on a full disk, rather than end the process.
    child.args(["-c", "trap '' XFSZ; ulimit -S -f 20480; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    child.args(["channel_embedded::full::a_child_whose_disk_is_full", "--exact", "--ignored", "--nocapture"]);
    child.env("KADABRA_TEST_FOLDER", folder.path());
    let output = folder.path().join("output");
    let mut child = Process::start("the child", child, &output);
    let said = || std::fs::read_to_string(&output).unwrap();
    let is = |name: &str| folder.path().join(name).exists();
    wait_for("the disk to be full", LONG, || (is("full") || child.ended().is_some()).then_some(()));
    assert!(is("full"), "{}", said());
    let room = std::process::Command::new("prlimit").args(["--fsize=unlimited", "--pid", &child.id().to_string()]).status();
    assert!(room.unwrap().success());
    child.wait(LONG);
    assert!(is("passed"), "{}", said());
    run(async {
        let channel = open(&settings(&folder.path().join("q.db"))).await;
        let mut last = Vec::new();
        while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
            assert!(lease.messages.iter().all(|message| message.len() == 10_000 || message == b"last"));
            last.clone_from(lease.messages.last().unwrap());
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert_eq!(last, b"last");
    });
}

/// Not a test: what the next one runs on a small disk that is the queue's alone.
#[test]
#[ignore = "a child of another test"]
fn a_child_that_has_a_small_disk() {
    let Some(folder) = std::env::var_os("KADABRA_TEST_FOLDER") else { return };
    let path = Path::new(&folder).join("q.db");
    run(async {
        let channel = open(&settings(&path)).await;
        for round in 0..4 {
            let (pushed, why) = fill(&channel, 10_000).await;
            let PushError::Failed { why, .. } = why else { panic!("{why:?}") };
            assert!(why.contains("the disk that ") && why.contains("cannot queue messages"), "{why}");
            assert!(pushed > 300, "only {pushed} in round {round}");
            // Others take what little is left.
            std::fs::write(Path::new(&folder).join("others"), vec![0; 64 << 10]).ok();
            let mut published = 0;
            while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                published += lease.messages.len() as u64;
                channel.complete(&mut vec![lease], &[]).await.unwrap();
            }
            assert_eq!(published, pushed);
            assert!(pressure(&channel).await.is_empty());
        }
    });
}

#[test]
fn a_queue_that_has_filled_its_disk_takes_as_much_again_once_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command("unshare");
    child.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    child.arg("mount -t tmpfs -o size=24m tmpfs \"$KADABRA_TEST_FOLDER\" && exec \"$0\" \"$@\"");
    child.arg(std::env::current_exe().unwrap());
    child.args(["channel_embedded::full::a_child_that_has_a_small_disk", "--exact", "--ignored", "--nocapture"]);
    child.env("KADABRA_TEST_FOLDER", folder.path());
    let output = tempfile::NamedTempFile::new().unwrap();
    let status = Process::start("the child", child, output.path()).wait(LONG);
    let said = std::fs::read_to_string(output.path()).unwrap();
    assert!(status.success() && said.contains("1 passed"), "{said}");
}

/// Pushes numbered messages until so many of the oldest were dropped.
async fn push_over(channel: &EmbeddedChannel, size: usize, dropped: u64) -> (u64, u64) {
    let (mut pushed, mut gone) = (0, 0);
    while gone < dropped {
        let message = format!("{pushed:0>size$}");
        push(channel, [message]).await;
        pushed += 1;
        gone += channel.backend().take_dropped_oldest();
    }
    // On a slow disk what was answered last may not be stored yet.
    channel.rest().await.unwrap();
    (pushed, gone + channel.backend().take_dropped_oldest())
}

fn numbers(messages: &[Vec<u8>]) -> impl Iterator<Item = u64> + '_ {
    messages.iter().map(|message| std::str::from_utf8(message).unwrap().parse().unwrap())
}

fn balanced(channel: &EmbeddedChannel, accepted: u64, dropped: u64) {
    let tally = channel.tally();
    let of = tally.accepted.unwrap();
    assert!(tally.balances(), "{tally:?}");
    assert_eq!((of.all, of.dropped), (accepted, dropped), "{tally:?}");
}

#[test]
fn the_oldest_make_room_for_what_comes_but_nothing_that_is_leased_and_no_dead_letter_does() {
    const BOUND: u64 = 2 << 20;
    for size in [700, 20_000, 60_000] {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let settings =
                Embedded { max_bytes: BOUND, when_full: WhenFull::DropOldest, ..settings(&folder.path().join("q.db")) };
            let channel = open(&settings).await;
            push(&channel, ["dead"]).await;
            channel.rest().await.unwrap();
            let lease = receive(&channel, 1, 1000).await.unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
            push(&channel, ["0"]).await;
            channel.rest().await.unwrap();
            let leased = receive(&channel, 1, 1000).await.unwrap();
            let (pushed, dropped) = push_over(&channel, size, 2 * BOUND / size as u64).await;
            balanced(&channel, pushed + 2, dropped);
            assert_eq!(channel.depth().await.unwrap().dead, 1);
            // What was leased is still there, and what is not was the oldest.
            channel.complete(&mut vec![leased], &[]).await.unwrap();
            let mut left = Vec::new();
            while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                left.extend(numbers(&lease.messages));
                channel.complete(&mut vec![lease], &[]).await.unwrap();
            }
            assert!(left.iter().copied().eq(dropped..pushed), "{dropped} of {pushed}: {left:?}");
            assert!(left.len() as u64 * size as u64 > BOUND / 2, "only {} are left", left.len());
            balanced(&channel, pushed + 2, dropped);
            assert_eq!(channel.registry().tally().lost, 0);
        });
    }
}

#[test]
fn what_finds_no_room_even_in_an_empty_file_drops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let settings = Embedded { max_bytes: 1 << 20, when_full: WhenFull::DropOldest, ..settings(&folder.path().join("q.db")) };
        let channel = open(&settings).await;
        push(&channel, ["old"]).await;
        channel.rest().await.unwrap();
        let large = vec![Bytes::from(vec![b'x'; 400_000]); 3];
        let answer = channel.backend().push(End::Newest, large).await;
        channel.rest().await.unwrap();
        // On a slow disk the answer comes before it is known.
        assert!(matches!(answer, Err(PushError::Full) | Ok(4)), "{answer:?}");
        assert_eq!(texts(&waiting(&channel).await), ["old"]);
    });
}

#[test]
fn of_several_consumers_each_loses_what_it_had_left_of_the_oldest_and_no_more() {
    const BOUND: u64 = 2 << 20;
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let settings = Embedded { max_bytes: BOUND, when_full: WhenFull::DropOldest, ..settings(&folder.path().join("q.db")) };
        let consumers = ["quick", "slow"].map(super::consumers::consumer).to_vec();
        let channels = EmbeddedChannel::several(&settings, "here", consumers);
        for channel in &channels {
            channel.open().await.unwrap();
        }
        let [quick, slow] = channels.as_slice() else { panic!() };
        for number in 0..100 {
            push(quick, [format!("{number:0>10000}")]).await;
        }
        quick.rest().await.unwrap();
        let mut published = 0;
        while let Some(lease) = receive(quick, 10, 100_000).await {
            published += lease.messages.len() as u64;
            quick.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert_eq!(published, 100);
        let mut pushed = 100;
        while quick.backend().take_dropped_oldest() == 0 {
            push(quick, [format!("{pushed:0>10000}")]).await;
            pushed += 1;
        }
        quick.rest().await.unwrap();
        assert!(quick.tally().balances() && slow.tally().balances());
        balanced(quick, pushed, 0);
        let dropped = slow.tally().accepted.unwrap().dropped;
        assert!(dropped > 0 && dropped < 100, "{dropped}");
        balanced(slow, pushed, dropped);
        let lease = receive(slow, 1, 1000).await.unwrap();
        assert_eq!(numbers(&lease.messages).next(), Some(dropped));
    });
}

#[test]
fn what_is_dropped_in_place_of_being_stored_counts_as_accepted_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let channel = open(&settings(&folder.path().join("q.db"))).await;
        push(&channel, ["a"]).await;
        channel.backend().drop_newest(3);
        balanced(&channel, 4, 3);
    });
}

/// Not a test: what the next one runs on a small disk that is the queue's alone.
#[test]
#[ignore = "a child of another test"]
fn a_child_that_drops_on_a_small_disk() {
    let Some(folder) = std::env::var_os("KADABRA_TEST_FOLDER") else { return };
    run(async {
        let settings = Embedded { when_full: WhenFull::DropOldest, ..settings(&Path::new(&folder).join("q.db")) };
        let channel = open(&settings).await;
        let (pushed, dropped) = push_over(&channel, 10_000, 3000).await;
        balanced(&channel, pushed, dropped);
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(numbers(&lease.messages).next(), Some(dropped));
        assert!(pushed - dropped > 300, "only {} are left", pushed - dropped);
    });
}

#[test]
fn on_a_full_disk_the_oldest_make_room_inside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command("unshare");
    child.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    child.arg("mount -t tmpfs -o size=24m tmpfs \"$KADABRA_TEST_FOLDER\" && exec \"$0\" \"$@\"");
    child.arg(std::env::current_exe().unwrap());
    child.args(["channel_embedded::full::a_child_that_drops_on_a_small_disk", "--exact", "--ignored", "--nocapture"]);
    child.env("KADABRA_TEST_FOLDER", folder.path());
    let output = tempfile::NamedTempFile::new().unwrap();
    let status = Process::start("the child", child, output.path()).wait(LONG);
    let said = std::fs::read_to_string(output.path()).unwrap();
    assert!(status.success() && said.contains("1 passed"), "{said}");
}
