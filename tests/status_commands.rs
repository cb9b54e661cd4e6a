//! Commands that ask an agent that runs how it is.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    agent::{Agent, STATUS, kadabra_on_a_terminal},
    influxd::Influxd,
    process::{Process, free_port, wait_for},
    served::{address, cli_with, command_with, config, connect, get, push, pushes, values},
    terminal::Terminal,
};

const SOON: Duration = Duration::from_secs(20);

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The configuration of an agent that serves its status at a port that is known before; with more keys of `[status]`.
fn served(folder: &Path, more: &str) -> String {
    let listen = |port: u16| format!("[status]\nlisten = \"127.0.0.1:{port}\"");
    config(folder, more).replace(&listen(0), &listen(free_port()))
}

/// What `status` says once it ends with this code.
fn wait_status(agent: &Agent, code: i32) -> String {
    wait_for(&format!("status to end with {code}"), SOON, || {
        let status = cli_with(agent, &["status"]);
        (status.status.code() == Some(code)).then(|| out(&status))
    })
}

#[test]
fn an_agent_that_is_well_says_so_with_what_it_did_and_who_is_not_there_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&served(folder.path(), "password = \"right\""));
    push(pushes(&agent), 3);
    let said = wait_status(&agent, 0);
    assert!(said.starts_with("WELL  well: "), "{said}");
    let tally = |said: &str| {
        let row = said.lines().skip_while(|line| !line.starts_with("Tally ")).nth(1)?;
        Some(row.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    wait_for("all of it to be published", SOON, || {
        let tally = tally(&wait_status(&agent, 0))?;
        (tally == ["debug", "3", "3", "0", "0", "0", "0"]).then_some(())
    });
    assert!(said.contains(&format!("process {}, up ", agent.id())) && !said.contains("\u{1b}"), "{said}");
    let json = cli_with(&agent, &["status", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["version"], &json["agent"]["pid"]), (&1.into(), &agent.id().into()));

    // Another password than that of the agent.
    let path = agent.folder().join("kadabra.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"right\"", "\"wrong\"")).unwrap();
    let refused = cli_with(&agent, &["status"]);
    assert_eq!((refused.status.code(), out(&refused)), (Some(69), String::new()));
    assert!(err(&refused).contains("401") && err(&refused).contains("status.password_file"), "{}", err(&refused));
    fs::write(&path, "[status]\nlisten = \"nowhere\"").unwrap();
    assert_eq!(cli_with(&agent, &["status"]).status.code(), Some(78));

    fs::write(&path, text).unwrap();
    assert_eq!(agent.terminate(SOON), Some(0));
    let nobody = cli_with(&agent, &["status"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(err(&nobody).starts_with("no agent answers at http://127.0.0.1:") && err(&nobody).contains("is it running?"));
}

#[test]
fn an_agent_is_asked_by_its_socket_without_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("status.sock");
    let more = format!("unix_socket = {socket:?}\npassword_file = {:?}", folder.path().join("password"));
    fs::write(folder.path().join("password"), "right").unwrap();
    let agent = Agent::start(&served(folder.path(), &more));
    agent.wait_log_count("the status is served", 2);
    push(pushes(&agent), 1);
    // It is not needed, and not for everybody to read.
    fs::remove_file(folder.path().join("password")).unwrap();
    wait_status(&agent, 0);
    fs::remove_file(&socket).unwrap();
    let nobody = cli_with(&agent, &["status"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(err(&nobody).contains("there is no such socket"), "{}", err(&nobody));
}

#[test]
fn an_agent_that_answers_nowhere_or_anywhere_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&config(folder.path(), ""));
    agent.wait_log("the status is served");
    let anywhere = cli_with(&agent, &["status"]);
    assert_eq!(anywhere.status.code(), Some(69));
    assert!(err(&anywhere).contains("port 0"), "{}", err(&anywhere));
    let nowhere = Agent::start(
        &config(folder.path(), "")
            .replace("\"127.0.0.1:0\"\n[status]\nlisten = \"127.0.0.1:0\"", "\"127.0.0.1:0\"\n[status]\nlisten = \"\""),
    );
    let nowhere = cli_with(&nowhere, &["status"]);
    assert_eq!(nowhere.status.code(), Some(69));
    assert!(err(&nowhere).contains("status.unix_socket is not set"), "{}", err(&nowhere));
}

#[test]
fn health_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start();
    let more = format!(
        "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = {:?}\ndatabase = \"kadabra\"\ncreate_database = false\n",
        influxd.url()
    );
    let agent = Agent::start(&served(folder.path(), &more));
    let to = pushes(&agent);
    // Though nothing is to be written yet.
    let held = wait_status(&agent, 3);
    assert!(held.starts_with("HELD  held for ") && held.contains("\n  to mend it: ") && held.contains("\nK202 "), "{held}");
    influxd.create_database("kadabra");
    wait_status(&agent, 0);
    let mut clients = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    redis::cmd("LPUSH").arg("another").arg("x").query::<()>(&mut clients).unwrap_err();
    let attention = wait_status(&agent, 1);
    assert!(attention.starts_with("ATTENTION  ") && attention.contains("\nK412 "), "{attention}");
}

