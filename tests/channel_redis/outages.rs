//! Redis goes away, comes back, forgets scripts, hangs, is full.

use super::*;

/// The next call may find the dead connection; the one after has a new one.
async fn works_again(channel: &RedisChannel) {
    eventually("the channel to work again", || async { channel.depth().await.ok() }).await;
}

#[test]
fn leases_survive_kill_9_of_redis() {
    let mut server = RedisServer::with(&["--appendfsync", "always"]);
    push(&mut server.connection(), (0..10).map(|n| n.to_string()));
    run(async {
        let channel = channel(&server);
        let lease = receive(&channel, 4, 100).await.unwrap();
        let parked = receive(&channel, 1, 100).await.unwrap();
        let letters = [letter(&parked, 0)];
        channel.complete(&mut vec![parked], &letters).await.unwrap();
        server.kill9();
        let said = sentence(channel.receive(ALL, LONG).await);
        assert!(said.contains(&server.url()), "{said}");
        server.restart();
        works_again(&channel).await;
        channel.renew().await.unwrap();
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.queued, depth.leases, depth.dead), (5, 1, 1));
        assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 4);
        drop(channel.receive(ALL, NO_WAIT).await.unwrap());
        channel.recover().await.unwrap();
        assert_eq!(list(&mut server.connection(), Q), ["9", "8", "7", "6", "5"]);
        settled(&channel, &mut server.connection());
    });
}

#[test]
fn closed_connections_and_forgotten_scripts_mend_themselves() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, (0..5).map(|n| n.to_string()));
    run(async {
        let channel = channel(&server);
        for _ in 0..5 {
            let lease = receive(&channel, 1, 100).await.unwrap();
            let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis).unwrap();
            channel.renew().await.unwrap();
            let _: usize = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query(&mut redis).unwrap();
            works_again(&channel).await;
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert_eq!(channel.book().tally().published, 5);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_redis_that_hangs_is_given_up_on_within_the_time_out() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let impatient = Redis { timeout: Duration::from_millis(300), ..settings(&server.url()) };
        let channel = RedisChannel::new(&impatient, "here", LONG).unwrap();
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        server.pause();
        for _ in 0..2 {
            let start = Instant::now();
            let said = sentence(channel.renew().await);
            assert!(said.contains("no answer within 300ms"), "{said}");
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        }
        server.resume();
        works_again(&channel).await;
        assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_full_redis_is_drained() {
    let server = RedisServer::with(&["--maxmemory-policy", "noeviction"]);
    let mut redis = server.connection();
    push(&mut redis, (0..1000).map(|n| format!("{n:0900}")));
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "100kb"]).query(&mut redis).unwrap();
        let full = redis.lpush::<_, _, usize>(Q, "one more").unwrap_err();
        assert_eq!(full.code(), Some("OOM"));
        let mut leases = vec![receive(&channel, 300, 1_000_000).await.unwrap(), receive(&channel, 300, 1_000_000).await.unwrap()];
        channel.renew().await.unwrap();
        assert!(channel.book().live().len() == 2 && redis.zcard::<_, usize>(LEASES).unwrap() == 2);
        channel.release(&mut leases).await.unwrap();
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(lease.messages.len(), 1000);
        let letters = [letter(&lease, 0)];
        channel.complete(&mut vec![lease], &letters).await.unwrap();
        assert_eq!(channel.depth().await.unwrap().dead, 1);
        let _: usize = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1kb"]).query::<String>(&mut redis).unwrap().len();
        let said = sentence(channel.receive(ALL, LONG).await);
        assert!(said.contains("maxmemory") && said.contains("raise"), "{said}");
        settled(&channel, &mut redis);
    });
}
