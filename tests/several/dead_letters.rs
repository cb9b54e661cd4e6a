//! `kadabra dead-letters` over either channel, with an agent running and without.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::Output,
    thread,
    time::Duration,
};

use redis::Commands as _;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::support::{
        agent::kadabra,
        http_server::ask,
        influxd::Influxd,
        pipeline::{DATABASE, PATIENCE},
        process::{Process, wait_for},
        redis_server::RedisServer,
    },
    pipelines::{World, database, influxdb},
};

/// The command line with a configuration.
struct Kadabra(TempDir);

impl Kadabra {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kadabra.toml"), config).unwrap();
        Self(folder)
    }

    fn command(&self, arguments: &str) -> std::process::Command {
        let mut command = kadabra();
        command.arg("dead-letters").args(arguments.split_whitespace());
        command.arg("--config").arg(self.0.path().join("kadabra.toml"));
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What it says, having done what it was told.
    fn said(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn exported(&self, arguments: &str) -> Vec<Value> {
        self.said(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// One to which the fields of the numbered messages are of another type.
fn refusing() -> Influxd {
    let refusing = database();
    let lines = "numbered value=1i 1772366400000000000\ntook value=1i 1772366400000000000";
    let written = ask(&refusing.url(), "POST", &format!("/write?db={DATABASE}"), &[], lines.as_bytes()).unwrap();
    assert_eq!(written.status, 204);
    refusing
}

fn what_one_publisher_refused_is_queued_anew_for_it_alone(world: &World) {
    let [one, two] = [database(), refusing()];
    let publishers = influxdb("one", &one.url()) + &influxdb("two", &two.url());
    let kadabra = Kadabra::with(&world.config(&publishers));
    let mut agent = world.agent(&publishers).start();
    world.push(0..20);
    let hostile = "no JSON\u{1b}[2J";
    let _: usize = world.connection().lpush("kadabra_queue", hostile).unwrap();
    world.wait_nothing_waits_for("one");
    world.wait_nothing_waits_for("two");
    assert_eq!(["one", "two"].map(|name| world.dead_letters_of(name)), [1, 21]);

    let all = kadabra.said("list");
    assert_eq!(all.lines().count(), 22, "{all}");
    assert!(all.contains("numbered, took") && all.contains("  two  ") && !all.contains('\u{1b}'), "{all}");
    assert_eq!(kadabra.said("list --metric numbered --publisher two").lines().count(), 20);
    assert_eq!(kadabra.said("list --metric numbered --publisher one").lines().count(), 0);
    assert_eq!(kadabra.said("list --since 1h --until 0s --reason *type*conflict*").lines().count(), 20);
    assert_eq!(kadabra.said("list --until 1h").lines().count(), 0);
    // Page by page.
    let (mut pages, mut page) = (Vec::new(), "list --limit 9".to_owned());
    loop {
        let said = kadabra.said(&page);
        let more = said.lines().last().and_then(|line| line.split("--after ").nth(1)).map(ToOwned::to_owned);
        pages.extend(said.lines().filter(|line| !line.starts_with("there may be more")).map(ToOwned::to_owned));
        let Some(after) = more else { break };
        page = format!("list --limit 9 --after {after}");
    }
    assert_eq!(pages, all.lines().collect::<Vec<_>>());

    let exported = kadabra.exported("export --reason JSON");
    assert_eq!(exported.len(), 2, "{exported:?}");
    assert!(exported.iter().all(|letter| letter["payload"] == hostile), "{exported:?}");
    let id = exported.iter().find(|letter| letter["publisher"] == "one").unwrap()["id"].as_str().unwrap().to_owned();
    let shown = kadabra.said(&format!("show {id}"));
    assert!(shown.contains("message: no JSON") && !shown.contains('\u{1b}'), "{shown}");

    assert_eq!(kadabra.run("replay").status.code(), Some(2));
    assert_eq!(kadabra.run("discard --limit 3").status.code(), Some(2));
    assert_eq!(kadabra.run("show 0-7").status.code(), Some(69));
    assert!(kadabra.said("replay --metric took --dry-run").ends_with("20 dead letters would be queued anew\n"));
    assert_eq!(world.dead_letters_of("two"), 21);

    // It is mended, and only what that publisher has refused goes to it again.
    two.query(DATABASE, "DROP MEASUREMENT numbered");
    two.query(DATABASE, "DROP MEASUREMENT took");
    assert_eq!(kadabra.said("replay --metric took --limit 5"), "5 dead letters are queued anew\n");
    assert_eq!(kadabra.said("replay --metric took"), "15 dead letters are queued anew\n");
    world.wait_nothing_waits_for("two");
    two.assert_written(0..20);
    one.assert_written(0..20);
    assert_eq!(["one", "two"].map(|name| world.dead_letters_of(name)), [1, 1]);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    agent.wait_log("published 20, parked 1");
    agent.wait_log("published 20, parked 21");

    // Without an agent, too, nothing is done that was only asked about.
    assert!(kadabra.said(&format!("replay {id} --dry-run")).ends_with("1 dead letter would be queued anew\n"));
    kadabra.said("discard --all --dry-run");
    assert_eq!(["one", "two"].map(|name| world.dead_letters_of(name)), [1, 1]);

    // It is refused anew, by that one alone.
    assert_eq!(kadabra.said(&format!("replay {id}")), "1 dead letter is queued anew\n");
    let gone = kadabra.run(&format!("replay {id}"));
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
    assert_eq!(["one", "two"].map(|name| world.dead_letters_of(name)), [0, 1]);
    let mut agent = world.agent(&publishers).start();
    world.wait_nothing_waits_for("one");
    world.wait_nothing_waits_for("two");
    assert_eq!(["one", "two"].map(|name| world.dead_letters_of(name)), [1, 1]);
    assert_eq!(kadabra.said("discard --publisher two"), "1 dead letter is gone\n");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert_eq!(kadabra.said("discard --all"), "1 dead letter is gone\n");
    assert_eq!(kadabra.said("list"), "");
}

#[test]
fn over_redis() {
    what_one_publisher_refused_is_queued_anew_for_it_alone(&World::redis());
}

#[test]
fn over_embedded() {
    what_one_publisher_refused_is_queued_anew_for_it_alone(&World::embedded());
}

/// Which may be as large as all memory that it has for its answers.
#[test]
fn a_running_agent_tells_of_large_dead_letters_and_of_those_behind_them() {
    let world = World::embedded();
    let publishers = "[publishers.shown]\ntype = \"debug\"\n";
    let kadabra = Kadabra::with(&world.config(publishers));
    let mut agent = world.agent(publishers).start();
    let large: String = (0..4 << 20).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let messages = ["no JSON 1", &large, "no JSON 2"];
    for (before, message) in messages.into_iter().enumerate() {
        let _: usize = world.connection().lpush("kadabra_queue", message).unwrap();
        wait_for("it to be a dead letter", PATIENCE, || (world.dead_letters_of("shown") > before).then_some(()));
    }
    assert_eq!(kadabra.said("list").lines().count(), 3);
    let payloads: Vec<_> = kadabra.exported("export").into_iter().map(|mut letter| letter["payload"].take()).collect();
    assert!(payloads == messages, "{:?}", payloads.iter().map(|payload| payload.as_str().unwrap().len()).collect::<Vec<_>>());
    assert_eq!(kadabra.said("discard --all"), "3 dead letters are gone\n");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(agent.logged("no memory left").is_empty());
}

/// An agent in name only: it has one message that waits, and says this to each question for a dead letter.
fn fake_agent(letter: impl Fn(usize) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut asked, mut buffer) = (0, [0; 4096]);
        for mut client in listener.incoming().flatten() {
            while let Ok(read @ 1..) = client.read(&mut buffer) {
                let question = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let answer = match question {
                    question if question.contains("LETTER") => {
                        asked += 1;
                        letter(asked)
                    }
                    question if question.contains("LLEN") => ":1\r\n".to_owned(),
                    question => "+OK\r\n".repeat(question.matches('*').count()),
                };
                if client.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn what_calls_itself_an_agent_cannot_have_the_command_read_without_end() {
    let (piece, large) = ("x".repeat(8 << 20), 999_999_999_999_999_u64);
    let letter = |id: usize, total: u64, piece: &str| {
        let fields = [id.to_string(), total.to_string(), "payload".to_owned(), piece.to_owned()];
        "*4\r\n".to_owned() + &fields.map(|field| format!("${}\r\n{field}\r\n", field.len())).concat()
    };
    for (port, says) in [
        (
            fake_agent(move |_| letter(1, large, &piece)),
            "more than 272.0 MiB of memory, and nothing that was asked for is that large",
        ),
        (fake_agent(move |asked| letter(asked, 100, "a piece")), "1000 were gone before all of one had come; try again once"),
        (fake_agent(move |_| letter(1, 7, "message")), "gave an answer that no Redis gives"),
    ] {
        let channel = format!(
            "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = \"/nowhere/queue.db\"\nlisten = \"127.0.0.1:{port}\"\n"
        );
        let kadabra = Kadabra::with(&(channel + "[publisher]\ntype = \"debug\"\n"));
        let output = kadabra.run("discard --all");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(69) && said.contains(says), "{says}: {output:?}");
    }
}

#[test]
fn of_several_queues_those_that_cannot_be_used_hide_no_dead_letters_of_the_others() {
    let redis = RedisServer::start();
    let kadabra = Kadabra::with(&format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\nqueue_keys = [\"a\", \"b\", \"c\", \"d\"]\n\
         [publisher]\ntype = \"debug\"\n",
        redis.url()
    ));
    let mut connection = redis.connection();
    for stream in ["{a}:dead", "{d}:dead"] {
        let _: String = connection.xadd(stream, "1-0", &[("payload", "m"), ("reason", "a test")]).unwrap();
    }
    let kept = ["{b}:dead", "{c}:consumers"];
    for key in kept {
        let _: () = connection.set(key, "of another type").unwrap();
    }
    let some = |arguments: &str| {
        let output = kadabra.run(arguments);
        assert_eq!(output.status.code(), Some(69), "{arguments}: {output:?}");
        [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap())
    };
    let [list, wrong] = some("list");
    assert!(list.lines().count() == 2 && list.contains("a/1-0") && list.contains("d/1-0"), "{list}");
    for queue in ["b", "c"] {
        let says = format!("the dead letters of the queue {queue} are left out: ");
        assert!(wrong.lines().any(|line| line.starts_with(&says) && line.contains("WRONGTYPE")), "{wrong}");
    }
    assert_eq!(some("export")[0].lines().count(), 2);
    for id in ["b/1-0", "c/1-0", "c/one/1-0"] {
        let [_, wrong] = some(&format!("show {id}"));
        assert!(wrong.contains("WRONGTYPE") && !wrong.contains("there is no dead letter"), "{id}: {wrong}");
    }
    // Of the others nothing need be known.
    assert!(kadabra.said("show a/1-0").contains("a test"));
    assert_eq!(some("replay --all")[0], "2 dead letters are queued anew\n");
    let _: usize = connection.del(&kept).unwrap();
    assert_eq!(kadabra.said("list"), "");
}

/// At any instant it is either a dead letter or a message that waits.
#[test]
fn kill_9_in_the_midst_of_a_replay_in_redis_loses_and_doubles_nothing() {
    const LETTERS: usize = 2000;
    let redis = RedisServer::start();
    let kadabra = Kadabra::with(&format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{}\"\n[publisher]\ntype = \"debug\"\n",
        redis.url()
    ));
    let mut connection = redis.connection();
    let mut pipe = redis::pipe();
    for number in 0..LETTERS {
        pipe.cmd("XADD").arg("{kadabra_queue}:dead").arg("*").arg("payload").arg(number).arg("reason").arg("a test");
    }
    pipe.exec(&mut connection).unwrap();
    let left = |connection: &mut redis::Connection| -> usize { connection.xlen("{kadabra_queue}:dead").unwrap() };
    let goals = [LETTERS - 1, LETTERS * 2 / 3, LETTERS / 3];
    for goal in goals {
        let mut replay = Process::start("replay", kadabra.command("replay --all"), &kadabra.0.path().join("log"));
        wait_for("some to be queued", Duration::from_secs(60), || (left(&mut connection) <= goal).then_some(()));
        replay.kill();
        let waiting: usize = connection.llen("kadabra_queue").unwrap();
        assert_eq!(waiting + left(&mut connection), LETTERS);
    }
    kadabra.said("replay --all");
    assert_eq!(left(&mut connection), 0);
    let mut waiting: Vec<usize> = connection.lrange("kadabra_queue", 0, -1).unwrap();
    waiting.sort_unstable();
    assert_eq!(waiting, (0..LETTERS).collect::<Vec<_>>());
}

/// The agent does it in one transaction for whom it is asked by, and may be killed before any of them.
#[test]
fn kill_9_of_the_agent_in_the_midst_of_a_replay_loses_and_doubles_nothing() {
    let world = World::embedded();
    let mut one = database();
    let publishers = influxdb("one", &one.url()) + "[publishers.shown]\ntype = \"debug\"\n";
    let kadabra = Kadabra::with(&world.config(&publishers));
    // Ten that one alone sets aside, since the other has nothing of them to write.
    let publishers_then = publishers.clone() + "except = [\"numbered\", \"took\"]\n";
    one.stop();
    let refusing = refusing();
    let refused = publishers_then.replace(&one.url(), &refusing.url());
    let mut agent = world.agent(&refused).start();
    world.push(0..10);
    wait_for("ten dead letters", PATIENCE, || (world.dead_letters_of("one") == 10).then_some(()));
    assert_eq!(agent.terminate(PATIENCE), Some(0));

    let mut agent = world.agent(&publishers).env("FAILPOINTS", "queue.replay=4*off->sleep(60000)").start();
    assert_eq!(world.waiting_for("one"), 0);
    let mut replay = Process::start("replay", kadabra.command("replay --all"), &kadabra.0.path().join("log"));
    wait_for("four to be queued", PATIENCE, || (world.dead_letters_of("one") == 6).then_some(()));
    agent.kill9();
    assert_eq!(replay.wait(PATIENCE).code(), Some(69));
    let mut agent = world.agent(&publishers).start();
    assert_eq!((world.waiting_for("one"), world.waiting_for("shown"), world.dead_letters_of("one")), (4, 0, 6));
    assert_eq!(kadabra.said("replay --all"), "6 dead letters are queued anew\n");
    one.start_again();
    world.wait_nothing_waits_for("one");
    one.assert_written(0..10);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
