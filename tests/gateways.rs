//! What stands between the agent and InfluxDB and answers in its place: no message is lost to that. Behind each is a real InfluxDB.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::support::{
    agent::{Agent, Builder},
    influxd::{Influxd, Options},
    pipeline::{DATABASE, Left, PATIENCE, Pipeline, config, numbered},
    process::wait_for,
    redis_server::RedisServer,
    stand_in::{Reply, StandIn, answer},
};

/// What the server at `url` answers to a request; closes without an answer when there is none.
fn forward(request: &str, url: &str) -> Reply {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let forwarded = ureq::post([url, path].concat()).config().http_status_as_error(false).build().send(body);
    let Ok(mut answered) = forwarded else { return Reply::Last(Vec::new()) };
    let body = answered.body_mut().read_to_string().unwrap();
    answer(&answered.status().to_string(), "", &body)
}

/// What a gateway does with a request itself; `None` lets it through.
type Rule = dyn Fn(&str) -> Option<Reply> + Send + Sync;

/// An InfluxDB behind a gateway whose rule can be changed.
struct Guarded {
    pipeline: Pipeline,
    gateway: StandIn,
    rule: Arc<Mutex<Arc<Rule>>>,
    /// How many requests the rule answered.
    answered: Arc<AtomicUsize>,
}

impl Guarded {
    fn start(pipeline: Pipeline) -> Self {
        let (rule, answered) = (Arc::new(Mutex::new(Arc::new(|_: &str| None) as Arc<Rule>)), Arc::new(AtomicUsize::new(0)));
        let (of, count, url) = (Arc::clone(&rule), Arc::clone(&answered), pipeline.influxd.url());
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
        Self { pipeline, gateway, rule, answered }
    }

