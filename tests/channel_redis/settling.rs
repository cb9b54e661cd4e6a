//! Completing, parking, giving back, renewing, expiring: each exactly once, and only by whoever holds the lease.

use redis::streams::StreamRangeReply;

use super::{proxy::Proxy, *};
use kadabra::channel::{Completed, RefusedPoint, Tally};

#[test]
fn letters_are_parked_with_all_that_is_needed_to_look_into_them() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["good", "bad", "half", "fine"]);
    run(async {
        let channel = channel(&server);
        let mut leases = vec![receive(&channel, 3, 100).await.unwrap(), receive(&channel, 1, 100).await.unwrap()];
        assert_eq!(channel.depth().await.unwrap().leases, 2);
        let refused = vec![RefusedPoint { metric: "cpu".into(), reason: "\"field type\" conflict".into() }];
        let letters = [letter(&leases[0], 1), DeadLetter { refused, ..letter(&leases[0], 2) }];
        assert_eq!(
            channel.complete(&mut leases, &letters).await.unwrap(),
            Completed { messages: 4, lost: 0, letters_dropped: 0 }
        );
        assert!(leases.is_empty());
        let dead: StreamRangeReply = redis.xrange_all(DEAD).unwrap();
        let field = |entry: usize, name: &str| dead.ids[entry].get::<String>(name).unwrap();
        assert_eq!((field(0, "payload"), field(1, "payload")), ("bad".into(), "half".into()));
        assert_eq!(
            (field(0, "reason"), field(0, "agent"), field(0, "refused")),
            ("it is not JSON".into(), "here".into(), "[]".into())
        );
        assert_eq!(field(1, "refused"), r#"[{"metric":"cpu","reason":"\"field type\" conflict"}]"#);
        assert!(field(1, "time").starts_with("20") && field(1, "time").ends_with('Z'));
        assert_eq!(channel.registry().tally(), Tally { leased: 4, published: 2, parked: 2, ..Tally::default() });
        settled(&channel, &mut redis);
    });
}

#[test]
fn the_oldest_dead_letters_are_dropped_when_there_are_too_many() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..250).map(|n| n.to_string()));
    run(async {
        let capped =
            |max_dead_letters| RedisChannel::new(&Redis { max_dead_letters, ..settings(&server.url()) }, "here", LONG).unwrap();
        let park = async |channel: &RedisChannel, messages: usize| {
            let lease = receive(channel, messages, 10_000).await.unwrap();
            let letters: Vec<_> = (0..messages).map(|message| letter(&lease, message)).collect();
            channel.complete(&mut vec![lease], &letters).await.unwrap()
        };
        let kept = |redis: &mut Connection| -> Vec<String> {
            let dead: StreamRangeReply = redis.xrange_all(DEAD).unwrap();
            dead.ids.iter().map(|entry| entry.get("payload").unwrap()).collect()
        };
        let channel = capped(100);
        assert_eq!(park(&channel, 60).await, Completed { messages: 60, lost: 0, letters_dropped: 0 });
        assert_eq!(park(&channel, 40).await.letters_dropped, 0, "exactly as many as may be kept");
        assert_eq!(park(&channel, 1).await.letters_dropped, 1);
        assert_eq!(park(&channel, 49).await.letters_dropped, 49);
        assert_eq!(kept(&mut redis), (50..150).map(|n| n.to_string()).collect::<Vec<_>>());
        // More at once than are kept at all, and a cap that was lowered.
        let lower = capped(3);
        assert_eq!(park(&lower, 90).await.letters_dropped, 187);
        assert_eq!(kept(&mut redis), ["237", "238", "239"]);
        let clean = receive(&lower, 5, 10_000).await.unwrap();
        assert_eq!(lower.complete(&mut vec![clean], &[]).await.unwrap().letters_dropped, 0);
        assert_eq!((channel.registry().tally().letters_dropped, lower.registry().tally().letters_dropped), (50, 187));
        assert_eq!((channel.registry().tally().parked, lower.registry().tally().parked), (150, 90));
        settled(&channel, &mut redis);
        settled(&lower, &mut redis);
    });
}

