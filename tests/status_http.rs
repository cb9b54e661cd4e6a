//! The status over HTTP: who may look, what is answered, and what it takes to get in its way.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    agent::Agent,
    influxd::Influxd,
    process::{Process, command, free_port, wait_for},
    redis_server::RedisServer,
    served::{address, config, connect, exchange, get, get_by_file, post, push, pushes, request, values},
};

const SOON: Duration = Duration::from_secs(20);

/// An agent with these further keys of `[status]`.
fn agent(more: &str) -> (tempfile::TempDir, Agent) {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&config(folder.path(), more));
    (folder, agent)
}

#[test]
fn it_is_served_on_this_machine_and_to_no_name_of_a_page_elsewhere() {
    let (_folder, mut agent) = agent("allowed_hosts = [\"metrics.example.com\"]");
    let address = address(&agent);
    let live = get(address, "/health/live", &[]);
    assert_eq!((live.status, live.body.as_str()), (200, "{\"live\":true}"));
    for (header, value) in [
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        assert!(live.header(header).is_some_and(|found| found.contains(value)), "{live:?}");
    }
    assert!(!live.header("content-security-policy").unwrap().contains("unsafe"));
    assert_eq!(get(address, "/health/live", &["Host: metrics.example.com"]).status, 200);
    let rebound = get(address, "/health/live", &["Host: evil.example.com"]);
    assert_eq!(rebound.status, 421);
    assert!(rebound.body.contains("allowed_hosts of [status]"), "{rebound:?}");
    assert_eq!(rebound.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(get(address, "/health/live", &["Host: localhost", "Host: evil.example.com"]).status, 400);
    // As one asks who takes the agent for a proxy.
    assert_eq!(get(address, "http://evil.example.com/health/live", &[]).status, 421);
    assert_eq!(get(address, "http://localhost/health/live", &["Host: evil.example.com"]).status, 200);
    assert_eq!(get(address, "/nothing", &[]).status, 404);
    assert_eq!(post(address, "/health/live", &["Origin: http://evil.example.com"], "a=b").status, 403);
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn with_a_password_nobody_looks_without_it_and_guesses_are_slow() {
    let (_folder, agent) = agent("password = \"right\"");
    let address = address(&agent);
    let asked = get(address, "/nothing", &[]);
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").unwrap().starts_with("Basic "), "{asked:?}");
    assert_eq!(get(address, "/health/live", &[]).status, 200);
    assert_eq!(get(address, "/nothing", &["Authorization: Bearer right"]).status, 404);
    // "anna:right"
    assert_eq!(get(address, "/nothing", &["Authorization: Basic YW5uYTpyaWdodA=="]).status, 404);
    let begun = Instant::now();
    let guesses: Vec<_> =
        (0..3).map(|_| thread::spawn(move || get(address, "/nothing", &["Authorization: Bearer wrong"]).status)).collect();
    // Who knows it waits for none of them.
    assert_eq!(get(address, "/nothing", &["Authorization: Bearer right"]).status, 404);
    assert!(guesses.into_iter().all(|guess| guess.join().unwrap() == 401));
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!agent.log_text().contains("right"), "the password is in the log");
}

#[test]
fn who_may_use_its_file_needs_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("status.sock");
    let more = format!("password = \"right\"\nunix_socket = {socket:?}\nunix_socket_mode = \"0600\"");
    let mut agent = Agent::start(&config(folder.path(), &more));
    agent.wait_log_count("the status is served", 2);
    assert_eq!(get_by_file(&socket, "/nothing").status, 404);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(agent.terminate(SOON), Some(0));
    assert!(!socket.exists());
}

#[test]
fn an_address_that_is_taken_is_said_once_and_had_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = taken.local_addr().unwrap();
    let socket = folder.path().join("status.sock");
    let text = config(folder.path(), &format!("unix_socket = {socket:?}"))
        .replace("[status]\nlisten = \"127.0.0.1:0\"", &format!("[status]\nlisten = \"{at}\""));
    let mut agent = Agent::start(&text);
    let line = agent.wait_log("the status cannot be served");
    assert_eq!(line["level"], "WARNING", "{line}");
    assert!(line["mend"].as_str().unwrap().contains("listen in [status]"), "{line}");
    agent.wait_log("publishing");
    // Two attempts later.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(agent.logged("the status cannot be served").len(), 1);
    let by_file = get_by_file(&socket, "/api/status").json();
    assert_eq!(
        (&by_file["troubles"][0]["code"], &by_file["verdict"]["level"]),
        (&"K505".into(), &"attention".into()),
        "{by_file}"
    );
    drop(taken);
    agent.wait_log("the warning is over");
    assert_eq!(get(at, "/health/live", &[]).status, 200);
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn whoever_is_slow_or_many_keeps_nobody_out() {
    let (_folder, agent) = agent("");
    let address = address(&agent);
    // Slow loris: heads that never end, more than there is room for.
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-A: ").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(get(address, "/health/live", &[]).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // They are cut off however often they go on.
    wait_for("the slow to be cut off", SOON, || {
        let cut = slow.iter().all(|mut stream| {
            drop(stream.write_all(b"a"));
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut answer = [0; 512];
            match stream.read(&mut answer) {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            }
        });
        cut.then_some(())
    });
    assert_eq!(get(address, "/health/live", &[]).status, 200);
}

