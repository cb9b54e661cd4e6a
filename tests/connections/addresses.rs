//! Names with several addresses, of which some are dead.

use super::*;

/// What is dead about an address.
#[derive(Clone, Copy, PartialEq)]
enum Dead {
    Swallows,
    Refuses,
}

/// An agent's configuration by the name `db.test`, which has a dead address before the living one.
fn by_name(pipeline: &Pipeline) -> String {
    let [redis, influxd] = [pipeline.redis.port(), pipeline.influxd.port()];
    config(&format!("redis://db.test:{redis}/0"), &format!("http://db.test:{influxd}"))
}

#[test]
fn a_dead_address_before_a_living_one_keeps_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::start();
    for (round, (dead, how)) in
        [("::1", Dead::Swallows), ("127.0.0.2", Dead::Swallows), ("::1", Dead::Refuses)].into_iter().enumerate()
    {
        let address = |port| format!("{}:{port}", if dead == "::1" { "[::1]" } else { dead }).parse().unwrap();
        let _swallowers = [pipeline.redis.port(), pipeline.influxd.port()]
            .map(|port| (how == Dead::Swallows).then(|| Swallower::at(address(port))));
        let hosts = hosts(&folder, "db.test", &[dead, "127.0.0.1"]);
        let config = by_name(&pipeline);
        let file = folder.path().join("kadabra.toml");
        fs::write(&file, &config).unwrap();

        let command = |args: &[&str]| {
            let mut command = kadabra_with_hosts(&hosts);
            command.args(args).arg("--config").arg(&file);
            said(command)
        };
        let (code, checked) = command(&["check", "--online"]);
        assert_eq!(code, Some(0), "{dead}: {checked}");
        let (code, sent) = command(&["send", "--count", &format!("sent{round}")]);
        assert_eq!(code, Some(0), "{dead}: {sent}");

        let mut agent = super::super::support::agent::Agent::with(&config).with_hosts(&hosts).start();
        let round = round as u64;
        pipeline.push_numbers(round * 100..round * 100 + 100);
        pipeline.assert_all_written(0..round * 100 + 100);
        assert_eq!(pipeline.count(&format!("sent{round}")), 1);
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}

#[test]
fn an_import_reaches_a_redis_behind_a_dead_address() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let _swallower = Swallower::at(format!("127.0.0.2:{}", redis.port()).parse().unwrap());
    let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg("message").query(&mut redis.connection()).unwrap();
    let mut import = kadabra_with_hosts(&hosts(&folder, "db.test", &["127.0.0.2", "127.0.0.1"]));
    import.args(["import", "--from", &format!("redis://db.test:{}/0", redis.port())]);
    let (code, moved) = said({
        import.env("KADABRA_CHANNEL__EMBEDDED__PATH", folder.path().join("queue.db"));
        import
    });
    assert_eq!(code, Some(0), "{moved}");
    assert!(moved.contains("1 message and 0 dead letters were moved"), "{moved}");
}

#[test]
fn when_no_address_connects_each_is_named_with_why() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _swallower = Swallower::at(format!("127.0.0.2:{port}").parse().unwrap());
    let file = folder.path().join("kadabra.toml");
    let config = config(&format!("redis://db.test:{port}/0"), &format!("http://db.test:{port}"));
    fs::write(&file, config.replace("\"10s\"", "\"3s\"").replace("\"5s\"", "\"3s\"")).unwrap();
    let mut check = kadabra_with_hosts(&hosts(&folder, "db.test", &["127.0.0.2", "127.0.0.1"]));
    check.args(["check", "--online", "--config"]).arg(&file);
    let (code, checked) = said(check);
    assert_eq!(code, Some(69), "{checked}");
    let addresses = format!("127.0.0.1:{port}: Connection refused (os error 111), 127.0.0.2:{port}: no answer within 2s 900ms");
    for expected in [
        format!("cannot connect to redis://db.test:{port}/0: {addresses}: check that Redis is running there"),
        format!("cannot connect: {addresses}; check that InfluxDB is running there"),
    ] {
        assert!(checked.contains(&expected), "{expected}\nin: {checked}");
    }
}

#[test]
fn a_name_that_is_not_there_is_said_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config("redis://nowhere.invalid/0", "http://nowhere.invalid:8086")).unwrap();
    // Without a resolver that could be asked, so that nothing leaves this machine.
    let mut check = kadabra_with_hosts(&hosts(&folder, "db.test", &["127.0.0.1"]));
    check.env("RES_OPTIONS", "attempts:1 timeout:1").args(["check", "--online", "--config"]).arg(&file);
    let (code, checked) = said(check);
    assert_eq!(code, Some(69), "{checked}");
    for (key, server) in
        [("channel.redis.url", "redis://nowhere.invalid/0"), ("publisher.influxdb.url", "http://nowhere.invalid:8086")]
    {
        let found = checked.lines().any(|line| {
            line.contains(server)
                && line.contains("cannot find the host nowhere.invalid: ")
                && line.contains(&format!("check the host name in {key} and this machine's DNS"))
        });
        assert!(found, "{checked}");
    }
}
