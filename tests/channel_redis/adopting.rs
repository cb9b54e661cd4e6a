//! What a Python agent left in its in-progress list.

use std::sync::Arc;

use super::*;

#[test]
fn what_a_python_agent_left_is_adopted_and_stays_adopted() {
    let mut server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..4).map(|n| n.to_string()));
    for _ in 0..2 {
        let _: String = redis.rpoplpush(Q, P).unwrap();
    }
    run(async {
        let channel = channel(&server);
        assert_eq!(channel.recover().await.unwrap().adopted, 0, "seen for the first time");
        assert_eq!(channel.recover().await.unwrap().adopted, 2);
        assert_eq!(channel.depth().await.unwrap().queued, 4);
        // Dropped, released and expired: it goes back where it came from.
        for turn in 0..3 {
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            assert!(lease.adopted && texts(&lease) == ["0", "1"], "{turn}: {lease:?}");
            match turn {
                0 => {
                    drop(lease);
                    channel.recover().await.unwrap();
                }
                1 => channel.release(&mut vec![lease]).await.unwrap(),
                _ => {
                    server.restart();
                    redis = server.connection();
                    expire(&mut redis);
                    let other = self::channel(&server);
                    assert_eq!(other.recover().await.unwrap().expired, 2);
                    assert_eq!(list(&mut redis, ADOPTED), ["1", "0"]);
                    drop(lease);
                    // The connection that the restart has closed.
                    drop(channel.recover().await);
                }
            }
        }
        channel.recover().await.unwrap();
        let mut leases = vec![channel.receive(ALL, NO_WAIT).await.unwrap().unwrap()];
        leases.push(channel.receive(ALL, NO_WAIT).await.unwrap().unwrap());
        assert_eq!((leases[0].adopted, leases[1].adopted), (true, false));
        assert_eq!((texts(&leases[0]), texts(&leases[1])), (vec!["0".into(), "1".into()], vec!["2".into(), "3".into()]));
        channel.complete(&mut leases, &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_list_that_a_python_agent_works_on_is_left_alone() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..6).map(|n| n.to_string()));
    run(async {
        let channel = channel(&server);
        for _ in 0..6 {
            let message: String = redis.rpoplpush(Q, P).unwrap();
            assert_eq!(channel.recover().await.unwrap().adopted, 0);
            let _: usize = redis.lrem(P, 1, message).unwrap();
            assert_eq!(channel.recover().await.unwrap().adopted, 0);
        }
        let _: usize = redis.lpush(P, "left").unwrap();
        let patient = RedisChannel::new(&settings(&server.url()), "here", LONG).unwrap();
        for _ in 0..3 {
            assert_eq!(patient.recover().await.unwrap().adopted, 0, "not for long enough");
        }
        assert_eq!(list(&mut redis, P), ["left"]);
    });
}

#[test]
fn a_long_list_is_adopted_behind_what_is_adopted_already() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let _: usize = redis.lpush(ADOPTED, "older").unwrap();
    for n in 0..2345 {
        let _: usize = redis.lpush(P, n).unwrap();
    }
    run(async {
        let channel = channel(&server);
        channel.recover().await.unwrap();
        assert_eq!(channel.recover().await.unwrap().adopted, 2345);
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        let expected: Vec<String> = std::iter::once("older".into()).chain((0..2345).map(|n| n.to_string())).collect();
        assert_eq!(texts(&lease), expected);
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn an_adoption_wakes_a_receive_that_waits() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let _: usize = redis.lpush(P, "left").unwrap();
    run(async {
        let channel = Arc::new(channel(&server));
        let start = Instant::now();
        let waiting = actix_rt::spawn({
            let channel = Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await.unwrap() }
        });
        channel.recover().await.unwrap();
        channel.recover().await.unwrap();
        let lease = waiting.await.unwrap().unwrap();
        assert!(lease.adopted && start.elapsed() < LONG / 2);
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}
