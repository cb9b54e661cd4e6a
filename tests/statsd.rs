//! What clients of statsd send is aggregated, published and accounted for, whatever fails.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::support::{
    agent::{Agent, Builder, kadabra, kadabra_with_socket},
    influxd::Influxd,
    pipeline::numbered,
    process::{self, free_port, wait_for},
    python,
    redis_server::RedisServer,
    served::{address, get, pushes, values},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An agent's place: its queue and its socket for statsd.
struct House {
    folder: tempfile::TempDir,
    channel: String,
    port: u16,
}

impl House {
    /// With a queue of its own.
    fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        let channel = format!("[channel.embedded]\nlisten = \"127.0.0.1:{}\"\npath = \"{}\"", free_port(), queue.display());
        Self { folder, channel, port: free_port() }
    }

    /// Over a Redis.
    fn over(redis: &RedisServer) -> Self {
        let channel = format!("[channel]\ntype = \"redis\"\n[channel.redis]\ntimeout = \"1s\"\nurl = \"{}\"", redis.url());
        Self { folder: tempfile::tempdir().unwrap(), channel, port: free_port() }
    }

    fn agent(&self, more: &str) -> Builder {
        let Self { folder, channel, port } = self;
        let socket = folder.path().join("statsd.sock");
        Agent::with(&format!(
            "[publisher]\ntype = \"debug\"\n[publisher.debug]\nformat = \"json\"\n[log]\nformat = \"json\"\n{channel}\n\
             [listener.statsd]\nlisten = \"127.0.0.1:{port}\"\nunix_socket = \"{}\"\n{more}",
            socket.display()
        ))
    }

    fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.1", self.port)).unwrap();
        client
    }
}

/// The sums of what was published, by name, and of timers how many there were.
fn published(agent: &Agent) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in agent.log_lines() {
        let Ok(Value::Array(messages)) = serde_json::from_str(line["msg"].as_str().unwrap()) else { continue };
        for message in messages {
            let value = |metric: &Value, value: &Value| (metric["name"].as_str().unwrap().to_owned(), value.as_f64().unwrap());
            let counters = message["counters"].as_array().unwrap().iter().map(|metric| value(metric, &metric["value"]));
            let timers = message["timers"].as_array().unwrap().iter().map(|metric| value(metric, &metric["metadata"]["count"]));
            for (name, value) in counters.chain(timers) {
                *sums.entry(name).or_default() += value;
            }
        }
    }
    sums
}

fn wait_published(agent: &Agent, name: &str, sum: f64) {
    wait_for(&format!("{name} to be {sum}"), PATIENCE, || (published(agent).get(name) == Some(&sum)).then_some(()));
}

/// What the agent says of statsd at its end.
fn counts(agent: &Agent) -> impl Fn(&str) -> u64 {
    let line = agent.wait_log("aggregated from");
    move |key| line[key].as_u64().unwrap_or_else(|| panic!("{key} in {line}"))
}

