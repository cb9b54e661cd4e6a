//! The queue as the Redis list that clients take it for.

use kadabra::channel::{
    Demand,
    embedded::{Backend, PushError},
};

use super::*;
use crate::channel_contract::{LONG, NO_WAIT, numbers, receive};

#[test]
fn both_ends_and_ranges_are_those_of_a_redis_list() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    let server = crate::support::redis_server::RedisServer::start();
    let mut redis = server.connection();
    run(async {
        let channel = open(&settings).await;
        let backend = channel.backend();
        assert!(!backend.clear().await.unwrap());
        for (command, end, texts) in [
            ("LPUSH", End::Newest, &["a", "b", "c"][..]),
            ("RPUSH", End::Oldest, &["x", "y"]),
            ("LPUSH", End::Newest, &["d"]),
            ("RPUSH", End::Oldest, &["z", "z", "w"]),
        ] {
            let messages = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
            let theirs: u64 = redis::cmd(command).arg("q").arg(texts).query(&mut redis).unwrap();
            assert_eq!(backend.push(end, messages).await.unwrap(), theirs);
            assert_eq!(backend.length().await.unwrap(), theirs);
        }
        for start in -12..12 {
            for stop in [-100, -10, -9, -8, -2, -1, 0, 1, 5, 7, 8, 9, 100] {
                let theirs: Vec<String> = redis::cmd("LRANGE").arg("q").arg(start).arg(stop).query(&mut redis).unwrap();
                assert_eq!(texts(&backend.range(start, stop).await.unwrap()), theirs, "{start} {stop}");
            }
        }
        let extremes = [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MIN), (i64::MAX, i64::MAX)];
        for (start, stop) in extremes {
            let all = if start < stop { 9 } else { 0 };
            assert_eq!(backend.range(start, stop).await.unwrap().len(), all, "{start} {stop}");
        }
        let lease = receive(&channel, 1, 1).await.unwrap();
        assert_eq!(texts(&lease.messages), ["w"]);
        assert!(backend.clear().await.unwrap());
        assert_eq!((backend.length().await.unwrap(), waiting(&channel).await.len()), (0, 0));
        drop(lease);
        channel.recover().await.unwrap();
        assert_eq!(texts(&waiting(&channel).await), ["w"], "what was leased was not deleted");
    });
}

#[test]
fn as_many_as_were_demanded_for_later_are_given_when_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        let later = tokio::time::Instant::now() + 60 * LONG;
        let demand = Demand { messages: 10, bytes: 1000, not_before: Some(later) };
        let come = async {
            for number in 0..20 {
                push(&channel, numbers(number..number + 1)).await;
            }
        };
        let (taken, ()) = futures_util::join!(channel.receive(demand, LONG), come);
        assert_eq!(taken.unwrap().unwrap().messages.to_vec(), numbers(0..10));
    });
}

#[test]
fn pushes_are_stored_between_the_slices_of_a_long_settlement() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        for number in 0..1000 {
            push(&channel, numbers(number..number + 1)).await;
        }
        let mut leases = vec![receive(&channel, 900, 100_000).await.unwrap()];
        let come = async {
            for number in 1000..1100 {
                push(&channel, numbers(number..number + 1)).await;
            }
        };
        let (completed, ()) = futures_util::join!(channel.complete(&mut leases, &[]), come);
        assert_eq!(completed.unwrap().messages, 900);
        drop(channel);
        let channel = open(&settings).await;
        assert_eq!(receive(&channel, 1000, 100_000).await.unwrap().messages.to_vec(), numbers(900..1100));
    });
}

#[test]
fn deleting_spares_what_is_leased_and_what_is_done_stays_done() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        for chunk in 0..4 {
            push(&channel, numbers(chunk * 10..chunk * 10 + 10)).await;
        }
        let mut first = vec![receive(&channel, 3, 100).await.unwrap()];
        let second = receive(&channel, 12, 100).await.unwrap();
        let third = receive(&channel, 3, 100).await.unwrap();
        channel.complete(&mut first, &[]).await.unwrap();
        channel.release(&mut vec![second]).await.unwrap();
        assert_eq!(channel.backend().length().await.unwrap(), 34);
        assert!(channel.backend().clear().await.unwrap());
        drop(channel);
        drop(third);
        let channel = open(&settings).await;
        let left = channel.receive(crate::channel_contract::ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(left.messages.to_vec(), numbers(15..18));
    });
}

#[test]
fn a_range_that_is_too_large_for_an_answer_is_refused_and_a_part_of_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("q.db"));
    run(async {
        let channel = open(&settings).await;
        push(&channel, (10..70).map(|n: u32| n.to_string().repeat(50_000))).await;
        let refused = channel.backend().range(0, -1).await.unwrap_err().to_string();
        assert!(refused.ends_with("; ask for fewer at once"), "{refused}");
        assert_eq!(channel.backend().range(20, 39).await.unwrap().len(), 20);
        let large = Bytes::from(vec![0; (4 << 20) + 1]);
        let refused = channel.backend().push(End::Newest, vec![Bytes::new(), large]).await;
        assert!(matches!(refused, Err(PushError::Failed { why, .. }) if why.contains("max_message_bytes")));
        assert_eq!(channel.backend().length().await.unwrap(), 60);
    });
}

#[test]
fn before_it_is_open_everything_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let channel = EmbeddedChannel::new(&settings(&folder.path().join("q.db")), "here");
    let backend: Arc<dyn Backend> = channel.backend();
    run(async {
        let why = backend.push(End::Newest, vec![Bytes::new()]).await.unwrap_err().to_string();
        assert!(why.contains("q.db is not open"), "{why}");
        assert_eq!(backend.length().await.unwrap_err().to_string(), why);
        assert!(channel.recover().await.is_err());
    });
}
