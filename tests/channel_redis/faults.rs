//! A sentence per fault: what, on what, why, what to do, and never a secret.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::*;
use crate::support::process::free_port;

/// A server that says the same to everything: a stand-in for a Redis that cannot be installed here, or for none at all.
fn parrot(answer: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://127.0.0.1:{}/0", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    // One answer per command, and every command starts with an asterisk of its own.
                    for _ in buffer[..count].iter().filter(|&&byte| byte == b'*') {
                        drop(client.write_all(answer.as_bytes()));
                    }
                }
            });
        }
    });
    url
}

fn open(settings: &Redis) -> ChannelError {
    run(async { RedisChannel::new(settings, "here", LONG).unwrap().open().await.unwrap_err() })
}

fn says(error: &ChannelError, words: &[&str]) {
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!said.contains("hunter2") && !said.ends_with('.') && said.starts_with(char::is_lowercase), "{said}");
}

#[test]
fn unreachable() {
    let nobody = format!("redis://user:hunter2@127.0.0.1:{}/0?hunter2", free_port());
    for (url, words) in [
        (nobody.as_str(), &["cannot connect to redis://127.0.0.1:", "Connection refused", "check that Redis is running"][..]),
        ("redis://:hunter2@no-such-host.invalid/0", &["redis://no-such-host.invalid/0", "host name", "DNS"]),
        ("unix:///nowhere/redis.sock?pass=hunter2", &["unix:///nowhere/redis.sock", "check that Redis is running"]),
    ] {
        let error = open(&settings(url));
        assert!(matches!(error, ChannelError::Unreachable { .. }), "{error:?}");
        says(&error, words);
    }
}

#[test]
fn no_password_and_a_wrong_one() {
    let server = RedisServer::with_password("correct");
    let error = open(&settings(&server.url()));
    assert!(matches!(error, ChannelError::Refused { .. }), "{error:?}");
    says(&error, &[&server.url(), "wants a password", "channel.redis.password_file"]);
    let error = open(&Redis { password: Some(Secret::new("hunter2")), ..settings(&server.url()) });
    says(&error, &["WRONGPASS", "channel.redis.password_file"]);
    let error = open(&settings(&server.url().replace("redis://", "redis://someone:hunter2@")));
    assert!(matches!(error, ChannelError::Refused { .. }), "{error:?}");
    says(&error, &["WRONGPASS"]);
}

