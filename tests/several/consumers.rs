//! The consumers of one Redis list. What a channel promises each of them keeps, beside what only several can break.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kadabra::{
    channel::{Channel, Lease, redis::RedisChannel},
    config::{Consumer, Redis, RedisMode, Secret, Tls},
};
use redis::Commands as _;

use super::super::{
    channel_contract::{ALL, Home, Kept, LONG, NO_WAIT, keeps_the_contract, kept_in, letter, numbers, receive, settled},
    support::{agent::cli, redis_server::RedisServer},
};

/// One consumer of two, of which the other takes nothing.
struct OneOfTwo {
    server: RedisServer,
    settings: Redis,
}

pub(super) const EVERYTHING: Consumer =
    Consumer { required: true, max_backlog: None, only: Vec::new(), except: Vec::new(), sample: None };

pub(super) fn settings(server: &RedisServer, lease: Duration, max_dead_letters: usize) -> Redis {
    Redis {
        mode: RedisMode::Single(Secret::new(server.url())),
        password: None,
        tls: Tls::default(),
        queue_key: "kadabra_queue".into(),
        inprogress_key: "kadabra_inprogress".into(),
        lease,
        timeout: Duration::from_secs(5),
        max_dead_letters,
        max_message_bytes: 4 << 20,
        wait_replicas: 0,
    }
}

pub(super) fn agent(settings: &Redis, consumers: &[(&str, &Consumer)]) -> Vec<RedisChannel> {
    RedisChannel::of_consumers(settings, "here", Duration::from_nanos(1), consumers).unwrap()
}

/// The consumers of an agent that has those of these names, without bounds.
fn named(server: &RedisServer, names: &[&str]) -> Vec<RedisChannel> {
    let consumer = EVERYTHING;
    let consumers: Vec<_> = names.iter().map(|name| (*name, &consumer)).collect();
    agent(&settings(server, Duration::from_secs(60), 100), &consumers)
}

impl Home for OneOfTwo {
    fn new(lease: Duration, max_dead_letters: usize) -> Self {
        let server = RedisServer::for_agents();
        let settings = settings(&server, lease, max_dead_letters);
        Self { server, settings }
    }

    fn channel(&self) -> Arc<dyn Channel> {
        let consumers = agent(&self.settings, &[("one", &EVERYTHING), ("other", &EVERYTHING)]);
        Arc::new(consumers.into_iter().next().unwrap())
    }

    async fn push(&self, messages: Vec<Vec<u8>>) {
        let _: usize = self.server.connection().lpush("kadabra_queue", messages).unwrap();
    }

    async fn waiting(&self) -> Vec<Vec<u8>> {
        let mut redis = self.server.connection();
        let mut waiting: Vec<Vec<u8>> = redis.lrange("kadabra_queue", 0, -1).unwrap();
        waiting.extend::<Vec<Vec<u8>>>(redis.lrange("{kadabra_queue}:for:one", 0, -1).unwrap());
        waiting
    }

    fn dead(&self) -> Vec<Kept> {
        kept_in(&self.server, "{kadabra_queue}:for:one:dead")
    }
}

keeps_the_contract!(OneOfTwo);

pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

pub(super) fn push(server: &RedisServer, messages: std::ops::Range<usize>) {
    let _: usize = server.connection().lpush("kadabra_queue", numbers(messages)).unwrap();
}

/// Takes and completes until nothing comes any more; how often each message came.
pub(super) async fn drain(channel: &RedisChannel) -> BTreeMap<usize, usize> {
    let mut came = BTreeMap::new();
    while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
        for message in lease.messages.iter() {
            *came.entry(String::from_utf8_lossy(message).parse().unwrap()).or_default() += 1;
        }
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    came
}

pub(super) fn each_once(messages: std::ops::Range<usize>) -> BTreeMap<usize, usize> {
    messages.map(|number| (number, 1)).collect()
}

#[test]
fn each_of_three_gets_every_message_once_in_its_order_however_the_others_are() {
    run(async {
        let server = RedisServer::for_agents();
        let consumers = named(&server, &["a", "b", "c"]);
        push(&server, 0..3000);
        assert_eq!(drain(&consumers[1]).await, each_once(0..3000));
        // Another has something in hand meanwhile.
        let held = receive(&consumers[0], 7, 1000).await.unwrap();
        assert_eq!(held.messages.to_vec(), numbers(0..7));
        push(&server, 3000..4000);
        assert_eq!(drain(&consumers[1]).await, each_once(3000..4000));
        assert_eq!(drain(&consumers[2]).await, each_once(0..4000));
        assert_eq!(drain(&consumers[0]).await, each_once(7..4000));
        consumers[0].complete(&mut vec![held], &[]).await.unwrap();
        for consumer in &consumers {
            settled(consumer).await;
            assert_eq!(consumer.tally().published, 4000);
            consumer.rest().await.unwrap();
        }
        let mut left: Vec<String> = server.connection().keys("*").unwrap();
        left.sort();
        assert_eq!(left, ["{kadabra_queue}:consumers"], "of all that was moved nothing is left");
    });
}

