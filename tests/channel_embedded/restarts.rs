//! What was not completed waits again for the next agent, in its order; what was completed does not.

use kadabra::channel::{Demand, Lease};

use super::*;
use crate::channel_contract::{ALL, NO_WAIT, letter, numbers, receive, settled};

#[test]
fn what_was_leased_waits_again_after_a_restart_and_what_was_completed_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        push(&channel, numbers(0..100)).await;
        push(&channel, numbers(100..200)).await;
        // The ends of the leases lie within chunks.
        let mut leases: Vec<Lease> = Vec::new();
        for _ in 0..6 {
            leases.push(receive(&channel, 30, 1000).await.unwrap());
        }
        let mut two = vec![leases.remove(4), leases.remove(1)];
        let letters = [letter(&two[0], 7)];
        channel.complete(&mut two, &letters).await.unwrap();
        let (registry, depth) = (Arc::clone(channel.registry()), channel.depth().await.unwrap());
        assert_eq!((depth.queued, depth.leases, depth.dead), (20, 4, 1));
        drop(channel);
        // Their channel is gone, and they with it.
        assert_eq!(registry.tally().in_flight, 120);
        drop(leases);

        for _ in 0..2 {
            let channel = open(&settings).await;
            let depth = channel.depth().await.unwrap();
            assert_eq!((depth.queued, depth.leases, depth.dead), (140, 0, 1));
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            let expected = [numbers(0..30), numbers(60..120), numbers(150..200)].concat();
            assert_eq!(lease.messages.to_vec(), expected);
            drop(lease);
            drop(channel);
        }
        let channel = open(&settings).await;
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&channel).await;
        drop(channel);
        let channel = open(&settings).await;
        assert_eq!(channel.depth().await.unwrap().queued, 0);
        assert!(receive(&channel, 1, 1).await.is_none());
        // Numbers of chunks are given anew, and nothing of the old ones is left.
        push(&channel, numbers(0..200)).await;
        assert_eq!(channel.receive(ALL, NO_WAIT).await.unwrap().unwrap().messages.to_vec(), numbers(0..200));
    });
}

#[test]
fn at_rest_the_file_alone_is_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("q.db"), folder.path().join("copy.db"));
    run(async {
        let channel = open(&settings(&path)).await;
        push(&channel, numbers(0..100)).await;
        channel.rest().await.unwrap();
        std::fs::copy(&path, &copy).unwrap();
        let copied = open(&settings(&copy)).await;
        assert_eq!(copied.receive(ALL, NO_WAIT).await.unwrap().unwrap().messages.to_vec(), numbers(0..100));
        // And it goes on.
        push(&channel, numbers(100..200)).await;
        assert_eq!(channel.depth().await.unwrap().queued, 200);
    });
}

#[test]
fn what_was_adopted_stays_adopted_and_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let adopt = async |channel: &EmbeddedChannel, text: &'static str| {
            channel.adopt(vec![Bytes::from_static(text.as_bytes())]).await.unwrap()
        };
        let channel = open(&settings).await;
        push(&channel, ["new"]).await;
        adopt(&channel, "first").await;
        drop(channel);
        let channel = open(&settings).await;
        assert_eq!(adopt(&channel, "second").await, 3);
        channel.backend().push(End::Oldest, vec![Bytes::from_static(b"old")]).await.unwrap();
        assert!(channel.backend().clear().await.unwrap());
        push(&channel, ["newer"]).await;
        for turn in 0..2 {
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            assert!(lease.adopted && texts(&lease.messages) == ["first", "second"], "{turn}: {lease:?}");
            drop(lease);
            channel.recover().await.unwrap();
        }
        let mut leases = Vec::new();
        while let Some(lease) = channel.receive(Demand { messages: 9, bytes: 100, not_before: None }, NO_WAIT).await.unwrap() {
            leases.push(lease);
        }
        assert_eq!(leases.iter().map(|lease| lease.adopted).collect::<Vec<_>>(), [true, false]);
        channel.complete(&mut leases, &[]).await.unwrap();
        settled(&channel).await;
    });
}

