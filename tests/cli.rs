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
        assert!(out(&help).contains("Example:\n  kadabra ") || out(&help).contains("Examples:\n  kadabra "), "{}", out(&help));
    }
    let help = out(&cli(["--help"]));
    for code in ["0 ", "2 ", "65", "69", "70", "71", "74", "75", "78", "130"] {
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
fn check_shows_the_configuration_that_holds_and_no_secret() {
    let (_folder, path) = file(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://:sesame@localhost/3\"\n[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nusername = \"u\"\npassword = \"sesame\"\n",
    );
    let output = kadabra().args(["check", "--show", "--config", &path]).env("KADABRA_BATCH__INTERVAL", "60s").output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(text.contains("interval = \"60s\"  # from KADABRA_BATCH__INTERVAL"), "{text}");
    assert!(!text.contains("sesame") && !err(&output).contains("sesame"), "{text}");
    // What it prints is a configuration, but for the secrets.
    assert!(toml::de::DeTable::parse(&text).is_ok(), "{text}");
}

#[test]
fn check_online_says_what_is_well_and_what_to_mend() {
    let mut pipeline = Pipeline::start();
    let (_folder, path) = file(&config(&pipeline.redis.url(), &pipeline.influxd.url()));
    let online = || cli(["check", "--online", "--config", &path]);

    let well = online();
    assert_eq!(well.status.code(), Some(0), "{}", err(&well));
    assert!(out(&well).contains("ok: channel: Redis ") && out(&well).contains("ok: publisher: influxdb http"), "{}", out(&well));
    assert!(
        out(&well).contains(" database kadabra; it says version 1.6.7") && out(&well).contains("precision ns\n"),
        "{}",
        out(&well)
    );
    assert_eq!(pipeline.left(), Left::NOTHING, "it changes nothing");

    pipeline.influxd.drop_database("kadabra");
    let _: () = redis::cmd("SET").arg("kadabra_queue").arg("x").query(&mut pipeline.redis.connection()).unwrap();
    let wrong = online();
    assert_eq!(wrong.status.code(), Some(69));
    let said = out(&wrong);
    assert!(said.contains("kadabra_queue") && said.contains("string") && said.contains("list"), "{said}");
    assert!(said.contains("database not found") && said.contains("CREATE DATABASE"), "{said}");
    assert_eq!(said.matches("to mend it: ").count(), 2, "{said}");

    pipeline.redis.kill9();
    pipeline.influxd.stop();
    let gone = online();
    assert_eq!(gone.status.code(), Some(69));
    assert!(out(&gone).contains("refused"), "{}", out(&gone));
    for output in [&well, &wrong, &gone] {
        let parts: Vec<_> = out(output).lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect();
        assert!(parts.starts_with(&["configuration".to_owned(), "channel".to_owned()]), "{}", out(output));
        assert!(!out(output).contains("queue_key = ") && err(output).is_empty(), "{}{}", out(output), err(output));
    }
    let shown = out(&cli(["check", "--online", "--show", "--config", &path]));
    assert!(shown.starts_with("ok: configuration: ") && shown.find("wrong: ") < shown.find("queue_key = "), "{shown}");
}

#[test]
fn check_without_more_says_where_a_right_configuration_comes_from() {
    let (_folder, path) = file("[log]\nlevel = \"debug\"\n");
    let output = kadabra().args(["check", "--config", &path]).env("KADABRA_BATCH__INTERVAL", "60s").output().unwrap();
    let variables = "KADABRA_BATCH__INTERVAL, KADABRA_STATUS__LISTEN";
    let expected = format!("ok: configuration: built-in defaults, then {path}, then the environment ({variables})\n");
    assert_eq!((output.status.code(), out(&output)), (Some(0), expected), "{}", err(&output));
}

#[test]
fn a_command_whose_answers_cannot_be_written_fails() {
    let (folder, path) = file("");
    let state = ("XDG_STATE_HOME", folder.path());
    let address = ("KADABRA_CHANNEL__EMBEDDED__LISTEN", "[]");
    let socket = ("KADABRA_CHANNEL__EMBEDDED__UNIX_SOCKET", folder.path().join("socket"));
    let redis = RedisServer::start();
    let url = redis.url();
    for (arguments, code) in [
        (&["check", "--config", &path][..], 74),
        (&["check", "--show", "--config", &path], 74),
        (&["check", "--online", "--config", &path], 74),
        (&["import", "--from", &url, "--config", &path], 74),
        (&["--help"], 74),
        (&["--version"], 74),
        (&["check", "--online", "--config", "/nonexistent"], 78),
    ] {
        let command = || {
            let mut command = kadabra();
            command.args(arguments).env(state.0, state.1).env(address.0, address.1).env(socket.0, &socket.1);
            command
        };
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} on a full disk: {}", err(&output));
        assert!(code != 74 || err(&output).contains("standard output cannot be written: "), "{}", err(&output));
        // A pipe that nobody reads any more.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command().stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} into a closed pipe: {}", err(&output));
    }
}

#[test]
fn a_path_of_the_command_line_may_begin_in_the_users_own_folder_and_nobody_elses() {
    let (folder, path) = file("[log]\nlevel = \"debug\"\n");
    let check = |config: &str| {
        let mut command = kadabra();
        command
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .args(["check", &format!("--config={config}")])
            .output()
            .unwrap()
    };
    for config in ["kadabra.toml", "./kadabra.toml", "~/kadabra.toml", &path] {
        let output = check(config);
        assert_eq!(output.status.code(), Some(0), "{config}: {}", err(&output));
        assert!(out(&output).contains(&format!("then {path}")), "{}", out(&output));
    }
    let output = check("~nobody/kadabra.toml");
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("expected an absolute path"), "{}", err(&output));
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
