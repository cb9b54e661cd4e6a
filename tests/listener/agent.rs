//! The listener as a part of a whole agent: its end, its restart, and its port.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{PATIENCE, Q, command, connect, line, read};
use crate::support::{
    agent::{Agent, Builder, cli, kadabra},
    influxd::Influxd,
    pipeline::{DATABASE, config_of, numbered},
    process::{free_port, wait_for},
};

/// InfluxDB, a file and a port for agents one after the other.
pub(super) struct House {
    influxd: Influxd,
    folder: TempDir,
    pub(super) address: SocketAddr,
}

impl House {
    pub(super) fn new() -> Self {
        Self::at(([127, 0, 0, 1], free_port()).into())
    }

    /// With agents that listen there.
    pub(super) fn at(address: SocketAddr) -> Self {
        let influxd = Influxd::start();
        influxd.create_database(DATABASE);
        Self { influxd, folder: tempfile::tempdir().unwrap(), address }
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(super) fn agent(&self) -> Builder {
        let file = self.folder.path().join("queue.db");
        let channel = format!(
            "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {file:?}\nlisten = \"{}\"\nlease = \"2s\"",
            self.address
        );
        Agent::with(&config_of(&channel, &self.influxd.url()))
    }

    /// How many messages wait or are being worked on.
    fn left(&self) -> u64 {
        let file = rusqlite::Connection::open(self.folder.path().join("queue.db")).unwrap();
        file.query_row("SELECT count(*) FROM chunks", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }

    pub(super) fn stored(&self) -> Vec<u64> {
        self.influxd.values("numbered")
    }

    /// Waits until an agent has nothing left to do, and checks that what was answered is there, once, and nothing that
    /// nobody sent.
    pub(super) fn assert_stored(&self, answered: &BTreeSet<u64>, sent: &BTreeSet<u64>) {
        wait_for("the queue to be empty", PATIENCE, || (self.left() == 0).then_some(()));
        let stored = self.stored();
        let once: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(once.len(), stored.len(), "something is there twice");
        let lost: Vec<_> = answered.difference(&once).take(10).collect();
        assert!(lost.is_empty(), "answered, and lost: {lost:?} …");
        assert!(once.is_subset(sent));
    }
}

pub(super) fn push(number: u64) -> Vec<u8> {
    command(&["LPUSH", Q, &numbered(number)])
}

#[test]
fn sigterm_while_clients_push_loses_nothing_that_was_answered_and_waits_for_nobody_who_is_idle_or_deaf() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    const CLIENTS: u64 = 4;
    let house = House::new();
    for durability in ["process", "fsync"] {
        let mut agent = house.agent().env("KADABRA_CHANNEL__EMBEDDED__DURABILITY", durability).start();
        agent.wait_log("publishing");
        let mut idle = connect(house.address);
        idle.write_all(b"PING\r\n").unwrap();
        assert_eq!(read(&mut idle, 7), "+PONG\r\n");
        let mut deaf = connect(house.address);
        deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        drop(deaf.write_all(&b"INFO\r\n".repeat(400_000)));

        let first = if durability == "process" { 0 } else { 10_000_000 };
        let (count, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let (address, count, over) = (house.address, &count, &over);
        let (answered, sent) = thread::scope(|scope| {
            let client = |client: u64| {
                let (mut answered, mut sent) = (BTreeSet::new(), BTreeSet::new());
                let mut stream = connect(address);
                // Some of the pushes are on their way when the end comes, and none but the answered ones is sure.
                for number in (first + client * 1_000_000..).step_by(3) {
                    let three = [number, number + 1, number + 2];
                    sent.extend(three);
                    if stream.write_all(&three.map(push).concat()).is_err() {
                        break;
                    }
                    let mut answers = [0; 64];
                    let mut lines = 0;
                    while lines < 3 {
                        let Ok(count @ 1..) = stream.read(&mut answers) else { return (answered, sent) };
                        let new = answers[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
                        assert!(!answers[..count].contains(&b'-'), "{}", String::from_utf8_lossy(&answers));
                        answered.extend((number..number + 3).skip(lines as usize).take(new as usize));
                        lines += new;
                    }
                    count.fetch_add(3, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                }
                (answered, sent)
            };
            let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
            wait_for("clients to push", PATIENCE, || (count.load(Ordering::SeqCst) > 300).then_some(()));
            let begun = Instant::now();
            let code = agent.terminate(TIMEOUT);
            over.store(true, Ordering::SeqCst);
            assert_eq!(code, Some(0), "{durability} after {:?}", begun.elapsed());
            let mut all = (BTreeSet::new(), BTreeSet::new());
            for client in clients {
                let (mut answered, mut sent) = client.join().unwrap();
                all.0.append(&mut answered);
                all.1.append(&mut sent);
            }
            all
        });
        assert!(answered.len() > 300);
        let mut agent = house.agent().start();
        agent.wait_log("publishing");
        let before: BTreeSet<u64> = house.stored().into_iter().filter(|number| *number < first).collect();
        house.assert_stored(&answered, &sent.union(&before).copied().collect());
        assert_eq!(agent.terminate(TIMEOUT), Some(0));
    }
}

#[test]
fn a_listener_that_panics_is_restarted_and_clients_push_again() {
    let house = House::new();
    let mut agent = house.agent().env("FAILPOINTS", "listener.serve=1*panic").start();
    let said = agent.wait_log("a child failed and is restarted");
    assert_eq!((&said["child"], &said["cause"]), (&"listener".into(), &"panicked".into()), "{said}");
    agent.wait_log("a child is back");
    let mut client = connect(house.address);
    client.write_all(&push(7)).unwrap();
    assert_eq!(read(&mut client, 4), ":1\r\n");
    let seven = BTreeSet::from([7]);
    house.assert_stored(&seven, &seven);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_port_that_another_program_has_ends_the_agent_with_a_sentence() {
    let house = House::new();
    let _other = TcpListener::bind(house.address).unwrap();
    let mut agent = house.agent().start();
    assert_eq!(agent.wait(PATIENCE), Some(69));
    let said = agent.wait_log("stopped");
    let why = said["why"].as_str().unwrap();
    assert!(why.contains(&house.address.to_string()) && why.contains("by listen in [channel.embedded]"), "{why}");
}

#[test]
fn check_online_finds_a_running_agent_well_and_says_what_waits() {
    let house = House::new();
    let mut agent = house.agent().start();
    agent.wait_log("publishing");
    let config = agent.folder().join("kadabra.toml");
    let check = || {
        let output = cli(["check".as_ref(), "--online".as_ref(), "--config".as_ref(), config.as_os_str()]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let said = check();
    assert!(
        said.contains("ok: channel: an agent is running on the queue in") && said.contains("where 0 messages wait"),
        "{said}"
    );
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    let said = check();
    assert!(said.contains(&format!("ok: channel: clients at {}", house.address)), "{said}");
}

#[test]
fn what_goes_wrong_with_an_agent_is_said_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let (secret, wrong) = (folder.path().join("secret"), folder.path().join("wrong"));
    fs::write(&secret, "sesame").unwrap();
    fs::write(&wrong, "semolina").unwrap();
    // Whoever sends needs no place for a queue.
    let send = |variables: &[(&str, &str)]| {
        let mut send = kadabra();
        send.args(["send", "--count", "a"]).env("KADABRA_CHANNEL__EMBEDDED__LISTEN", &address);
        send.env_remove("HOME").env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY");
        let output = send.envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let refused = |variables: &[(&str, &str)], words: &[&str]| {
        let (code, said) = send(variables);
        assert_eq!(code, Some(69), "{said}");
        assert!(words.iter().all(|words| said.contains(words)), "{words:?} are not in {said}");
        assert!(!said.contains("channel.redis") && !said.contains("that Redis"), "{said}");
    };
    refused(&[], &["check that the agent is running there", "kadabra run", "channel.embedded.listen"]);
    let path = folder.path().join("queue.db");
    let agent = Agent::with(&format!(
        "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = {address:?}\npassword_file = {secret:?}\n"
    ))
    .start();
    agent.wait_log("receiving");
    let password = "KADABRA_CHANNEL__EMBEDDED__PASSWORD_FILE";
    let (secret, wrong) = (secret.to_str().unwrap(), wrong.to_str().unwrap());
    refused(&[], &["wants a password", "name the file in channel.embedded.password_file"]);
    refused(&[(password, wrong)], &["correct channel.embedded.password_file"]);
    let other = [(password, secret), ("KADABRA_CHANNEL__EMBEDDED__QUEUE_KEY", "other")];
    refused(&other, &["'other' is not the queue of this Kadabra agent", "set channel.embedded.queue_key to that agent's"]);
    let (code, said) = send(&[(password, secret)]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_queue_that_is_full_is_said_at_once_by_the_log_by_check_and_by_who_sends() {
    let house = House::new();
    let agent = house.agent().env("KADABRA_CHANNEL__EMBEDDED__MAX_BYTES", "4MiB").env("KADABRA_PUBLISHER__TYPE", "influxdb");
    // Nobody answers there, so nothing leaves the queue.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let agent = agent.env("KADABRA_PUBLISHER__INFLUXDB__URL", &nobody).start();
    agent.wait_log("receiving");
    let mut stream = connect(house.address);
    let text = "x".repeat(500_000);
    for size in [500_000, 50_000] {
        let refused = (0..100).any(|_| {
            // One that can be read: what cannot becomes a dead letter, which makes room.
            let message = numbered(1).replace("/index", &text[..size]);
            stream.write_all(&command(&["LPUSH", Q, &message])).unwrap();
            line(&mut stream).starts_with("-OOM")
        });
        assert!(refused, "{size}");
    }
    agent.wait_log("what clients push is refused");
    let [warned] = agent.logged("what clients push is refused").try_into().unwrap();
    assert!(warned["why"].as_str().unwrap().contains("raise channel.embedded.max_bytes"), "{warned}");
    let config = agent.folder().join("kadabra.toml");
    let run = |arguments: &[&str]| {
        let mut command = kadabra();
        command.args(arguments).arg("--config").arg(&config);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = run(&["check", "--online"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("warning: refusals: the agent refuses what clients push (queue_full)"), "{said}");
    assert!(said.contains("has little room left"), "{said}");
    let (code, said) = run(&["send", "--count", "a", "--metadata", &format!("a={}", &text[..100_000])]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("its file is as large as channel.embedded.max_bytes allows"), "{said}");
    assert!(said.contains("raise channel.embedded.max_bytes") && !said.contains("maxmemory,"), "{said}");
}

#[test]
fn a_full_queue_that_drops_answers_as_if_it_had_room_and_says_what_it_drops() {
    for (when_full, reason, what) in [
        ("drop_newest", "queue_full", "what clients push is dropped, though they are told that it was queued"),
        ("drop_oldest", "dropped_oldest", "the oldest messages are dropped to make room for what clients push"),
    ] {
        let house = House::new();
        let agent = house.agent().env("KADABRA_CHANNEL__EMBEDDED__MAX_BYTES", "4MiB");
        let agent = agent.env("KADABRA_CHANNEL__EMBEDDED__WHEN_FULL", when_full).env("KADABRA_PUBLISHER__TYPE", "influxdb");
        // A message of the agent's own, of what was dropped, would be one more.
        let agent = agent.env("KADABRA_AGENT__DROPS_INTERVAL", "0s");
        // Nobody answers there, so nothing leaves the queue.
        let nobody = format!("http://127.0.0.1:{}", free_port());
        let mut agent = agent.env("KADABRA_PUBLISHER__INFLUXDB__URL", &nobody).start();
        agent.wait_log("receiving");
        let mut stream = connect(house.address);
        let text = "x".repeat(100_000);
        for number in 0..100 {
            stream.write_all(&command(&["LPUSH", Q, &numbered(number).replace("/index", &text)])).unwrap();
            let answer = line(&mut stream);
            assert!(answer.starts_with(':'), "{when_full}: {answer}");
        }
        agent.wait_log(what);
        assert_eq!(agent.logged(what)[0]["reason"], reason);
        let mut ask = || -> serde_json::Value {
            stream.write_all(&command(&["KADABRA"])).unwrap();
            let length: usize = line(&mut stream)[1..].trim().parse().unwrap();
            let mut json = vec![0; length + 2];
            stream.read_exact(&mut json).unwrap();
            serde_json::from_slice(&json).unwrap()
        };
        // On a slow disk what was answered last may not be stored yet.
        let (report, dropped) = wait_for("all to be stored or dropped", PATIENCE, || {
            let report = ask();
            let dropped = if when_full == "drop_newest" { &report["dropped"] } else { &report["refusals"][reason]["times"] };
            let dropped = dropped.as_u64().unwrap();
            (report["status"]["waiting"].as_u64().unwrap() + dropped == 100).then_some((report, dropped))
        });
        assert!((50..80).contains(&dropped), "{report}");
        assert_eq!(report["refused"], 0, "{report}");
        let output = kadabra().args(["check", "--online", "--config"]).arg(agent.folder().join("kadabra.toml")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains(&format!("{dropped} {}", if when_full == "drop_newest" { "pushes" } else { "messages" })),
            "{said}"
        );
        agent.terminate(PATIENCE);
        let ledger = agent.logged("accepted 100");
        assert!(ledger.iter().any(|line| line["dropped"] == dropped && line["balances"] == true), "{ledger:?}");
    }
}

#[test]
fn an_agent_that_starts_on_a_full_disk_refuses_pushes_says_why_once_and_goes_on_by_itself_when_there_is_room() {
    // Whether there is a file already or not.
    for before in [None, Some(1)] {
        let house = House::new();
        if let Some(number) = before {
            let mut first = house.agent().env("KADABRA_PUBLISHER__INFLUXDB__URL", "http://127.0.0.1:1").start();
            first.wait_log("publishing");
            let mut client = connect(house.address);
            client.write_all(&push(number)).unwrap();
            assert_eq!(read(&mut client, 4), ":1\r\n");
            assert_eq!(first.terminate(PATIENCE), Some(0));
        }
        let agent = house.agent().on_a_disk_of(16 << 10).start();
        agent.wait_log("publishing");
        let said = agent.wait_condition("channel");
        let (what, mend) = (said["msg"].as_str().unwrap(), said["mend"].as_str().unwrap());
        assert!(
            what.contains("queue.db") && mend.starts_with("raise the limit on the size of a file, ") && said["level"] == "ERROR",
            "{said}"
        );
        let mut client = connect(house.address);
        for _ in 0..3 {
            client.write_all(&push(2)).unwrap();
            let refused = line(&mut client);
            assert!(
                refused.starts_with("-MISCONF cannot ") && refused.contains("raise the limit on the size of a file, "),
                "{refused}"
            );
        }
        let refused = agent.wait_log("what clients push is refused");
        // The small disk is a limit on files.
        assert_eq!(refused["reason"], "file_size_limit", "{refused}");
        assert!(refused["why"].as_str().unwrap().contains("raise the limit on the size of a file, "), "{refused}");
        agent.make_room();
        let answer = wait_for("a push to be taken", PATIENCE, || {
            client.write_all(&push(3)).unwrap();
            let answer = line(&mut client);
            answer.starts_with(':').then_some(answer)
        });
        assert!(answer.starts_with(':'), "{answer}");
        agent.wait_log("channel works again");
        let taken = agent.wait_log("what clients push is taken again, after ");
        assert_eq!(taken["reason"], "file_size_limit", "{taken}");
        let numbers: BTreeSet<u64> = before.into_iter().chain([3]).collect();
        house.assert_stored(&numbers, &numbers);
        assert_eq!(agent.logged(what).len(), 1, "said more than once");
    }
}

#[test]
fn a_foreign_file_on_a_full_disk_ends_the_agent_and_is_left_alone() {
    let house = House::new();
    let file = house.folder.path().join("queue.db");
    std::fs::write(&file, "somebody's letters").unwrap();
    let mut agent = house.agent().on_a_disk_of(0).start();
    assert_eq!(agent.wait(PATIENCE), Some(69));
    assert!(agent.log_text().contains("it holds something else"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's letters");
}

#[test]
fn an_agent_that_never_had_room_for_its_file_ends_cleanly() {
    let house = House::new();
    let mut agent = house.agent().on_a_disk_of(16 << 10).start();
    agent.wait_condition("channel");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(agent.logged("tidied up").is_empty() && agent.logged("be given back").is_empty());
}

#[test]
fn a_clean_end_says_nothing_of_messages_given_back_when_there_were_none() {
    let house = House::new();
    let mut agent = house.agent().start();
    agent.wait_log("publishing");
    let mut client = connect(house.address);
    client.write_all(&push(1)).unwrap();
    assert_eq!(line(&mut client), ":1");
    house.assert_stored(&BTreeSet::from([1]), &BTreeSet::from([1]));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(agent.logged("given back").iter().all(|line| line["msg"] != "messages were given back"));
}

#[test]
fn pushes_are_refused_while_a_panic_keeps_the_file_from_being_synced_and_taken_again_when_it_is() {
    let house = House::new();
    let agent = house.agent().env("FAILPOINTS", "queue.sync=3*panic(out of cheese)").start();
    agent.wait_log("publishing");
    let mut client = connect(house.address);
    let (mut answered, mut sent) = (BTreeSet::new(), 0);
    let mut until = |what: &str, begins: &str| {
        wait_for(what, PATIENCE, || {
            sent += 1;
            client.write_all(&push(sent)).unwrap();
            let answer = line(&mut client);
            if answer.starts_with(':') {
                answered.insert(sent);
            }
            answer.starts_with(begins).then_some(answer)
        })
    };
    until("a push before the first sync", ":");
    let refused = until("a push to be refused", "-");
    assert!(refused.starts_with("-MISCONF a fault in the agent itself keeps ") && refused.contains("queue.db"), "{refused}");
    until("a push to be taken again", ":");
    agent.wait_log("panic");
    house.assert_stored(&answered, &(1..=sent).collect());
}

#[test]
fn clients_who_take_all_file_descriptors_do_not_keep_the_agent_from_publishing_and_the_next_ones_are_told() {
    let house = House::new();
    let agent = house.agent().with_descriptors(256, 256).start();
    agent.wait_log("publishing");
    let said = agent.wait_log("clients can be connected at once");
    let said = said["msg"].as_str().unwrap();
    assert!(said.starts_with("only 128 clients ") && said.contains("LimitNOFILE") && said.contains("let it have 1224"), "{said}");
    let mut idle: Vec<_> = (0..128).map(|_| connect(house.address)).collect();
    for client in &mut idle {
        client.write_all(b"PING\r\n").unwrap();
        assert_eq!(line(client), "+PONG");
    }
    for _ in 0..200 {
        assert_eq!(line(&mut connect(house.address)), "-ERR max number of clients reached");
    }
    idle[0].write_all(&push(1)).unwrap();
    assert_eq!(line(&mut idle[0]), ":1");
    house.assert_stored(&BTreeSet::from([1]), &BTreeSet::from([1]));
    idle[0].write_all(b"INFO clients\r\n").unwrap();
    let info: Vec<_> = (0..5).map(|_| line(&mut idle[0])).collect();
    assert!(info.contains(&"maxclients:128".to_owned()), "{info:?}");
}

#[test]
fn a_low_limit_on_file_descriptors_is_raised_as_far_as_it_may_be_for_as_many_clients_as_are_wanted() {
    let house = House::new();
    let agent = house.agent().with_descriptors(256, 4096).start();
    agent.wait_log("publishing");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    // Two for each client, so that its connection can be ended while a disk stalls.
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["2224", "4096"]);
    assert!(agent.logged("clients can be connected at once").is_empty());
}

#[test]
fn with_few_file_descriptors_as_many_clients_are_served_as_are_announced_and_the_others_are_told() {
    let house = House::new();
    let agent = house.agent().with_descriptors(96, 96).start();
    agent.wait_log("publishing");
    let said = agent.wait_log("clients can be connected at once");
    let said = said["msg"].as_str().unwrap();
    assert!(said.starts_with("only 8 clients ") && said.contains("88 of which it keeps for itself"), "{said}");
    let mut clients: Vec<_> = (0..8).map(|_| connect(house.address)).collect();
    for (client, number) in clients.iter_mut().zip(1..) {
        client.write_all(&push(number)).unwrap();
        assert!(line(client).starts_with(':'));
    }
    for _ in 0..50 {
        assert_eq!(line(&mut connect(house.address)), "-ERR max number of clients reached");
    }
    let all = (1..=8).collect();
    house.assert_stored(&all, &all);
    assert!(!agent.log_text().contains("Too many open files"), "{}", agent.log_text());
}

#[test]
fn without_any_file_descriptor_left_clients_are_told_rather_than_left_waiting() {
    let house = House::new();
    let mut agent = house.agent().start();
    agent.wait_log("publishing");
    // Once a client is answered, the listener has what it needs itself.
    let mut first = connect(house.address);
    first.write_all(b"PING\r\n").unwrap();
    assert_eq!(line(&mut first), "+PONG");
    let open = || fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap().map(|file| file.unwrap().file_name());
    let last: u64 = open().map(|file| file.to_str().unwrap().parse().unwrap()).max().unwrap();
    let limit = |files: u64| {
        let mut prlimit = crate::support::process::command("prlimit");
        let status = prlimit.args([format!("--pid={}", agent.id()), format!("--nofile={files}:1224")]).status().unwrap();
        assert!(status.success());
    };
    limit(last + 1);
    // There may be some between those that are open.
    let mut taken = Vec::new();
    let told = wait_for("the last file descriptor to be taken", PATIENCE, || {
        let mut client = connect(house.address);
        client.write_all(b"PING\r\n").unwrap();
        let told = line(&mut client);
        taken.push(client);
        told.starts_with('-').then_some(told)
    });
    assert_eq!(told, "-ERR max number of clients reached");
    for _ in 0..5 {
        assert_eq!(line(&mut connect(house.address)), "-ERR max number of clients reached");
    }
    limit(1224);
    let mut client = connect(house.address);
    client.write_all(&push(1)).unwrap();
    assert_eq!(line(&mut client), ":1");
    house.assert_stored(&BTreeSet::from([1]), &BTreeSet::from([1]));
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_limit_on_file_descriptors_that_is_too_low_to_work_with_is_said_at_the_start() {
    for limit in [8, 16, 32, 95] {
        let house = House::new();
        let mut agent = house.agent().with_descriptors(limit, limit).start();
        assert_eq!(agent.wait(PATIENCE), Some(78), "{limit}");
        let said = agent.log_text();
        assert!(
            said.contains(&format!("no more than {limit} files and connections open, and the agent needs 96 at least"))
                && said.contains("LimitNOFILE"),
            "{said}"
        );
    }
}
