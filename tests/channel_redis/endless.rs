//! Whatever answers in place of Redis, and however much: it is cut off, said in a sentence, and costs no memory.

use super::{
    flood::{Flood, Flooding},
    *,
};
use crate::{
    bounds::assert_bounded,
    support::{agent::Agent, pipeline, process::wait_for},
};

/// What a lease may take here: a message or a batch, and 500 messages' worth of heads.
const BATCH: usize = 1 << 20;
const MOST: usize = 2 * BATCH;

const LITTLE: Demand = Demand { messages: 100_000, bytes: BATCH, not_before: None };

const LARGE: &str = "began an answer that takes more than";
const DEEP: &str = "lists in lists";
const UNASKED: &str = "to nothing that was asked";

fn modest(flooding: &Flooding) -> Redis {
    // A time-out would end a flood, too; nobody waits that long here.
    Redis { max_message_bytes: BATCH, timeout: Duration::from_secs(600), ..settings(&flooding.url()) }
}

fn floods(instead_of: &'static str) -> Vec<(Flood, &'static [&'static str])> {
    let flood = |head: &str, endless: &str| Flood::new(instead_of, head, endless);
    let message = format!("${}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    vec![
        // What is announced is enough: nothing of it need come.
        (flood("$2000000000\r\n", ""), &[LARGE]),
        (flood("*1000000000\r\n", ""), &[LARGE]),
        (flood("*2\r\n:0\r\n$2000000000\r\n", ""), &[LARGE]),
        (flood(&"*1\r\n".repeat(100), ""), &[DEEP]),
        (flood("$2000000000\r\n", "x"), &[LARGE]),
        (flood("*1000000000\r\n", "$1\r\nx\r\n"), &[LARGE]),
        (flood("", "*1\r\n"), &[DEEP]),
        (flood("*500\r\n", &message), &[LARGE]),
        (flood("*3500\r\n", "*2\r\n$-1\r\n$-1\r\n"), &[LARGE]),
        (flood("+", "x"), &[LARGE]),
        (flood(":", "0"), &[LARGE]),
        (flood("$", "0"), &[LARGE]),
        // Answers, each of which may be one. The client may see the first before the rest is there.
        (flood("", ":1\r\n"), &[UNASKED, "gave an answer that no Redis gives"]),
        (flood("", "+OK\r\n"), &[UNASKED, "gave an answer that no Redis gives"]),
    ]
}

fn says(error: &ChannelError, flooding: &Flooding, words: &[&str]) {
    let said = error.to_string();
    assert!(matches!(error, ChannelError::Refused { .. }), "{error:?}");
    assert!(words.iter().any(|word| said.contains(word)), "none of {words:?} is in: {said}");
    assert!(said.starts_with("cannot ") && said.contains(&flooding.url()), "{said}");
    assert!(said.contains("check that channel.redis.url is the address of a Redis"), "{said}");
}

/// After each flood all goes on as if nothing had been.
async fn works(channel: &RedisChannel, redis: &mut Connection) {
    push(redis, ["m"]);
    let lease = eventually("a message", || async { channel.receive(LITTLE, NO_WAIT).await.ok().flatten() }).await;
    assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
}

async fn all_cut(flooding: &Flooding, count: usize) {
    eventually("the flood to be cut off", || async { (flooding.cut() >= count).then_some(()) }).await;
    assert!(flooding.most() <= MOST, "{} bytes could be sent", flooding.most());
}

#[test]
fn in_place_of_messages() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let flooding = Flooding::start(server.port());
    run(async {
        let channel = RedisChannel::new(&modest(&flooding), "here", LONG).unwrap();
        for (number, (flood, words)) in floods("EVALSHA").into_iter().enumerate() {
            works(&channel, &mut redis).await;
            flooding.set(Some(flood));
            says(&channel.receive(LITTLE, NO_WAIT).await.unwrap_err(), &flooding, words);
            flooding.set(None);
            // One that was not cut by this call is cut by the next: it is on a connection that nobody uses any more.
            drop(channel.depth().await);
            all_cut(&flooding, number + 1).await;
            drop(channel.recover().await);
        }
        works(&channel, &mut redis).await;
        settled(&channel, &mut redis);
    });
}

