//! What stands between the agent and a destination and answers in its place: no message is lost to that. Behind each is a real InfluxDB 1.x
//! or VictoriaMetrics, or a stand-in of InfluxDB 2 or 3.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::support::{
    agent::Builder,
    between::{Between, Server},
    influxd::{Influxd, Options},
    pipeline::{DATABASE, Left, PATIENCE, Pipeline, numbered},
    process::wait_for,
    redis_server::RedisServer,
    stand_in::{Reply, StandIn, answer},
};

/// What the server at `url` answers to a request; closes without an answer when there is none.
fn forward(request: &str, url: &str) -> Reply {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let mut forwarded = ureq::post([url, path].concat());
    if let Some(login) = head.lines().find_map(|line| line.strip_prefix("authorization: ")) {
        forwarded = forwarded.header("authorization", login);
    }
    let Ok(mut answered) = forwarded.config().http_status_as_error(false).build().send(body) else {
        return Reply::Last(Vec::new());
    };
    let body = answered.body_mut().read_to_string().unwrap();
    answer(&answered.status().to_string(), "", &body)
}

/// What a gateway does with a request itself; `None` lets it through.
type Rule = dyn Fn(&str) -> Option<Reply> + Send + Sync;

/// A destination behind a gateway whose rule can be changed.
struct Guarded {
    between: Between,
    gateway: StandIn,
    rule: Arc<Mutex<Arc<Rule>>>,
    /// How many requests the rule answered.
    answered: Arc<AtomicUsize>,
}