#[test]
fn settling_that_nobody_waited_for_is_counted_as_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        push(&channel, numbers(0..6)).await;
        for again in [true, false] {
            let mut leases = vec![receive(&channel, 3, 100).await.unwrap()];
            let letters = [letter(&leases[0], 0)];
            // Begun, and given up before the answer, which cannot come while another program writes.
            let other = Connection::open(&settings.path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(futures_util::FutureExt::now_or_never(channel.complete(&mut leases, &letters)).is_none());
            drop(other);
            if again {
                assert_eq!(channel.complete(&mut leases, &letters).await.unwrap().messages, 3);
            } else {
                drop(leases);
                assert_eq!(channel.recover().await.unwrap().dropped, 0);
            }
        }
        let tally = channel.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.given_back, tally.lost), (4, 2, 0, 0));
        assert_eq!(channel.depth().await.unwrap().dead, 2);
        settled(&channel).await;
    });
}

#[test]
fn whatever_is_left_of_the_log_after_a_power_cut_the_file_is_whole_and_has_what_came_first() {
    let folder = quick_folder();
    let path = |name: &str| folder.path().join(name);
    run(async {
        let channel = open(&settings(&path("q.db"))).await;
        for n in 0..200usize {
            push(&channel, numbers(n..n + 1)).await;
            if n % 50 == 49 {
                let lease = receive(&channel, 10, 100).await.unwrap();
                channel.complete(&mut vec![lease], &[]).await.unwrap();
            }
        }
        let (file, mut log) = (std::fs::read(path("q.db")).unwrap(), std::fs::read(path("q.db-wal")).unwrap());
        // Behind it is room that nothing was written to.
        let written = log.iter().rposition(|byte| *byte != 0).unwrap();
        log.truncate(written + 1);
        let mut least = usize::MAX;
        for cut in 0..60 {
            // Less than a checkpoint takes is in the log, so that none of it was needed in the file.
            let at = if cut == 0 { written + 1 } else { fastrand::usize(..=written) };
            let mut log = log.clone();
            match cut % 3 {
                0 => log.truncate(at),
                1 => log[at..].fill(0),
                _ => log[at..].iter_mut().for_each(|byte| *byte = fastrand::u8(..)),
            }
            std::fs::write(path("cut.db"), &file).unwrap();
            std::fs::write(path("cut.db-wal"), &log).unwrap();
            drop(std::fs::remove_file(path("cut.db-shm")));
            let channel = open(&settings(&path("cut.db"))).await;
            push(&channel, numbers(200..201)).await;
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            let there: Vec<usize> = texts(&lease.messages).iter().map(|text| text.parse().unwrap()).collect();
            let (first, last) = (there[0], there[there.len() - 1]);
            assert!(there[..there.len() - 1].iter().copied().eq(first..first + there.len() - 1) && last == 200, "{there:?}");
            // A cut in the very first commit takes all but the last message.
            assert!((first % 10 == 0 && first <= 40) || there == [200], "{there:?}");
            if cut == 0 {
                assert_eq!(there, (40..201).collect::<Vec<_>>());
            }
            least = least.min(there.len());
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert!(least < 161, "no cut took anything");
    });
}

/// A fault right behind a commit may cost its answers, but neither what was committed nor what comes after it.
#[test]
#[cfg(feature = "failpoints")]
fn a_panic_of_the_writer_behind_a_commit_hides_no_messages_and_doubles_none() {
    let scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        fail::cfg("queue.pushed", "1*panic").unwrap();
        channel.backend().push(End::Newest, numbers(0..10).into_iter().map(Bytes::from).collect()).await.unwrap_err();
        push(&channel, numbers(10..20)).await;
        assert_eq!(channel.depth().await.unwrap().queued, 20);
        let lease = receive(&channel, 5, 1000).await.unwrap();
        assert_eq!(lease.messages.to_vec(), numbers(0..5));
        fail::cfg("queue.settled", "1*panic").unwrap();
        let mut leases = vec![lease];
        channel.complete(&mut leases, &[]).await.unwrap_err();
        assert_eq!(channel.complete(&mut leases, &[]).await.unwrap().messages, 5);
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(lease.messages.to_vec(), numbers(5..20));
    });
    scenario.teardown();
}
