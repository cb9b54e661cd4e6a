//! Order, bounds, waiting, and who gets what.

use std::{collections::HashSet, sync::Arc, thread};

use super::*;

#[test]
fn the_oldest_come_first_and_no_more_than_demanded() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..2500).map(|n| n.to_string()));
    run(async {
        let channel = channel(&server);
        assert!(channel.open().await.unwrap().contains(&server.url()));
        let mut next = 0;
        for (demand, expected) in [(1, 1), (7, 7), (10, 10), (110, 110), (1000, 1000), (1001, 1001), (5000, 371)] {
            let lease = receive(&channel, demand, 1_000_000).await.unwrap();
            assert_eq!(texts(&lease), (next..next + expected).map(|n| n.to_string()).collect::<Vec<_>>());
            next += expected;
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert!(receive(&channel, 10, 100).await.is_none());
        assert_eq!(channel.registry().tally().published, 2500);
        settled(&channel, &mut redis);
    });
}

#[test]
fn never_more_bytes_than_demanded_except_one_message_alone() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let sizes = [10, 20, 30, 500, 5, 5, 0, 90, 11, 1000, 1];
    push(&mut redis, sizes.iter().map(|&size| "x".repeat(size)));
    // Enough of the same size that the script sees several chunks and the channel several slices.
    push(&mut redis, (0..3000).map(|n| format!("{n:0100}")));
    run(async {
        let channel = channel(&server);
        let mut leases = Vec::new();
        for expected in [&[10, 20, 30][..], &[500], &[5, 5, 0, 90], &[11], &[1000]] {
            let lease = receive(&channel, 100, 100).await.unwrap();
            assert_eq!(lease.messages.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            leases.push(lease);
        }
        let lease = receive(&channel, 10_000, 155_000).await.unwrap();
        assert_eq!((lease.messages.len(), lease.bytes()), (1550, 154_901));
        leases.push(lease);
        let lease = receive(&channel, 10_000, 145_101).await.unwrap();
        assert_eq!((lease.messages.len(), lease.bytes()), (1451, 145_100));
        leases.push(lease);
        channel.complete(&mut leases, &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn bytes_are_bytes() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let odd: [&[u8]; 6] = [b"", b"\0\0", b"\xff\xfe\x80", b"12345", b"line\r\n$3\r\n", "\u{1F600}".as_bytes()];
    push(&mut redis, odd);
    run(async {
        let channel = channel(&server);
        let mut leases = vec![receive(&channel, 10, 1000).await.unwrap()];
        assert_eq!(leases[0].messages.to_vec(), odd);
        channel.release(&mut leases).await.unwrap();
        let lease = receive(&channel, 10, 1000).await.unwrap();
        assert_eq!(lease.messages.to_vec(), odd);
        let letters = [letter(&lease, 2)];
        channel.complete(&mut vec![lease], &letters).await.unwrap();
        let dead: redis::streams::StreamRangeReply = redis.xrange_all(DEAD).unwrap();
        assert_eq!(dead.ids[0].get::<Vec<u8>>("payload").unwrap(), odd[2]);
        settled(&channel, &mut redis);
    });
}

fn calls(redis: &mut Connection) -> usize {
    let info: String = redis::cmd("INFO").arg("stats").query(redis).unwrap();
    info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap().trim().parse().unwrap()
}

#[test]
fn waiting_costs_no_polling_and_ends_with_the_first_message() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        let channel = Arc::new(channel(&server));
        channel.open().await.unwrap();
        assert!(receive(&channel, 1, 1).await.is_none());
        let before = calls(&mut redis);
        // Longer than the redis crate's own time-out of 500 ms.
        let start = Instant::now();
        assert!(channel.receive(ALL, Duration::from_millis(1200)).await.unwrap().is_none());
        assert!(start.elapsed() >= Duration::from_millis(1100), "{:?}", start.elapsed());
        let spent = calls(&mut redis) - before;
        assert!(spent < 18, "{spent} commands, connecting included");

        let waiting = actix_rt::spawn({
            let channel = Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await.unwrap() }
        });
        eventually("the receive to wait", || std::future::ready((server.blocked() == 1).then_some(()))).await;
        push(&mut redis, ["woken"]);
        let lease = waiting.await.unwrap().unwrap();
        assert_eq!(texts(&lease), ["woken"]);
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_receive_that_is_dropped_while_it_waits_loses_nothing() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        let channel = Arc::new(channel(&server));
        let waiting = actix_rt::spawn({
            let channel = Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await.unwrap() }
        });
        eventually("the receive to wait", || std::future::ready((server.blocked() == 1).then_some(()))).await;
        waiting.abort();
        eventually("the wait to end in Redis", || std::future::ready((server.blocked() == 0).then_some(()))).await;
        push(&mut redis, ["kept"]);
        assert_eq!(list(&mut redis, Q), ["kept"]);
        drop(receive(&channel, 1, 1).await);
        assert_eq!(channel.recover().await.unwrap().dropped, 1);
        assert_eq!(list(&mut redis, Q), ["kept"]);
        settled(&channel, &mut redis);
    });
}