#[test]
fn what_is_too_large_or_no_request_is_refused() {
    let (_folder, agent) = agent("");
    let address = address(&agent);
    let head = format!("GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "a".repeat(200 << 10));
    let mut stream = connect(address);
    // It may be cut off before it has been sent.
    drop(stream.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
    for nonsense in ["*1\r\n$4\r\nPING\r\n\r\n", "\r\n\r\n\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n"] {
        let mut stream = connect(address);
        stream.write_all(nonsense.as_bytes()).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"), "{nonsense:?}");
    }
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 3";
    assert_ne!(exchange(connect(address), &request("POST", "/health/live", &[both], "abc")).status, 200);
    assert_eq!(get(address, "/health/live", &[]).status, 200);
    assert!(agent.log_lines().iter().all(|line| line["level"] != "ERROR"), "{}", agent.log_text());
}

#[test]
#[cfg(feature = "failpoints")]
fn it_is_restarted_and_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Agent::with(&config(folder.path(), "")).env("FAILPOINTS", "web.serve=1*panic->off");
    let mut agent = failing.start();
    assert_eq!(get(address(&agent), "/health/live", &[]).status, 200);
    assert_eq!(agent.terminate(SOON), Some(0));
    let failing = Agent::with(&config(folder.path(), "")).env("FAILPOINTS", "web.serve=panic");
    let mut agent = failing.start();
    agent.wait_log("its group is held");
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn everything_is_answered_from_the_snapshot_and_each_scrape_balances_under_load() {
    let (_folder, agent) = agent("");
    let (address, to) = (address(&agent), pushes(&agent));
    let pushing = thread::spawn(move || (0..40).for_each(|_| push(to, 500)));
    let mut scrapes = 0;
    while !pushing.is_finished() || scrapes < 20 {
        let answer = get(address, "/metrics", &[]);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let all = values(&answer.body);
        let value = |name: &str| all[&format!("kadabra_messages_{name}{{publisher=\"\"}}")];
        let accounted = value("published_total") + value("parked_total") + value("dropped_total") + value("waiting");
        assert_eq!(value("accepted_total"), accounted, "{}", answer.body);
        assert_eq!(value("unaccounted"), 0.0);
        scrapes += 1;
    }
    pushing.join().unwrap();
    wait_for("the scrape to have all of them published", SOON, || {
        let all = values(&get(address, "/metrics", &[]).body);
        (all["kadabra_messages_published_total{publisher=\"\"}"] == 20_000.0).then_some(())
    });
    let open = get(address, "/metrics", &["Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5"]);
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"));

    let status = get(address, "/api/status", &[]).json();
    assert_eq!((&status["version"], &status["agent"]["state"]), (&1.into(), &"running".into()));
    let begun = Instant::now();
    let next = get(address, &format!("/api/status?after={}", status["at"].as_str().unwrap()), &[]).json();
    assert!(next["at"].as_str() > status["at"].as_str() && begun.elapsed() < Duration::from_secs(5));
    assert_eq!(get(address, "/api/status?after=yesterday", &[]).status, 400);

    let page = get(address, "/?filter=numbered", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let script = page.body.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let script = get(address, script, &[]);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("cache-control"), Some("private, max-age=31536000, immutable"));
    assert_eq!(get(address, "/assets/well.svg", &[]).header("cache-control"), Some("no-store"));
    assert_eq!(get(address, "/fragment", &[]).status, 200);
    assert_eq!(get(address, "/assets/../page.js", &[]).status, 404);
}

#[test]
fn each_scrape_balances_under_load_where_clients_push_to_a_redis() {
    let redis = RedisServer::start();
    let text =
        format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = {:?}\n[status]\nlisten = \"127.0.0.1:0\"\n", redis.url());
    let agent = Agent::start(&text);
    let (address, to) = (address(&agent), SocketAddr::from(([127, 0, 0, 1], redis.port())));
    let pushing = thread::spawn(move || (0..40).for_each(|_| push(to, 500)));
    let mut published = 0.0;
    while published < 20_000.0 {
        let all = values(&get(address, "/metrics", &[]).body);
        let value = |name: &str| all[&format!("kadabra_messages_{name}{{publisher=\"\"}}")];
        published = value("published_total");
        let accounted = published + value("parked_total") + value("given_back_total") + value("in_flight");
        assert_eq!((value("leased_total"), value("unaccounted")), (accounted, 0.0));
    }
    pushing.join().unwrap();
}

/// INFO is of the listener, which knows no agent; both count with the same counters.
#[test]
fn info_and_the_snapshot_agree_on_what_both_tell() {
    let (_folder, agent) = agent("");
    let (address, to) = (address(&agent), pushes(&agent));
    push(to, 7);
    let mut connection = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
    let mut browser = connect(to);
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    drop(browser.read_to_end(&mut Vec::new()));
    let unpushable = redis::cmd("LPUSH").arg("another_queue").arg("x").query::<u64>(&mut connection);
    assert!(unpushable.is_err());
    let told = wait_for("all to be published", SOON, || {
        let status = get(address, "/api/status", &[]).json();
        (status["publishers"][0]["tally"]["published"] == 7 && status["channel"]["messages"] == 0).then_some(status)
    });
    let info: String = redis::cmd("INFO").arg("kadabra").query(&mut connection).unwrap();
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name}: {info}")).parse::<u64>().unwrap()
    };
    let channel = &told["channel"];
    for (name, value) in [
        ("messages_queued", &channel["accepted"]),
        ("queue_length", &channel["messages"]),
        ("queue_in_hand", &channel["in_hand"]),
        ("max_bytes", &channel["max_bytes"]),
        ("dead_letters", &told["publishers"][0]["dead_letters"]["count"]),
        ("damaged_messages", &channel["damaged"]),
    ] {
        assert_eq!(value.as_u64(), Some(field(name)), "{name}: {info}");
    }
    let refusals = channel["refusals"].as_array().unwrap();
    assert!(refusals.iter().map(|refused| refused["count"].as_u64().unwrap()).sum::<u64>() >= 2, "{refusals:?}");
    for refused in refusals {
        // Of these two nothing is refused to anybody.
        let name = match refused["reason"].as_str().unwrap() {
            reason @ ("dropped_oldest" | "answered_early") => reason.to_owned(),
            reason => format!("refused_{reason}"),
        };
        assert_eq!(refused["count"].as_u64(), Some(field(&name)), "{name}");
    }
}

