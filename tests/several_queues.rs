//! Several queues that one agent serves: none waits for another, and what each is promised is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kadabra::{
    channel::{Channel, ChannelError, Demand, Depth, Lease, Patience, Threat, redis::open},
    config::{Consumer, Queues, Redis, RedisMode, Secret, Tls},
};
use redis::Commands as _;
use tokio::time::timeout;

use super::{
    bounds::{assert_bounded, large},
    channel_contract::{
        ALL, Home, Kept, LONG, NO_WAIT, eventually, keeps_the_contract, kept_in, letter, numbers, receive, settled,
    },
    support::{
        agent::{Agent, cli},
        influxd::Influxd,
        pipeline::{DATABASE, Left, PATIENCE, config_of, numbered},
        process::{free_port, wait_for},
        redis_groups::{Cluster, push_until_answered, push_until_replicated},
        redis_server::RedisServer,
        served::{address, cli_with, get, values},
    },
};

const QUEUES: [&str; 3] = ["web:{a}", "web:{b}", "jobs"];

const PATIENT: Patience = Patience { age: Duration::from_secs(300), messages: 1_000_000 };

fn settings(server: &RedisServer, lease: Duration, max_dead_letters: usize) -> Redis {
    Redis {
        mode: RedisMode::Single(Secret::new(server.url())),
        password: None,
        tls: Tls::default(),
        queue_key: Queues::of(QUEUES.map(str::to_owned).to_vec()).unwrap(),
        inprogress_key: "p".into(),
        lease,
        timeout: Duration::from_secs(5),
        wait_replicas: 0,
        max_dead_letters,
        max_message_bytes: 4 << 20,
    }
}

fn channel(server: &RedisServer) -> Arc<dyn Channel> {
    open(&settings(server, Duration::from_secs(60), 100), "here", LONG, &[]).unwrap().remove(0)
}

fn push_to(server: &RedisServer, queue: &str, messages: Vec<Vec<u8>>) {
    let _: usize = server.connection().lpush(queue, messages).unwrap();
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// One of three queues, of which the others have nothing.
struct OneOfThree {
    server: RedisServer,
    settings: Redis,
}

impl Home for OneOfThree {
    fn new(lease: Duration, max_dead_letters: usize) -> Self {
        let server = RedisServer::start();
        let settings = settings(&server, lease, max_dead_letters);
        Self { server, settings }
    }

    fn channel(&self) -> Arc<dyn Channel> {
        open(&self.settings, "here", LONG, &[]).unwrap().remove(0)
    }

    async fn push(&self, messages: Vec<Vec<u8>>) {
        push_to(&self.server, QUEUES[1], messages);
    }

    async fn waiting(&self) -> Vec<Vec<u8>> {
        self.server.connection().lrange(QUEUES[1], 0, -1).unwrap()
    }

    fn dead(&self) -> Vec<Kept> {
        kept_in(&self.server, "web:{b}:dead")
    }
}

keeps_the_contract!(OneOfThree);

/// The same, for one consumer of two, of which the other takes nothing.
mod of_consumers {
    use super::*;

    const EVERYTHING: Consumer =
        Consumer { required: true, max_backlog: None, only: Vec::new(), except: Vec::new(), sample: None };

    struct OneOfTwo(OneOfThree);

    impl Home for OneOfTwo {
        fn new(lease: Duration, max_dead_letters: usize) -> Self {
            Self(OneOfThree::new(lease, max_dead_letters))
        }

        fn channel(&self) -> Arc<dyn Channel> {
            open(&self.0.settings, "here", LONG, &[("one", &EVERYTHING), ("other", &EVERYTHING)]).unwrap().remove(0)
        }

        async fn push(&self, messages: Vec<Vec<u8>>) {
            self.0.push(messages).await;
        }

        async fn waiting(&self) -> Vec<Vec<u8>> {
            let mut waiting = self.0.waiting().await;
            waiting.extend::<Vec<Vec<u8>>>(self.0.server.connection().lrange("web:{b}:for:one", 0, -1).unwrap());
            waiting
        }

        fn dead(&self) -> Vec<Kept> {
            kept_in(&self.0.server, "web:{b}:for:one:dead")
        }
    }

    keeps_the_contract!(OneOfTwo);

    #[test]
    fn each_consumer_is_given_what_waits_in_every_queue() {
        let server = RedisServer::start();
        run(async {
            let consumers = [("one", &EVERYTHING), ("other", &EVERYTHING)];
            let channels = open(&settings(&server, LONG, 100), "here", LONG, &consumers).unwrap();
            for (queue, range) in QUEUES.iter().zip([0..10, 10..20, 20..30]) {
                push_to(&server, queue, numbers(range));
            }
            for channel in &channels {
                channel.open().await.unwrap();
                let mut all = Vec::new();
                while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                    all.extend(lease.messages.to_vec());
                    channel.complete(&mut vec![lease], &[]).await.unwrap();
                }
                all.sort_by_key(|message| String::from_utf8_lossy(message).parse::<u32>().unwrap());
                assert_eq!(all, numbers(0..30));
                settled(&**channel).await;
            }
        });
    }
}