#[test]
fn released_messages_wait_again_in_their_order() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..350).map(|n| n.to_string()));
    run(async {
        let channel = channel(&server);
        let before = list(&mut redis, Q);
        let mut leases = Vec::new();
        while let Some(lease) = receive(&channel, 150, 10_000).await {
            leases.push(lease);
        }
        channel.release(&mut leases).await.unwrap();
        assert!(leases.is_empty());
        assert_eq!(list(&mut redis, Q), before);
        let first = receive(&channel, 120, 10_000).await.unwrap();
        drop(receive(&channel, 200, 10_000).await);
        drop(first);
        assert_eq!(channel.registry().dropped().len(), 2);
        assert_eq!(channel.recover().await.unwrap().dropped, 320);
        let mut back = list(&mut redis, Q);
        back.sort_by_key(|text| std::cmp::Reverse(text.parse::<u32>().unwrap()));
        assert_eq!(back, before);
        settled(&channel, &mut redis);
    });
}

#[test]
fn whoever_slept_past_the_expiry_can_settle_nothing() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..4).map(|n| n.to_string()));
    run(async {
        let (sleeper, other) = (channel(&server), channel(&server));
        let mut one = vec![receive(&sleeper, 1, 100).await.unwrap()];
        let mut two = vec![receive(&sleeper, 1, 100).await.unwrap()];
        let three = receive(&sleeper, 1, 100).await.unwrap();
        let mut four = vec![receive(&sleeper, 1, 100).await.unwrap()];
        expire(&mut redis);
        assert_eq!(other.recover().await.unwrap().expired, 4);
        let theirs = other.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(theirs.messages.len(), 4);

        let letters = [letter(&one[0], 0)];
        assert_eq!(sleeper.complete(&mut one, &letters).await.unwrap(), Completed { messages: 0, lost: 1, letters_dropped: 0 });
        sleeper.release(&mut two).await.unwrap();
        sleeper.renew().await.unwrap();
        assert!(sleeper.registry().live().is_empty(), "neither renewed nor kept");
        assert_eq!(sleeper.registry().tally().in_flight, 2);
        drop(three);
        assert_eq!(sleeper.complete(&mut four, &[]).await.unwrap().lost, 1);
        assert_eq!(sleeper.recover().await.unwrap().dropped, 0);
        assert_eq!(sleeper.registry().tally(), Tally { leased: 4, given_back: 4, lost: 4, ..Tally::default() });
        assert_eq!(other.depth().await.unwrap().dead, 0);
        assert_eq!(other.depth().await.unwrap().queued, 0);
        let keys: Vec<String> = redis.keys("{kadabra_queue}:lease:*").unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(other.complete(&mut vec![theirs], &[]).await.unwrap().messages, 4);
        settled(&other, &mut redis);
        settled(&sleeper, &mut redis);
    });
}

#[test]
fn a_late_agent_keeps_what_it_holds() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let channel = channel(&server);
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        expire(&mut redis);
        assert_eq!(channel.recover().await.unwrap().expired, 0);
        let score: f64 = redis.zscore(LEASES, &lease.id().0).unwrap();
        assert!(score > 1e12, "renewed until {score}");
        assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_lease_ends_by_the_clock_of_redis_unless_it_is_renewed() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let short = Redis { lease: Duration::from_millis(400), ..settings(&server.url()) };
        let (holder, other) = (RedisChannel::new(&short, "holder", LONG).unwrap(), channel(&server));
        let lease = holder.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        let name = lease.id().0.clone();
        let first: f64 = redis.zscore(LEASES, &name).unwrap();
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut redis).unwrap();
        let left = first - (seconds * 1000 + micros / 1000) as f64;
        assert!(left <= 400.0 && left > -1000.0, "{left} ms");
        eventually("a later expiry", || async {
            holder.renew().await.unwrap();
            let later: f64 = server.connection().zscore(LEASES, &name).unwrap();
            (later > first + 100.0).then_some(())
        })
        .await;
        let taken = eventually("the lease to expire", || async {
            let recovered = other.recover().await.unwrap();
            (recovered.expired > 0).then_some(recovered.expired)
        })
        .await;
        assert_eq!(taken, 1);
        let lost = holder.complete(&mut vec![lease], &[]).await.unwrap();
        assert_eq!(lost, Completed { messages: 0, lost: 1, letters_dropped: 0 });
        assert_eq!(list(&mut redis, Q), ["m"]);
        settled(&holder, &mut redis);
    });
}

