//! The status over HTTP: who may look, what is answered, and what it takes to get in its way.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    agent::Agent,
    process::wait_for,
    served::{address, config, connect, exchange, get, get_by_file, post, request},
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
    let text = config(folder.path(), "").replace("[status]\nlisten = \"127.0.0.1:0\"", &format!("[status]\nlisten = \"{at}\""));
    let mut agent = Agent::start(&text);
    let line = agent.wait_log("the status cannot be served");
    assert_eq!(line["level"], "WARNING", "{line}");
    assert!(line["mend"].as_str().unwrap().contains("listen in [status]"), "{line}");
    agent.wait_log("publishing");
    // Two attempts later.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(agent.logged("the status cannot be served").len(), 1);
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
