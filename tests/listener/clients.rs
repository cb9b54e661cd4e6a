//! Real clients, as their users have them, push to the listener and notice nothing.

use std::process::{Command, Output, Stdio};

use super::{PATIENCE, Q, listener, port, with};
use crate::support::{
    process::{self, free_port, wait_for},
    python,
};

fn finished(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}; run tests/run"));
    assert!(output.status.success(), "{command:?}: {} {}", output.status, text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cli(port: &str, args: &[&str]) -> String {
    let mut command = process::command("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", port]).args(args);
    text(&finished(command).stdout)
}

#[test]
fn kadabra_clients_push_as_to_redis() {
    let listener = listener();
    let port = port(&listener);
    let said = python::run("fibonacci.py", &["30", "--port", &port]);
    assert_eq!(text(&said.stdout).trim(), "832040");
    assert_eq!(listener.messages().len(), 1);
    let arguments = ["--port", &port, "--count", "100", "--request"];
    python::run("producer.py", &arguments);
    assert_eq!(listener.messages().len(), 101);
    python::run_old("producer.py", &arguments);
    assert_eq!(listener.messages().len(), 201);
    let newest: serde_json::Value = serde_json::from_slice(&listener.messages()[0]).unwrap();
    assert_eq!(newest["counters"][0]["value"], 99.0);
    python::run("flask_app.py", &["--port", &port, "--requests", "8"]);
    assert_eq!(listener.messages().len(), 209);
}

#[test]
fn redis_py_new_and_old_finds_what_it_expects() {
    for password in [None, Some("secret")] {
        let listener = with(|settings| {
            settings.password = password.map(kadabra::config::Secret::new);
            settings.wrong_password_pause = std::time::Duration::from_millis(10);
        });
        let port = port(&listener);
        let mut arguments = vec!["--port", &port];
        arguments.extend(password.iter().flat_map(|password| ["--password", password]));
        let protocol = |number| [&arguments[..], &["--protocol", number]].concat();
        let outputs = [
            python::run("embedded_client.py", &protocol("2")),
            python::run("embedded_client.py", &protocol("3")),
            python::run_old("embedded_client.py", &arguments),
        ];
        for (output, pushed) in outputs.iter().zip([103, 206, 309]) {
            assert_eq!(text(&output.stdout).trim(), format!("pushed {pushed}"));
        }
        assert_eq!(listener.messages().len(), 309);
    }
}

#[test]
fn ioredis_finds_what_it_expects() {
    for password in [None, Some("secret")] {
        let listener = with(|settings| settings.password = password.map(kadabra::config::Secret::new));
        let mut command = process::command("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/push.js"));
        command.arg(port(&listener)).args(password).env("NODE_PATH", python::installed("node/node_modules"));
        assert_eq!(text(&finished(command).stdout).trim(), "pushed 104");
        assert_eq!(listener.messages().len(), 104);
    }
}

#[test]
fn redis_cli_shows_and_pushes() {
    let listener = with(|settings| settings.password = Some(kadabra::config::Secret::new("secret")));
    let port = port(&listener);
    for resp3 in [&[][..], &["-3"]] {
        let ask = |args: &[&str]| cli(&port, &[&["-a", "secret", "--no-auth-warning"], resp3, args].concat());
        let before: usize = ask(&["LLEN", Q]).trim().parse().unwrap();
        assert_eq!(ask(&["LPUSH", Q, "from the shell"]).trim(), (before + 1).to_string());
        assert_eq!(ask(&["LRANGE", Q, "0", "0"]).trim(), "from the shell");
        assert!(ask(&["INFO", "kadabra"]).contains("messages_queued:"));
        assert_eq!(ask(&["-n", "0", "PING"]).trim(), "PONG");
        assert!(ask(&["SELECT", "1"]).contains("database 0 only"));
        assert!(ask(&["SET", "a", "1"]).contains("not a Redis, and knows only LPUSH"));
    }
    // Typed: it asks for COMMAND DOCS first, and sends what it is given as it reads it.
    let mut command = process::command("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port, "-a", "secret", "--no-auth-warning"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"multi\nlpush kadabra_queue \"a b\"\nllen kadabra_queue\nexec\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "OK\nQUEUED\nQUEUED\n3\n3\n");
    // In bulk, as it loads files.
    let mut command = process::command("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port, "-a", "secret", "--no-auth-warning", "--pipe"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let bulk = super::command(&["LPUSH", Q, "bulk"]).repeat(5000);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bulk).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stdout).contains("errors: 0, replies: 5000"), "{output:?}");
    assert_eq!(listener.messages().len(), 5003);
}

#[test]
fn redis_benchmark_pushes_alone_and_in_pipelines() {
    let listener = with(|settings| settings.queue_key = "mylist".to_owned());
    let port = port(&listener);
    for pipeline in ["1", "16"] {
        let mut command = process::command("redis-benchmark");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "lpush",
            "-d",
            "900",
            "-c",
            "50",
            "-n",
            "5000",
            "-P",
            pipeline,
            "-q",
        ]);
        let output = finished(command);
        assert!(text(&output.stdout).contains("requests per second"), "{output:?}");
    }
    // It sends a few more than it was told.
    let pushed = listener.messages().len();
    assert!(pushed >= 10_000, "{pushed}");
    let groups = listener.groups();
    assert!(groups.iter().any(|group| *group >= 16), "pipelines were taken apart");
    assert_eq!(groups.iter().sum::<usize>(), pushed);
}

#[test]
fn a_python_agent_by_mistake_reads_that_the_agent_is_the_consumer() {
    let listener = listener();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let arguments = ["--redis-port".to_owned(), port(&listener), "--influxdb-port".to_owned(), free_port().to_string()];
    python::run("producer.py", &["--port", &port(&listener), "--count", "3"]);
    let _agent = python::start("python_agent.py", &arguments, &log);
    wait_for("the agent to say why it gets nothing", PATIENCE, || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.contains("takes messages off the queue, and this is a Kadabra agent, which is itself the channel").then_some(())
    });
    assert_eq!(listener.messages().len(), 3);
}
