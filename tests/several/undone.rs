//! A failover that undoes some of what is given to several consumers at once, before they are given more.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use futures_util::future::join_all;
use kadabra::{
    channel::Channel,
    config::{Redis, RedisMode, Secret},
};
use redis::{Commands as _, Connection, Value};

use super::{
    super::{
        channel_contract::{LONG, settled},
        support::redis_server::RedisServer,
    },
    consumers::{EVERYTHING, agent, drain, each_once, push, run, settings},
};

const QUEUE: &str = "kadabra_queue";
const AGENTS: &str = "{kadabra_queue}:agents";
const SCRIPT: &str = include_str!("../../src/channel/redis/lua/fan_out.lua");

/// The key of something of one of the consumers.
fn of(consumer: &str, what: &str) -> String {
    format!("{{{QUEUE}}}:for:{consumer}{what}")
}

/// Runs the script for one message more under a lease of each of two consumers. `had`: how many of the leases have come.
fn give_one(redis: &mut Connection, had: usize) -> Value {
    let script = redis::Script::new(SCRIPT);
    let mut call = script.prepare_invoke();
    call.key(QUEUE).key(format!("{{{QUEUE}}}:adopted")).key(AGENTS);
    call.arg("here|a,b").arg(1).arg(1000).arg(1).arg(60_000).arg(1000).arg(had);
    for consumer in ["a", "b"] {
        call.key(of(consumer, "")).key(of(consumer, ":adopted")).key(of(consumer, ":leases")).key(of(consumer, ":lease:here:1"));
        call.arg(0).arg("required").arg("here:1");
    }
    call.invoke(redis).unwrap()
}

#[test]
fn to_leases_of_which_some_is_undone_or_that_are_gone_nothing_is_added() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    let _: usize = redis.zadd(AGENTS, "here|a,b", "+inf").unwrap();
    push(&server, 1..5);
    // One message, of which none was dropped and each has it under its lease; and it.
    let gave = |message: &str| {
        let counts = [1, 0, 1, 0, 1].map(Value::Int);
        Value::Array(counts.into_iter().chain([Value::BulkString(message.into())]).collect())
    };
    assert_eq!(give_one(&mut redis, 0), gave("1"));
    assert_eq!(give_one(&mut redis, 1), gave("2"));
    // What was given last is undone, for both as one failover does it, or by hand for one.
    for undone in [&["a", "b"][..], &["a"], &["b"]] {
        for consumer in undone {
            let _: String = redis.lpop(of(consumer, ":lease:here:1"), None).unwrap();
        }
        assert_eq!(give_one(&mut redis, 2), Value::Int(-4), "undone for {undone:?}");
        for consumer in undone {
            let _: usize = redis.lpush(of(consumer, ":lease:here:1"), "2").unwrap();
        }
    }
    // Another agent has taken one back.
    for gone in ["a", "b"] {
        let _: usize = redis.zrem(of(gone, ":leases"), "here:1").unwrap();
        assert_eq!(give_one(&mut redis, 2), Value::Int(-4), "{gone}'s is gone");
        let _: usize = redis.zadd(of(gone, ":leases"), "here:1", "+inf").unwrap();
    }
    assert_eq!(redis.lrange::<_, Vec<String>>(QUEUE, 0, -1).unwrap(), ["4", "3"]);
    assert_eq!(give_one(&mut redis, 2), gave("3"));
}

/// Leads to a server; something happens once, before the script is run for the n-th time.
fn before_run(n: usize, port: u16, happens: impl FnOnce() + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    let hash = redis::Script::new(SCRIPT).get_hash().to_owned();
    let state = Arc::new(Mutex::new((0, Some(happens))));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || drop(std::io::copy(&mut answers, &mut to_client)));
            let (state, hash) = (Arc::clone(&state), hash.clone());
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    let (runs, happens) = &mut *state.lock().unwrap();
                    *runs += String::from_utf8_lossy(&buffer[..count]).matches(&hash).count();
                    if *runs == n
                        && let Some(happens) = happens.take()
                    {
                        happens();
                    }
                    server.write_all(&buffer[..count]).unwrap();
                }
                drop(server.shutdown(Shutdown::Both));
            });
        }
    });
    own
}

#[test]
fn each_consumer_has_once_what_is_undone_between_two_parts_of_what_it_is_given() {
    let server = RedisServer::start();
    push(&server, 0..2000);
    let (mut redis, is_undone) = (server.connection(), Arc::new(AtomicBool::new(false)));
    // Redis does not know the script at first, then not the agent, and so the third run gives the first part.
    let way = before_run(4, server.port(), {
        let is_undone = Arc::clone(&is_undone);
        move || {
            // The newest message of those that both have goes back to where it was.
            let mut undone = |consumer| -> String {
                let leases: Vec<String> = redis.zrange(of(consumer, ":leases"), 0, -1).unwrap();
                let list = of(consumer, &format!(":lease:{}", leases[0]));
                assert_eq!(redis.llen::<_, usize>(&list).unwrap(), 500, "{consumer}");
                redis.lpop(list, None).unwrap()
            };
            let messages = ["a", "b"].map(&mut undone);
            assert_eq!(messages, ["499", "499"]);
            let _: usize = redis.rpush(QUEUE, "499").unwrap();
            is_undone.store(true, Ordering::SeqCst);
        }
    });
    let mode = RedisMode::Single(Secret::new(format!("redis://127.0.0.1:{way}/0")));
    run(async {
        let way = Redis { mode, ..settings(&server, LONG, 100) };
        let consumers = agent(&way, &[("a", &EVERYTHING), ("b", &EVERYTHING)]);
        let mut came = join_all(consumers.iter().map(drain)).await;
        assert!(is_undone.load(Ordering::SeqCst), "nothing was undone between two parts");
        for (consumer, came) in consumers.iter().zip(&mut came) {
            assert!(consumer.recover().await.unwrap().dropped > 0, "what came before is not given back");
            for (number, times) in drain(consumer).await {
                *came.entry(number).or_default() += times;
            }
        }
        assert_eq!(came, [each_once(0..2000), each_once(0..2000)]);
        for consumer in &consumers {
            settled(consumer).await;
        }
    });
}
