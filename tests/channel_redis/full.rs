//! A Redis that is full gives messages, and lets nobody wait for them: that is not over before it is.

use super::*;
use crate::support::{agent::Agent, pipeline, process::wait_for};

/// How often the agent has looked for expired leases, which a full Redis allows.
fn looks(redis: &mut Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_zrangebyscore:calls=")).unwrap();
    calls.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn it_is_said_to_work_again_when_it_lets_the_agent_wait_again_and_not_before() {
    let server = RedisServer::for_agents_with(&["--maxmemory-policy", "noeviction"]);
    let mut redis = server.connection();
    let config = pipeline::config(&server.url(), "http://127.0.0.1:9").replace("type = \"influxdb\"", "type = \"debug\"");
    let mut agent = Agent::start(&config);
    agent.wait_log("receiving");
    for number in 0..3 {
        let _: usize = redis.lpush(format!("spare {number}"), pipeline::numbered(number)).unwrap();
    }
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1kb"]).query(&mut redis).unwrap();
    let said = agent.wait_condition("channel");
    assert!(said["msg"].as_str().unwrap().contains("maxmemory") && said["level"] == "ERROR", "{said}");
    for number in 0..3 {
        // Nobody can push, but this needs no memory.
        let _: () = redis.rename(format!("spare {number}"), Q).unwrap();
        wait_for("the message to be published", LONG, || {
            let left: (usize, usize) = (redis.llen(Q).unwrap(), redis.zcard(LEASES).unwrap());
            (left == (0, 0)).then_some(())
        });
        let before = looks(&mut redis);
        wait_for("what a full Redis allows to be done", LONG, || (looks(&mut redis) > before + 1).then_some(()));
    }
    let again = agent.logged("works again");
    assert!(again.is_empty(), "{again:?}");
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).query(&mut redis).unwrap();
    agent.wait_log("channel works again");
    assert_eq!(agent.terminate(LONG), Some(0));
}

/// There is always a message, so that nobody need wait for one.
#[test]
fn it_is_said_to_work_again_though_nobody_comes_to_wait() {
    let server = RedisServer::for_agents_with(&["--maxmemory-policy", "noeviction"]);
    let mut redis = server.connection();
    let config = pipeline::config(&server.url(), "http://127.0.0.1:9").replace("type = \"influxdb\"", "type = \"debug\"");
    let mut agent = Agent::start(&config);
    agent.wait_log("receiving");
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1kb"]).query(&mut redis).unwrap();
    agent.wait_condition("channel");
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).query(&mut redis).unwrap();
    wait_for("the end of the condition", LONG, || {
        push(&mut redis, (0..20).map(pipeline::numbered));
        (!agent.logged("channel works again").is_empty()).then_some(())
    });
    assert_eq!(agent.terminate(LONG), Some(0));
}
