//! Redis goes away, comes back, forgets scripts, hangs, is full.

use std::{collections::HashMap, thread};

use super::{proxy::Proxy, *};

/// The next call may find the dead connection; the one after has a new one.
async fn works_again(channel: &RedisChannel) {
    eventually("the channel to work again", || async { channel.depth().await.ok() }).await;
}

#[test]
fn leases_survive_kill_9_of_redis() {
    let mut server = RedisServer::for_agents();
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
    let server = RedisServer::for_agents();
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
        assert_eq!(channel.registry().tally().published, 5);
        settled(&channel, &mut redis);
    });
}

#[test]
fn on_a_line_too_slow_for_what_was_asked_less_is_asked_and_all_arrives() {
    let server = RedisServer::for_agents();
    push(&mut server.connection(), (0..300).map(|n| format!("{n:0500}")));
    // In one time-out arrive some sixty of these messages.
    let proxy = Proxy::narrow(server.port(), 100_000);
    run(async {
        let slow = Redis { timeout: Duration::from_millis(300), ..settings(&proxy.url()) };
        let channel = RedisChannel::new(&slow, "here", Duration::from_nanos(1)).unwrap();
        eventually("all to be taken and completed", || async {
            let mut leases: Vec<_> = channel.receive(ALL, NO_WAIT).await.ok().flatten().into_iter().collect();
            while !leases.is_empty() {
                // Its answer may come late on a busy machine.
                drop(channel.complete(&mut leases, &[]).await);
            }
            channel.recover().await.ok()?;
            (channel.registry().tally().published == 300).then_some(())
        })
        .await;
        settled(&channel, &mut server.connection());
    });
}

#[test]
fn a_redis_that_hangs_is_given_up_on_within_the_time_out() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let impatient = Redis { timeout: Duration::from_millis(800), ..settings(&server.url()) };
        let channel = RedisChannel::new(&impatient, "here", LONG).unwrap();
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        server.pause();
        for _ in 0..2 {
            let start = Instant::now();
            let said = sentence(channel.renew().await);
            assert!(said.contains("no answer within 800ms"), "{said}");
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        }
        server.resume();
        works_again(&channel).await;
        assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_full_redis_is_drained() {
    let server = RedisServer::for_agents_with(&["--maxmemory-policy", "noeviction"]);
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
        assert!(channel.registry().live().len() == 2 && redis.zcard::<_, usize>(LEASES).unwrap() == 2);
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

#[test]
fn a_connection_outlives_the_thread_that_made_it() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["a", "b"]);
    let channel = channel(&server);
    let mut leases = run(async { vec![receive(&channel, 1, 100).await.unwrap()] });
    assert!(
        run(async { channel.receive(Demand { messages: 1, bytes: 0, not_before: None }, NO_WAIT).await.is_err() }),
        "one call finds it gone"
    );
    run(async {
        channel.complete(&mut leases, &[]).await.unwrap();
        // A connection for waiting, too.
        channel.recover().await.unwrap();
        drop(channel.receive(ALL, LONG).await.unwrap());
        channel.recover().await.unwrap();
        assert_eq!(list(&mut redis, Q), ["b"]);
        settled(&channel, &mut redis);
    });
}

/// Completes, parks or gives back everything there is, whatever goes wrong, and remembers what it completed.
async fn persevere(channel: &RedisChannel, done: &mut HashMap<String, usize>, proxy: &Proxy) {
    let mut turn = 0;
    loop {
        turn += 1;
        if proxy.has_cut() {
            proxy.cut_before_answer(fastrand::i64(1..12));
        }
        drop(channel.recover().await);
        let lease = match channel
            .receive(Demand { messages: fastrand::usize(1..1200), bytes: 15_000, not_before: None }, NO_WAIT)
            .await
        {
            Ok(Some(lease)) => lease,
            Ok(None) if channel.registry().dropped().is_empty() => return,
            _ => continue,
        };
        let texts = texts(&lease);
        let letters = if turn % 3 == 0 { vec![letter(&lease, 0)] } else { Vec::new() };
        let mut leases = vec![lease];
        if turn % 4 == 0 {
            while channel.release(&mut leases).await.is_err() {}
            continue;
        }
        loop {
            drop(channel.renew().await);
            match channel.complete(&mut leases, &letters).await {
                Ok(completed) => {
                    assert_eq!((completed.messages, completed.lost), (texts.len(), 0));
                    break;
                }
                Err(_) => assert_eq!(leases.len(), 1),
            }
        }
        for text in texts {
            *done.entry(text).or_default() += 1;
        }
    }
}

#[test]
fn cut_connections_lose_and_double_nothing_and_the_ledger_knows() {
    const MESSAGES: usize = 20_000;
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..MESSAGES).map(|n| format!("{n:010}")));
    let agents: Vec<_> = (0..2)
        .map(|_| {
            let port = server.port();
            thread::spawn(move || {
                let proxy = Proxy::start(port);
                let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
                let mut done = HashMap::new();
                run(persevere(&channel, &mut done, &proxy));
                (done, channel.registry().tally())
            })
        })
        .collect();
    let mut completed: HashMap<String, usize> = HashMap::new();
    let (mut published, mut parked) = (0, 0);
    for agent in agents {
        let (done, tally) = agent.join().unwrap();
        assert!(tally.balances() && tally.in_flight == 0 && tally.lost == 0, "{tally:?}");
        published += tally.published;
        parked += tally.parked;
        for (text, times) in done {
            *completed.entry(text).or_default() += times;
        }
    }
    // One may have ended while the other still had something to give back.
    for text in list(&mut redis, Q) {
        *completed.entry(text).or_default() += 1;
    }
    assert_eq!(completed.len(), MESSAGES);
    assert!(completed.values().all(|&times| times == 1));
    let waiting: u64 = redis.llen(Q).unwrap();
    assert_eq!(published + parked + waiting, MESSAGES as u64);
    assert_eq!(redis.xlen::<_, u64>(DEAD).unwrap(), parked);
    let leases: u64 = redis.zcard(LEASES).unwrap();
    assert_eq!(leases, 0);
}
