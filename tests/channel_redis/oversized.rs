//! A message that is too large is set aside within Redis: whole, with the reason, and without being read.

use super::*;
use kadabra::channel::Tally;

fn small(server: &RedisServer) -> RedisChannel {
    RedisChannel::new(&Redis { max_message_bytes: 1000, ..settings(&server.url()) }, "here", Duration::from_nanos(1)).unwrap()
}

fn sent(redis: &mut Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query(redis).unwrap();
    info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().trim().parse().unwrap()
}

#[test]
fn the_others_come_in_their_order_and_the_large_one_is_a_dead_letter() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let sizes = [10, 1001, 20, 1000, 5000, 5000, 30, 1001];
    push(&mut redis, sizes.iter().map(|&size| "x".repeat(size)));
    run(async {
        let channel = small(&server);
        let mut taken = Vec::new();
        while let Some(lease) = channel.receive(ALL, Duration::from_millis(50)).await.unwrap() {
            taken.extend(lease.messages.iter().map(Vec::len));
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert_eq!(taken, [10, 20, 1000, 30]);
        let dead: redis::streams::StreamRangeReply = redis.xrange_all(DEAD).unwrap();
        let letters: Vec<_> = dead.ids.iter().map(|entry| entry.get::<String>("payload").unwrap().len()).collect();
        assert_eq!(letters, [1001, 5000, 5000, 1001]);
        assert_eq!(
            dead.ids[1].get::<String>("reason").unwrap(),
            "the message has 5000 bytes, and channel.redis.max_message_bytes allows 1000"
        );
        let field = |name: &str| dead.ids[0].get::<String>(name).unwrap();
        assert_eq!((field("refused").as_str(), field("agent").as_str()), ("[]", "here"));
        assert!(field("time").starts_with("20") && field("time").ends_with('Z'));
        assert_eq!(channel.registry().tally(), Tally { leased: 8, published: 4, parked: 4, ..Tally::default() });
        settled(&channel, &mut redis);
    });
}

#[test]
fn it_is_not_sent_to_the_agent_that_waits_for_it_or_takes_it() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        // Redis is busy with a message of that size for seconds where it has to share the processor.
        let patient = Redis { timeout: LONG, ..settings(&server.url()) };
        let channel = std::sync::Arc::new(RedisChannel::new(&patient, "here", Duration::from_nanos(1)).unwrap());
        channel.open().await.unwrap();
        let waiting = actix_rt::spawn({
            let channel = std::sync::Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await.unwrap() }
        });
        let before = sent(&mut redis);
        push(&mut redis, ["x".repeat(100 << 20)]);
        eventually("it to be set aside", || async { (channel.registry().tally().parked == 1).then_some(()) }).await;
        push(&mut redis, ["m"]);
        assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["m"]);
        let sent = sent(&mut redis) - before;
        assert!(sent < 100_000, "{sent} bytes");
        let length: usize = redis.xlen(DEAD).unwrap();
        assert_eq!(length, 1);
    });
}

#[test]
fn adopted_ones_are_set_aside_too_and_there_are_only_so_many_dead_letters() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    for size in [2000, 10, 3000, 4000] {
        let _: usize = redis.lpush(P, "x".repeat(size)).unwrap();
    }
    run(async {
        let settings = Redis { max_message_bytes: 1000, max_dead_letters: 2, ..settings(&server.url()) };
        let channel = RedisChannel::new(&settings, "here", Duration::ZERO).unwrap();
        assert_eq!(channel.recover().await.unwrap().adopted, 4);
        let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
        assert!(lease.adopted && lease.bytes() == 10);
        assert!(channel.receive(ALL, Duration::from_millis(50)).await.unwrap().is_none());
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        let dead: redis::streams::StreamRangeReply = redis.xrange_all(DEAD).unwrap();
        let letters: Vec<_> = dead.ids.iter().map(|entry| entry.get::<String>("payload").unwrap().len()).collect();
        assert_eq!(letters, [3000, 4000]);
        let tally = Tally { leased: 4, published: 1, parked: 3, letters_dropped: 1, ..Tally::default() };
        assert_eq!(channel.registry().tally(), tally);
        settled(&channel, &mut redis);
    });
}

#[test]
fn where_dead_letters_cannot_be_kept_it_stays() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let _: () = redis.set(DEAD, "x").unwrap();
    push(&mut redis, ["x".repeat(2000)]);
    run(async {
        let channel = small(&server);
        let said = sentence(channel.receive(ALL, NO_WAIT).await);
        assert!(said.contains(DEAD) && said.contains("WRONGTYPE"), "{said}");
        assert_eq!(list(&mut redis, Q).len(), 1);
        let _: usize = redis.del(DEAD).unwrap();
        assert!(channel.receive(ALL, NO_WAIT).await.unwrap().is_none());
        assert_eq!(channel.registry().tally(), Tally { leased: 1, parked: 1, ..Tally::default() });
    });
}