#[test]
fn a_missing_permission_is_told_at_the_start_and_the_advice_helps() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let mut acl = |rules: &str| {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg("kadabra").arg(&["reset", "on", ">hunter2"]);
        for rule in rules.split_whitespace() {
            command.arg(rule);
        }
        command.query::<()>(&mut redis).unwrap();
    };
    let settings = settings(&server.url().replace("redis://", "redis://kadabra:hunter2@"));
    acl("~* +@all -info");
    says(&open(&settings), &["lacks a permission", "info", "ACL SETUSER"]);
    acl("~* +@all -xadd");
    says(&open(&settings), &["lacks a permission", "XADD", "ACL SETUSER"]);
    for (rule, command) in [("-blmove", "blmove"), ("-client", "client")] {
        acl(&format!("~* +@all {rule}"));
        says(&open(&settings), &["lacks a permission", command, "ACL SETUSER"]);
    }
    acl("~kadabra_queue +@all");
    let error = open(&settings);
    assert!(matches!(error, ChannelError::Refused { .. }), "{error:?}");
    says(&error, &["lacks a permission", "~kadabra_queue ~{kadabra_queue}:* ~kadabra_inprogress"]);

    let said = error.to_string();
    acl(said.split_once("ACL SETUSER <user> ").unwrap().1);
    run(async {
        let channel = RedisChannel::new(&settings, "here", Duration::ZERO).unwrap();
        channel.open().await.unwrap();
        let mut redis = server.connection();
        let _: usize = redis.lpush(P, "left").unwrap();
        push(&mut redis, ["m"]);
        assert_eq!(channel.recover().await.unwrap().adopted, 1);
        for _ in 0..2 {
            let mut leases = vec![channel.receive(ALL, LONG).await.unwrap().unwrap()];
            channel.renew().await.unwrap();
            channel.release(&mut leases).await.unwrap();
            let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
        }
        assert!(channel.receive(ALL, Duration::from_millis(20)).await.unwrap().is_none());
        assert_eq!(channel.depth().await.unwrap().dead, 2);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_key_of_another_type() {
    for (key, expected) in [(Q, "list"), (P, "list"), (ADOPTED, "list"), (LEASES, "zset"), (DEAD, "stream")] {
        let server = RedisServer::for_agents();
        let mut redis = server.connection();
        let _: () = redis.set(key, "x").unwrap();
        says(
            &open(&settings(&server.url())),
            &[&format!("the key {key} at"), &format!("holds a string where a {expected} belongs")],
        );
        run(async {
            let channel = channel(&server);
            if key == Q || key == LEASES {
                says(&channel.receive(ALL, NO_WAIT).await.unwrap_err(), &["the key", key, "WRONGTYPE"]);
            } else if key == DEAD {
                push(&mut redis, ["m"]);
                let mut leases = vec![channel.receive(ALL, NO_WAIT).await.unwrap().unwrap()];
                let letters = [letter(&leases[0], 0)];
                says(&channel.complete(&mut leases, &letters).await.unwrap_err(), &["the key", key, "WRONGTYPE"]);
                assert_eq!(leases.len(), 1);
                let _: usize = redis.del(key).unwrap();
                channel.complete(&mut leases, &letters).await.unwrap();
                assert_eq!(channel.registry().tally().parked, 1);
            }
            assert!(channel.registry().tally().balances());
        });
    }
}

#[test]
fn a_read_only_replica() {
    let primary = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let error = open(&settings(&replica.url()));
    assert!(matches!(error, ChannelError::Refused { .. }), "{error:?}");
    says(&error, &[&replica.url(), "read-only replica", "primary"]);
}

#[test]
fn a_database_that_is_not_there() {
    let server = RedisServer::for_agents();
    says(&open(&settings(&server.url().replace("/0", "/99"))), &["no database of that number", "channel.redis.url"]);
}

#[test]
fn too_old() {
    // A stand-in: no Redis before 6.2 can be installed here.
    let url = parrot("$38\r\n# Server\r\nredis_version:6.0.16\r\nos:L\r\n\r\n");
    let error = open(&settings(&url));
    assert!(matches!(error, ChannelError::Unusable { .. }), "{error:?}");
    says(&error, &["Redis 6.0.16", "6.2 or later", "Valkey"]);
}

#[test]
fn answers_that_no_redis_gives() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+OK\r\n",
        ":7\r\n",
        "*2\r\n:1\r\n$-1\r\n",
        "$3\r\nabc\r\n",
        "*1\r\n*1\r\n$1\r\nx\r\n",
    ] {
        let url = parrot(answer);
        run(async {
            let channel = RedisChannel::new(&Redis { timeout: Duration::from_secs(2), ..settings(&url) }, "here", LONG).unwrap();
            says(&channel.open().await.unwrap_err(), &["cannot", "channel.redis.url"]);
            drop(channel.receive(ALL, NO_WAIT).await);
            drop(channel.recover().await);
            drop(channel.depth().await);
            assert!(channel.registry().tally().balances());
        });
    }
}

#[test]
fn a_url_that_is_none() {
    let error = RedisChannel::new(&settings("http://user:hunter2@host/"), "here", LONG).unwrap_err();
    assert!(matches!(error, ChannelError::Unusable { .. }));
    says(&error, &["channel.redis.url", "redis://host:6379/0"]);
}

#[test]
fn a_node_of_a_cluster() {
    let bus = free_port().to_string();
    let server = RedisServer::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let mut redis = server.connection();
    let error = open(&settings(&server.url()));
    assert!(matches!(error, ChannelError::Unreachable { .. }), "{error:?}");
    says(&error, &["CLUSTERDOWN", "failover"]);
    let _: () = redis::cmd("CLUSTER").arg(&["ADDSLOTSRANGE", "0", "16383"]).query(&mut redis).unwrap();
    run(async {
        let channel = channel(&server);
        eventually("the cluster to be whole", || async { channel.open().await.ok() }).await;
        push(&mut redis, ["a", "b", "c"]);
        let mut leases = vec![receive(&channel, 1, 100).await.unwrap(), receive(&channel, 1, 100).await.unwrap()];
        channel.renew().await.unwrap();
        let letters = [letter(&leases[0], 0)];
        channel.complete(&mut leases, &letters).await.unwrap();
        drop(channel.receive(ALL, NO_WAIT).await.unwrap());
        channel.recover().await.unwrap();
        assert_eq!(channel.depth().await.unwrap().queued, 1);
        let _: usize = redis.lpush(P, "left").unwrap();
        channel.recover().await.unwrap();
        says(&channel.recover().await.unwrap_err(), &["CROSSSLOT", "channel.redis.mode"]);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_channel_does_not_print_its_password() {
    let settings = Redis { password: Some(Secret::new("hunter2")), ..settings("redis://user:hunter2@host/0?hunter2") };
    let printed = format!("{:?}", RedisChannel::new(&settings, "here", LONG).unwrap());
    assert!(printed.contains("redis://host/0") && !printed.contains("hunter2"), "{printed}");
}