#[test]
fn in_place_of_a_greeting() {
    let server = RedisServer::for_agents();
    let flooding = Flooding::start(server.port());
    run(async {
        for (flood, words) in floods("SETNAME").into_iter().filter(|(_, words)| !words.contains(&UNASKED)) {
            flooding.set(Some(flood));
            let channel = RedisChannel::new(&modest(&flooding), "here", LONG).unwrap();
            let error = channel.open().await.unwrap_err();
            assert!(error.to_string().starts_with("cannot connect: "), "{error}");
            says(&error, &flooding, words);
        }
        all_cut(&flooding, 12).await;
        // Whatever is asked is answered before it is asked.
        flooding.set(Some(Flood::new("SETNAME", "", "+OK\r\n")));
        let channel = RedisChannel::new(&modest(&flooding), "here", LONG).unwrap();
        says(&channel.open().await.unwrap_err(), &flooding, &[UNASKED]);
        all_cut(&flooding, 13).await;
    });
}

#[test]
fn while_it_is_waited_for_messages() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let flooding = Flooding::start(server.port());
    run(async {
        let channel = RedisChannel::new(&modest(&flooding), "here", LONG).unwrap();
        for (number, (flood, words)) in floods("SKIP").into_iter().enumerate() {
            works(&channel, &mut redis).await;
            let any = words.contains(&UNASKED);
            flooding.set(Some(flood));
            let outcome = channel.receive(LITTLE, LONG).await;
            flooding.set(None);
            match outcome {
                Err(error) => says(&error, &flooding, words),
                // It said at once that the wait is over, and what came then was cut.
                Ok(lease) => assert!(any && lease.is_none()),
            }
            all_cut(&flooding, number + 1).await;
        }
        works(&channel, &mut redis).await;
        settled(&channel, &mut redis);
    });
}

#[test]
fn on_connections_that_nobody_uses() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let flooding = Flooding::start(server.port());
    run(async {
        let channel = RedisChannel::new(&modest(&flooding), "here", LONG).unwrap();
        let mut flooded = 0;
        for (flood, _) in floods("") {
            works(&channel, &mut redis).await;
            // One of each kind.
            eventually("a connection for waiting, too", || async {
                assert!(channel.receive(LITTLE, Duration::from_millis(5)).await.unwrap().is_none());
                (flooding.connections() == 2).then_some(())
            })
            .await;
            flooded += flooding.now(&flood);
            all_cut(&flooding, flooded).await;
            says(&channel.depth().await.unwrap_err(), &flooding, &[UNASKED]);
            says(&channel.receive(LITTLE, LONG).await.unwrap_err(), &flooding, &[UNASKED]);
            // Those that were made since then.
            flooded += flooding.now(&flood);
            all_cut(&flooding, flooded).await;
            drop(channel.depth().await);
        }
        works(&channel, &mut redis).await;
        settled(&channel, &mut redis);
    });
}

#[test]
fn an_agent_that_is_flooded_keeps_within_its_memory_and_goes_on_afterwards() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let flooding = Flooding::start(server.port());
    // No time-out and no lease that runs out ends a flood.
    let mut config = pipeline::config(&flooding.url(), "http://127.0.0.1:9").replace("type = \"influxdb\"", "type = \"debug\"");
    config = config.replace("timeout = \"1s\"", "timeout = \"25s\"").replace("lease = \"2s\"", "lease = \"60s\"");
    let mut agent = Agent::start(&config);
    let all = ["EVALSHA", "SKIP"].into_iter().flat_map(floods).map(|(flood, _)| flood);
    for flood in all.filter(|flood| !flood.endless.is_empty()).step_by(2) {
        push(&mut redis, [pipeline::numbered(1)]);
        wait_for("the message to be published", LONG, || {
            let left: (usize, usize) = (redis.llen(Q).unwrap(), redis.zcard(LEASES).unwrap());
            (left == (0, 0)).then_some(())
        });
        let before = flooding.cut();
        flooding.set(Some(flood));
        wait_for("the flood to be cut off", LONG, || (flooding.cut() > before).then_some(()));
        flooding.set(None);
    }
    assert_bounded(&agent, 1, "after floods");
    let said = agent.wait_condition("channel");
    assert!(said["mend"].as_str().unwrap().contains("channel.redis.url"), "{said}");
    agent.wait_log("channel works again");
    assert_eq!(agent.terminate(LONG), Some(0));
}
