//! A Redis that does not let anybody wait: it is noticed, however long the way there is.

use super::{proxy::Proxy, *};

/// Some 10 ms long, far longer than any pause after which a wait counts as one that Redis refused.
fn long_way(server: &RedisServer) -> Proxy {
    Proxy::narrow(server.port(), 10 << 20)
}

#[test]
fn a_wait_that_is_refused_on_a_long_way_is_said_and_not_tried_without_end() {
    let server = RedisServer::for_agents_with(&["--maxmemory-policy", "noeviction"]);
    let mut redis = server.connection();
    let proxy = long_way(&server);
    run(async {
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        assert!(channel.receive(ALL, Duration::from_millis(5)).await.unwrap().is_none());
        for (setting, value, normal, word) in
            [("maxmemory", "1kb", "0", "maxmemory"), ("min-replicas-to-write", "1", "0", "NOREPLICAS")]
        {
            let mut set = |value: &str| redis::cmd("CONFIG").arg(&["SET", setting, value]).query::<()>(&mut redis).unwrap();
            set(value);
            let begun = Instant::now();
            let said = sentence(channel.receive(ALL, LONG).await);
            assert!(said.contains("cannot wait") && said.contains(word), "{said}");
            assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
            assert!(sentence(channel.may_wait().await).contains(word));
            set(normal);
            channel.may_wait().await.unwrap();
            assert!(channel.receive(ALL, Duration::from_millis(5)).await.unwrap().is_none());
        }
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_primary_that_is_none_any_more_is_left_though_its_queue_is_empty() {
    for far in [false, true] {
        let (old, new) = (RedisServer::for_agents(), RedisServer::for_agents());
        let proxy = if far { long_way(&old) } else { Proxy::start(old.port()) };
        run(async {
            let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
            assert!(channel.receive(ALL, Duration::from_millis(5)).await.unwrap().is_none());
            let mut redis = old.connection();
            let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(new.port()).query(&mut redis).unwrap();
            let said = sentence(channel.receive(ALL, LONG).await);
            assert!(said.contains("read-only replica") && said.contains("primary"), "{said}");
            proxy.lead_to(new.port());
            push(&mut new.connection(), ["m"]);
            // At once: nothing that was open to the old one is used again.
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            assert_eq!(texts(&lease), ["m"]);
            channel.complete(&mut vec![lease], &[]).await.unwrap();
            settled(&channel, &mut new.connection());
        });
    }
}

#[test]
fn a_wait_ends_when_its_primary_is_none_any_more() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        let settings = Redis { timeout: Duration::from_secs(1), ..settings(&server.url()) };
        let channel = std::sync::Arc::new(RedisChannel::new(&settings, "here", LONG).unwrap());
        let waiting = actix_rt::spawn({
            let channel = std::sync::Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await }
        });
        eventually("the receive to wait", || std::future::ready((server.blocked() == 1).then_some(()))).await;
        let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query(&mut redis).unwrap();
        // Redis answers nothing more on that connection and leaves it open, since that answer would be skipped too.
        waiting.await.unwrap().unwrap_err();
        let said = sentence(channel.receive(ALL, LONG).await);
        assert!(said.contains("read-only replica"), "{said}");
    });
}

#[test]
fn an_opening_that_is_cut_before_any_of_its_answers_leaves_nothing_in_redis() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let proxy = Proxy::start(server.port());
    run(async {
        for answer in 1.. {
            let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis).unwrap();
            proxy.cut_before_answer(answer);
            let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
            let opened = channel.open().await;
            let cut = proxy.has_cut();
            proxy.cut_before_answer(0);
            // Redis had run the command whose answer was cut off, and nothing was sent after it.
            let keys: Vec<String> = redis.keys("*").unwrap();
            assert!(keys.is_empty(), "cut before its answer {answer}, it leaves {keys:?}");
            if !cut {
                opened.unwrap();
                assert!(answer > 10, "an opening has more than {answer} answers");
                break;
            }
        }
    });
}

/// For Redis 6.2.5 a millisecond rounds to nothing, and nothing is for ever.
#[test]
fn the_shortest_wait_ends() {
    let server = RedisServer::for_agents();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        for _ in 0..20 {
            // A part of it is over when the wait begins, and a wait below a millisecond is none.
            let wait = Duration::from_micros(fastrand::u64(1100..2500));
            assert!(channel.receive(ALL, wait).await.unwrap().is_none());
        }
    });
}