#[test]
fn agents_with_the_same_publishers_share_each_consumer() {
    run(async {
        let server = RedisServer::for_agents();
        let (one, other) = (named(&server, &["a", "b"]), named(&server, &["a", "b"]));
        push(&server, 0..10);
        let first = receive(&one[0], 4, 1000).await.unwrap();
        assert_eq!(first.messages.to_vec(), numbers(0..4));
        assert_eq!(drain(&other[0]).await, each_once(4..10));
        drop(first);
        one[0].recover().await.unwrap();
        assert_eq!(drain(&other[0]).await, each_once(0..4));
        let (a, b) = futures_util::join!(drain(&one[1]), drain(&other[1]));
        assert_eq!(a.into_iter().chain(b).collect::<BTreeMap<_, _>>(), each_once(0..10));
    });
}

/// What is in the lists of a consumer while all that waits was moved for another.
#[test]
fn whoever_waits_is_woken_by_a_push_and_by_what_another_consumer_had_moved() {
    run(async {
        let server = RedisServer::for_agents();
        let consumers = named(&server, &["a", "b"]);
        let waits = |channel: &'static str, at: usize| {
            let consumer = &consumers[at];
            async move {
                let lease = consumer.receive(ALL, LONG).await.unwrap();
                lease.unwrap_or_else(|| panic!("{channel} got nothing")).messages.len()
            }
        };
        let pushes = async {
            while server.blocked() < 2 {
                actix_rt::time::sleep(Duration::from_millis(5)).await;
            }
            push(&server, 0..1);
        };
        let begun = std::time::Instant::now();
        let (a, b, ()) = futures_util::join!(waits("a", 0), waits("b", 1), pushes);
        assert_eq!((a, b), (1, 1));
        assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    });
}

#[test]
fn an_agent_with_other_publishers_is_told_and_takes_nothing_until_the_first_has_ended() {
    run(async {
        let server = RedisServer::for_agents();
        let (first, second) = (named(&server, &["a", "b"]), named(&server, &["a", "c"]));
        let alone = RedisChannel::new(&settings(&server, LONG, 100), "here", LONG).unwrap();
        first[0].open().await.unwrap();
        // Whoever only looks is not at work.
        second[0].open().await.unwrap();
        first[0].renew().await.unwrap();
        push(&server, 0..3);
        for told in [second[0].open().await.unwrap_err(), second[1].receive(ALL, NO_WAIT).await.unwrap_err()] {
            let told = told.to_string();
            assert!(told.contains("have the publishers a, b, and this one has the publishers a, c"), "{told}");
        }
        let told = alone.open().await.unwrap_err().to_string();
        assert!(told.contains("have the publishers a, b, and this one has one publisher, [publisher]"), "{told}");
        assert_eq!(server.connection().llen::<_, usize>("kadabra_queue").unwrap(), 3);
        first[0].rest().await.unwrap();
        second[0].open().await.unwrap();
        assert_eq!(drain(&second[1]).await, each_once(0..3));
        // It was at work before and has slept: now it is told, too.
        let told = first[1].receive(ALL, NO_WAIT).await.unwrap_err().to_string();
        assert!(told.contains("a, c, and this one has the publishers a, b"), "{told}");
    });
}

#[test]
fn what_one_refuses_is_its_own_dead_letter() {
    run(async {
        let server = RedisServer::for_agents();
        let consumers = named(&server, &["a", "b"]);
        push(&server, 0..2);
        let lease: Lease = receive(&consumers[0], 2, 1000).await.unwrap();
        let parked = [letter(&lease, 1)];
        consumers[0].complete(&mut vec![lease], &parked).await.unwrap();
        assert_eq!(drain(&consumers[1]).await, each_once(0..2));
        let depths = [consumers[0].depth().await.unwrap().dead, consumers[1].depth().await.unwrap().dead];
        assert_eq!(depths, [1, 0]);
        assert!(consumers[0].look_at_dead_letters().contains("{kadabra_queue}:for:a:dead"));
    });
}