#[test]
fn nothing_open_costs_no_command() {
    run(async {
        // Nobody listens there.
        let channel = RedisChannel::new(&settings("redis://127.0.0.1:1/0"), "here", LONG).unwrap();
        channel.renew().await.unwrap();
        channel.complete(&mut Vec::new(), &[]).await.unwrap();
        channel.release(&mut Vec::new()).await.unwrap();
    });
}

#[test]
fn a_settlement_whose_answer_was_lost_is_not_lost() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..6).map(|n| n.to_string()));
    run(async {
        let proxy = Proxy::start(server.port());
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        let mut leases = vec![receive(&channel, 2, 100).await.unwrap(), receive(&channel, 1, 100).await.unwrap()];
        let letters = [letter(&leases[0], 1)];
        // Once with an answer, so that Redis knows the script.
        channel.complete(&mut vec![receive(&channel, 1, 100).await.unwrap()], &[]).await.unwrap();
        proxy.cut_before_next_answer();
        let said = sentence(channel.complete(&mut leases, &letters).await);
        assert!(said.contains("cannot complete messages"), "{said}");
        assert_eq!(leases.len(), 2);
        channel.renew().await.unwrap();
        assert_eq!(channel.registry().live().len(), 2, "not judged while it is being settled");
        assert_eq!(
            channel.complete(&mut leases, &letters).await.unwrap(),
            Completed { messages: 3, lost: 0, letters_dropped: 0 }
        );
        assert_eq!(channel.depth().await.unwrap().dead, 1);

        let mut leases = vec![receive(&channel, 1, 100).await.unwrap()];
        channel.release(&mut vec![receive(&channel, 1, 100).await.unwrap()]).await.unwrap();
        proxy.cut_before_next_answer();
        channel.release(&mut leases).await.unwrap_err();
        channel.release(&mut leases).await.unwrap();
        let tally = channel.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.given_back, tally.lost), (3, 1, 2, 0));
        settled(&channel, &mut redis);
    });
}

#[test]
fn what_became_of_the_first_of_many_leases_is_told_though_the_last_are_completed_later() {
    // One more than one script completes.
    const LEASES_OF_ONE: usize = 901;
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..=LEASES_OF_ONE).map(|n| n.to_string()));
    run(async {
        let proxy = Proxy::start(server.port());
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        // Once with an answer, so that Redis knows the script.
        channel.complete(&mut vec![receive(&channel, 1, 100).await.unwrap()], &[]).await.unwrap();
        let mut leases = Vec::new();
        while let Some(lease) = receive(&channel, 1, 100).await {
            leases.push(lease);
        }
        assert_eq!(leases.len(), LEASES_OF_ONE);
        let _: usize = redis.zadd(LEASES, &leases[0].id().0, 1).unwrap();
        assert_eq!(super::channel(&server).recover().await.unwrap().expired, 1);
        proxy.cut_before_answer(2);
        channel.complete(&mut leases, &[]).await.unwrap_err();
        assert_eq!(leases.len(), 1);
        assert_eq!(
            channel.complete(&mut leases, &[]).await.unwrap(),
            Completed { messages: LEASES_OF_ONE - 1, lost: 1, letters_dropped: 0 }
        );
        settled(&channel, &mut redis);
    });
}

#[test]
fn an_answer_that_never_came_is_given_back() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["a", "b"]);
    run(async {
        let proxy = Proxy::start(server.port());
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        channel.release(&mut vec![receive(&channel, 1, 100).await.unwrap()]).await.unwrap();
        proxy.cut_before_next_answer();
        channel.receive(ALL, NO_WAIT).await.unwrap_err();
        assert_eq!(list(&mut redis, Q).len(), 0, "Redis has done it");
        channel.registry().wait_dropped().await;
        assert_eq!(channel.recover().await.unwrap().dropped, 2);
        assert_eq!(list(&mut redis, Q), ["b", "a"]);
        settled(&channel, &mut redis);
    });
}