fn queue_of(lease: &Lease) -> u8 {
    lease.messages.iter().next().unwrap()[0]
}

#[test]
fn a_queue_that_is_always_full_starves_none_and_no_more_is_taken_than_was_demanded() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        for (queue, name) in QUEUES.iter().zip([b"a", b"b", b"c"]) {
            push_to(&server, queue, vec![name.to_vec(); if *queue == QUEUES[0] { 1000 } else { 20 }]);
        }
        let mut came = Vec::new();
        for _ in 0..9 {
            let lease = receive(&*channel, 10, 1000).await.unwrap();
            let depth = channel.depth().await.unwrap();
            assert_eq!((lease.messages.len(), depth.leased, depth.leases), (10, 10, 1));
            came.push(queue_of(&lease));
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        came.sort_unstable();
        assert_eq!(came, *b"aaaaabbcc");
        settled(&*channel).await;
    });
}

#[test]
fn what_waits_in_several_queues_is_taken_together_up_to_what_was_demanded() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        for queue in QUEUES {
            push_to(&server, queue, numbers(0..10));
        }
        let first = receive(&*channel, 25, 1000).await.unwrap();
        assert_eq!(first.messages.len(), 10);
        let others = channel.receive_beside(Demand { messages: 15, bytes: 1000, not_before: None }).await;
        assert_eq!(others.iter().map(|lease| lease.messages.len()).collect::<Vec<_>>(), [10, 5]);
        let mut leases: Vec<_> = std::iter::once(first).chain(others).collect();
        let letters: Vec<_> = leases.iter().map(|lease| letter(lease, 0)).collect();
        let completed = channel.complete(&mut leases, &letters).await.unwrap();
        assert_eq!((completed.messages, leases.len()), (25, 0));
        for stream in ["web:{a}:dead", "web:{b}:dead", "{jobs}:dead"] {
            assert_eq!(kept_in(&server, stream).len(), 1, "{stream}");
        }
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.queued, depth.leased, depth.dead), (5, 0, 3));
        assert_eq!(channel.backlog().unwrap().waiting, 5);
        let waiting: Vec<_> = channel.queues().iter().map(|queue| queue.channel.backlog().unwrap().waiting).collect();
        assert_eq!((waiting.iter().sum::<u64>(), waiting.len()), (5, 3));
    });
}

#[test]
fn a_queue_that_cannot_be_used_is_named_and_served_again_while_the_others_go_on() {
    let server = RedisServer::start();
    let _: () = server.connection().set(QUEUES[1], "no list").unwrap();
    run(async {
        let channel = channel(&server);
        assert!(channel.open().await.unwrap().contains("queue web:{a}"));
        push_to(&server, QUEUES[0], numbers(0..10));
        let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        let pressure = channel.pressure(&PATIENT).await.unwrap();
        let warning = pressure.warnings.iter().find(|warning| warning.threat == Threat::Queue).unwrap();
        assert!(warning.what.contains("the queue web:{b} cannot be used: the key web:{b}"), "{warning:?}");
        assert_eq!(warning.now, "2 of 3 queues are served");

        let _: usize = server.connection().del(QUEUES[1]).unwrap();
        push_to(&server, QUEUES[1], numbers(0..10));
        let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        let pressure = channel.pressure(&PATIENT).await.unwrap();
        assert!(pressure.warnings.iter().all(|warning| warning.threat != Threat::Queue), "{pressure:?}");
        settled(&*channel).await;

        // While none can be used, that is so of the channel.
        for queue in QUEUES {
            let _: () = server.connection().set(queue, "no list").unwrap();
        }
        let refused = eventually("all queues to be refused", async || channel.receive(ALL, NO_WAIT).await.err()).await;
        assert!(matches!(refused, ChannelError::Refused { .. }), "{refused}");
    });
}