#[test]
fn at_its_bound_a_required_one_stops_all_and_another_drops_its_own_oldest() {
    run(async {
        let server = RedisServer::for_agents();
        let bound = |required| Consumer { required, max_backlog: Some(700), ..EVERYTHING };
        let settings = settings(&server, Duration::from_secs(60), 100);
        push(&server, 0..2000);
        let dropping = agent(&settings, &[("a", &EVERYTHING), ("b", &bound(false))]);
        assert_eq!(drain(&dropping[0]).await, each_once(0..2000));
        assert_eq!(dropping[1].tally().backlog_dropped, 1300);
        let warned = dropping[1].pressure(&patience()).await.unwrap().warnings;
        assert!(warned.iter().any(|it| it.what.starts_with("the oldest messages of this publisher are dropped")), "{warned:?}");
        assert_eq!(drain(&dropping[1]).await, each_once(1300..2000));
        assert!(dropping[1].pressure(&patience()).await.unwrap().warnings.is_empty());
        dropping[0].rest().await.unwrap();

        push(&server, 2000..4000);
        let required = agent(&settings, &[("a", &EVERYTHING), ("b", &bound(true))]);
        assert_eq!(drain(&required[0]).await, each_once(2000..2700));
        assert_eq!(server.connection().llen::<_, usize>("kadabra_queue").unwrap(), 1300, "the queue keeps what is not given out");
        let warned = required[1].pressure(&patience()).await.unwrap().warnings;
        assert!(warned.iter().any(|it| it.what.starts_with("no publisher is given more")), "{warned:?}");
        assert_eq!(drain(&required[1]).await, each_once(2000..4000));
        // Some was moved for both meanwhile.
        assert_eq!(drain(&required[0]).await, each_once(2700..4000));
        assert_eq!(required[1].tally().backlog_dropped, 0);
    });
}

fn patience() -> kadabra::channel::Patience {
    kadabra::channel::Patience { age: Duration::from_secs(300), messages: 100_000 }
}

/// Clients have filled Redis while no agent ran: what waits is moved though it takes memory, and so memory becomes free.
#[test]
fn a_redis_that_is_full_is_drained() {
    run(async {
        let server = RedisServer::for_agents_with(&["--maxmemory-policy", "noeviction"]);
        let consumers = named(&server, &["a", "b"]);
        push(&server, 0..2500);
        let mut redis = server.connection();
        let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1kb"]).query(&mut redis).unwrap();
        assert!(redis.lpush::<_, _, usize>("kadabra_queue", "one more").unwrap_err().to_string().contains("OOM"));
        assert_eq!(drain(&consumers[0]).await, each_once(0..2500));
        assert_eq!(drain(&consumers[1]).await, each_once(0..2500));
    });
}

#[test]
fn what_a_single_publisher_and_the_python_agent_left_goes_to_each() {
    run(async {
        let server = RedisServer::for_agents();
        push(&server, 0..5);
        let mut redis = server.connection();
        let _: usize = redis.lpush("kadabra_inprogress", "77").unwrap();
        {
            let before = RedisChannel::new(&settings(&server, LONG, 100), "before", LONG).unwrap();
            let lease = receive(&before, 2, 1000).await.unwrap();
            // Its process is killed.
            std::mem::forget(lease);
        }
        let names: Vec<Vec<u8>> = redis.zrange("{kadabra_queue}:leases", 0, -1).unwrap();
        let _: usize = redis.zadd("{kadabra_queue}:leases", &names[0], 1).unwrap();
        let consumers = named(&server, &["a", "b"]);
        consumers[0].open().await.unwrap();
        consumers[0].recover().await.unwrap();
        consumers[0].recover().await.unwrap();
        for consumer in &consumers {
            let lease = receive(consumer, 10, 1000).await.unwrap();
            assert!(
                lease.adopted && lease.messages.to_vec() == [b"77"],
                "adopted ones come first, and are known as such: {lease:?}"
            );
            consumer.complete(&mut vec![lease], &[]).await.unwrap();
            assert_eq!(drain(consumer).await, each_once(0..5));
        }
    });
}

#[test]
fn a_publisher_that_is_taken_out_is_named_with_what_waits_and_can_be_let_go() {
    run(async {
        let server = RedisServer::for_agents();
        let before = named(&server, &["a", "b"]);
        push(&server, 0..20);
        let in_hand = receive(&before[1], 5, 1000).await.unwrap();
        assert_eq!(drain(&before[0]).await, each_once(0..20));
        let base = RedisChannel::new(&settings(&server, LONG, 100), "here", LONG).unwrap();
        let told = base.forget_consumer("b").await.unwrap_err().to_string();
        assert!(told.contains("an agent at ") && told.contains(" has a publisher b"), "{told}");
        std::mem::forget(in_hand);
        before[0].rest().await.unwrap();

        let after = named(&server, &["a", "renamed"]);
        push(&server, 20..25);
        assert_eq!(drain(&after[0]).await, each_once(20..25));
        assert_eq!(drain(&after[1]).await, each_once(20..25), "one that is new gets what is accepted from then on");
        for warned in [after[0].pressure(&patience()).await.unwrap(), base.pressure(&patience()).await.unwrap()] {
            let warned = warned.warnings.into_iter().find(|it| it.what.contains("does not have any more")).unwrap();
            assert!(warned.now.contains("15 messages wait for b"), "{warned:?}");
            assert!(warned.mend.contains("kadabra queue forget"), "{warned:?}");
        }
        assert!(after[1].pressure(&patience()).await.unwrap().warnings.is_empty(), "it is told once");
        after[0].rest().await.unwrap();

        let config = format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n", server.url());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kadabra.toml");
        std::fs::write(&file, config).unwrap();
        let forget = |name: &str| {
            let said = cli(["queue", "forget", name, "--config", file.to_str().unwrap()]);
            (said.status.code(), String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap())
        };
        let (code, said) = forget("nobody");
        assert!(code == Some(69) && said.contains("those that it has had: a, b, renamed"), "{said}");
        let (code, said) = forget("b");
        assert_eq!((code, said.as_str()), (Some(0), "20 messages and 0 dead letters of b are gone\n"));
        let left: Vec<String> = server.connection().keys("*for:b*").unwrap();
        assert!(left.is_empty(), "{left:?}");
    });
}

