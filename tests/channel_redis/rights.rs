//! Rights taken from the user while the agent runs: each command of each script is refused in turn, and costs and doubles
//! no message, however often that script is tried. With the right given back everything goes on.

use std::collections::{BTreeMap, BTreeSet};

use kadabra::channel::{
    Patience,
    redis::{
        PortionName,
        rights::{self, COMMANDS, Need},
    },
};

use super::*;
use crate::support::{agent::kadabra, redis_server::KEYS};

/// What an agent or an import does, so that each command of a script comes to be run.
#[derive(Clone, Copy, Debug)]
enum Act {
    Open,
    Take,
    TakeTooLarge,
    TakeMore,
    Complete,
    CompleteWhatIsGone,
    ReleaseToNone,
    ReleaseToOthers,
    TakeBack,
    Renew,
    Adopt,
    AdoptToOthers,
    Sweep,
    SweepTried,
    Look,
    SetApart,
    SetApartTooLarge,
    TakeOver,
    Forget,
    Read,
    Letters,
}

/// The script of each act, by its text.
const SCRIPTS: &[(&str, &str, &[Act])] = &[
    ("probe", include_str!("../../src/channel/redis/lua/probe.lua"), &[Act::Open]),
    ("take", include_str!("../../src/channel/redis/lua/take.lua"), &[Act::Take, Act::TakeTooLarge, Act::TakeMore]),
    ("complete", include_str!("../../src/channel/redis/lua/complete.lua"), &[Act::Complete, Act::CompleteWhatIsGone]),
    (
        "release",
        include_str!("../../src/channel/redis/lua/release.lua"),
        &[Act::ReleaseToNone, Act::ReleaseToOthers, Act::TakeBack, Act::CompleteWhatIsGone],
    ),
    ("renew", include_str!("../../src/channel/redis/lua/renew.lua"), &[Act::Renew]),
    ("expired", include_str!("../../src/channel/redis/lua/expired.lua"), &[Act::TakeBack]),
    ("snapshot", include_str!("../../src/channel/redis/lua/snapshot.lua"), &[Act::Adopt]),
    ("adopt", include_str!("../../src/channel/redis/lua/adopt.lua"), &[Act::Adopt, Act::AdoptToOthers]),
    ("sweep", include_str!("../../src/channel/redis/lua/sweep.lua"), &[Act::Sweep, Act::SweepTried]),
    ("backlog", include_str!("../../src/channel/redis/lua/backlog.lua"), &[Act::Look]),
    ("set_apart", include_str!("../../src/channel/redis/lua/set_apart.lua"), &[Act::SetApart, Act::SetApartTooLarge]),
    ("take_over", include_str!("../../src/channel/redis/lua/take_over.lua"), &[Act::TakeOver]),
    ("forget_portion", include_str!("../../src/channel/redis/lua/forget_portion.lua"), &[Act::Forget]),
    ("weigh_portion", include_str!("../../src/channel/redis/lua/weigh_portion.lua"), &[Act::Read]),
    ("next_letter", include_str!("../../src/channel/redis/lua/next_letter.lua"), &[Act::Letters]),
];

/// The commands that a script runs, by its text.
fn commands(script: &str) -> BTreeSet<String> {
    let ran = script.split("redis.call('").chain(script.split("try('")).skip(1);
    let name = |rest: &str| rest.split('\'').next().unwrap().to_ascii_lowercase();
    ran.map(name).filter(|name| name.chars().all(|c| c.is_ascii_lowercase())).collect()
}

/// What there is to act on.
struct Stage {
    channel: RedisChannel,
    leases: Vec<Lease>,
    portions: Vec<PortionName>,
    /// Those that may be nowhere any more: they are written, or stored elsewhere.
    done: BTreeSet<String>,
}

const LARGE: &str = "a message that is larger than this channel allows: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