    fn agent(&self) -> Builder {
        let builder = Agent::with(&config(&self.pipeline.redis.url(), &self.gateway.url()));
        builder.env("KADABRA_CHANNEL__REDIS__MAX_DEAD_LETTERS", "10")
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

/// Answers that are not InfluxDB's, or are about nothing that a message could be to blame for.
fn refusals() -> Vec<Reply> {
    let page = "<html><head><title>Forbidden</title></head></html>";
    vec![
        answer("400 Bad Request", "", r#"{"error":"invalid API key format"}"#),
        answer("400 Bad Request", "", r#"{"error":"unable to parse 'Authorization'"}"#),
        answer("400 Bad Request", "", r#"{"message":"no route"}"#),
        answer("400 Bad Request", "", page),
        answer("400 Bad Request", "", ""),
        answer("403 Forbidden", "", page),
        answer("406 Not Acceptable", "", "Mod_Security"),
        answer("413 Payload Too Large", "", page),
        answer("422 Unprocessable Entity", "", r#"{"error":"field type conflict"}"#),
        answer("500 Internal Server Error", "", "oops"),
        answer("502 Bad Gateway", "", page),
        Reply::Last(Vec::new()),
    ]
}

fn nothing_is_lost_to_whom_refuses(blank_too: bool) {
    let guarded = Guarded::start(Pipeline::start());
    let mut agent = guarded.agent().start();
    let mut pushed = 0..0;
    for reply in refusals() {
        let name = format!("{reply:?}");
        let refused = reply.clone();
        guarded.rule(move |request| (blank_too || body_of(request) != "\n").then(|| refused.clone()));
        pushed.end += 300;
        guarded.pipeline.push_numbers(pushed.end - 300..pushed.end);
        guarded.wait_answered(if blank_too { 5 } else { 25 });
        assert_eq!(guarded.pipeline.left().dead, 0, "{name}");
        guarded.rule(|_| None);
        guarded.pipeline.assert_all_written(pushed.clone());
    }
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_gateway_that_refuses_everything_for_a_while_costs_no_message() {
    nothing_is_lost_to_whom_refuses(true);
}

#[test]
fn a_gateway_that_refuses_everything_but_a_blank_probe_for_a_while_costs_no_message() {
    nothing_is_lost_to_whom_refuses(false);
}

#[test]
fn a_gateway_that_closes_connections_at_random_costs_no_message() {
    let guarded = Guarded::start(Pipeline::start());
    let mut agent = guarded.agent().start();
    guarded.rule(|_| fastrand::bool().then(|| Reply::Last(Vec::new())));
    for batch in 0..20 {
        guarded.pipeline.push_numbers(batch * 50..(batch + 1) * 50);
        wait_for("the messages to be taken", PATIENCE, || (guarded.pipeline.left().queued == 0).then_some(()));
    }
    guarded.pipeline.assert_all_written(0..1000);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// A message on which the server behind `fails`; 39 others are with it.
fn marked(number: u64) -> Vec<u8> {
    numbered(number).replace("\"web", "\"poison").into_bytes()
}

fn only_the_marked_are_set_aside(reply: Reply, reason: &str, timeout: &str, bad_first: bool) {
    let guarded = Guarded::start(Pipeline::start());
    let mut agent = guarded.agent().env("KADABRA_PUBLISHER__INFLUXDB__TIMEOUT", timeout).start();
    guarded.rule(move |request| body_of(request).contains("poison").then(|| reply.clone()));
    let bad = [900, 901, 902].map(marked);
    if bad_first {
        for bad in bad {
            guarded.pipeline.push(&bad);
            guarded.wait_answered(1);
        }
        for number in 0..39 {
            guarded.pipeline.push_numbers(number..number + 1);
        }
    } else {
        let mut messages: Vec<_> = (0..39).map(|number| numbered(number).into_bytes()).collect();
        for (bad, at) in bad.into_iter().zip([0, 20, 41]) {
            messages.insert(at, bad);
        }
        guarded.pipeline.push_all(messages);
    }
    guarded.pipeline.wait_left(&Left { dead: 3, ..Left::NOTHING });
    guarded.pipeline.assert_written(0..39);
    for letter in guarded.pipeline.dead_letters() {
        assert!(String::from_utf8_lossy(&letter["payload"]).contains("poison"));
        let why = String::from_utf8_lossy(&letter["reason"]).into_owned();
        assert!(why.contains("fails whenever it is sent alone, while other points are written") && why.contains(reason), "{why}");
    }
    guarded.pipeline.push_numbers(39..100);
    guarded.pipeline.wait_left(&Left { dead: 3, ..Left::NOTHING });
    guarded.pipeline.assert_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn lines_on_which_the_server_closes_the_connection_are_set_aside_and_the_rest_is_written() {
    only_the_marked_are_set_aside(Reply::Last(Vec::new()), "closed before an answer came", "5s", false);
}

#[test]
fn lines_on_which_the_server_closes_do_not_stop_what_comes_after_them() {
    only_the_marked_are_set_aside(Reply::Last(Vec::new()), "closed before an answer came", "5s", true);
}

#[test]
fn lines_on_which_the_server_fails_are_set_aside_and_the_rest_is_written() {
    let reply = answer("500 Internal Server Error", "", r#"{"code":"internal error","message":"UnsupportedOperationException"}"#);
    only_the_marked_are_set_aside(reply, "500 {\"code\":\"internal error\"", "5s", false);
}

#[test]
fn lines_that_a_gateway_refuses_while_it_lets_others_through_are_set_aside() {
    only_the_marked_are_set_aside(answer("403 Forbidden", "", "<html>WAF</html>"), "403 <html>WAF</html>", "5s", false);
    only_the_marked_are_set_aside(answer("400 Bad Request", "", r#"{"error":"rule 7"}"#), "400 rule 7", "5s", true);
}

#[test]
fn lines_on_which_the_server_hangs_are_set_aside_and_the_rest_is_written() {
    only_the_marked_are_set_aside(Reply::Hang, "", "5s", false);
    only_the_marked_are_set_aside(Reply::Bytes(Vec::new()), "no answer within 300ms", "300ms", false);
}

/// What an operator of the database can mend waits for that, however it is said, and nothing else does.
#[test]
fn lines_that_the_server_refuses_for_a_fault_of_its_own_are_held() {
    let guarded = Guarded::start(Pipeline::start());
    let mut agent = guarded.agent().start();
    let full = answer(
        "500 Internal Server Error",
        "",
        r#"{"error":"[shard 2] engine: error writing WAL entry: no space left on device"}"#,
    );
    guarded.rule(move |request| body_of(request).contains("poison").then(|| full.clone()));
    let messages = (0..39).map(|number| numbered(number).into_bytes()).chain([marked(39)]);
    guarded.pipeline.push_all(messages);
    wait_for("the others to be written", PATIENCE, || (guarded.pipeline.written() == 39).then_some(()));
    guarded.wait_answered(20);
    assert_eq!(guarded.pipeline.left().dead, 0);
    guarded.rule(|_| None);
    guarded.pipeline.assert_all_written(0..40);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

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