impl Guarded {
    fn start(between: Between) -> Self {
        let (rule, answered) = (Arc::new(Mutex::new(Arc::new(|_: &str| None) as Arc<Rule>)), Arc::new(AtomicUsize::new(0)));
        let (of, count, url) = (Arc::clone(&rule), Arc::clone(&answered), between.url());
        let gateway = StandIn::answering(move |request| {
            let rule = Arc::clone(&of.lock().unwrap());
            match rule(request) {
                Some(reply) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    reply
                }
                None => forward(request, &url),
            }
        });
        Self { between, gateway, rule, answered }
    }

    fn agent(&self) -> Builder {
        self.between.agent_at(&self.gateway.url()).env("KADABRA_CHANNEL__REDIS__MAX_DEAD_LETTERS", "10")
    }

    fn rule(&self, rule: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Waits until the rule has answered so many more requests.
    fn wait_answered(&self, more: usize) {
        let end = self.answered.load(Ordering::SeqCst) + more;
        wait_for("the gateway to answer", PATIENCE, || (self.answered.load(Ordering::SeqCst) >= end).then_some(()));
    }
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// Whether a request has no line of a message: a blank one, or what InfluxDB 3 is sent in its place.
fn is_probe(request: &str) -> bool {
    ["\n", "kadabra\n"].contains(&body_of(request))
}

/// Answers that are not the destination's, or are about nothing that a message could be to blame for.
fn refusals() -> Vec<Reply> {
    let page = "<html><head><title>Forbidden</title></head></html>";
    vec![
        answer("200 OK", "", page),
        answer("302 Found", "Location: https://login.test/\r\n", page),
        // As each of the destinations might say something else.
        answer("400 Bad Request", "", r#"{"error":"invalid API key format"}"#),
        answer("400 Bad Request", "", r#"{"error":"unable to parse 'Authorization'"}"#),
        answer("400 Bad Request", "", r#"{"code":"invalid","message":"unable to parse 'Authorization': no scheme"}"#),
        answer("400 Bad Request", "", r#"{"error":"partial write of line protocol occurred","data":[]}"#),
        answer("400 Bad Request", "", r#"cannot process influx line protocol data: incorrect influx line "POST /": rule 7"#),
        answer("400 Bad Request", "", r#"{"message":"no route"}"#),
        answer("400 Bad Request", "", page),
        answer("400 Bad Request", "", ""),
        answer("401 Unauthorized", "", page),
        answer("403 Forbidden", "", page),
        answer("403 Forbidden", "", r#"{"error":"blocked by rule 7"}"#),
        answer("404 Not Found", "", page),
        answer("406 Not Acceptable", "", "Mod_Security"),
        answer("407 Proxy Authentication Required", "", page),
        answer("413 Payload Too Large", "", page),
        answer("422 Unprocessable Entity", "", r#"{"error":"field type conflict"}"#),
        answer("429 Too Many Requests", "", page),
        answer("500 Internal Server Error", "", "oops"),
        answer("502 Bad Gateway", "", page),
        answer("503 Service Unavailable", "", page),
        answer("503 Service Unavailable", "Retry-After: 0\r\n", page),
        Reply::Last(Vec::new()),
        Reply::Last(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
        Reply::Last(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec()),
        Reply::Last(b"HTTP/1.1 204 No Content\r\n".to_vec()),
        Reply::Last(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99\r\n\r\n{\"error\":\"partial write".to_vec()),
        Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    ]
}

fn nothing_is_lost_to(between: Between, refusals: Vec<Reply>, timeout: &str, requests: usize, blank_too: bool) {
    let guarded = Guarded::start(between);
    let agent = guarded.agent().env(&guarded.between.key("TIMEOUT"), timeout);
    let mut agent = agent.env("KADABRA_PUBLISHER__BACKOFF_MAX", "100ms").start();
    let mut pushed = 0..0;
    for reply in refusals {
        let name = format!("{reply:?}");
        guarded.rule(move |request| (blank_too || !is_probe(request)).then(|| reply.clone()));
        pushed.end += 300;
        guarded.between.push_numbers(pushed.end - 300..pushed.end);
        guarded.wait_answered(requests);
        assert_eq!(guarded.between.redis.left().dead, 0, "{name}");
        guarded.rule(|_| None);
        guarded.between.wait_left(&Left::NOTHING);
    }
    guarded.between.assert_written(pushed);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

fn a_gateway_that_refuses_everything_for_a_while_costs_no_message(between: Between) {
    nothing_is_lost_to(between, refusals(), "5s", 5, true);
}

fn a_gateway_that_refuses_everything_but_a_blank_probe_for_a_while_costs_no_message(between: Between) {
    nothing_is_lost_to(between, refusals(), "5s", 25, false);
}

fn a_gateway_that_does_not_answer_for_a_while_costs_no_message(between: Between) {
    nothing_is_lost_to(between, vec![Reply::Bytes(Vec::new())], "300ms", 12, false);
}

fn a_gateway_that_closes_connections_at_random_costs_no_message(between: Between) {
    let guarded = Guarded::start(between);
    let mut agent = guarded.agent().start();
    guarded.rule(|_| fastrand::bool().then(|| Reply::Last(Vec::new())));
    for batch in 0..20 {
        guarded.between.push_numbers(batch * 50..(batch + 1) * 50);
        wait_for("the messages to be taken", PATIENCE, || (guarded.between.redis.left().queued == 0).then_some(()));
    }
    guarded.between.assert_all_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// A message on which the server behind `fails`; 39 others are with it.
fn marked(number: u64) -> Vec<u8> {
    numbered(number).replace("\"web", "\"poison").into_bytes()
}

fn only_the_marked_are_set_aside(between: Between, reply: Reply, reason: &str, timeout: &str, bad: &[u64], bad_first: bool) {
    let guarded = Guarded::start(between);
    let mut agent = guarded.agent().env(&guarded.between.key("TIMEOUT"), timeout).start();
    guarded.rule(move |request| body_of(request).contains("poison").then(|| reply.clone()));
    let marked = bad.iter().copied().map(marked);
    if bad_first {
        for marked in marked {
            guarded.between.push([marked]);
            guarded.wait_answered(1);
        }
        for number in 0..39 {
            guarded.between.push_numbers(number..number + 1);
        }
    } else {
        let mut messages: Vec<_> = (0..39).map(|number| numbered(number).into_bytes()).collect();
        for (marked, at) in marked.zip([0, 20, 41]) {
            messages.insert(at, marked);
        }
        guarded.between.push(messages);
    }
    let set_aside = Left { dead: bad.len() as u64, ..Left::NOTHING };
    guarded.between.wait_left(&set_aside);
    guarded.between.assert_written(0..39);
    for letter in guarded.between.redis.dead_letters() {
        assert!(String::from_utf8_lossy(&letter["payload"]).contains("poison"));
        let why = String::from_utf8_lossy(&letter["reason"]).into_owned();
        assert!(why.contains("fails whenever it is sent alone, while other points are written") && why.contains(reason), "{why}");
    }
    guarded.between.push_numbers(39..100);
    guarded.between.wait_left(&set_aside);
    guarded.between.assert_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

const BAD: [u64; 3] = [900, 901, 902];

fn lines_on_which_the_server_closes_the_connection_are_set_aside_and_the_rest_is_written(between: Between) {
    only_the_marked_are_set_aside(between, Reply::Last(Vec::new()), "closed before an answer came", "5s", &BAD, false);
}

fn lines_on_which_the_server_closes_do_not_stop_what_comes_after_them(between: Between) {
    only_the_marked_are_set_aside(between, Reply::Last(Vec::new()), "closed before an answer came", "5s", &BAD, true);
}

fn lines_on_which_the_server_fails_are_set_aside_and_the_rest_is_written(between: Between) {
    let reply = answer("500 Internal Server Error", "", r#"{"code":"internal error","message":"UnsupportedOperationException"}"#);
    only_the_marked_are_set_aside(between, reply, "UnsupportedOperationException", "5s", &BAD, false);
}

/// As Envoy says it.
fn lines_on_which_the_server_closes_behind_a_gateway_are_set_aside_and_the_rest_is_written(between: Between) {
    let reply = answer(
        "503 Service Unavailable",
        "",
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    );
    only_the_marked_are_set_aside(between, reply, "503 upstream connect error", "5s", &BAD, false);
}

fn lines_that_a_gateway_refuses_with_a_page_are_set_aside_and_the_rest_is_written(between: Between) {
    only_the_marked_are_set_aside(
        between,
        answer("403 Forbidden", "", "<html>WAF</html>"),
        "403 <html>WAF</html>",
        "5s",
        &BAD,
        false,
    );
}

fn lines_that_a_gateway_refuses_do_not_stop_what_comes_after_them(between: Between) {
    let reply = answer("400 Bad Request", "", r#"{"error":"rule 7"}"#);
    only_the_marked_are_set_aside(between, reply, "rule 7", "5s", &BAD, true);
}

fn lines_on_which_the_server_hangs_are_set_aside_and_the_rest_is_written(between: Between) {
    only_the_marked_are_set_aside(between, Reply::Bytes(Vec::new()), "no answer within 300ms", "300ms", &BAD[..1], false);
}

/// What an operator of the database can mend waits for that, however it is said, and nothing else does.
fn lines_that_the_server_refuses_for_a_fault_of_its_own_are_held(between: Between) {
    let guarded = Guarded::start(between);
    let mut agent = guarded.agent().env("KADABRA_PUBLISHER__BACKOFF_MAX", "100ms").start();
    let full = "[shard 2] engine: error writing WAL entry: no space left on device";
    let full = match &guarded.between.server {
        Server::V1(_) => ("500 Internal Server Error", format!(r#"{{"error":"{full}"}}"#)),
        Server::V2(_) => {
            let said = format!("unexpected error writing points to database: {full}");
            ("500 Internal Server Error", format!(r#"{{"code":"internal error","message":"{said}"}}"#))
        }
        Server::V3(_) => (
            "500 Internal Server Error",
            "write buffer error: error from wal: object_store error: No space left on device (os error 28)".to_owned(),
        ),
        Server::VictoriaMetrics(_) => {
            ("503 Service Unavailable", "cannot store metrics: the storage is in read-only mode".to_owned())
        }
    };
    let full = answer(full.0, "", &full.1);
    guarded.rule(move |request| body_of(request).contains("poison").then(|| full.clone()));
    guarded.between.push((0..39).map(|number| numbered(number).into_bytes()).chain([marked(39)]));
    wait_for("the others to be written", PATIENCE, || (guarded.between.written().len() == 39).then_some(()));
    guarded.wait_answered(20);
    assert_eq!(guarded.between.redis.left().dead, 0);
    guarded.rule(|_| None);
    guarded.between.assert_all_written(0..40);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// Every promise as a test with one destination behind the gateway.
macro_rules! nothing_is_lost_to_gateways_before {
    ($destination:ident) => {
        mod $destination {
            nothing_is_lost_to_gateways_before!($destination:
                a_gateway_that_refuses_everything_for_a_while_costs_no_message,
                a_gateway_that_refuses_everything_but_a_blank_probe_for_a_while_costs_no_message,
                a_gateway_that_does_not_answer_for_a_while_costs_no_message,
                a_gateway_that_closes_connections_at_random_costs_no_message,
                lines_on_which_the_server_closes_the_connection_are_set_aside_and_the_rest_is_written,
                lines_on_which_the_server_closes_do_not_stop_what_comes_after_them,
                lines_on_which_the_server_fails_are_set_aside_and_the_rest_is_written,
                lines_on_which_the_server_closes_behind_a_gateway_are_set_aside_and_the_rest_is_written,
                lines_that_a_gateway_refuses_with_a_page_are_set_aside_and_the_rest_is_written,
                lines_that_a_gateway_refuses_do_not_stop_what_comes_after_them,
                lines_on_which_the_server_hangs_are_set_aside_and_the_rest_is_written,
                lines_that_the_server_refuses_for_a_fault_of_its_own_are_held,
            );
        }
    };
    ($destination:ident: $($promise:ident),* $(,)?) => {
        $(#[test] fn $promise() {
            super::$promise(super::Between::$destination());
        })*
    };
}

nothing_is_lost_to_gateways_before!(v1);
nothing_is_lost_to_gateways_before!(v2);
nothing_is_lost_to_gateways_before!(v3);
nothing_is_lost_to_gateways_before!(victoriametrics);

#[test]
fn what_a_limit_of_influxdbs_configuration_keeps_out_is_held_until_it_is_raised_and_the_rest_is_written() {
    for limit in ["max-values-per-tag = 7", "max-series-per-database = 14"] {
        let options = Options { data: limit.to_owned(), ..Options::default() };
        let mut pipeline = Pipeline { redis: RedisServer::start(), influxd: Influxd::start_with(options) };
        pipeline.influxd.create_database(DATABASE);
        let mut agent = pipeline.agent().env("KADABRA_CHANNEL__REDIS__MAX_DEAD_LETTERS", "10").start();
        pipeline.push_numbers(0..100);
        pipeline.assert_all_written(0..100);

        let new = |number: u64| numbered(number).replace("\"web", "\"new").into_bytes();
        let mixed = (100..200).map(|number| if number % 10 == 0 { new(number) } else { numbered(number).into_bytes() });
        pipeline.push_all(mixed);
        let said = agent.wait_condition("publisher");
        assert_eq!(said["level"], "ERROR", "an operator must mend it: {said}");
        assert!(said.to_string().contains("limit exceeded") && said.to_string().contains("section [data]"), "{said}");
        wait_for("what is within the limit", PATIENCE, || (pipeline.written() == 190).then_some(()));
        assert_eq!(pipeline.left().dead, 0);

        pipeline.influxd.stop();
        pipeline.influxd.configure_data("max-values-per-tag = 0\nmax-series-per-database = 0");
        pipeline.influxd.start_again();
        pipeline.assert_all_written(0..200);
        assert_eq!(agent.terminate(PATIENCE), Some(0));
    }
}