impl Stage {
    /// Some messages at each place where messages can be.
    async fn set(server: &RedisServer, redis: &mut Connection, act: Act) -> Self {
        let _: () = redis::cmd("FLUSHALL").query(redis).unwrap();
        let settings = Redis { max_message_bytes: 50, ..settings(&server.url().replace("redis://", "redis://kadabra:hunter2@")) };
        let channel = RedisChannel::new(&settings, "here", Duration::from_nanos(1)).unwrap().exporting();
        let (mut leases, mut portions, mut done) = (Vec::new(), Vec::new(), BTreeSet::new());
        push(redis, ["1", "2", "3", "4", "5", "6"]);
        match act {
            Act::Complete | Act::CompleteWhatIsGone => {
                leases = vec![receive(&channel, 1, 100).await.unwrap(), receive(&channel, 2, 100).await.unwrap()];
                done.extend(["2", "3"].map(str::to_owned));
                if let Act::CompleteWhatIsGone = act {
                    expire(redis);
                    let other = RedisChannel::new(&settings, "other", LONG).unwrap();
                    other.recover().await.unwrap();
                    done.clear();
                }
            }
            Act::ReleaseToNone => leases = vec![receive(&channel, 6, 100).await.unwrap()],
            Act::ReleaseToOthers | Act::Renew => {
                leases = vec![receive(&channel, 1, 100).await.unwrap(), receive(&channel, 2, 100).await.unwrap()];
            }
            Act::TakeBack => {
                let other = RedisChannel::new(&settings, "other", LONG).unwrap();
                std::mem::forget(receive(&other, 2, 100).await.unwrap());
                expire(redis);
            }
            Act::Adopt | Act::AdoptToOthers => {
                let _: usize = redis.lpush(P, &["7", "8"]).unwrap();
                if let Act::AdoptToOthers = act {
                    let _: usize = redis.lpush(ADOPTED, "9").unwrap();
                }
            }
            Act::Sweep => drop(redis.lpush::<_, _, usize>("{kadabra_queue}:lease:old:1-2", &["7", "8", ""]).unwrap()),
            Act::SweepTried => drop(redis.lpush::<_, _, usize>("{kadabra_queue}:lease:old:1-3", "").unwrap()),
            Act::TakeTooLarge | Act::SetApartTooLarge => drop(redis.rpush::<_, _, usize>(Q, LARGE).unwrap()),
            Act::TakeOver | Act::Forget | Act::Read => {
                portions = vec![channel.set_apart("there").await.unwrap().unwrap()];
                if let Act::Forget = act {
                    done.extend(["1", "2", "3", "4", "5", "6"].map(str::to_owned));
                }
            }
            Act::Letters => {
                let _: String = redis.xadd(DEAD, "*", &[("payload", "7")]).unwrap();
            }
            Act::Look => {
                let dated = r#"{"serialized_at": "2026-03-01T12:00:00Z", "timestamp_format": "%Y-%m-%dT%H:%M:%SZ"}"#;
                let _: usize = redis.rpush(Q, dated).unwrap();
            }
            Act::Open | Act::Take | Act::TakeMore | Act::SetApart => {}
        }
        Self { channel, leases, portions, done }
    }

    async fn act(&mut self, act: Act) -> Result<(), ChannelError> {
        let channel = &self.channel;
        match act {
            Act::Open => channel.open().await.map(drop),
            Act::Take | Act::TakeTooLarge | Act::TakeMore => {
                // "more" is asked for when as many came as were asked for at once, so a demand of many asks for more.
                let demand =
                    Demand { messages: if let Act::TakeMore = act { 100_000 } else { 2 }, bytes: 1000, not_before: None };
                let lease = channel.receive(demand, NO_WAIT).await?;
                self.leases.extend(lease);
                Ok(())
            }
            Act::Complete | Act::CompleteWhatIsGone => {
                let letters: Vec<_> = self.leases.iter().take(1).map(|lease| letter(lease, 0)).collect();
                channel.complete(&mut self.leases, &letters).await.map(drop)
            }
            Act::ReleaseToNone | Act::ReleaseToOthers => channel.release(&mut self.leases).await,
            Act::Renew => channel.renew().await.map(drop),
            Act::TakeBack | Act::Adopt | Act::AdoptToOthers | Act::Sweep | Act::SweepTried => {
                channel.recover().await?;
                channel.recover().await.map(drop)
            }
            Act::Look => {
                let patience = Patience { age: LONG, messages: 100 };
                channel.pressure(&patience).await.map(drop)
            }
            Act::SetApart | Act::SetApartTooLarge => {
                self.portions.extend(channel.set_apart("there").await?);
                Ok(())
            }
            Act::TakeOver => {
                if let Some(name) = self.portions.first().cloned()
                    && let Some(name) = channel.take_over(&name, "elsewhere").await?
                {
                    self.portions = vec![name];
                }
                Ok(())
            }
            Act::Forget => channel.forget_portion(&self.portions[0]).await,
            Act::Read => channel.read_portion(&self.portions[0]).await.map(drop),
            Act::Letters => channel.letter_after(None).await.map(drop),
        }
    }