#[test]
fn what_comes_through_is_counted_once_whatever_becomes_of_it() {
    let more = "[publishers.one]\ntype = \"debug\"\nonly = [\"none\"]\n[publishers.two]\ntype = \"debug\"\n";
    let (_folder, agent) = agent(more);
    let (address, to) = (address(&agent), pushes(&agent));
    push(to, 3);
    let status = wait_for("both to be done with it", SOON, || {
        let status = get(address, "/api/status", &[]).json();
        let done = |place: usize| status["publishers"][place]["tally"]["published"] == 3;
        (done(0) && done(1)).then_some(status)
    });
    let seen = &status["seen"];
    let series = seen["series"].as_array().unwrap();
    // A counter and a timer of each of three hosts.
    assert_eq!((series.len(), &seen["other"]), (6, &0.into()), "{seen}");
    assert!(series.iter().all(|one| one["count"] == 1), "{seen}");
}

#[test]
fn it_is_ready_once_it_has_shown_that_it_can_write_and_not_while_it_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let influxd = Influxd::start();
    let more = format!(
        "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = {:?}\ndatabase = \"kadabra\"\ncreate_database = false\n",
        influxd.url()
    );
    let agent = Agent::start(&config(folder.path(), &more));
    let address = address(&agent);
    assert_eq!(get(address, "/health/ready", &[]).status, 503);
    // Though nothing is to be written yet.
    let held = wait_for("it to be held", SOON, || {
        let answer = get(address, "/health/ready", &[]);
        (answer.json()["state"] == "held").then_some(answer)
    });
    assert_eq!(held.status, 503);
    assert_eq!(held.json()["code"], "K202", "{held:?}");
    assert_eq!(get(address, "/health/live", &[]).status, 200);
    influxd.create_database("kadabra");
    let ready = wait_for("it to be ready", SOON, || Some(get(address, "/health/ready", &[])).filter(|ready| ready.status == 200));
    assert_eq!(ready.json(), serde_json::json!({ "ready": true, "state": "running", "code": null }));
    assert_eq!(get(address, "/api/status", &[]).json()["troubles"], serde_json::json!([]));
}