fn in_list(server: &RedisServer, name: &str) -> usize {
    server.connection().llen(format!("{{kadabra_queue}}:for:{name}")).unwrap()
}

/// Two consumers in the middle of a backlog, each of which has asked for a hundred messages more than once.
async fn draining(server: &RedisServer) -> [RedisChannel; 2] {
    push(server, 0..2000);
    let consumers: [RedisChannel; 2] = named(server, &["a", "b"]).try_into().unwrap();
    for _ in 0..2 {
        for consumer in &consumers {
            let lease = receive(consumer, 100, 1 << 20).await.unwrap();
            consumer.complete(&mut vec![lease], &[]).await.unwrap();
        }
    }
    assert_eq!(in_list(server, "b"), 0);
    consumers
}

#[test]
fn a_backlog_is_read_once_for_all_that_drain_it() {
    run(async {
        let server = RedisServer::for_agents();
        let [a, b] = draining(&server).await;
        for _ in 0..5 {
            let of_a = receive(&a, 100, 1 << 20).await.unwrap();
            assert_eq!(in_list(&server, "b"), 0, "they were copied into the list of the one that does not wait at this moment");
            let of_b = receive(&b, 100, 1 << 20).await.unwrap();
            assert!(Arc::ptr_eq(&of_a.messages, &of_b.messages));
            a.complete(&mut vec![of_a], &[]).await.unwrap();
            b.complete(&mut vec![of_b], &[]).await.unwrap();
        }
        // Whoever asks twice finds the other's place taken; what goes into the list then comes in its turn.
        let held = [receive(&a, 100, 1 << 20).await.unwrap(), receive(&a, 100, 1 << 20).await.unwrap()];
        assert_eq!(in_list(&server, "b"), 100);
        assert_eq!(drain(&b).await, each_once(700..2000));
        a.complete(&mut held.into(), &[]).await.unwrap();
        assert_eq!(drain(&a).await, each_once(900..2000));
        for consumer in [a, b] {
            settled(&consumer).await;
            assert_eq!(consumer.tally().published, 2000);
        }
    });
}

#[test]
fn what_is_kept_for_a_consumer_that_asks_for_less_is_given_back() {
    run(async {
        let server = RedisServer::for_agents();
        let [a, b] = draining(&server).await;
        let held = receive(&a, 100, 1 << 20).await.unwrap();
        assert_eq!(b.tally().in_flight, 100, "it is kept for it");
        let less = receive(&b, 50, 1 << 20).await.unwrap();
        assert!(less.messages.len() <= 50 && b.tally().given_back == 100, "{:?}", b.tally());
        b.complete(&mut vec![less], &[]).await.unwrap();
        assert_eq!(b.recover().await.unwrap().dropped, 100);
        drain(&b).await;
        assert_eq!(b.tally().published, 2000);
        drop(held);
    });
}

#[test]
fn what_is_kept_for_a_consumer_that_does_not_ask_any_more_is_given_back() {
    run(async {
        let server = RedisServer::for_agents();
        let [a, b] = draining(&server).await;
        let held = receive(&a, 100, 1 << 20).await.unwrap();
        b.renew().await.unwrap();
        assert_eq!(b.tally().in_flight, 100, "it is given up at once");
        let begun = std::time::Instant::now();
        while b.tally().in_flight > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is kept for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
            b.renew().await.unwrap();
        }
        assert_eq!(b.recover().await.unwrap().dropped, 100);
        // Meanwhile the other one is held up by nothing, and no more is kept for one that has not asked for so long.
        a.complete(&mut vec![held], &[]).await.unwrap();
        drain(&a).await;
        assert_eq!((a.tally().published, b.tally().in_flight), (2000, 0));
        drain(&b).await;
        assert_eq!(b.tally().published, 2000);
    });
}