    /// Every message is in one place, and everything that has messages can be found.
    fn check(&self, redis: &mut Connection, before: &BTreeMap<String, usize>, what: &str) {
        let found = messages(redis);
        for (message, times) in before {
            let now = found.get(message).copied().unwrap_or(0);
            let done = self.done.contains(message) && now == 0;
            assert!(now == *times || done, "{message:?} is there {now} times instead of {times}: {what}");
        }
        let others: Vec<_> = found.keys().filter(|message| !before.contains_key(*message)).collect();
        assert!(others.is_empty(), "{others:?} came from nowhere: {what}");
        let registered: Vec<String> = redis.zrange(LEASES, 0, -1).unwrap();
        let portions: Vec<String> = redis.smembers("{kadabra_queue}:moving").unwrap();
        for key in redis.keys::<_, Vec<String>>("*").unwrap() {
            let name = |prefix: &str| key.strip_prefix("{kadabra_queue}:").and_then(|key| key.strip_prefix(prefix));
            if let Some(name) = name("lease:").filter(|name| !name.starts_with("old:")) {
                assert!(registered.iter().any(|lease| lease == name), "{key} belongs to no lease: {what}");
            }
            if let Some(name) = name("moving:") {
                assert!(portions.iter().any(|portion| portion == name), "{key} is no portion: {what}");
            }
            assert!(name("probe:").is_none(), "{key} stays: {what}");
        }
    }
}

/// How often each message is somewhere.
fn messages(redis: &mut Connection) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for key in redis.keys::<_, Vec<String>>("*").unwrap() {
        let kind: String = redis::cmd("TYPE").arg(&key).query(redis).unwrap();
        let here = match kind.as_str() {
            "list" => list(redis, &key),
            "stream" => {
                let letters: redis::streams::StreamRangeReply = redis.xrange_all(&key).unwrap();
                letters.ids.iter().map(|letter| letter.get("payload").unwrap()).collect()
            }
            _ => Vec::new(),
        };
        here.into_iter().filter(|message| !message.is_empty()).for_each(|message| *found.entry(message).or_default() += 1);
    }
    found
}

/// Gives the agent's user all that it needs, but for one command.
fn allow_all_but(redis: &mut Connection, command: &str) {
    let needed = rights::of_import(KEYS);
    let rules = needed.split(' ').filter(|rule| rule.strip_prefix('+') != Some(command));
    let mut set = redis::cmd("ACL");
    set.arg("SETUSER").arg("kadabra").arg(&["reset", "on", ">hunter2"]).arg(rules.collect::<Vec<_>>());
    set.query::<()>(redis).unwrap();
}

fn allow_all(redis: &mut Connection) {
    allow_all_but(redis, "");
}

#[test]
fn a_right_taken_away_costs_and_doubles_nothing_and_is_named() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    run(async {
        for (script, text, acts) in SCRIPTS {
            let commands = commands(text);
            assert!(!commands.is_empty(), "no command of {script} is known");
            let mut named = BTreeSet::new();
            for (act, command) in acts.iter().flat_map(|act| commands.iter().map(move |command| (*act, command))) {
                allow_all(&mut redis);
                let mut stage = Stage::set(&server, &mut redis, act).await;
                let before = messages(&mut redis);
                allow_all_but(&mut redis, command);
                for _ in 0..3 {
                    let outcome = stage.act(act).await;
                    let what = format!("{act:?} without {command}: {outcome:?}");
                    stage.check(&mut redis, &before, &what);
                    if let Err(error) = outcome {
                        assert!(matches!(error, ChannelError::Refused { .. }), "{what}");
                        let said = error.to_string();
                        assert!(said.contains("lacks a permission"), "{what}");
                        assert!(said.to_ascii_lowercase().contains(command), "{what}");
                        assert!(!said.contains("cannot try") || matches!(act, Act::Open), "{what}");
                        named.insert(command.clone());
                    }
                }
                allow_all(&mut redis);
                let what = format!("{act:?} after {command} was given back");
                stage.act(act).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                stage.check(&mut redis, &before, &what);
                // What was leased waits again.
                stage.leases.clear();
                stage.channel.recover().await.unwrap();
                stage.check(&mut redis, &before, &what);
                assert!(stage.channel.registry().tally().balances());
            }
            assert_eq!(named, commands, "not every command of {script} comes to be run here");
        }
    });
}

#[test]
fn a_wait_that_is_not_allowed_any_more_is_said() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let settings = settings(&server.url().replace("redis://", "redis://kadabra:hunter2@"));
    run(async {
        allow_all(&mut redis);
        let channel = RedisChannel::new(&settings, "here", LONG).unwrap();
        channel.open().await.unwrap();
        for command in ["blmove", "client|reply", "ping"] {
            assert!(channel.receive(ALL, Duration::from_millis(5)).await.unwrap().is_none());
            allow_all_but(&mut redis, command);
            // Long enough that the wait begins after messages were looked for, and not so long that its end is far.
            let said = sentence(channel.receive(ALL, Duration::from_secs(5)).await);
            // Redis 6.2 does not say which subcommand.
            let named = said.contains(command.split('|').next().unwrap());
            assert!(said.contains("cannot wait") && said.contains("lacks a permission") && named, "{said}");
            allow_all(&mut redis);
        }
        settled(&channel, &mut redis);
    });
}