#[test]
fn it_is_seen_while_it_waits_for_its_channel() {
    let mut redis = RedisServer::start();
    redis.kill9();
    let channel = format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = {:?}", redis.url());
    let mut agent = Agent::start(&format!("{channel}\n[status]\nlisten = \"127.0.0.1:0\""));
    let address = address(&agent);
    assert_eq!(get(address, "/health/live", &[]).status, 200);
    let unready = wait_for("the reason", SOON, || {
        let answer = get(address, "/health/ready", &[]);
        (answer.json()["code"] == "K101").then_some(answer)
    });
    assert_eq!((unready.status, &unready.json()["ready"]), (503, &false.into()), "{unready:?}");
    assert!(agent.logged("publishing").is_empty());
    let page = get(address, "/", &[]).body;
    assert!(page.contains("cannot connect to redis://"), "{page}");
    let early = get(address, "/api/actions", &[]).json()["token"].as_str().unwrap().to_owned();
    let form = format!("token={early}&all=true");
    assert_eq!(post(address, "/api/actions/replay", &[], &form).status, 503);
    redis.restart();
    wait_for("it to be ready, at the same address", SOON, || {
        let stream = std::net::TcpStream::connect(address).ok()?;
        drop(stream);
        (get(address, "/health/ready", &[]).status == 200).then_some(())
    });
    assert_eq!(post(address, "/api/actions/replay", &[], &form).status, 200, "the token is that of the process");
    assert_eq!(agent.logged("the status is served").len(), 1);
    assert_eq!(agent.terminate(SOON), Some(0));
}

#[test]
fn no_secret_and_no_content_of_a_message_is_in_what_prometheus_reads() {
    let (_folder, agent) = agent("password = \"hunter2-hunter2\"");
    let (address, to) = (address(&agent), pushes(&agent));
    push(to, 3);
    let bearer = "Authorization: Bearer hunter2-hunter2";
    let all = wait_for("the messages to be published", SOON, || {
        let answer = get(address, "/metrics", &[bearer]);
        answer.body.contains("kadabra_messages_published_total{publisher=\"\"} 3").then_some(answer.body)
    });
    assert!(!all.contains("hunter2") && !all.contains("numbered"), "{all}");
    for path in ["/", "/fragment", "/api/status", "/metrics"] {
        assert_eq!(get(address, path, &[]).status, 401, "{path}");
        assert!(!get(address, path, &[bearer]).body.contains("hunter2"), "{path}");
    }
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let (folder, agent) = agent("password = \"right\"");
    let (address, to) = (address(&agent), pushes(&agent));
    push(to, 7);
    let port = free_port();
    let configuration = folder.path().join("prometheus.yml");
    let text = format!(
        "scrape_configs:\n- job_name: kadabra\n  scrape_interval: 1s\n  authorization: {{credentials: right}}\n  \
         static_configs: [{{targets: ['{address}']}}]\n"
    );
    fs::write(&configuration, text).unwrap();
    let mut prometheus = command("prometheus");
    prometheus.arg(format!("--config.file={}", configuration.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Process::start("prometheus", prometheus, &folder.path().join("prometheus.log"));
    let asked = format!("http://127.0.0.1:{port}/api/v1/query?query=kadabra_messages_published_total");
    wait_for("Prometheus to have what was published", Duration::from_secs(60), || {
        let answer: serde_json::Value =
            serde_json::from_str(&ureq::get(&asked).call().ok()?.body_mut().read_to_string().ok()?).ok()?;
        (answer["data"]["result"][0]["value"][1] == "7").then_some(())
    });
}

#[test]
fn a_thousand_scrapes_cost_little() {
    let (_folder, agent) = agent("");
    let address = address(&agent);
    agent.wait_log("publishing");
    assert_eq!(get(address, "/metrics", &[]).status, 200);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    let begun = Instant::now();
    let mut stream = connect(address);
    let mut answer = vec![0; 1 << 20];
    for _ in 0..1000 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut read = 0;
        // The last line of all.
        while !answer[..read].windows(20).rev().take(200).any(|part| part == b"kadabra_build_info{v") || answer[read - 1] != b'\n'
        {
            read += stream.read(&mut answer[read..]).unwrap();
        }
    }
    println!("1,000 scrapes: {:?}, {} KiB more, of {before}", begun.elapsed(), resident().saturating_sub(before));
    // Unoptimised, and beside other tests.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(resident().saturating_sub(before) < 4096, "{before} KiB before, {} after", resident());
}

#[test]
fn where_it_is_not_asked_for_there_is_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path(), "").replace("[status]\nlisten = \"127.0.0.1:0\"", "[status]\nlisten = \"\"");
    let agent = Agent::start(&text);
    agent.wait_log("publishing");
    let with = Agent::start(&config(&folder.path().join("other"), ""));
    address(&with);
    let threads = |agent: &Agent| fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap().count();
    wait_for("the one that serves it to have one thread more", SOON, || (threads(&with) == threads(&agent) + 1).then_some(()));
    assert!(agent.logged("the status is served").is_empty());
}
