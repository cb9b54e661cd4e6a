//! What threatens waiting messages is told of, with what to do, and nothing else is.

use super::*;
use kadabra::{
    channel::{Patience, Pressure, Threat},
    wire::{DEFAULT_TIMESTAMP_FORMAT, OutgoingMessage},
};

const PATIENCE: Patience = Patience { age: Duration::from_secs(300), messages: 1000 };

fn pressure(settings: &Redis) -> Pressure {
    run(async { RedisChannel::new(settings, "here", LONG).unwrap().pressure(&PATIENCE).await.unwrap() })
}

/// The only warning, as one text.
fn only(server: &RedisServer, threat: Threat) -> String {
    let pressure = pressure(&settings(&server.url()));
    let [warning] = pressure.warnings.as_slice() else { panic!("{pressure:?}") };
    assert_eq!((warning.threat, pressure.unknown.as_slice()), (threat, &[][..]));
    assert!(!warning.mend.is_empty());
    format!("{}; {}; {}", warning.what, warning.now, warning.mend)
}

fn set(server: &RedisServer, key: &str, value: &str) {
    let _: () = redis::cmd("CONFIG").arg(&["SET", key, value]).query(&mut server.connection()).unwrap();
}

#[test]
fn a_redis_that_may_delete_messages_is_told_of() {
    for (policy, warned) in [("allkeys-lru", true), ("volatile-lru", false), ("noeviction", false)] {
        let server = RedisServer::for_agents_with(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        if warned {
            let said = only(&server, Threat::Eviction);
            assert!(said.contains("delete queued messages") && said.contains(policy) && said.contains("100.0 MiB"), "{said}");
            assert!(said.contains(&server.url()) && said.contains("noeviction"), "{said}");
        } else {
            assert_eq!(pressure(&settings(&server.url())), Pressure::default());
        }
    }
}

#[test]
fn a_redis_that_keeps_nothing_on_disk_is_told_of() {
    let server = RedisServer::for_agents_with(&["--appendonly", "no"]);
    let said = only(&server, Threat::Persistence);
    assert!(said.contains("keeps nothing on disk") && said.contains("set appendonly yes"), "{said}");
    set(&server, "save", "3600 1");
    assert_eq!(pressure(&settings(&server.url())), Pressure::default());
    set(&server, "save", "");
    set(&server, "appendonly", "yes");
    assert_eq!(pressure(&settings(&server.url())), Pressure::default());
}

#[test]
fn a_redis_that_is_nearly_full_is_told_of() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    // In pieces, since Redis has buffers as large as what it was sent last.
    for _ in 0..170 {
        let _: usize = redis.rpush("somebody else's", "x".repeat(100 << 10)).unwrap();
    }
    set(&server, "maxmemory", "40mb");
    assert_eq!(pressure(&settings(&server.url())), Pressure::default());
    set(&server, "maxmemory", "20mb");
    let said = only(&server, Threat::Memory);
    assert!(said.contains("refuses what clients send") && said.contains("of its maxmemory of 20.0 MiB"), "{said}");
    let _: () = redis.del("somebody else's").unwrap();
    // A later Redis frees memory after its answer.
    let is_well = || (pressure(&settings(&server.url())) == Pressure::default()).then_some(());
    crate::support::process::wait_for("memory to be free again", LONG, is_well);
}