#[test]
fn a_queue_whose_leases_cannot_be_renewed_is_no_fault_of_the_channel() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        push_to(&server, QUEUES[1], numbers(0..10));
        let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
        assert!(channel.renew().await.unwrap());
        let leases = format!("{}:leases", QUEUES[1]);
        let _: () = server.connection().rename(&leases, "kept").unwrap();
        let _: () = server.connection().set(&leases, "no set").unwrap();
        assert!(!channel.renew().await.unwrap());
        let pressure = channel.pressure(&PATIENT).await.unwrap();
        let warning = pressure.warnings.iter().find(|warning| warning.threat == Threat::Queue).unwrap();
        assert!(warning.what.contains("the queue web:{b} cannot be used: the key web:{b}:leases"), "{warning:?}");
        let _: () = server.connection().rename("kept", &leases).unwrap();
        channel.recover().await.unwrap();
        assert!(channel.queues().iter().all(|queue| queue.trouble.is_none()));
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        settled(&*channel).await;
    });
}

#[test]
fn what_cannot_be_completed_yet_holds_nothing_up_and_is_completed_later() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        push_to(&server, QUEUES[0], numbers(0..10));
        push_to(&server, QUEUES[1], numbers(10..20));
        let mut leases = vec![receive(&*channel, 10, 1000).await.unwrap(), receive(&*channel, 10, 1000).await.unwrap()];
        let letters: Vec<_> = leases.iter().map(|lease| letter(lease, 3)).collect();
        // Dead letters cannot be set aside.
        let _: () = server.connection().set("web:{b}:dead", "no stream").unwrap();
        let completed = channel.complete(&mut leases, &letters).await.unwrap();
        assert_eq!((completed.messages, leases.len()), (10, 0));
        let tally = channel.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.in_flight), (9, 1, 10));
        // Nothing more is taken from there meanwhile.
        push_to(&server, QUEUES[1], numbers(20..30));
        drop(channel.recover().await);
        assert!(channel.receive(ALL, NO_WAIT).await.unwrap().is_none());

        let _: usize = server.connection().del("web:{b}:dead").unwrap();
        let lease = channel.receive(ALL, LONG).await.unwrap().unwrap();
        assert_eq!(lease.messages.to_vec(), numbers(20..30));
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        assert_eq!(kept_in(&server, "web:{b}:dead")[0].payload, b"13");
        let tally = channel.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.lost), (28, 2, 0));
        settled(&*channel).await;
    });
}

/// Another agent on the same queues, and a lease of the first one's that is done with, cannot be completed, and has run out.
async fn lost_before_it_could_be_completed(server: &RedisServer) -> (Arc<dyn Channel>, Arc<dyn Channel>) {
    let (own, other) = (channel(server), open(&settings(server, LONG, 100), "there", LONG, &[]).unwrap().remove(0));
    own.open().await.unwrap();
    other.open().await.unwrap();
    push_to(server, QUEUES[1], numbers(0..10));
    let mut leases = vec![receive(&*own, 10, 1000).await.unwrap()];
    let letters = [letter(&leases[0], 3)];
    let _: () = server.connection().set("web:{b}:dead", "no stream").unwrap();
    let completed = own.complete(&mut leases, &letters).await.unwrap();
    assert_eq!((completed.messages, leases.len(), own.registry().tally().in_flight), (0, 0, 10));
    let name: Vec<String> = server.connection().zrange("web:{b}:leases", 0, -1).unwrap();
    let _: usize = server.connection().zadd("web:{b}:leases", &name[0], 1).unwrap();
    assert_eq!(other.recover().await.unwrap().expired, 10);
    let _: usize = server.connection().del("web:{b}:dead").unwrap();
    (own, other)
}

#[test]
fn what_another_agent_has_before_it_could_be_completed_is_lost_and_told_with_what_is_completed_next() {
    let server = RedisServer::start();
    run(async {
        let (own, other) = lost_before_it_could_be_completed(&server).await;
        own.recover().await.unwrap();
        let mut lease = vec![other.receive(ALL, LONG).await.unwrap().unwrap()];
        assert_eq!(lease[0].messages.to_vec(), numbers(0..10));
        other.complete(&mut lease, &[]).await.unwrap();
        push_to(&server, QUEUES[2], numbers(10..12));
        let mut lease = vec![own.receive(ALL, LONG).await.unwrap().unwrap()];
        let completed = own.complete(&mut lease, &[]).await.unwrap();
        assert_eq!((completed.messages, completed.lost), (2, 10));
        let tally = own.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.given_back, tally.lost), (2, 0, 10, 10));
        settled(&*own).await;
    });
}

#[test]
fn what_another_agent_has_before_it_could_be_completed_is_lost_at_the_end_of_the_process_too() {
    let server = RedisServer::start();
    run(async {
        let (own, _) = lost_before_it_could_be_completed(&server).await;
        assert_eq!(own.registry().abandon(), 10);
        assert_eq!(own.give_back().await.unwrap(), 0);
        let tally = own.registry().tally();
        assert_eq!((tally.published, tally.parked, tally.given_back, tally.lost), (0, 0, 10, 10));
    });
}

