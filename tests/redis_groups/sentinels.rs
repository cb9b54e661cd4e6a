//! The Sentinels themselves: as whom they are asked, by TLS, when some of them hang, answer rubbish or know no better, and what that costs
//! them.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kadabra::channel::Channel as _;
use redis::Connection;
use tokio::time::sleep;

use super::{
    Q, assert_stored, influxd,
    replicas::{channel, run},
    sentinel_channel,
};
use crate::support::{
    agent::{Agent, cli},
    certificates::Certificate,
    pipeline::{PATIENCE, config_of},
    process::{free_port, wait_for},
    redis_groups::{LoneSentinel, MASTER_NAME, SentinelGroup, Setup, push_until_answered},
    redis_server::RedisServer,
};

/// What a Sentinel needs to allow, as `docs/redis.md` says.
const RIGHTS: &str = "+sentinel|get-master-addr-by-name";

#[test]
fn sentinels_are_asked_by_tls_as_a_user_with_a_password_of_its_own_that_may_be_mended_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Certificate::self_signed(folder.path(), "sentinel", &["subjectAltName=IP:127.0.0.1"]);
    let ports = [free_port(), free_port(), free_port()];
    let lines = |number: usize| {
        let Certificate { certificate, key } = &server;
        format!(
            "tls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
             user kadabra on >secret {RIGHTS}\n",
            ports[number],
            certificate.display(),
            key.display(),
            certificate.display()
        )
    };
    let group = SentinelGroup::with(&Setup { password: "hunter2", lines: Some(&lines), ..Setup::default() });
    let password = folder.path().join("password");
    std::fs::write(&password, "wrong\n").unwrap();
    let nodes = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let login = format!(
        "[channel.redis.sentinel]\nuser = \"kadabra\"\npassword_file = {password:?}\nuse_tls = true\nca_file = {:?}\n",
        server.certificate
    );
    let influxd = influxd();
    let config = config_of(&sentinel_channel(&nodes, &login), &influxd.url());
    let mut agent = Agent::start(&config);
    let said = agent.wait_condition("channel");
    assert_eq!(said["code"], "K102", "{said}");
    let said = said.to_string();
    assert!(said.contains("does not accept the user and password"), "{said}");
    assert!(said.contains("correct channel.redis.sentinel.password_file, or the user beside it"), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{}", ports[0])), "{said}");
    std::fs::write(&password, "secret\n").unwrap();
    push_until_answered(Q, 0..100, || group.connect_to_primary());
    assert_stored(&influxd, 100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn an_idle_agent_asks_sentinels_on_the_connections_that_it_has() {
    let group = SentinelGroup::start();
    let influxd = influxd();
    let more = format!("queue_keys = [\"{Q}\", \"other\"]\n[status]\nlisten = \"127.0.0.1:0\"\ncanary_interval = \"1s\"");
    let config = config_of(&sentinel_channel(&group.nodes(), &more), &influxd.url());
    let (others, publisher) = config.split_once("[publisher]").unwrap();
    let (publisher, rest) = publisher.split_once("[nanny]").unwrap();
    // Seven channels: of each queue its own and one of each publisher, and the canary's.
    let of = |name: &str| format!("[publishers.{name}]{}", publisher.replace("[publisher.", &format!("[publishers.{name}.")));
    let mut agent = Agent::start(&format!("{others}{}{}[nanny]{rest}", of("one"), of("two")));
    agent.wait_log("receiving");
    push_until_answered(Q, 0..10, || group.connect_to_primary());
    assert_stored(&influxd, 10);
    let mut looks = [0, 1, 2].map(|sentinel| group.connect_to_sentinel(sentinel));
    // For how many seconds each connection of the agent is there, while it is asked on it each second.
    let mut used_for = |seconds: u64| {
        wait_for("connections that last and are used", PATIENCE, || {
            looks.iter_mut().all(|look| ages(look).is_some_and(|ages| ages.iter().all(|age| *age >= seconds))).then_some(())
        });
        looks.each_mut().map(|look| {
            let info: String = redis::cmd("INFO").arg("stats").query(look).unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        })
    };
    // A Sentinel that stood still for a second is connected to anew, by the agent and by the others.
    wait_for("five seconds without a new connection", PATIENCE, || {
        let before = used_for(3);
        (used_for(8) == before).then_some(())
    });
    // One for all of them.
    assert_eq!(looks.each_mut().map(|look| ages(look).map_or(0, |ages| ages.len())), [1; 3]);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_connection_is_given_up_for_the_new_primary_though_the_thread_is_gone_that_connected_first() {
    let group = SentinelGroup::start();
    let (one, other) = [(); 2].map(|()| channel(&sentinel_channel(&group.nodes(), ""))).into();
    thread::spawn(move || run(async { one.open().await.map(drop) })).join().unwrap().unwrap();
    run(async {
        other.open().await.unwrap();
        let clients = || -> String { redis::cmd("CLIENT").arg("LIST").query(&mut group.servers[0].connection()).unwrap() };
        assert!(clients().contains("name=kadabra "));
        group.name_the_other();
        let end = Instant::now() + PATIENCE;
        while clients().contains("name=kadabra ") {
            assert!(Instant::now() < end, "the connection to the old primary is kept");
            sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn sentinels_are_asked_once_a_second_however_many_connections_there_are() {
    let primary = RedisServer::start();
    let (sentinel, asked) = counts(primary.port());
    let channels = [(); 4].map(|()| channel(&sentinel_channel(&format!("127.0.0.1:{sentinel}"), "")));
    run(async {
        for channel in &channels {
            channel.open().await.unwrap();
        }
        let (begun, before) = (Instant::now(), asked.load(Ordering::Relaxed));
        let more = loop {
            sleep(Duration::from_millis(20)).await;
            match asked.load(Ordering::Relaxed) - before {
                more @ 4.. => break more,
                _ => assert!(begun.elapsed() < PATIENCE, "they are not asked again"),
            }
        };
        assert!(more <= begun.elapsed().as_secs() + 2, "{more} times in {:?}", begun.elapsed());
    });
}

/// A Sentinel that says that this is the primary, and how often it was asked.
fn counts(primary: u16) -> (u16, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let port = answers(move |question| {
        if !question.contains("GET-MASTER-ADDR-BY-NAME") {
            return "+OK\r\n".to_owned();
        }
        count.fetch_add(1, Ordering::Relaxed);
        let port = primary.to_string();
        format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
    });
    (port, asked)
}

/// How many seconds ago each connection of an agent was made, if there are some and each is used.
fn ages(sentinel: &mut Connection) -> Option<Vec<u64>> {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(sentinel).unwrap();
    let value = |line: &str, name: &str| line.split(' ').find_map(|pair| pair.strip_prefix(name)?.parse::<u64>().ok());
    let ours = clients.lines().filter(|line| line.contains("name=kadabra "));
    let ages: Vec<_> = ours.filter(|line| value(line, "idle=").unwrap() <= 2).map(|line| value(line, "age=").unwrap()).collect();
    let all = clients.matches("name=kadabra ").count();
    (!ages.is_empty() && ages.len() == all).then_some(ages)
}

/// A server that takes every connection and says this to all that comes.
fn says(what: &'static str) -> u16 {
    answers(move |_| what.to_owned())
}

/// A server that takes every connection and answers what comes.
pub(super) fn answers(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    if client.write_all(answer(&String::from_utf8_lossy(&buffer[..read])).as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_sentinel_that_was_cut_off_from_the_others_and_knows_an_old_primary_is_outvoted() {
    let group = SentinelGroup::start();
    // It answers, and could be written to.
    let old = RedisServer::start();
    let lone = LoneSentinel::of(&old);
    let influxd = influxd();
    let nodes = format!("127.0.0.1:{},{}", lone.port, group.nodes());
    for round in 0..3 {
        let mut agent = Agent::start(&config_of(&sentinel_channel(&nodes, ""), &influxd.url()));
        agent.wait_log("receiving");
        push_until_answered(Q, round * 10..round * 10 + 10, || group.connect_to_primary());
        assert_stored(&influxd, round * 10 + 10);
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut old.connection()).unwrap();
        assert!(!clients.contains("name=kadabra "), "{clients}");
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
    assert_eq!(old.calls_of("evalsha"), 0);
}

#[test]
fn sentinels_that_hang_or_answer_rubbish_hold_nothing_up() {
    let group = SentinelGroup::start();
    let real = group.nodes();
    let influxd = influxd();
    let folder = tempfile::tempdir().unwrap();
    for others in [
        vec![says(""), says("")],
        vec![says("HTTP/1.1 400 Bad Request\r\n\r\n"), says("$5\r\nrubbish")],
        vec![says("*1\r\n$3\r\none\r\n"), says(":7\r\n")],
    ] {
        let nodes = others.iter().map(|port| format!("127.0.0.1:{port},")).collect::<String>() + &real;
        let file = folder.path().join("kadabra.toml");
        std::fs::write(&file, config_of(&sentinel_channel(&nodes, ""), &influxd.url())).unwrap();
        let begun = Instant::now();
        let output = cli(["check", "--online", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains(MASTER_NAME), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // More of them hang than are well.
    let nodes = format!("127.0.0.1:{},127.0.0.1:{},{}", says(""), says(""), real.split(',').next().unwrap());
    let mut agent = Agent::start(&config_of(&sentinel_channel(&nodes, ""), &influxd.url()));
    push_until_answered(Q, 0..100, || group.connect_to_primary());
    assert_stored(&influxd, 100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn of_two_sentinels_that_say_different_things_the_one_is_believed_whose_primary_answers() {
    let group = SentinelGroup::start();
    let mut gone = RedisServer::start();
    let lone = LoneSentinel::of(&gone);
    gone.kill9();
    let influxd = influxd();
    let nodes = format!("127.0.0.1:{},{}", lone.port, group.nodes().split(',').next().unwrap());
    let mut agent = Agent::start(&config_of(&sentinel_channel(&nodes, ""), &influxd.url()));
    push_until_answered(Q, 0..100, || group.connect_to_primary());
    assert_stored(&influxd, 100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
