//! Limits that the system sets to the agent: none of them ends it without a word, and the sentence names the limit.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::support::{
    agent::{Agent, cli, kadabra_with_files_of},
    influxd::Influxd,
    pipeline::{DATABASE, PATIENCE, config_of, numbered},
    process::{free_port, wait_for},
    redis_server::RedisServer,
};

/// A number, with so much beside it that few fill a file.
fn large(number: u64) -> String {
    let padding = format!(r#""dimensions": [{{"name": "padding", "value": "{}"}}, "#, "x".repeat(20_000));
    numbered(number).replacen(r#""dimensions": ["#, &padding, 1)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn of(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn push(&mut self, number: u64) -> String {
        let message = large(number);
        let command = format!("*3\r\n$5\r\nLPUSH\r\n$13\r\nkadabra_queue\r\n${}\r\n{message}\r\n", message.len());
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer
    }
}

#[test]
fn a_limit_on_the_size_of_a_file_refuses_pushes_and_what_is_published_makes_room() {
    const LIMIT: u64 = 3 << 20;
    let influxd = Influxd::start();
    influxd.create_database(DATABASE);
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let channel = format!(
        "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {:?}\nlisten = \"{address}\"",
        folder.path().join("queue.db")
    );
    let mut agent = Agent::with(&config_of(&channel, &influxd.url())).on_a_disk_of(LIMIT).start();
    agent.wait_log("publishing");
    let (mut client, mut taken) = (Client::of(address), BTreeSet::new());
    influxd.pause();
    for round in 0..3 {
        // As many as one file can have, whatever is free in it.
        let refused = (taken.len() as u64..).find_map(|number| {
            let answer = client.push(number);
            if answer.starts_with(':') {
                taken.insert(number);
                return None;
            }
            Some(answer)
        });
        let refused = refused.unwrap();
        let wanted = format!("raise the limit on the size of a file, {LIMIT} bytes (ulimit -f; LimitFSIZE=");
        assert!(refused.starts_with("-MISCONF ") && refused.contains(&wanted), "{refused}");
        assert!(taken.len() > 50 * (round + 1), "{} in round {round}", taken.len());
        influxd.resume();
        wait_for("a push to be taken again", PATIENCE, || {
            let number = taken.len() as u64;
            client.push(number).starts_with(':').then(|| taken.insert(number))
        });
        let stored = || influxd.values("numbered");
        wait_for("all to be stored", PATIENCE, || (stored().len() == taken.len()).then_some(()));
        assert_eq!(stored().into_iter().collect::<BTreeSet<_>>(), taken);
        influxd.pause();
    }
    influxd.resume();
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(agent.logged("could not be tidied up").is_empty());
}

#[test]
fn an_import_that_a_limit_on_the_size_of_a_file_stops_says_so_and_loses_nothing() {
    const MESSAGES: u64 = 300;
    let redis = RedisServer::start();
    for number in 0..MESSAGES {
        let _: () = redis::cmd("LPUSH").arg("kadabra_queue").arg(large(number)).query(&mut redis.connection()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kadabra.toml");
    std::fs::write(&config, format!("[channel.embedded]\npath = {:?}\n", folder.path().join("queue.db"))).unwrap();
    let arguments = ["import", "--from", &redis.url(), "--config", config.to_str().unwrap()];
    for limit in [100 << 10, 3 << 20] {
        let output = kadabra_with_files_of(limit).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains(&format!("raise the limit on the size of a file, {limit} bytes")), "{said}");
    }
    let output = cli(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
    let stored: u64 = file.query_row("SELECT sum(count) FROM chunks", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    assert_eq!(stored, MESSAGES);
}