#[test]
fn what_is_done_with_is_completed_though_whoever_did_that_was_ended() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        push_to(&server, QUEUES[1], numbers(0..10));
        let mut leases = vec![receive(&*channel, 10, 1000).await.unwrap()];
        let letters = [letter(&leases[0], 3)];
        let _: () = server.connection().set("web:{b}:dead", "no stream").unwrap();
        channel.complete(&mut leases, &letters).await.unwrap();
        server.pause();
        assert!(timeout(Duration::from_millis(10), channel.recover()).await.is_err());
        server.resume();
        let _: usize = server.connection().del("web:{b}:dead").unwrap();
        let tally = eventually("the completion", async || {
            drop(channel.recover().await);
            Some(channel.registry().tally()).filter(|tally| tally.in_flight == 0)
        })
        .await;
        assert_eq!((tally.published, tally.parked, tally.given_back), (9, 1, 0));
        assert_eq!(kept_in(&server, "web:{b}:dead")[0].payload, b"3");
        settled(&*channel).await;
    });
}

#[test]
fn what_is_done_with_while_no_queue_can_be_used_is_completed_later_and_nobody_waits_for_one_queue_after_the_other() {
    let server = RedisServer::start();
    run(async {
        let names: Vec<String> = (0..16).map(|number| format!("queue{number}")).collect();
        let queue_key = Queues::of(names.clone()).unwrap();
        let settings = Redis { queue_key, timeout: Duration::from_secs(1), ..settings(&server, Duration::from_secs(60), 100) };
        let channel = open(&settings, "here", LONG, &[]).unwrap().remove(0);
        channel.open().await.unwrap();
        let mut leases = Vec::new();
        for queue in &names {
            push_to(&server, queue, numbers(0..1));
            leases.push(receive(&*channel, 10, 1000).await.unwrap());
        }
        let letters = [letter(&leases[3], 0)];
        server.pause();
        eventually("all queues to be away", async || channel.recover().await.err()).await;
        let completed = timeout(Duration::from_secs(8), channel.complete(&mut leases, &letters)).await;
        assert!(completed.expect("each queue was waited for").is_err());
        // Whoever has written is ended.
        drop(leases);
        server.resume();
        let tally = eventually("the completion", async || {
            drop(channel.recover().await);
            Some(channel.registry().tally()).filter(|tally| tally.in_flight == 0)
        })
        .await;
        assert_eq!((tally.published, tally.parked, tally.given_back), (15, 1, 0));
        let completed = channel.complete(&mut Vec::new(), &[]).await.unwrap();
        assert_eq!((completed.messages, completed.lost), (16, 0));
        assert_eq!(channel.depth().await.unwrap(), Depth { dead: 1, ..Depth::default() });
        settled(&*channel).await;
    });
}

#[test]
fn a_queue_that_lets_nobody_wait_is_tried_less_and_less_often() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        redis::cmd("ACL").arg(&["SETUSER", "default", "-blmove"]).query::<()>(&mut server.connection()).unwrap();
        let tries = async {
            loop {
                drop(channel.receive(ALL, Duration::from_millis(100)).await);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(6), tries).await.is_err());
        let info: String = redis::cmd("INFO").arg("errorstats").query(&mut server.connection()).unwrap();
        let refused = info.lines().find_map(|line| line.trim().strip_prefix("errorstat_NOPERM:count=")?.parse::<u64>().ok());
        // Each attempt is refused thrice, at each of three queues.
        assert!((9..250).contains(&refused.unwrap()), "refused {refused:?} times");
        push_to(&server, QUEUES[1], numbers(0..1));
        let lease = eventually("what comes to be taken", async || channel.receive(ALL, NO_WAIT).await.ok().flatten()).await;
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        assert_eq!(channel.registry().tally().published, 1);
    });
}

#[test]
fn what_waits_is_shown_of_those_queues_that_can_be_looked_at() {
    let server = RedisServer::start();
    run(async {
        let channel = channel(&server);
        let _: () = server.connection().set(QUEUES[0], "no list").unwrap();
        push_to(&server, QUEUES[1], numbers(0..2));
        push_to(&server, QUEUES[2], numbers(2..4));
        assert_eq!(channel.peek(ALL).await.unwrap(), numbers(0..4));
        assert_eq!(channel.peek(Demand { messages: 3, ..ALL }).await.unwrap(), numbers(0..3));
        for queue in &QUEUES[1..] {
            let _: () = server.connection().set(*queue, "no list").unwrap();
        }
        let refused = channel.peek(ALL).await.unwrap_err();
        assert!(refused.to_string().contains("the key web:{a}"), "{refused}");
    });
}