#[test]
fn each_right_is_needed_and_is_named_when_it_is_missing_before_any_message_is_taken() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, ["1", "2"]);
    // A database that is not the first, for SELECT.
    let settings = |database: u8| settings(&format!("redis://kadabra:hunter2@127.0.0.1:{}/{database}", server.port()));
    let channel = |database| RedisChannel::new(&settings(database), "here", LONG).unwrap();
    run(async {
        for (need, command) in COMMANDS.iter().flat_map(|(need, commands)| commands.iter().map(move |command| (*need, *command)))
        {
            allow_all_but(&mut redis, command);
            let database = u8::from(command == "select");
            let opened = channel(database).open().await;
            let to_export = channel(database).exporting().open().await;
            match need {
                Need::Agent => {
                    let said = sentence(opened);
                    let named = said.to_lowercase().contains(command.split('|').next().unwrap());
                    assert!(said.contains("lacks a permission") && named, "without {command}: {said}");
                    assert!(said.contains(&format!("ACL SETUSER <user> {}", rights::of_agent(KEYS))), "{said}");
                }
                Need::Facts => {
                    opened.unwrap();
                    let unknown = channel(0).pressure(&Patience { age: LONG, messages: 100 }).await.unwrap().unknown;
                    assert_eq!(unknown.len(), usize::from(command == "config|get"), "without {command}: {unknown:?}");
                }
                // Not asked for here.
                Need::Replicas => drop(opened.unwrap()),
                Need::Import => {
                    opened.unwrap();
                    let said = sentence(to_export).to_lowercase();
                    assert!(said.contains("lacks a permission") && said.contains(command), "without {command}: {said}");
                }
            }
            assert_eq!(list(&mut redis, Q), ["2", "1"]);
        }
        allow_all(&mut redis);
        channel(1).exporting().open().await.unwrap();
    });
    let keys: Vec<String> = redis.keys("*").unwrap();
    assert_eq!(keys, [Q]);
}

#[test]
fn a_check_tells_the_whole_rule_that_helps() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    let url = server.url().replace("redis://", "redis://kadabra:hunter2@");
    std::fs::write(&file, format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"{url}\"\n")).unwrap();
    let check = || {
        let output = kadabra().args(["check", "--online", "--config"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let mut set = |rules: &[&str]| {
        let _: () = redis::cmd("ACL").arg(&["SETUSER", "kadabra"]).arg(rules).query(&mut redis).unwrap();
    };
    set(&["on", ">hunter2", "+info"]);
    let (code, said) = check();
    let rule = format!("ACL SETUSER <user> {}", rights::of_agent(KEYS));
    assert!(code != Some(0) && said.contains(&rule), "{said}");
    set(&rights::of_agent(KEYS).split(' ').collect::<Vec<_>>());
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_rule_that_is_told_for_a_name_with_wildcards_is_for_that_name_alone() {
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    let url = server.url().replace("redis://", "redis://kadabra:hunter2@");
    for (name, others) in [
        ("web[1]", ["web1", "web2"]),
        ("web*", ["web1", "websites"]),
        ("w?b", ["web", "w1b"]),
        ("we\\b", ["web", "we\\\\b"]),
        ("{web-[^1]}:x]", ["{web-2}:x]", "{web-1}:x]"]),
    ] {
        let mut set = |rules: &[&str]| {
            let _: () = redis::cmd("ACL").arg(&["SETUSER", "kadabra", "reset"]).arg(rules).query(&mut redis).unwrap();
        };
        let settings = Redis { queue_key: name.into(), inprogress_key: format!("{name}:old"), ..settings(&url) };
        let channel = || RedisChannel::new(&settings, "here", LONG).unwrap();
        run(async {
            set(&["on", ">hunter2", "+info"]);
            let said = sentence(channel().open().await);
            let (_, rules) = said.split_once("ACL SETUSER <user> ").unwrap();
            set(&[&["on", ">hunter2"][..], &rules.split(' ').collect::<Vec<_>>()].concat());
            let channel = channel();
            channel.open().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            channel.push(b"a message").await.unwrap();
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        });
        let mut as_agent = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
        for other in others.into_iter().map(str::to_owned).chain(others.map(|other| format!("{other}:old"))) {
            let refused = redis::cmd("LLEN").arg(&other).query::<u64>(&mut as_agent).unwrap_err();
            assert!(refused.to_string().contains("NOPERM") || refused.code() == Some("NOPERM"), "{name}, {other}: {refused}");
        }
    }
}
