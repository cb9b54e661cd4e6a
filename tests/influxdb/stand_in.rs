//! What no real influxd can be made to answer: wrong, endless, slow or for somebody else.

use std::time::{Duration, Instant};

use kadabra::{
    config::{Influxdb, Secret},
    publisher::{LinePublisher, Outcome, Publisher},
};
use serde_json::json;

use super::{PASSWORD, all_written, config, held, many, one, publish, retried, wait_for_written, with, write_on};
use crate::support::{
    influxd::{Influxd, Options},
    stand_in::{Reply, StandIn, answer},
};

/// What the publisher makes of one reply, and how long that took.
async fn outcome_of(reply: Reply) -> (Outcome, Duration) {
    outcome_within(Duration::from_secs(20), reply).await
}

async fn outcome_within(timeout: Duration, reply: Reply) -> (Outcome, Duration) {
    let server = StandIn::start(vec![reply]);
    let config = Influxdb { timeout, ..config(&server.url()) };
    let mut publisher = LinePublisher::influxdb(&config);
    let begin = Instant::now();
    let outcome = publish(&mut publisher, &one()).await;
    (outcome, begin.elapsed())
}

#[actix_rt::test]
async fn throttling_is_waited_for_as_long_as_the_server_asks() {
    for (status, header, expected) in [
        ("429 Too Many", "Retry-After: 7\r\n", Some(7)),
        ("503 Busy", "Retry-After: 100000\r\n", Some(600)),
        ("503 Busy", "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(0)),
        ("503 Busy", "", None),
        ("502 Bad Gateway", "", None),
        ("408 Request Timeout", "", None),
    ] {
        let (outcome, _) = outcome_of(answer(status, header, "busy\u{1b}[31m")).await;
        let (after, why) = retried(outcome);
        assert_eq!(after, expected.map(Duration::from_secs), "{status}");
        assert!(why.ends_with("busy\u{fffd}[31m"), "{why}");
    }
}

#[actix_rt::test]
async fn what_is_not_influxdb_is_held_and_nothing_is_refused() {
    for (reply, words) in [
        (answer("200 OK", "", "<html>\nWelcome!</html>"), "200 <html> Welcome!</html>"),
        (answer("400 Bad Request", "", "<html>nginx</html>"), "400 <html>nginx</html>"),
        (answer("405 Not Allowed", "", ""), "405"),
        (answer("404 Not Found", "", "404 page not found\n"), "404 404 page not found"),
        (Reply::Bytes(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()), "101"),
    ] {
        let (outcome, _) = outcome_of(reply).await;
        let (what, mend) = held(outcome);
        assert!(what.contains("is not the write API of InfluxDB 1.x") && what.ends_with(words), "{what}");
        assert!(mend.contains("publisher.influxdb.url"), "{mend}");
    }
}

#[actix_rt::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = StandIn::start(vec![answer("204 No Content", "", "")]);
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let (outcome, _) = outcome_of(answer(status, &format!("Location: {}/write\r\n", elsewhere.url()), "")).await;
        let (what, _) = held(outcome);
        assert!(what.ends_with(&format!(": {} to {}/write", &status[..3], elsewhere.url())), "{what}");
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[actix_rt::test]
async fn garbage_silence_and_floods_are_retried_in_bounded_time() {
    for (reply, in_time) in [
        (Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), true),
        (Reply::Last(Vec::new()), true),
        (Reply::Hang, true),
        (Reply::Endless(b"HTTP/1.1 500 No\r\nContent-Length: 100000000000\r\n\r\n".to_vec()), true),
        (Reply::Endless(b"HTTP/1.1 204 No Content\r\nX: ".to_vec()), true),
        (Reply::Endless(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()), true),
        (Reply::Trickle(b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n".to_vec()), true),
        (Reply::Trickle(b"HTTP/1.1 204 No Content\r\nX: ".to_vec()), false),
        (Reply::Bytes(Vec::new()), false),
        (Reply::Last(b"HTTP/1.1 500 No\r\nContent-Length: 50\r\n\r\ncut".to_vec()), true),
    ] {
        let name = format!("{reply:?}");
        // Long for a busy machine, unless it is the time-out that ends it.
        let ends_by_itself = in_time && !matches!(reply, Reply::Trickle(_));
        let timeout = Duration::from_millis(if ends_by_itself { 20_000 } else { 800 });
        let (outcome, took) = outcome_within(timeout, reply).await;
        let (_, why) = retried(outcome);
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
        assert_eq!(!why.contains("no answer within"), in_time, "{name}: {why}");
        assert!(why.starts_with("cannot write to influxdb at http://127.0.0.1:") && why.len() < 600, "{name}: {why}");
    }
}

#[actix_rt::test]
async fn a_kept_connection_that_is_reset_is_called_that() {
    let server = StandIn::start(vec![answer("204 No Content", "", ""), Reply::Hang]);
    let mut publisher = LinePublisher::influxdb(&config(&server.url()));
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    // The body is not read, so that closing resets.
    let (_, why) = retried(publish(&mut publisher, &many(300)).await);
    assert!(why.contains("the connection ") && !why.contains("HTTP"), "{why}");
}

#[actix_rt::test]
async fn an_answer_whose_body_is_late_counts_by_its_status() {
    let slow = Reply::Trickle(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 1000000\r\n\r\nbusy ".to_vec());
    let (after, why) = retried(outcome_of(slow).await.0);
    assert_eq!(after, Some(Duration::from_secs(7)));
    assert!(why.contains(": 503 busy xxx"), "{why}");
}

#[actix_rt::test]
async fn informational_answers_before_the_final_one_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
    let written = Reply::Bytes([interim, "HTTP/1.1 204 No Content\r\n\r\n"].concat().into_bytes());
    let busy = Reply::Bytes([interim, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"].concat().into_bytes());
    let server = StandIn::start(vec![written.clone(), busy, written]);
    let mut publisher = LinePublisher::influxdb(&config(&server.url()));
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    let (_, why) = retried(publish(&mut publisher, &one()).await);
    assert!(why.ends_with(": 503 busy"), "{why}");
    assert_eq!(write_on(&mut publisher).await, all_written());
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(server.connections(), 1);
}

#[actix_rt::test]
async fn a_connection_that_speaks_another_protocol_is_not_used_again() {
    let switched = Reply::Bytes(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec());
    let server = StandIn::start(vec![switched.clone(), switched, Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]);
    let mut publisher = LinePublisher::influxdb(&config(&server.url()));
    held(publish(&mut publisher, &one()).await);
    held(write_on(&mut publisher).await);
    assert_eq!(write_on(&mut publisher).await, all_written());
    assert_eq!(write_on(&mut publisher).await, all_written());
    assert_eq!(server.connections(), 3);
}

#[actix_rt::test]
async fn after_a_broken_connection_the_server_is_asked_before_the_body_is_sent() {
    let written = Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let server = StandIn::start(vec![Reply::Hang, written]);
    let mut publisher = LinePublisher::influxdb(&Influxdb { timeout: Duration::from_millis(300), ..config(&server.url()) });
    retried(publish(&mut publisher, &many(5000)).await);
    // This stand-in never says that it would read the body.
    retried(write_on(&mut publisher).await);
    assert_eq!(wait_for_written(&mut publisher).await, all_written());
    let asked: Vec<bool> =
        server.requests().iter().map(|request| request.to_lowercase().contains("expect: 100-continue")).collect();
    assert!(!asked[0] && asked[1] && !asked[2], "{asked:?}");
}

#[actix_rt::test]
async fn the_request_is_what_influxdb_documents_and_the_password_is_in_its_header_only() {
    let server = StandIn::start(vec![Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]);
    let mut publisher = LinePublisher::influxdb(&with(&server.url(), |v1| {
        (v1.username, v1.password) = (Some("me".to_owned()), Some(Secret::new("secret")));
        (v1.database, v1.retention_policy) = ("a b&c".to_owned(), Some("r=1".to_owned()));
        v1.consistency = Some("quorum".to_owned());
    }));
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    let requests = server.requests();
    let request = requests[0].to_lowercase();
    assert!(requests[0].starts_with("POST /write?db=a+b%26c&rp=r%3D1&consistency=quorum&precision=ns HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: basic bwu6c2vjcmv0\r\n"), "{request}");
    assert!(request.contains(concat!("\r\nuser-agent: kadabra/", env!("CARGO_PKG_VERSION"), "\r\n")), "{request}");
    assert!(requests[0].ends_with("\r\n\r\nc value=1.0 1772366400000001000\n"), "{request}");
    assert!(!request.contains("connection: close"), "{request}");
}

#[actix_rt::test]
async fn a_server_that_sends_the_login_back_does_not_bring_it_into_a_sentence() {
    let echo = format!("bad login me:{PASSWORD} Basic bWU6cEBzcyB3Im9yZDox");
    for body in [echo.clone(), json!({ "error": echo }).to_string()] {
        for status in ["400 Bad", "401 No", "403 No", "404 No", "500 No", "200 OK"] {
            let server = StandIn::start(vec![answer(status, "", &body)]);
            let mut publisher = LinePublisher::influxdb(&with(&server.url(), |v1| {
                (v1.username, v1.password) = (Some("me".to_owned()), Some(Secret::new(PASSWORD)));
                v1.create_database = true;
            }));
            let said = format!("{:?} {:?}", publish(&mut publisher, &one()).await, publisher.probe().await);
            assert!(said.contains("bad login me:***"), "{said}");
            assert!(!said.contains("p@ss") && !said.contains("bWU6cEBzcyB3Im9yZDox"), "{said}");
        }
    }
}

#[actix_rt::test]
async fn what_cannot_be_reached_is_said_in_a_sentence() {
    let plain = Influxd::start();
    for (url, expected) in [
        ("http://127.0.0.1:1".to_owned(), "cannot connect: Connection refused"),
        ("http://no-such-host.invalid:8086".to_owned(), "cannot connect: cannot find the host no-such-host.invalid: "),
        (
            plain.url().replace("http:", "https:"),
            "cannot connect: what answers does not speak TLS; check whether that port speaks TLS",
        ),
    ] {
        let mut publisher = LinePublisher::influxdb(&Influxdb { timeout: Duration::from_secs(2), ..config(&url) });
        for outcome in [publish(&mut publisher, &one()).await, publisher.probe().await] {
            let (_, why) = retried(outcome);
            assert!(why.starts_with(&format!("cannot write to influxdb at {url}: {expected}")), "{why}");
        }
    }
}

#[actix_rt::test]
async fn https_is_spoken_with_a_server_that_the_system_trusts_and_with_no_other() {
    const TRUSTED: &str = "KADABRA_TEST_TRUSTED_URL";
    if let Ok(url) = std::env::var(TRUSTED) {
        let mut publisher = LinePublisher::influxdb(&with(&url, |v1| v1.create_database = true));
        assert_eq!(publish(&mut publisher, &one()).await, all_written());
        return;
    }
    let influxd = Influxd::start_with(Options { https: true, ..Options::default() });
    let mut publisher = LinePublisher::influxdb(&config(&influxd.url()));
    let (_, why) = retried(publish(&mut publisher, &one()).await);
    assert!(why.contains("cannot connect: its certificate was issued by nobody whom this system trusts"), "{why}");
    // What the system trusts is read once from the environment, which is set for another run of this test.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "influxdb::stand_in::https_is_spoken_with_a_server_that_the_system_trusts_and_with_no_other"]);
    let again = again.env(TRUSTED, influxd.url()).env("SSL_CERT_FILE", influxd.certificate()).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}