fn influxd() -> Influxd {
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    influxd
}

fn config(how: &str, queues: &[String], influxd: &Influxd) -> String {
    let channel = format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\n{how}\nqueue_keys = {queues:?}\nlease = \"3s\"\ntimeout = \"1s\"\n\
         [batch]\nmax_messages = 500"
    );
    config_of(&channel, &influxd.url())
}

fn config_of_one(server: &RedisServer, influxd: &Influxd) -> String {
    config(&format!("url = \"{}\"", server.url()), &QUEUES.map(str::to_owned), influxd)
}

fn push_numbers(server: &RedisServer, queue: &str, range: std::ops::Range<u64>) {
    for chunk in range.map(|number| numbered(number).into_bytes()).collect::<Vec<_>>().chunks(1000) {
        push_to(server, queue, chunk.to_vec());
    }
}

fn wait_stored(influxd: &Influxd, all: u64) {
    wait_for("all messages to be stored", PATIENCE, || (influxd.values("numbered").len() as u64 >= all).then_some(()));
    influxd.assert_written(0..all);
}

#[test]
fn an_agent_killed_while_it_drains_several_queues_loses_and_doubles_nothing() {
    let (server, influxd) = (RedisServer::start(), influxd());
    for (queue, begin) in QUEUES.iter().zip([0, 6000, 12_000]) {
        push_numbers(&server, queue, begin..begin + 6000);
    }
    for round in 1..=2 {
        let goal = influxd.values("numbered").len() + 1500;
        let mut agent = Agent::start(&config_of_one(&server, &influxd));
        wait_for("the drain to be under way", PATIENCE, || (influxd.values("numbered").len() >= goal).then_some(()));
        agent.kill9();
        let left: u64 = QUEUES.iter().map(|queue| server.connection().llen::<_, u64>(queue).unwrap()).sum();
        assert!(left > 0, "round {round}: killed too late to show anything");
    }
    let mut agent = Agent::start(&config_of_one(&server, &influxd));
    wait_stored(&influxd, 18_000);
    for (queue, prefix) in QUEUES.iter().zip(["web:{a}", "web:{b}", "{jobs}"]) {
        wait_for("nothing to be left", PATIENCE, || {
            (server.left_of(queue, prefix, "kadabra_inprogress") == Left::NOTHING).then_some(())
        });
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    let ledger = lines.iter().rfind(|line| line.get("leased").is_some()).unwrap();
    assert_eq!(
        ledger["leased"].as_u64().unwrap(),
        ledger["published"].as_u64().unwrap() + ledger["given_back"].as_u64().unwrap()
    );
}

#[test]
fn an_agent_says_that_another_one_has_what_it_could_not_complete_in_time() {
    let (server, influxd) = (RedisServer::start(), influxd());
    let mut agent = Agent::start(&config_of_one(&server, &influxd));
    agent.wait_log("receiving");
    run(async {
        let other = open(&settings(&server, LONG, 100), "other", LONG, &[]).unwrap().remove(0);
        other.open().await.unwrap();
        let _: () = server.connection().set("web:{b}:dead", "no stream").unwrap();
        push_to(&server, "web:{b}", vec![b"nonsense".to_vec()]);
        // Whose completion Redis refuses.
        server.wait_until_renewed("web:{b}:leases");
        // The agent sleeps, and another one has the message by the time that it wakes.
        agent.signal("STOP");
        eventually("the lease to run out", async || (other.recover().await.unwrap().expired > 0).then_some(())).await;
        let mut lease = vec![other.receive(ALL, LONG).await.unwrap().unwrap()];
        let _: usize = server.connection().del("web:{b}:dead").unwrap();
        other.complete(&mut lease, &[]).await.unwrap();
    });
    agent.signal("CONT");
    let said = agent.wait_log("leases had expired");
    assert_eq!((said["code"].as_str(), said["messages"].as_u64()), (Some("K304"), Some(1)), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn commands_tell_of_all_queues_and_send_to_the_one_that_is_named() {
    let (server, influxd) = (RedisServer::start(), influxd());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, config_of_one(&server, &influxd)).unwrap();
    let file = file.to_str().unwrap();
    let answered = |args: &[&str]| {
        let output = cli(args.iter().copied().chain(["--config", file]));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(answered(&["send", "--count", "one"]).0, Some(0));
    assert_eq!(answered(&["send", "--count", "two", "--queue", "jobs"]).0, Some(0));
    let (code, said) = answered(&["send", "--count", "two", "--queue", "web"]);
    assert!(code == Some(78) && said.contains("there is no queue \"web\"") && said.contains("web:{b}, jobs"), "{code:?} {said}");
    let length = |queue: &str| server.connection().llen::<_, u64>(queue).unwrap();
    assert_eq!(QUEUES.map(length), [1, 0, 1]);

    let (code, said) = answered(&["check", "--online"]);
    assert_eq!(code, Some(0), "{said}");
    for (queue, waits) in QUEUES.iter().zip(["1 message waits", "0 messages wait", "1 message waits"]) {
        assert!(said.lines().any(|line| line.contains(&format!("queue {queue}; {waits}"))), "{said}");
    }
    let (_, said) = answered(&["trace", "two"]);
    assert!(said.contains("lists web:{a}, web:{b}, jobs"), "{said}");

    push_to(&server, "jobs", vec![b"nonsense".to_vec()]);
    push_to(&server, "web:{b}", vec![b"nonsense".to_vec()]);
    let mut agent = Agent::start(&config_of_one(&server, &influxd));
    wait_for("two dead letters", PATIENCE, || {
        let count = |stream: &str| server.connection().xlen::<_, u64>(stream).unwrap();
        (count("{jobs}:dead") + count("web:{b}:dead") == 2).then_some(())
    });
    let (_, said) = answered(&["dead-letters", "list"]);
    assert!(said.contains("web:{b}/") && said.contains("jobs/"), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let (code, said) = answered(&["dead-letters", "replay", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(QUEUES.map(length), [0, 1, 1], "each is queued anew where it was");

    let _: () = server.connection().set(QUEUES[0], "no list").unwrap();
    let (code, said) = answered(&["check", "--online"]);
    assert!(
        code == Some(69) && said.contains("wrong: channel: the queue web:{a}: ") && said.contains("queue jobs; 1 message"),
        "{said}"
    );
}

#[test]
fn the_status_tells_of_each_queue_and_why_one_cannot_be_used() {
    let (server, influxd) = (RedisServer::start(), influxd());
    // So that what is pushed waits.
    influxd.pause();
    let port = free_port();
    let _: () = server.connection().set(QUEUES[1], "no list").unwrap();
    push_numbers(&server, QUEUES[2], 0..3);
    let mut agent = Agent::start(&format!("{}[status]\nlisten = \"127.0.0.1:{port}\"\n", config_of_one(&server, &influxd)));
    let address = address(&agent);
    let queues = wait_for("all queues to be told of", PATIENCE, || {
        let status = get(address, "/api/status", &[]).json();
        let queues = status["channel"]["queues"].as_array()?.clone();
        let waits = |place: usize| queues[place]["messages"].as_u64();
        (queues[1]["trouble"].is_string() && waits(0) == Some(0) && waits(2) == Some(3)).then_some(queues)
    });
    assert_eq!(queues.iter().map(|queue| queue["name"].as_str().unwrap()).collect::<Vec<_>>(), QUEUES);
    assert!(queues[1]["trouble"].as_str().unwrap().contains("web:{b}"), "{queues:?}");
    let scraped = values(&get(address, "/metrics", &[]).body);
    let of = |name: &str, queue: &str| scraped.get(&format!("kadabra_each_queue_{name}{{queue=\"{queue}\"}}")).copied();
    assert_eq!(QUEUES.map(|queue| of("up", queue)), [Some(1.0), Some(0.0), Some(1.0)], "{scraped:?}");
    assert_eq!((of("messages", QUEUES[0]), of("messages", QUEUES[2])), (Some(0.0), Some(3.0)), "{scraped:?}");
    assert!(of("oldest_age_seconds", QUEUES[2]).is_some_and(|age| age > 0.0), "{scraped:?}");
    let said = cli_with(&agent, &["status"]);
    let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    for (queue, told) in [(QUEUES[1], "cannot be used: "), (QUEUES[2], "3 messages wait, the oldest for ")] {
        assert!(said.lines().any(|line| line.contains(queue) && line.contains(told)), "{said}");
    }
    let page = get(address, "/", &[]).body;
    assert!(page.contains("jobs: 3 waiting, oldest ") && page.contains("cannot be used: "), "{page}");

    let _: () = server.connection().del(QUEUES[1]).unwrap();
    influxd.resume();
    wait_for("the queue to be used", PATIENCE, || {
        let status = get(address, "/api/status", &[]).json();
        status["channel"]["queues"][1]["trouble"].is_null().then_some(())
    });
    wait_stored(&influxd, 3);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Names of queues that a node of a cluster has.
fn queues_of(cluster: &Cluster, node: usize) -> impl Iterator<Item = String> {
    (0..).map(|number| format!("web:{{{number}}}")).filter(move |queue| cluster.owner(queue, None) == Some(node))
}

/// A queue for each of the three nodes of a cluster, and which one it is.
fn one_for_each(cluster: &Cluster) -> [(String, usize); 3] {
    [0, 1, 2].map(|node| (queues_of(cluster, node).next().unwrap(), node))
}

/// A cluster in which nodes serve what they have while another one is away, and no replica takes over.
fn without_failover() -> Cluster {
    let cluster = Cluster::start();
    for server in &cluster.servers {
        for (key, value) in [("cluster-require-full-coverage", "no"), ("cluster-replica-no-failover", "yes")] {
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg(key).arg(value).query::<()>(&mut server.connection()).unwrap();
        }
    }
    cluster
}

/// Waits until the agent has said of this queue that it cannot be used.
fn wait_named(agent: &Agent, queue: &str) {
    let named = format!("the queue {queue} cannot be used");
    wait_for("the queue to be named", PATIENCE, || {
        let lines = agent.log_lines();
        lines.iter().rfind(|line| line["code"] == "K103" && line.to_string().contains(&named)).map(drop)
    });
}

#[test]
fn queues_on_all_nodes_of_a_cluster_are_drained_while_a_slot_moves_and_a_node_is_replaced() {
    let mut cluster = Cluster::start();
    let influxd = influxd();
    let queues = one_for_each(&cluster);
    let names = queues.clone().map(|(queue, _)| queue);
    let how = format!("mode = \"cluster\"\nnodes = \"{}\"", cluster.nodes());
    let mut agent = Agent::start(&config(&how, &names, &influxd));
    agent.wait_log("receiving");
    for (number, (queue, node)) in (0..).zip(&queues) {
        push_until_answered(queue, number * 200..(number + 1) * 200, || cluster.servers[*node].connection().into());
    }
    wait_stored(&influxd, 600);

    // The first queue's slot moves to the second one's node, while messages come to all.
    let is_moved = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            cluster.move_slot(&names[0], 0, 1);
            is_moved.store(true, Ordering::Relaxed);
        });
        for (number, queue) in (3..).zip(&names) {
            push_until_answered(queue, number * 200..(number + 1) * 200, || {
                Some(cluster.servers[cluster.owner(queue, None)?].connection())
            });
        }
    });
    assert!(is_moved.load(Ordering::Relaxed));
    wait_stored(&influxd, 1200);

    // The node that has two of them now dies, and the third queue is drained before a replica has taken over.
    for (number, queue) in (6..).zip(&names[..2]) {
        push_until_replicated(queue, number * 200..(number + 1) * 200, || Some(cluster.servers[1].connection()));
    }
    cluster.servers[1].kill9();
    for queue in &names[..2] {
        wait_for("a replica to take over", PATIENCE, || cluster.owner(queue, Some(1)).filter(|new| *new != 1));
    }
    for (number, queue) in (8..).zip(&names) {
        push_until_answered(queue, number * 200..(number + 1) * 200, || {
            Some(cluster.servers[cluster.owner(queue, Some(1))?].connection())
        });
    }
    wait_stored(&influxd, 2200);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_queue_whose_slot_stops_in_the_middle_of_its_move_is_named_and_holds_no_other_up() {
    let cluster = Cluster::start();
    let influxd = influxd();
    let names = one_for_each(&cluster).map(|(queue, _)| queue);
    let how = format!("mode = \"cluster\"\nnodes = \"{}\"", cluster.nodes());
    let mut agent = Agent::start(&config(&how, &names, &influxd));
    agent.wait_log("receiving");
    // Leases are open, and a list waits.
    influxd.pause();
    push_until_answered(&names[0], 0..2000, || Some(cluster.servers[0].connection()));
    let slot = cluster.begin_to_move(&names[0], 0, 1);
    cluster.migrate(&names[0], 0, 1);
    influxd.resume();
    let named = format!("the queue {} cannot be used", names[0]);
    wait_for("the queue to be named", PATIENCE, || {
        let said = |line: &serde_json::Value| {
            let text = line.to_string();
            line["code"] == "K103" && text.contains(&named) && text.contains("wait until the cluster has moved the slot")
        };
        agent.log_lines().iter().any(said).then_some(())
    });
    let before = influxd.values("numbered").len();
    for (place, range) in [(1, 2000..2100), (2, 2100..2200)] {
        push_until_answered(&names[place], range, || Some(cluster.servers[place].connection()));
    }
    wait_for("the others to be drained", PATIENCE, || (influxd.values("numbered").len() >= before + 200).then_some(()));
    assert!(before < 2000, "all was written before the slot moved");
    while let keys @ [_, ..] = &cluster.keys_in(slot, 0)[..] {
        keys.iter().for_each(|key| cluster.migrate(key, 0, 1));
    }
    cluster.end_move(slot, 0, 1);
    wait_stored(&influxd, 2200);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_queue_whose_node_is_down_or_hangs_holds_no_other_up() {
    let mut cluster = without_failover();
    let influxd = influxd();
    let names = one_for_each(&cluster).map(|(queue, _)| queue);
    let how = format!("mode = \"cluster\"\nnodes = \"{}\"", cluster.nodes());
    let mut agent = Agent::start(&config(&how, &names, &influxd));
    agent.wait_log("receiving");
    let push = |cluster: &Cluster, place: usize, range: std::ops::Range<u64>| {
        push_until_answered(&names[place], range, || cluster.servers[place].connection().into());
    };
    for place in 0..3 {
        push(&cluster, place, place as u64 * 100..(place as u64 + 1) * 100);
    }
    wait_stored(&influxd, 300);
    let mut all = 300;
    for how in ["STOP", "KILL"] {
        match how {
            "STOP" => cluster.servers[2].pause(),
            _ => cluster.servers[2].kill9(),
        }
        for place in [0, 1] {
            push(&cluster, place, all..all + 100);
            all += 100;
        }
        wait_stored(&influxd, all);
        wait_named(&agent, &names[2]);
        push(&cluster, 0, all..all + 100);
        all += 100;
        wait_stored(&influxd, all);
        match how {
            "STOP" => cluster.servers[2].resume(),
            _ => cluster.servers[2].restart(),
        }
        push(&cluster, 2, all..all + 100);
        all += 100;
        wait_stored(&influxd, all);
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn many_queues_of_a_node_that_hangs_hold_no_other_up() {
    let cluster = without_failover();
    let influxd = influxd();
    let mut names: Vec<String> = queues_of(&cluster, 2).take(6).collect();
    names.extend([0, 1].map(|node| queues_of(&cluster, node).next().unwrap()));
    let how = format!("mode = \"cluster\"\nnodes = \"{}\"", cluster.nodes());
    // What waits for one time-out after another is late.
    let text = config(&how, &names, &influxd).replace("lease = \"3s\"\ntimeout = \"1s\"", "lease = \"20s\"\ntimeout = \"5s\"");
    let mut agent = Agent::start(&text);
    agent.wait_log("receiving");
    let push = |place: usize, all: &mut u64, messages: u64| {
        let node = place.checked_sub(6).unwrap_or(2);
        push_until_answered(&names[place], *all..*all + messages, || cluster.servers[node].connection().into());
        *all += messages;
    };
    let mut all = 0;
    (0..8).for_each(|place| push(place, &mut all, 100));
    wait_stored(&influxd, all);
    cluster.servers[2].pause();
    wait_named(&agent, &names[0]);
    let begun = Instant::now();
    for number in 0..20 {
        push(6 + number % 2, &mut all, 1);
        wait_stored(&influxd, all);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "twenty messages one by one took {took:?}");
    cluster.servers[2].resume();
    (0..8).for_each(|place| push(place, &mut all, 100));
    wait_stored(&influxd, all);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn as_many_queues_as_may_be_keep_within_the_memory_of_one() {
    let (server, influxd) = (RedisServer::start(), influxd());
    influxd.pause();
    let names: Vec<String> = (0..64).map(|number| format!("queue{number}")).collect();
    for (number, queue) in names.iter().enumerate() {
        push_to(&server, queue, vec![large(number, 1 << 20).into_bytes(), numbered(number as u64).into_bytes()]);
    }
    let mut agent = Agent::start(&config(&format!("url = \"{}\"", server.url()), &names, &influxd));
    agent.wait_condition("publisher");
    wait_for("some attempts", PATIENCE, || (agent.logged("a batch is not written yet").len() >= 2).then_some(()));
    assert_bounded(&agent, 1, "InfluxDB hangs");
    influxd.resume();
    wait_stored(&influxd, 64);
    wait_for("all to be taken off", PATIENCE, || {
        let mut redis = server.connection();
        let left = |queue: &String| -> u64 {
            let leases: u64 = redis.zcard(format!("{{{queue}}}:leases")).unwrap();
            leases + redis.llen::<_, u64>(queue).unwrap()
        };
        (names.iter().map(left).sum::<u64>() == 0).then_some(())
    });
    assert_bounded(&agent, 1, "all is written");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
