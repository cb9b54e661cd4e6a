//! `kadabra send` with what comes on standard input.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Output, Stdio},
    thread,
};

use super::support::{
    agent::{Agent, cli, kadabra},
    influxd::Influxd,
    pipeline::{DATABASE, Left, PATIENCE, config, config_of, numbered},
    process::{free_port, wait_for},
    redis_server::RedisServer,
};

fn send(config: &Path, lines: &str) -> Output {
    let mut command = kadabra();
    command.args(["send", "--stdin", "--config"]).arg(config);
    let mut sent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that ends before it has read everything is as good.
    drop(sent.stdin.take().unwrap().write_all(lines.as_bytes()));
    sent.wait_with_output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn each_line_is_stored_once_by_tcp_and_by_a_unix_socket() {
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("socket"), folder.path().join("queue.db"));
    let embedded = format!("[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {file:?}\nlease = \"2s\"\n");
    let (tcp, unix) = (format!("listen = \"127.0.0.1:{}\"", free_port()), format!("unix_socket = {socket:?}"));
    let mut agent = Agent::with(&config_of(&format!("{embedded}{tcp}\n{unix}"), &influxd.url())).start();
    agent.wait_log("publishing");
    for (number, reached_by) in [tcp, format!("{unix}\nlisten = []")].iter().enumerate() {
        let config = folder.path().join(format!("{number}.toml"));
        fs::write(&config, config_of(&format!("{embedded}{reached_by}"), &influxd.url())).unwrap();
        let numbers = number as u64 * 500..(number as u64 + 1) * 500;
        let lines: Vec<_> = numbers.map(numbered).collect();
        let sent = send(&config, &lines.join("\n"));
        assert_eq!((sent.status.code(), err(&sent)), (Some(0), String::new()));
    }
    wait_for("1000 points", PATIENCE, || (influxd.values("numbered").len() == 1000).then_some(()));
    influxd.assert_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_line_that_is_no_message_is_named_and_the_others_are_queued() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config(&redis.url(), "http://localhost:1")).unwrap();
    let bad_metric = numbered(3).replacen("3.0", "\"x\"", 1);
    let sent = send(&file, &format!("{}\n\nno \u{1b}[2Jmessage\n{bad_metric}\r\n{}\r\n", numbered(1), numbered(2)));
    assert_eq!(sent.status.code(), Some(65));
    let said = err(&sent);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("line 3 was not queued: the message is not JSON") && !said.contains('\u{1b}'), "{said}");
    assert!(lines[1].starts_with("line 4 was not queued: metric \"numbered\": "), "{said}");
    assert_eq!(redis.left(), Left { queued: 2, ..Left::NOTHING });
    let oldest: String = redis::cmd("LINDEX").arg("kadabra_queue").arg(-1).query(&mut redis.connection()).unwrap();
    assert_eq!(oldest, numbered(1), "as it came, and in order");
}

#[test]
fn where_the_channel_fails_it_is_said_from_which_line_on_nothing_is_queued() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config(&redis.url(), "http://localhost:1")).unwrap();
    let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query(&mut redis.connection()).unwrap();
    let lines: Vec<_> = (0..200).map(numbered).collect();
    let refused = send(&file, &lines.join("\n"));
    assert_eq!(refused.status.code(), Some(69));
    assert!(err(&refused).starts_with("line 1 was not queued, nor was any behind it: "), "{}", err(&refused));
    let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").query(&mut redis.connection()).unwrap();
    assert_eq!(redis.left(), Left::NOTHING);
    let port = free_port();
    fs::write(&file, config(&format!("redis://127.0.0.1:{port}"), "http://localhost:1")).unwrap();
    let unreachable = send(&file, &lines.join("\n"));
    assert_eq!(unreachable.status.code(), Some(69));
    assert!(
        err(&unreachable).starts_with("line 1 was not queued, nor was any behind it: cannot connect"),
        "{}",
        err(&unreachable)
    );
    // With nothing to send there is nothing to connect for.
    assert_eq!(send(&file, "\n").status.code(), Some(0));
}

#[test]
fn lines_whose_answer_did_not_come_are_named_and_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut asked = String::new();
        let mut part = [0; 1 << 16];
        while !asked.contains("LPUSH") {
            let read = client.read(&mut part).unwrap();
            let part = String::from_utf8_lossy(&part[..read]).into_owned();
            for _ in part.matches("CLIENT\r\n") {
                client.write_all(b"+OK\r\n").unwrap();
            }
            asked += &part;
        }
        drop(client);
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config(&format!("redis://127.0.0.1:{port}"), "http://localhost:1")).unwrap();
    let sent = send(&file, &numbered(1));
    assert_eq!(sent.status.code(), Some(69));
    assert!(err(&sent).starts_with("it is not known whether line 1 was queued, and no line behind was: "), "{}", err(&sent));
    assert!(server.join().unwrap().accept().is_err(), "it was sent again");
}

#[test]
fn a_message_may_have_another_time_than_now() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, config(&redis.url(), "http://localhost:1")).unwrap();
    let file = file.to_str().unwrap();
    let sent = cli(["send", "--config", file, "--count", "a", "--timestamp", "2026-03-01T12:00:00.5Z"]);
    assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
    let message: String = redis::cmd("LINDEX").arg("kadabra_queue").arg(0).query(&mut redis.connection()).unwrap();
    assert!(message.contains(r#""timestamp": "2026-03-01T12:00:00.500000Z""#), "{message}");
    for wrong in [&["--count", "a", "--timestamp", "soon"][..], &["--stdin", "--count", "a"], &["--stdin", "--timestamp", "1h"]] {
        let output = kadabra().args(["send", "--config", file]).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", err(&output));
    }
}