#[test]
fn a_lease_dropped_after_a_settlement_without_answer_is_counted_as_it_ended() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["a", "b", "c"]);
    run(async {
        let proxy = Proxy::start(server.port());
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        channel.complete(&mut vec![receive(&channel, 1, 100).await.unwrap()], &[]).await.unwrap();
        let mut leases = vec![receive(&channel, 2, 100).await.unwrap()];
        let letters = [letter(&leases[0], 0)];
        proxy.cut_before_next_answer();
        channel.complete(&mut leases, &letters).await.unwrap_err();
        drop(leases);
        assert_eq!(channel.recover().await.unwrap().dropped, 0);
        assert_eq!(channel.registry().tally(), Tally { leased: 3, published: 2, parked: 1, ..Tally::default() });
        settled(&channel, &mut redis);
    });
}

#[test]
fn what_was_given_back_after_a_completion_that_failed_is_not_counted_as_done() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["a", "b", "c", "d"]);
    run(async {
        let proxy = Proxy::start(server.port());
        let channel = RedisChannel::new(&settings(&proxy.url()), "here", LONG).unwrap();
        channel.release(&mut vec![receive(&channel, 4, 100).await.unwrap()]).await.unwrap();
        for released in [false, true] {
            let mut leases = vec![receive(&channel, 2, 100).await.unwrap()];
            let letters = [letter(&leases[0], 0)];
            let _: () = redis.set(DEAD, "in the way").unwrap();
            channel.complete(&mut leases, &letters).await.unwrap_err();
            let _: usize = redis.del(DEAD).unwrap();
            proxy.cut_before_next_answer();
            if released {
                channel.release(&mut leases).await.unwrap_err();
                assert_eq!(list(&mut redis, Q), ["d", "c", "b", "a"], "Redis has done it");
                channel.release(&mut leases).await.unwrap();
            } else {
                drop(leases);
                channel.recover().await.unwrap_err();
                assert_eq!(list(&mut redis, Q), ["d", "c", "b", "a"], "Redis has done it");
                assert_eq!(channel.recover().await.unwrap().dropped, 0);
            }
        }
        let tally = channel.registry().tally();
        assert_eq!((tally.leased, tally.published, tally.parked, tally.given_back), (8, 0, 0, 8));
        settled(&channel, &mut redis);
    });
}

/// Runs the script that takes messages, as a connection that was given up may still do. `had`: how many of the lease have come.
pub(super) fn take(redis: &mut Connection, name: &str, had: usize, most: usize) -> redis::Value {
    let script = redis::Script::new(include_str!("../../src/channel/redis/lua/take.lua"));
    let mut call = script.prepare_invoke();
    call.key(LEASES).key(format!("{{kadabra_queue}}:lease:{name}")).key(Q).key(ADOPTED).key(DEAD);
    call.arg(name).arg(60_000).arg(most).arg(1000).arg(had).arg("").arg(1000).arg("here").arg("now").arg(10);
    call.invoke(redis).unwrap()
}

#[test]
fn a_take_that_lingered_in_a_dying_connection_loses_and_doubles_nothing() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["a", "b"]);
    run(async {
        let channel = channel(&server);
        assert_eq!(take(&mut redis, "here:gone-1", 1, 10), redis::Value::Int(-1));
        assert_eq!(list(&mut redis, Q), ["b", "a"]);
        take(&mut redis, "here:gone-2", 0, 10);
        assert_eq!(channel.depth().await.unwrap().queued, 0);
        channel.renew().await.unwrap();
        expire(&mut redis);
        assert_eq!(channel.recover().await.unwrap().expired, 2);
        assert_eq!(list(&mut redis, Q), ["b", "a"]);
        settled(&channel, &mut redis);
    });
}

#[test]
fn thousands_of_expired_leases_are_taken_back() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..1500).map(|n| n.to_string()));
    run(async {
        let (dead, other) = (channel(&server), channel(&server));
        let mut leases = Vec::new();
        while let Some(lease) = receive(&dead, 1, 100).await {
            leases.push(lease);
        }
        // Garbage among them, as somebody's hand may have left it.
        let _: usize = redis.zadd(LEASES, b"\xff\0", 1).unwrap();
        expire(&mut redis);
        assert_eq!(other.recover().await.unwrap().expired, 1500);
        dead.complete(&mut leases, &[]).await.unwrap();
        assert_eq!(dead.registry().tally().lost, 1500);
        assert_eq!(other.depth().await.unwrap().queued, 1500);
        settled(&dead, &mut redis);
    });
}