#[test]
fn agents_in_parallel_never_share_a_message() {
    const MESSAGES: usize = 8000;
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..MESSAGES).map(|n| n.to_string()));
    let agents: Vec<_> = (0..3)
        .map(|agent| {
            let channel = channel(&server);
            thread::spawn(move || {
                run(async {
                    let mut mine = Vec::new();
                    let mut turn = agent;
                    while let Some(lease) =
                        channel.receive(Demand { messages: 37, bytes: 500, not_before: None }, NO_WAIT).await.unwrap()
                    {
                        turn += 1;
                        // Some are given back, some dropped, most completed.
                        match turn % 7 {
                            0 => channel.release(&mut vec![lease]).await.unwrap(),
                            1 => {
                                drop(lease);
                                channel.recover().await.unwrap();
                            }
                            _ => {
                                mine.extend(texts(&lease));
                                channel.complete(&mut vec![lease], &[]).await.unwrap();
                            }
                        }
                    }
                    assert!(channel.registry().tally().balances());
                    mine
                })
            })
        })
        .collect();
    let all: Vec<String> = agents.into_iter().flat_map(|agent| agent.join().unwrap()).collect();
    // An agent may have found the queue empty just before another gave something back.
    let rest = list(&mut redis, Q);
    assert_eq!(all.len() + rest.len(), MESSAGES);
    assert_eq!(all.iter().chain(&rest).collect::<HashSet<_>>().len(), MESSAGES);
}

#[test]
fn a_hash_tagged_queue_keeps_its_slot() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    run(async {
        let settings = Redis { queue_key: "{team}:metrics".into(), ..settings(&server.url()) };
        let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
        let _: usize = redis.lpush("{team}:metrics", "m").unwrap();
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        let keys: Vec<String> = redis.keys("*").unwrap();
        assert!(keys.iter().all(|key| key.starts_with("{team}:metrics:lease")), "{keys:?}");
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_unix_socket_and_a_password_file_work() {
    let server = RedisServer::with_password("s3cret");
    let mut redis = server.connection();
    run(async {
        let url = format!("unix://{}", server.dir().join("redis.sock").display());
        let settings = Redis { password: Some(Secret::new("s3cret")), ..settings(&url) };
        let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
        assert!(channel.open().await.unwrap().contains("redis.sock"));
        push(&mut redis, ["m"]);
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.queued, depth.leases, depth.dead, depth.inprogress), (1, 0, 0, 0));
        drop(channel.receive(ALL, NO_WAIT).await.unwrap());
        channel.recover().await.unwrap();
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_message_wakes_few_of_many_agents_and_none_waits_for_those_that_pause() {
    const AGENTS: usize = 24;
    const MESSAGES: usize = 300;
    let server = RedisServer::start();
    let mut redis = server.connection();
    let takes = || {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut server.connection()).unwrap();
        let evalsha = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
        evalsha.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    run(async {
        let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let agents: Vec<_> = (0..AGENTS)
            .map(|number| {
                let (url, told) = (server.url(), told.clone());
                actix_rt::spawn(async move {
                    let channel = RedisChannel::new(&settings(&url), &format!("agent{number}"), LONG).unwrap();
                    loop {
                        if let Some(lease) = channel.receive(ALL, LONG).await.unwrap() {
                            told.send(lease.messages.len()).unwrap();
                            channel.complete(&mut vec![lease], &[]).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        eventually("all agents to wait", || std::future::ready((server.blocked() == AGENTS).then_some(()))).await;
        let mut before = 0;
        for number in 0..MESSAGES {
            if number == MESSAGES / 2 {
                // Most have learned that others are quicker.
                before = takes();
            }
            push(&mut redis, ["m"]);
            assert_eq!(taken.recv().await, Some(1));
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
        // One to take it, one to settle it, and those of the agents that come too late: all of them would be 25.
        let for_each = (takes() - before) as f64 / (MESSAGES / 2) as f64;
        assert!(for_each < 9.0, "{for_each} scripts for each message");
        agents.iter().for_each(|agent| agent.abort());
    });
}