/// A tap that runs. Ended when dropped.
struct Tap(Child);

impl Tap {
    fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let mut command = command_with(agent, &[&["tap"], arguments].concat());
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Its output once it has ended, while this is done again and again.
    fn finish(mut self, mut meanwhile: impl FnMut()) -> Output {
        wait_for("the tap to end", SOON, || {
            meanwhile();
            self.0.try_wait().unwrap()
        });
        let mut output = Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        std::io::copy(&mut self.0.stdout.take().unwrap(), &mut output.stdout).unwrap();
        std::io::copy(&mut self.0.stderr.take().unwrap(), &mut output.stderr).unwrap();
        output
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_comes_through_is_followed_with_what_becomes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let publishers = "[publishers.all]\ntype = \"debug\"\n[publishers.few]\ntype = \"debug\"\nonly = [\"x*\"]\n";
    let agent = Agent::start(&served(folder.path(), publishers));
    let to = pushes(&agent);
    agent.wait_log("the status is served");
    // Each publisher takes a message when it can.
    let said = out(&Tap::start(&agent, &["number*", "--limit", "20"]).finish(|| push(to, 1)));
    for end in [" -> all", " -> few (left out by the publisher's filter)"] {
        assert!(said.lines().any(|line| line.contains(" numbered 0 host=web0") && line.ends_with(end)), "{end}: {said}");
    }
    assert!(said.lines().count() == 20 && !said.contains("took"), "{said}");
    let mut clients = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    let said = out(&Tap::start(&agent, &["--json", "--limit", "50"]).finish(|| {
        redis::cmd("LPUSH").arg("kadabra_queue").arg("no message").query::<()>(&mut clients).unwrap();
    }));
    let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let set_aside = lines.rfind(|line| line["fate"] == "set_aside").unwrap();
    assert!(set_aside["why"].as_str().unwrap().contains("JSON"), "{said}");
}

#[test]
fn whoever_follows_and_does_not_read_delays_nothing_and_is_told_how_much_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&served(folder.path(), ""));
    let (status, to) = (address(&agent), pushes(&agent));
    let mut stream = connect(status);
    stream.write_all(b"GET /api/tap?per_second=100000 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("{\"left_out\":0}")).unwrap();
    // Of two points each.
    const MESSAGES: u64 = 25_000;
    const ALL: u64 = 2 * MESSAGES;
    for _ in 0..MESSAGES / 500 {
        push(to, 500);
    }
    wait_for("all to be published", SOON, || {
        let published = values(&get(status, "/metrics", &[]).body)["kadabra_messages_published_total{publisher=\"\"}"];
        (published == MESSAGES as f64).then_some(())
    });
    let (mut shown, mut left_out) = (0, 0);
    while shown + left_out < ALL {
        let line = lines.find(|line| line.starts_with('{')).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        match line["left_out"].as_u64() {
            Some(points) => left_out += points,
            None => shown += 1,
        }
    }
    assert_eq!(shown + left_out, ALL);
    assert!(shown > 0 && left_out > 0, "{shown} shown, {left_out} left out");
}

