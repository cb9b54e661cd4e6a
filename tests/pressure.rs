//! What threatens waiting messages is said while there is time: by `check --online` and by the running agent.

use std::time::Duration;

use super::support::{
    agent::{Agent, cli},
    pipeline::{PATIENCE, config},
    process::wait_for,
    redis_server::RedisServer,
};

fn debug_config(redis: &RedisServer) -> String {
    config(&redis.url(), "http://localhost:1").replace("\"influxdb\"", "\"debug\"")
}

#[test]
fn check_online_warns_and_is_well_all_the_same() {
    let redis = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.toml");
    std::fs::write(&path, debug_config(&redis)).unwrap();
    let checked = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), path.as_os_str()]);
    let (out, err) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert_eq!(checked.status.code(), Some(0), "{err}");
    assert!(out.contains("ok: channel: Redis "), "{out}");
    assert!(out.contains("warning: eviction: ") && out.contains("warning: persistence: "), "{out}");
    assert_eq!(out.matches("\n  to mend it: ").count(), 2, "{out}");
    assert_eq!(err, "", "answers and warnings are on one stream");
}

#[test]
fn the_running_agent_warns_once_and_says_the_end() {
    let redis = RedisServer::with(&["--appendonly", "no"]);
    let mut agent = Agent::start(&debug_config(&redis));
    let said = agent.wait_condition("persistence");
    assert_eq!(said["level"], "WARNING", "{said}");
    assert!(said["msg"].as_str().unwrap().contains("keeps nothing on disk"), "{said}");
    assert!(said["mend"].as_str().unwrap().contains("appendonly") && said["now"].is_string(), "{said}");

    // Some more looks, which have nothing new to say.
    let looks = |redis: &RedisServer| -> u64 {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_config|get:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse().unwrap()
    };
    let before = looks(&redis);
    wait_for("two more looks", Duration::from_secs(20), || (looks(&redis) >= before + 2).then_some(()));
    assert_eq!(agent.logged("keeps nothing on disk").len(), 1);

    let _: () = redis::cmd("CONFIG").arg(&["SET", "appendonly", "yes"]).query(&mut redis.connection()).unwrap();
    agent.wait_log("persistence: the warning is over");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_question_that_is_not_allowed_is_said_once_and_only_to_who_debugs() {
    let redis = RedisServer::with(&["--appendonly", "no"]);
    let acl = ["SETUSER", "kadabra", "on", ">s", "~*", "+@all", "-config"];
    let _: () = redis::cmd("ACL").arg(&acl).query(&mut redis.connection()).unwrap();
    let url = redis.url().replace("redis://", "redis://kadabra:s@");
    let mut agent = Agent::start(&debug_config(&redis).replace(&redis.url(), &url));
    let said = agent.wait_log("not everything is known");
    assert_eq!(said["level"], "DEBUG");
    wait_for("it to be asked and refused three times", PATIENCE, || {
        let stats: String = redis::cmd("INFO").arg("errorstats").query(&mut redis.connection()).unwrap();
        let refused = stats.lines().find_map(|line| line.trim().strip_prefix("errorstat_NOPERM:count=")?.parse::<u64>().ok());
        refused.filter(|count| *count >= 3)
    });
    assert_eq!(agent.logged("not everything is known").len(), 1);
    assert!(agent.log_lines().iter().all(|line| line.get("condition").is_none()), "nothing is wrong");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
