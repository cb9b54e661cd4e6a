//! What a server answers that does not serve the agent now, and will again: which condition that is, in which words, and that the agent
//! goes on by itself, with nothing lost or doubled.

use std::time::Duration;

use super::influxd;
use crate::support::{
    agent::Agent,
    pipeline::{PATIENCE, config_of},
    process::wait_for,
    redis_server::RedisServer,
};

fn single_channel(server: &RedisServer, more: &str) -> String {
    let url = server.url();
    format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{url}\"\nlease = \"3s\"\ntimeout = \"1s\"\n{more}")
}

/// Its Nanny has no lease to renew, and of several queues that are all away it asks none again so soon: neither shows that Redis is back.
#[test]
fn agents_without_work_say_that_redis_works_again_when_it_does_and_not_before() {
    let mut server = RedisServer::start();
    let influxd = influxd();
    let agents = ["queue_key = \"one\"", "queue_keys = [\"two\", \"three\"]"]
        .map(|queues| Agent::start(&config_of(&single_channel(&server, queues), &influxd.url())));
    agents.iter().for_each(|agent| drop(agent.wait_log("receiving")));
    server.kill9();
    for agent in &agents {
        // Said anew after ten seconds, in which leases would have been renewed ten times.
        wait_for("the condition to last", PATIENCE, || {
            let lasts = |line: &serde_json::Value| {
                let lasted = humantime::parse_duration(line["for"].as_str()?).unwrap();
                (line["condition"] == "channel" && lasted >= Duration::from_secs(10)).then_some(())
            };
            let over = agent.logged("channel works again");
            assert!(over.is_empty(), "it is away: {over:?}");
            agent.log_lines().iter().find_map(lasts)
        });
    }
    server.restart();
    for mut agent in agents {
        agent.wait_log("channel works again, after ");
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}
