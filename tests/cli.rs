//! The command line: check, send, help, exit codes.

use std::{fs, process::Output};

use super::support::{
    agent::{cli, kadabra},
    pipeline::{Left, PATIENCE, Pipeline, config},
    redis_server::RedisServer,
};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A configuration in a file.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn version_and_help_are_there_with_an_example_each() {
    assert_eq!(out(&cli(["--version"])), format!("kadabra {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["run", "check", "send"] {
        let help = cli([command, "--help"]);
        assert!(help.status.success());
        assert!(out(&help).contains("Example:\n  kadabra "), "{}", out(&help));
    }
    let help = out(&cli(["--help"]));
    for code in ["0 ", "2 ", "69", "70", "71", "74", "75", "78", "130"] {
        assert!(help.contains(&format!("\n  {code} ")), "{code}: {help}");
    }
    assert_eq!(cli(["--nonsense"]).status.code(), Some(2));
}

#[test]
fn a_wrong_configuration_does_not_start_and_says_everything_that_is_wrong() {
    let (_folder, path) = file("[batch]\nmax_mesages = 5\n[publisher]\ntype = \"influx\"\n");
    for command in [
        &["--config", &path][..],
        &["run", "--config", &path],
        &["check", "--config", &path],
        &["send", "--count", "a", "--config", &path],
    ] {
        let output = cli(command);
        assert_eq!(output.status.code(), Some(78), "{command:?}");
        let said = err(&output);
        assert!(said.contains("batch.max_messages") && said.contains("influxdb"), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_eq!(out(&output), "");
    }
}

#[test]
fn check_prints_the_effective_configuration_and_no_secret() {
    let (_folder, path) = file(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://:sesame@localhost/3\"\n[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nusername = \"u\"\npassword = \"sesame\"\n",
    );
    let output = kadabra().args(["check", "--config", &path]).env("KADABRA_BATCH__INTERVAL", "60s").output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(text.contains("interval = \"60s\"  # from KADABRA_BATCH__INTERVAL"), "{text}");
    assert!(!text.contains("sesame") && !err(&output).contains("sesame"), "{text}");
    // What it prints is a configuration, but for the secrets.
    assert!(text.parse::<toml_like::Table>().is_ok(), "{text}");
}

/// The `config` crate reads TOML, so it can judge it.
mod toml_like {
    use std::str::FromStr;

    pub(super) struct Table;

    impl FromStr for Table {
        type Err = config::ConfigError;

        fn from_str(text: &str) -> Result<Self, Self::Err> {
            config::Config::builder().add_source(config::File::from_str(text, config::FileFormat::Toml)).build().map(|_| Self)
        }
    }
}

#[test]
fn check_online_says_what_is_well_and_what_to_mend() {
    let mut pipeline = Pipeline::start();
    let (_folder, path) = file(&config(&pipeline.redis.url(), &pipeline.influxd.url()));
    let online = || cli(["check", "--online", "--config", &path]);

    let well = online();
    assert_eq!(well.status.code(), Some(0), "{}", err(&well));
    assert!(out(&well).contains("ok: channel: Redis ") && out(&well).contains("ok: publisher: influxdb http"), "{}", out(&well));
    assert_eq!(pipeline.left(), Left::NOTHING, "it changes nothing");

    pipeline.influxd.drop_database("kadabra");
    let _: () = redis::cmd("SET").arg("kadabra_queue").arg("x").query(&mut pipeline.redis.connection()).unwrap();
    let wrong = online();
    assert_eq!(wrong.status.code(), Some(69));
    let said = err(&wrong);
    assert!(said.contains("kadabra_queue") && said.contains("string") && said.contains("list"), "{said}");
    assert!(said.contains("database not found") && said.contains("CREATE DATABASE"), "{said}");
    assert_eq!(said.matches("to mend it: ").count(), 2, "{said}");

    pipeline.redis.kill9();
    pipeline.influxd.stop();
    let gone = online();
    assert_eq!(gone.status.code(), Some(69));
    assert!(err(&gone).contains("refused"), "{}", err(&gone));
}

#[test]
fn send_queues_a_message_that_the_agent_publishes() {
    let pipeline = Pipeline::start();
    let (_folder, path) = file(&config(&pipeline.redis.url(), &pipeline.influxd.url()));
    let sent = cli([
        "send",
        "--config",
        &path,
        "--count",
        "userSignup=2.5",
        "--count",
        "hits",
        "--timer",
        "RequestTime=12.5ms",
        "--dimension",
        "method=index",
        "--metadata",
        "path=/?a=b",
    ]);
    assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
    assert_eq!(pipeline.left(), Left { queued: 1, ..Left::NOTHING });
    let mut agent = pipeline.agent().start();
    pipeline.wait_left(&Left::NOTHING);
    let points = pipeline.influxd.points("kadabra");
    assert_eq!(points.len(), 3);
    for (measurement, value) in [("userSignup", 2.5), ("hits", 1.0), ("RequestTime", 12.5)] {
        let point = points.iter().find(|point| point["measurement"] == measurement).unwrap();
        assert_eq!(point["fields"]["value"].as_f64(), Some(value));
        assert_eq!((&point["tags"]["method"], &point["fields"]["path"]), (&"index".into(), &"/?a=b".into()));
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn whoever_sends_need_not_be_able_to_read_what_only_the_agent_needs() {
    let redis = RedisServer::start();
    let text = config(&redis.url(), "http://localhost:1")
        .replace("timeout = \"5s\"", "username = \"u\"\npassword_file = \"/nonexistent\"");
    let (_folder, path) = file(&text);
    assert_eq!(cli(["check", "--config", &path]).status.code(), Some(78));
    // Before or after the command, it is the same option.
    let sent = cli(["--config", &path, "send", "--timer", "a=1s"]);
    assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
}

#[test]
fn send_says_what_is_wrong_with_its_arguments_or_with_redis() {
    for wrong in
        [&["send"][..], &["send", "--count", "a=b"], &["send", "--timer", "t=5"], &["send", "--count", "a", "--dimension", "x"]]
    {
        let output = cli(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", err(&output));
    }
    let redis = RedisServer::with_password("sesame");
    let (_folder, path) =
        file(&format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://127.0.0.1:{}\"\n", redis.port()));
    let output = cli(["send", "--config", &path, "--count", "a"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(err(&output).contains("the message was not queued") && err(&output).contains("password"), "{}", err(&output));
}
