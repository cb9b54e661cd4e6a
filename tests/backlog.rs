//! What waits is everything that was accepted and is not done, whoever has it in hand, and as old as the oldest of it.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use redis::Commands as _;

use super::support::{
    agent::{Agent, Builder, cli},
    pipeline::{PATIENCE, config_of, numbered},
    process::{free_port, wait_for},
    redis_server::RedisServer,
};

const Q: &str = "kadabra_queue";
/// Where a database listens and answers nothing, so that what is written to it is in hand until the time for that is over.
static HANGS: LazyLock<TcpListener> = LazyLock::new(|| TcpListener::bind("127.0.0.1:0").unwrap());

/// One that does not say when it was queued.
fn silent() -> String {
    r#"{"dimensions": [], "counters": [{"name": "c", "metadata": {}, "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0}], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#.to_owned()
}

fn agent(channel: &str) -> Builder {
    let database = format!("http://{}", HANGS.local_addr().unwrap());
    let text = config_of(channel, &database).replace("[nanny]", "[nanny]\nwarn_age = \"2s\"");
    let text = text.replace("timeout = \"5s\"", "timeout = \"4s\"");
    Agent::with(&text).env("KADABRA_LOG__LEVEL", "info")
}

fn embedded(folder: &Path, address: SocketAddr) -> Builder {
    let path = folder.join("queue.db");
    agent(&format!("[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = \"{address}\""))
}

fn check(agent: &Agent) -> String {
    let config = agent.folder().join("kadabra.toml");
    let checked = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), config.as_os_str()]);
    String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap()
}

fn info(redis: &mut redis::Connection, field: &str) -> Option<u64> {
    let info: String = redis::cmd("INFO").arg("kadabra").query(redis).ok()?;
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok())
}

#[test]
fn what_an_agent_has_in_hand_waits_and_its_age_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let connect = || redis::Client::open(format!("redis://{address}/")).unwrap().get_connection().unwrap();
    let mut agent = embedded(folder.path(), address).start();
    agent.wait_log("publishing");
    let mut clients = connect();
    let pushed = Instant::now();
    let _: usize = clients.lpush(Q, silent()).unwrap();
    let accepted = Instant::now();
    let _: usize = clients.lpush(Q, numbered(2)).unwrap();
    wait_for("both to be in hand", PATIENCE, || (info(&mut clients, "queue_in_hand") == Some(2)).then_some(()));
    assert_eq!(info(&mut clients, "queue_length"), Some(2));
    assert_eq!(clients.llen::<_, u64>(Q).unwrap(), 0, "as of a Redis from which they were taken");
    let warned = agent.wait_condition("backlog");
    assert!(pushed.elapsed() >= Duration::from_secs(2), "{warned}");
    assert!(warned["now"].as_str().unwrap().starts_with("2 messages wait, 2 of them in hand, the oldest for "), "{warned}");
    // It is told the age in whole seconds, and longer than 2 s are 3.
    let said = wait_for("check to warn", PATIENCE, || Some(check(&agent)).filter(|said| said.contains("warning: backlog: ")));
    assert!(said.contains("where 2 messages wait, 2 of them in hand, the oldest for "), "{said}");
    assert!(agent.logged("the warning is over").is_empty(), "nothing was published");
    agent.kill9();

    let mut agent = embedded(folder.path(), address).start();
    agent.wait_log("publishing");
    let mut clients = connect();
    let least = accepted.elapsed().as_secs_f64();
    let (age, most) = (info(&mut clients, "oldest_message_seconds").unwrap(), pushed.elapsed().as_secs_f64());
    // It is in whole seconds.
    assert!(age as f64 <= most && age as f64 >= least - 1.1, "{age} and not {least} to {most}");
    assert_eq!(info(&mut clients, "queue_length"), Some(2), "before anything is taken, too");
    let _: usize = clients.lpush(Q, numbered(3)).unwrap();
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let lines = agent.log_lines();
    let ledger = lines.iter().find(|line| line.get("accepted").is_some()).unwrap();
    let said = ["accepted", "found", "published", "parked", "dropped", "waiting"].map(|key| ledger[key].as_u64().unwrap());
    assert_eq!((said, &ledger["balances"]), ([3, 2, 0, 0, 0, 3], &true.into()), "{ledger}");
    assert!(agent.logged("the warning is over").is_empty(), "nothing was published");
}

#[test]
fn a_full_queue_is_counted_right_from_the_start_on() {
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let full = |folder: &Path| embedded(folder, address).env("KADABRA_CHANNEL__EMBEDDED__MAX_BYTES", "4MiB");
    let connect = || redis::Client::open(format!("redis://{address}/")).unwrap().get_connection().unwrap();
    let mut agent = full(folder.path()).start();
    agent.wait_log("publishing");
    let mut clients = connect();
    let messages: Vec<String> = (0..100).map(numbered).collect();
    let refused = |clients: &mut redis::Connection| clients.lpush::<_, _, usize>(Q, &messages).is_err();
    let pushed = (0..).find(|_| refused(&mut clients)).unwrap() * 100;
    assert_eq!(info(&mut clients, "queue_length"), Some(pushed));
    agent.kill9();
    let mut agent = full(folder.path()).start();
    agent.wait_log("publishing");
    let mut clients = connect();
    assert_eq!(info(&mut clients, "queue_length"), Some(pushed));
    assert!(refused(&mut clients));
    let said = check(&agent);
    assert!(said.contains(&format!("where {pushed} messages wait")) && said.contains("warning: refusals: "), "{said}");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let ledger = agent.wait_log("accepted ");
    assert_eq!((&ledger["accepted"], &ledger["waiting"]), (&pushed.into(), &pushed.into()), "{ledger}");
}

#[test]
fn what_agents_have_in_hand_of_a_redis_waits() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    let channel = format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"", server.url());
    let mut agent = agent(&channel).start();
    agent.wait_log("publishing");
    let pushed = Instant::now();
    let _: usize = redis.lpush(Q, silent()).unwrap();
    let _: usize = redis.lpush(Q, silent()).unwrap();
    let warned = agent.wait_condition("backlog");
    assert!(pushed.elapsed() >= Duration::from_secs(2), "{warned}");
    assert!(warned["now"].as_str().unwrap().starts_with("2 messages wait, 2 of them in hand, the oldest for "), "{warned}");
    assert_eq!(redis.llen::<_, u64>(Q).unwrap(), 0);
    let said = check(&agent);
    assert!(said.contains("2 messages wait, 2 of them in hand"), "{said}");
    assert!(agent.logged("the warning is over").is_empty(), "nothing was published");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let ledger = agent.wait_log("leased ");
    assert!(ledger["msg"].as_str().unwrap().ends_with("; 2 wait in the channel"), "{ledger}");
    assert_eq!((&ledger["waiting"], &ledger["given_back"]), (&2.into(), &2.into()), "{ledger}");
}