#[test]
fn a_backlog_is_told_of_by_its_age_and_by_its_length() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let queued = |before: u64, format: &str| {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(before.cast_signed());
        let text = at.strftime(&format.replace("%f", "%6f")).to_string();
        format!(
            r#"{{"dimensions": [], "counters": [], "timers": [], "timestamp_format": "{format}", "serialized_at": "{text}"}}"#
        )
    };
    push(&mut redis, [queued(290, DEFAULT_TIMESTAMP_FORMAT)]);
    assert_eq!(pressure(&settings(&server.url())), Pressure::default());
    // As the oldest.
    for (message, age) in [
        (queued(400, DEFAULT_TIMESTAMP_FORMAT), Some("6m 4")),
        (queued(90_000, "%d/%m/%Y %H:%M:%S"), Some("1day 1h")),
        (queued(90_000, "not a format %"), None),
        (OutgoingMessage::new().to_json(std::time::SystemTime::UNIX_EPOCH).unwrap(), Some("years")),
        // From the future, hostile, and none at all.
        (queued(0, DEFAULT_TIMESTAMP_FORMAT).replace("\"20", "\"29"), None),
        (format!(r#"{{"timestamp_format": "{}", "serialized_at": "{}"}}"#, "%Y".repeat(99), "9".repeat(99)), None),
        ("x".repeat(5000), None),
    ] {
        let _: usize = redis.rpush(Q, message).unwrap();
        match age {
            Some(age) => {
                let said = only(&server, Threat::Backlog);
                assert!(said.contains(age) && said.contains("publisher.workers") && said.contains(Q), "{said}");
            }
            None => assert_eq!(pressure(&settings(&server.url())), Pressure::default()),
        }
    }
    push(&mut redis, (0..1000).map(|n| n.to_string()));
    let said = only(&server, Threat::Backlog);
    assert!(said.contains("1008 messages wait;"), "{said}");
}

#[test]
fn a_full_set_of_dead_letters_is_told_of() {
    let server = RedisServer::for_agents();
    push(&mut server.connection(), (0..4).map(|n| n.to_string()));
    run(async {
        let settings = Redis { max_dead_letters: 3, ..settings(&server.url()) };
        let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
        for (dropped, warned) in [(0, false), (0, false), (0, true), (1, true)] {
            let lease = receive(&channel, 1, 100).await.unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
            let warnings = channel.pressure(&PATIENCE).await.unwrap().warnings;
            assert_eq!(!warnings.is_empty(), warned);
            if let [warning] = warnings.as_slice() {
                assert_eq!(warning.threat, Threat::DeadLetters);
                assert!(warning.now.ends_with(&format!("this agent has dropped {dropped}")), "{warning:?}");
                assert!(warning.mend.contains("XREVRANGE '{kadabra_queue}:dead'"), "{warning:?}");
            }
        }
    });
}

#[test]
fn what_the_user_may_not_ask_is_left_out() {
    let server = RedisServer::for_agents_with(&["--appendonly", "no"]);
    let mut redis = server.connection();
    let _: () = redis::cmd("ACL").arg(&["SETUSER", "kadabra", "on", ">s", "~*", "+@all", "-config"]).query(&mut redis).unwrap();
    let settings = settings(&server.url().replace("redis://", "redis://kadabra:s@"));
    let found = pressure(&settings);
    assert_eq!(found.warnings, []);
    assert!(found.unknown.len() == 1 && found.unknown[0].contains("config"), "{found:?}");
    let _: () = redis::cmd("ACL").arg(&["SETUSER", "kadabra", "-info"]).query(&mut redis).unwrap();
    assert_eq!(pressure(&settings).unknown.len(), 3);
}

#[test]
fn what_any_agent_has_in_hand_waits_as_long_as_its_oldest() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let queued = |before: i64| {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(before);
        let at = at.strftime(&DEFAULT_TIMESTAMP_FORMAT.replace("%f", "%6f")).to_string();
        format!(r#"{{"counters": [], "timestamp_format": "{DEFAULT_TIMESTAMP_FORMAT}", "serialized_at": "{at}"}}"#)
    };
    let (settings, other) = (settings(&server.url()), settings(&server.url()));
    run(async {
        let (here, there) =
            (RedisChannel::new(&settings, "here", LONG).unwrap(), RedisChannel::new(&other, "there", LONG).unwrap());
        assert_eq!(here.backlog(), None, "it has not been counted");
        assert_eq!(here.depth().await.unwrap().backlog(), kadabra::channel::Backlog::default());
        push(&mut redis, [queued(900), queued(800), queued(700), queued(600)]);
        let _: usize = redis.lpush("kadabra_inprogress", queued(500)).unwrap();
        let held = receive(&there, 1, 1000).await.unwrap();
        let mut mine = vec![receive(&here, 1, 1000).await.unwrap()];
        let told = async |channel: &RedisChannel| {
            let backlog = channel.depth().await.unwrap().backlog();
            assert_eq!(channel.backlog().unwrap().waiting, backlog.waiting);
            (backlog.waiting, backlog.in_hand, backlog.age.unwrap().as_secs() / 10 * 10)
        };
        assert_eq!(told(&here).await, (5, 2, 900), "another agent's, too");
        there.complete(&mut vec![held], &[]).await.unwrap();
        assert_eq!(told(&here).await, (4, 1, 800));
        here.complete(&mut mine, &[]).await.unwrap();
        assert_eq!(told(&there).await, (3, 0, 700));
        let _: () = redis.del(Q).unwrap();
        assert_eq!(told(&there).await, (1, 0, 500), "what a Python agent had in progress");
    });
}

#[test]
fn more_leases_than_are_looked_at_at_once_are_all_counted() {
    let server = RedisServer::for_agents();
    push(&mut server.connection(), (0..1001).map(|n| n.to_string()));
    let settings = settings(&server.url());
    run(async {
        let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
        let mut leases = Vec::new();
        while let Some(lease) = receive(&channel, 1, 100).await {
            leases.push(lease);
        }
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.leases, depth.leased, depth.backlog().waiting), (1001, 1001, 1001));
        channel.release(&mut leases).await.unwrap();
    });
}
