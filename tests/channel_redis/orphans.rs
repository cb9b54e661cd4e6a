//! Lists of messages that belong to no lease, as older versions could leave them, are found and wait again.

use super::*;

const ORPHAN: &str = "{kadabra_queue}:lease:there:0123456789abcdef-7";

/// How often a command was run.
fn calls(redis: &mut Connection, command: &str) -> usize {
    let info: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let calls = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn messages_of_no_lease_wait_again_where_they_came_from_after_the_time_of_a_lease() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["4"]);
    let _: usize = redis.lpush(ORPHAN, &["1", "2", "3"]).unwrap();
    let _: usize = redis.lpush(format!("{ORPHAN}:adopted"), "a").unwrap();
    run(async {
        let channel = channel(&server);
        assert_eq!(channel.recover().await.unwrap().orphaned, 4);
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.queued, depth.leases), (1, 2), "whoever may still have them in hand gets the time of a lease");
        let now: (f64, f64) = redis::cmd("TIME").query(&mut redis).unwrap();
        for (_, expiry) in redis.zrange_withscores::<_, Vec<(String, f64)>>(LEASES, 0, -1).unwrap() {
            assert!((expiry / 1000.0 - now.0 - 60.0).abs() < 20.0, "{expiry} at {}", now.0);
        }
        let recovered = channel.recover().await.unwrap();
        assert_eq!((recovered.orphaned, recovered.expired), (0, 0));
        expire(&mut redis);
        assert_eq!(channel.recover().await.unwrap().expired, 4);
        assert_eq!(
            (list(&mut redis, Q), list(&mut redis, ADOPTED)),
            (["4", "3", "2", "1"].map(str::to_owned).to_vec(), vec!["a".to_owned()])
        );
        settled(&channel, &mut redis);
    });
}

#[test]
fn whoever_still_has_them_in_hand_can_complete_them_once_they_are_found() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let holder = channel(&server);
        let lease = holder.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        let _: usize = redis.del(LEASES).unwrap();
        assert_eq!(channel(&server).recover().await.unwrap().orphaned, 1);
        holder.renew().await.unwrap();
        assert_eq!(holder.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
        settled(&holder, &mut redis);
    });
}

#[test]
fn what_older_versions_have_tried_is_deleted() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        let channel = channel(&server);
        let _: usize = redis.lpush(ORPHAN, "").unwrap();
        let _: usize = redis.lpush(format!("{ORPHAN}:other"), &["", ""]).unwrap();
        let _: String = redis.xadd(format!("{ORPHAN}:stream"), "*", &[("a", "")]).unwrap();
        assert_eq!(channel.recover().await.unwrap().orphaned, 0);
        let keys: Vec<String> = redis.keys("*").unwrap();
        // Which agent it is that looks for them.
        assert_eq!(keys, ["{kadabra_queue}:sweeper"]);
    });
}

#[test]
fn a_lease_in_hand_stays_as_it_is() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["m", ""]);
    run(async {
        let channel = channel(&server);
        let mut leases = vec![receive(&channel, 1, 100).await.unwrap(), receive(&channel, 1, 100).await.unwrap()];
        let before: Vec<(String, f64)> = redis.zrange_withscores(LEASES, 0, -1).unwrap();
        assert_eq!(channel.recover().await.unwrap().orphaned, 0);
        assert_eq!(redis.zrange_withscores::<_, Vec<(String, f64)>>(LEASES, 0, -1).unwrap(), before);
        assert_eq!(channel.complete(&mut leases, &[]).await.unwrap().messages, 2);
        settled(&channel, &mut redis);
    });
}

#[test]
fn among_many_other_keys_they_are_looked_for_a_step_at_a_time() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    for number in 0..10_000 {
        let _: () = redis.set(format!("other {number}"), "x").unwrap();
    }
    let _: usize = redis.lpush(ORPHAN, "m").unwrap();
    run(async {
        let channel = channel(&server);
        let mut steps = 0;
        while channel.recover().await.unwrap().orphaned == 0 {
            steps += 1;
            assert_eq!(calls(&mut redis, "scan"), steps);
            assert!(steps < 40, "10,000 keys have been gone through");
        }
    });
}

#[test]
fn those_of_another_queue_are_left_to_it() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    for other in ["{queue1}:lease:a", "{queueX}:lease:a", "{queue[1]}:leases:a", "x{queue[1]}:lease:a"] {
        let _: usize = redis.lpush(other, "m").unwrap();
    }
    run(async {
        for queue in ["queue[1]", "queue?", "q*", "queue\\1", "queue[^1]"] {
            let settings = Redis { queue_key: queue.into(), ..settings(&server.url()) };
            let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
            assert_eq!(channel.recover().await.unwrap().orphaned, 0, "{queue}");
            let _: usize = redis.lpush(format!("{{{queue}}}:lease:a"), "m").unwrap();
            assert_eq!(channel.recover().await.unwrap().orphaned, 1, "{queue}");
        }
    });
}