#[test]
fn so_many_follow_at_once_and_whoever_is_gone_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&served(folder.path(), ""));
    let status = address(&agent);
    let follow = || {
        let mut stream = connect(status);
        stream.write_all(b"GET /api/tap HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answered = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut answered).unwrap();
        (stream, answered)
    };
    let all: Vec<_> = (0..4).map(|_| follow()).collect();
    assert!(all.iter().all(|(_, answered)| answered.contains(" 200 ")), "{all:?}");
    let one_more = cli_with(&agent, &["tap"]);
    assert_eq!(one_more.status.code(), Some(69));
    assert!(err(&one_more).contains("4 watch already"), "{}", err(&one_more));
    drop(all);
    wait_for("room for another", SOON, || follow().1.contains(" 200 ").then_some(()));
}

/// `top` in a terminal, with the configuration of an agent.
fn top(agent: &Agent, failpoints: &str) -> Terminal {
    let mut command = kadabra_on_a_terminal();
    command
        .env_remove(STATUS)
        .env("FAILPOINTS", failpoints)
        .env("RUST_BACKTRACE", "0")
        .arg("top")
        .arg("--config")
        .arg(agent.folder().join("kadabra.toml"));
    Terminal::start(command, 100, 30)
}

#[test]
fn top_shows_an_agent_live_through_its_end_and_its_next_start_and_leaves_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&served(folder.path(), ""));
    agent.wait_log("the status is served");
    let mut top = top(&agent, "");
    top.wait(&["Tally ", "clients  0 of", "q ends, arrows scroll"]);
    for number in 1..4_u64 {
        push(pushes(&agent), 1);
        top.wait(&["WELL", &format!("debug{number:>10}{number:>13}")]);
    }
    top.resize(60, 12);
    let screen = top.wait(&["Tally ", "q ends"]);
    assert!(screen.lines().count() <= 12 && screen.lines().last().unwrap().starts_with("q ends"), "{screen}");
    agent.kill9();
    top.wait(&["WELL", "old: no agent answers"]);
    let again = Process::start("kadabra", command_with(&agent, &["run"]), &folder.path().join("log"));
    top.resize(100, 30);
    top.wait(&[&format!("process {}", again.id()), "q ends"]);
    top.press("q");
    assert_eq!(top.wait_end().code(), Some(0));
}

#[test]
fn top_leaves_the_terminal_as_it_was_also_when_it_is_ended_or_fails() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&served(folder.path(), ""));
    agent.wait_log("the status is served");
    let mut ended = top(&agent, "");
    ended.wait(&["Tally "]);
    std::process::Command::new("kill").arg(ended.id().to_string()).status().unwrap();
    assert_eq!(ended.wait_end().code(), Some(0));
    let mut interrupted = top(&agent, "");
    interrupted.wait(&["Tally "]);
    interrupted.press("\u{3}");
    assert_eq!(interrupted.wait_end().code(), Some(0));
    if cfg!(feature = "failpoints") {
        let mut failing = top(&agent, "top.drawn=panic(out of cheese)");
        assert_eq!(failing.wait_end().code(), Some(101));
        failing.wait(&["out of cheese"]);
    }
}

#[test]
fn top_needs_a_terminal_and_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&served(folder.path(), ""));
    let piped = cli_with(&agent, &["top"]);
    assert_eq!(piped.status.code(), Some(2));
    assert!(err(&piped).contains("kadabra status"), "{}", err(&piped));
    agent.terminate(SOON);
    let mut top = top(&agent, "");
    assert_eq!(top.wait_end().code(), Some(69));
    top.wait(&["no agent answers at http://127.0.0.1:"]);
}