fn end(agent: &mut Agent) {
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn fifty_thousand_datagrams_are_aggregated_refused_or_dropped_by_the_kernel_and_none_else() {
    const SENT: u64 = 50_000;
    let house = House::embedded();
    let mut agent = house.agent("interval = \"300ms\"").start();
    agent.wait_log("taking datagrams");
    let client = house.client();
    for number in 0..SENT {
        client.send(if number % 10 == 0 { b"hits" } else { b"hits:1|c" }).unwrap();
    }
    // The kernel tells of those that it has dropped with one that it keeps.
    let mut sent = SENT;
    wait_for("a datagram to be kept", PATIENCE, || {
        client.send(b"last:1|c").unwrap();
        sent += 1;
        published(&agent).contains_key("last").then_some(())
    });
    end(&mut agent);
    let count = counts(&agent);
    assert_eq!(count("datagrams"), count("aggregated") + count("refused"));
    assert_eq!(count("datagrams") + count("dropped_by_kernel"), sent);
    // What the last interval came to may have been queued at the end only.
    let mut next = house.agent("interval = \"300ms\"").start();
    let sum = |agent: &Agent| {
        published(agent)
            .into_iter()
            .filter(|(name, _)| ["hits", "last"].contains(&name.as_str()))
            .map(|(_, sum)| sum)
            .sum::<f64>()
    };
    wait_for("all that was aggregated to be published", PATIENCE, || {
        (sum(&agent) + sum(&next) == count("aggregated") as f64).then_some(())
    });
    end(&mut next);
    let line = agent.wait_log("statsd: metrics not taken: it has no value");
    assert_eq!(line["for_example"], "hits");
}

#[test]
fn each_type_over_both_sockets_is_published_with_its_tags() {
    let house = House::embedded();
    let mut agent = house.agent("interval = \"1h\"").start();
    agent.wait_log_count("taking datagrams", 2);
    house
        .client()
        .send(b"c:1|c|@0.1|#env:prod,beta\nt:5:7|ms|@0.5\ng:3|g\ng:+1|g\ns:a|s\ns:b|s\n_e{1,1}:a|b\nbad\nd:4|d")
        .unwrap();
    let unix = UnixDatagram::unbound().unwrap();
    unix.send_to(b"c:1|c|#beta,env:prod", house.folder.path().join("statsd.sock")).unwrap();
    let sent =
        process::command("sh").args(["-c", &format!("printf 'nc:2|c' | nc -u -w 0 127.0.0.1 {}", house.port)]).status().unwrap();
    assert!(sent.success());
    // What has come is read though the agent is told to stop at once, and queued before its end.
    end(&mut agent);
    let count = counts(&agent);
    assert_eq!((count("datagrams"), count("ignored"), count("refused")), (3, 1, 1));
    let mut agent = house.agent("").start();
    wait_published(&agent, "c", 11.0);
    let sums = published(&agent);
    // The bad one is told of.
    let wanted = [("KadabraAgentDropped", 1.0), ("c", 11.0), ("d", 4.0), ("g", 4.0), ("nc", 2.0), ("s", 2.0), ("t", 4.0)];
    assert_eq!(sums, wanted.map(|(name, sum)| (name.to_owned(), sum)).into());
    assert!(agent.log_text().contains(r#"{\"name\":\"env\",\"value\":\"prod\"}"#), "the tag is a dimension");
    end(&mut agent);
}

#[test]
fn info_of_the_listener_and_prometheus_are_told_the_same() {
    let house = House::embedded();
    let mut agent = house.agent("interval = \"1h\"\n[status]\nlisten = \"127.0.0.1:0\"").start();
    agent.wait_log_count("taking datagrams", 2);
    house.client().send(b"c:1|c\nt:5:7|ms\n_e{1,1}:a|b\nbad\na:x|c").unwrap();
    let mut client = redis::Client::open(format!("redis://{}/", pushes(&agent))).unwrap().get_connection().unwrap();
    let info = wait_for("the datagram in INFO", PATIENCE, || {
        let info: String = redis::cmd("INFO").arg("kadabra").query(&mut client).unwrap();
        info.contains("statsd_refused_number:1\r\n").then_some(info)
    });
    let told: BTreeMap<_, _> = info
        .lines()
        .filter_map(|line| line.strip_prefix("statsd_")?.split_once(':'))
        .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        .collect();
    for (name, count) in [("datagrams", 1.0), ("aggregated", 2.0), ("ignored", 1.0), ("refused_value", 1.0), ("messages", 0.0)] {
        assert_eq!(told.get(name), Some(&count), "{name}: {info}");
    }
    let scraped = wait_for("the datagram in the snapshot", PATIENCE, || {
        let scraped: BTreeMap<_, _> = values(&get(address(&agent), "/metrics", &[]).body)
            .into_iter()
            .filter_map(|(name, count)| {
                let name = name.strip_prefix("kadabra_statsd_")?.replace("_total", "");
                Some((name.replace("{reason=\"", "_").replace("\"}", ""), count))
            })
            .collect();
        (scraped["datagrams"] == 1.0).then_some(scraped)
    });
    assert_eq!(told, scraped);
    end(&mut agent);
}

#[test]
fn an_actor_that_panics_and_pushes_that_fail_lose_nothing_that_was_aggregated() {
    let house = House::embedded();
    let faults = "statsd.read=2*off->1*panic(told to)->off;statsd.push.error=3*return(before)->1*return(refused)->off;\
                  statsd.serve=1*off->1*panic(told to)->off;statsd.drain=1*panic(told to)->off";
    let mut agent = house.agent("interval = \"500ms\"").env("FAILPOINTS", faults).start();
    agent.wait_log("taking datagrams");
    let client = house.client();
    for _ in 0..100 {
        client.send(b"hits:1|c").unwrap();
        thread::yield_now();
    }
    wait_published(&agent, "hits", 100.0);
    agent.wait_condition("statsd queue");
    agent.wait_log("statsd queue: the warning is over");
    end(&mut agent);
    assert_eq!(counts(&agent)("aggregated"), 100);
}

#[test]
fn while_redis_is_away_it_waits_in_memory_and_longer_intervals_lose_nothing() {
    let mut redis = RedisServer::start();
    let house = House::over(&redis);
    let mut agent = house.agent("interval = \"100ms\"\nmax_waiting_bytes = \"0B\"").start();
    agent.wait_log("taking datagrams");
    let client = house.client();
    client.send(b"hits:1|c\nhits:1|ms").unwrap();
    wait_published(&agent, "hits", 2.0);
    redis.kill9();
    for _ in 0..50 {
        client.send(b"away:2|c\n").unwrap();
    }
    agent.wait_condition("statsd queue");
    client.send(b"away:1|c").unwrap();
    redis.restart();
    wait_published(&agent, "away", 101.0);
    end(&mut agent);
}

#[test]
fn what_no_replica_confirms_waits_and_is_queued_once_however_often_it_is_tried() {
    let redis = RedisServer::start();
    let replica = RedisServer::replica_of(&redis);
    let mut house = House::over(&redis);
    // Redis answers after half of it; later than all of it an answer would be lost, and the push made once more.
    house.channel = house.channel.replace("\"1s\"", "\"4s\"") + "\nwait_replicas = 1";
    let mut agent = house.agent("interval = \"100ms\"").start();
    agent.wait_log("taking datagrams");
    let client = house.client();
    let calls = |command: &str| redis.calls_of(command);
    client.send(b"hits:1|c").unwrap();
    wait_published(&agent, "hits", 1.0);
    // It may be published before a replica has it.
    redis.wait_until_replicated();
    replica.pause();
    client.send(b"hits:2|c").unwrap();
    let said = agent.wait_condition("statsd queue").to_string();
    assert!(said.contains("only 0 of 1 replica confirmed them in time") && said.contains("wait_replicas"), "{said}");
    // It is queued, if not safe, and what comes behind it is not.
    wait_published(&agent, "hits", 3.0);
    client.send(b"late:1|c").unwrap();
    let tries = calls("wait") + 3;
    wait_for("some tries more", PATIENCE, || (calls("wait") >= tries).then_some(()));
    assert_eq!(published(&agent).get("late"), None);
    replica.resume();
    agent.wait_log("statsd queue: the warning is over");
    wait_published(&agent, "late", 1.0);
    end(&mut agent);
    assert_eq!(published(&agent)["hits"], 3.0);
}

#[test]
fn what_is_sent_while_no_agent_runs_is_taken_by_the_next_one_by_a_socket_of_systemd() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let house = House { port: socket.local_addr().unwrap().port(), ..House::embedded() };
    let start = || house.agent("interval = \"200ms\"").started_by(kadabra_with_socket(socket.try_clone().unwrap())).start();
    let (client, mut sent) = (house.client(), 0);
    for round in 0..3 {
        // What was published and not settled before the kill is published again.
        client.send(format!("hits{round}:1|c").as_bytes()).unwrap();
        sent += 1;
        let mut agent = start();
        wait_published(&agent, &format!("hits{round}"), 1.0);
        if round == 1 {
            agent.kill9();
        } else {
            end(&mut agent);
            assert_eq!(counts(&agent)("aggregated"), 1);
        }
    }
    assert_eq!(sent, 3);
}

#[test]
fn an_address_that_is_taken_ends_nothing_and_is_taken_later() {
    let house = House::embedded();
    let other = UdpSocket::bind(("127.0.0.1", house.port)).unwrap();
    let mut agent = house.agent("interval = \"100ms\"").start();
    let said = agent.wait_condition("statsd");
    assert!(said["mend"].as_str().unwrap().contains("ss -ulpn"), "{said}");
    agent.wait_log("publishing");
    drop(other);
    agent.wait_log("statsd: the warning is over");
    house.client().send(b"hits:1|c").unwrap();
    wait_published(&agent, "hits", 1.0);
    end(&mut agent);
}

#[test]
fn what_the_clients_of_applications_and_gunicorn_send_arrives_over_both_channels() {
    let redis = RedisServer::start();
    for house in [House::embedded(), House::over(&redis)] {
        // All of an agent's life is one interval.
        let mut agent = house.agent("interval = \"1h\"").start();
        agent.wait_log_count("taking datagrams", 2);
        let socket = house.folder.path().join("statsd.sock");
        let web = free_port().to_string();
        python::run_web("statsd_clients.py", &[&house.port.to_string(), socket.to_str().unwrap(), &web]);
        end(&mut agent);
        let count = counts(&agent);
        assert_eq!((count("ignored"), count("refused"), count("dropped_by_kernel")), (4, 0, 0));
        let mut agent = house.agent("").start();
        wait_published(&agent, "web.gunicorn.requests", 20.0);
        end(&mut agent);
        let (sums, log) = (published(&agent), agent.log_text());
        for (name, sum) in [
            ("plain.hits", 4.0),
            ("plain.took", 2.0),
            ("plain.users", 65.0),
            ("plain.ids", 2.0),
            ("plain.piped", 3.0),
            ("plain.block", 1.0),
            ("dog.hits", 5.0),
            ("dog.users", 9.0),
            ("dog.size", 300.0),
            ("dog.spread", 5.0),
            ("dog.took", 1.0),
            ("dog.ids", 1.0),
            ("local.hits", 5.0),
            ("web.gunicorn.request.duration", 20.0),
            ("local.gunicorn.requests", 20.0),
        ] {
            assert_eq!(sums.get(name), Some(&sum), "{name} in {sums:?}");
        }
        for dimension in [r#"{\"name\":\"env\",\"value\":\"prod\"}"#, r#"{\"name\":\"page\",\"value\":\"shop\"}"#] {
            assert!(log.contains(dimension), "{dimension}");
        }
    }
}

#[test]
fn what_the_kernel_has_no_room_for_is_counted_to_the_last_datagram_and_a_socket_in_the_file_system_drops_none() {
    let house = House::embedded();
    let mut agent = house.agent("interval = \"100ms\"\nreceive_buffer = \"4KiB\"").start();
    agent.wait_log_count("taking datagrams", 2);
    let (client, unix) = (house.client(), UnixDatagram::unbound().unwrap());
    unix.connect(house.folder.path().join("statsd.sock")).unwrap();
    agent.signal("STOP");
    let local = thread::spawn(move || (0..3000).for_each(|_| assert_eq!(unix.send(b"local:1|c").unwrap(), 9)));
    for _ in 0..2000 {
        client.send(b"hits:1|c").unwrap();
    }
    agent.signal("CONT");
    local.join().unwrap();
    let mut lasts = 0;
    wait_for("a datagram to be kept", PATIENCE, || {
        client.send(b"last:1|c").unwrap();
        lasts += 1;
        published(&agent).contains_key("last").then_some(())
    });
    // There is room now, and the next one that is kept tells of all that was dropped before it.
    let mut ends = 0;
    wait_for("another datagram to be kept, behind which none is on its way", PATIENCE, || {
        client.send(format!("end{ends}:1|c").as_bytes()).unwrap();
        ends += 1;
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            if published(&agent).contains_key(&format!("end{}", ends - 1)) {
                return Some(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    });
    end(&mut agent);
    let (count, sums) = (counts(&agent), published(&agent));
    assert!(count("dropped_by_kernel") > 1900, "{}", count("dropped_by_kernel"));
    assert_eq!(count("datagrams") + count("dropped_by_kernel"), 2000 + 3000 + lasts + ends);
    let over_udp = |name: &str| ["hits", "last", "end"].iter().any(|begin| name.starts_with(begin));
    let kept: f64 = sums.iter().filter(|(name, _)| over_udp(name)).map(|(_, sum)| sum).sum();
    assert_eq!(kept as u64 + count("dropped_by_kernel"), 2000 + lasts + ends);
    assert_eq!(sums["local"], 3000.0);
    agent.wait_log("the kernel dropped datagrams");
}

#[test]
fn a_full_queue_keeps_metrics_waiting_in_memory_whatever_it_does_with_those_of_other_clients() {
    for when_full in ["refuse", "drop_newest", "drop_oldest"] {
        let mut influxd = Influxd::start();
        influxd.create_database("kadabra");
        influxd.stop();
        let (folder, listen, port) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let mut agent = Agent::start(&format!(
            "[channel.embedded]\nlisten = \"127.0.0.1:{listen}\"\npath = {:?}\nmax_bytes = \"4MiB\"\nwhen_full = \"{when_full}\"\n\
             [publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = \"{}\"\n[listener.statsd]\nlisten = \"127.0.0.1:{port}\"\ninterval = \"100ms\"\n\
             [log]\nformat = \"json\"",
            folder.path().join("queue.db"),
            influxd.url()
        ));
        agent.wait_log("taking datagrams");
        let redis = redis::Client::open(format!("redis://127.0.0.1:{listen}/")).unwrap();
        let mut connection = wait_for("the agent to take clients", PATIENCE, || redis.get_connection().ok());
        let (large, small) = (numbered(1).replace("/index", &"x".repeat(100_000)), numbered(2));
        // Until not even a small one has room.
        for message in std::iter::repeat_n(large, 60).chain(std::iter::repeat_n(small, 1000)) {
            let _: Result<u64, _> = redis::cmd("LPUSH").arg("kadabra_queue").arg(&message).query(&mut connection);
        }
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.1", port)).unwrap();
        for _ in 0..100 {
            client.send(b"hits:1|c").unwrap();
        }
        if when_full != "drop_oldest" {
            let said = agent.wait_condition("statsd queue");
            assert!(said["msg"].as_str().unwrap().contains("wait in memory"), "{said}");
        }
        for _ in 0..100 {
            client.send(b"hits:1|c").unwrap();
        }
        influxd.start_again();
        wait_for("all to be stored", PATIENCE, || (influxd.values("hits").iter().sum::<u64>() == 200).then_some(()));
        end(&mut agent);
        assert_eq!(influxd.values("hits").iter().sum::<u64>(), 200, "{when_full}");
    }
}

#[test]
fn a_socket_in_the_file_system_may_be_systemds_too() {
    let house = House::embedded();
    let path = house.folder.path().join("statsd.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    for _ in 0..2 {
        client.send_to(b"hits:1|c", &path).unwrap();
        let mut agent = house.agent("interval = \"100ms\"").started_by(kadabra_with_socket(socket.try_clone().unwrap())).start();
        wait_published(&agent, "hits", 1.0);
        end(&mut agent);
    }
    assert!(path.exists(), "it is systemd's, not the agent's to remove");
}

#[test]
fn systemd_starts_an_agent_for_a_datagram_and_a_socket_that_is_not_configured_is_refused() {
    let house = House::embedded();
    let activate = |port: u16| {
        let agent = kadabra();
        let mut command = process::command("systemd-socket-activate");
        command.args(["--datagram", "--listen", &format!("127.0.0.1:{port}")]);
        for (name, value) in agent.get_envs() {
            match value {
                Some(value) => drop(command.env(name, value).arg(format!("--setenv={}", name.display()))),
                None => drop(command.env_remove(name)),
            }
        }
        // What it says itself is no line of the agent's log.
        command.env("SYSTEMD_LOG_LEVEL", "emerg").arg(agent.get_program()).args(agent.get_args());
        command
    };
    let mut agent = house.agent("interval = \"100ms\"").started_by(activate(house.port)).start();
    let client = house.client();
    let mut sent = 0.0;
    wait_for("an agent that is started for a datagram", PATIENCE, || {
        // It is refused until systemd listens.
        sent += f64::from(u8::from(client.send(b"hits:1|c").is_ok()));
        published(&agent).get("hits").is_some_and(|hits| *hits > 0.0).then_some(())
    });
    end(&mut agent);
    assert!(counts(&agent)("aggregated") as f64 <= sent);

    let other = free_port();
    let mut agent = house.agent("").started_by(activate(other)).start();
    wait_for("the agent to say why it does not start", PATIENCE, || {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hits:1|c", ("127.0.0.1", other)).unwrap();
        agent.log_text().contains("ListenDatagram=").then_some(())
    });
    assert_ne!(agent.wait(PATIENCE), Some(0));
}
