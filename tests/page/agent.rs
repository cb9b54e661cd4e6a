//! The page of a real agent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use redis::Commands as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AT_ONCE, SOON};
use crate::support::{
    agent::Agent,
    browser::Browser,
    pipeline::config_of,
    process::{free_port, wait_for},
    served::address,
    stand_in::{Reply, StandIn, answer},
};

const Q: &str = "kadabra_queue";

/// What the database answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    Works,
    RefusesTheLogin,
    RefusesThePoints,
}

/// An agent that serves its page, with a queue of its own and a database that does as it is told.
struct House {
    _agent: Agent,
    page: SocketAddr,
    clients: redis::Connection,
    database: Arc<Mutex<Database>>,
    _server: StandIn,
    _folder: TempDir,
}

impl House {
    fn start(failpoints: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(Mutex::new(Database::Works));
        let does = Arc::clone(&database);
        let server = StandIn::answering(move |request| reply(*does.lock().unwrap(), request));
        let port = free_port();
        let path = folder.path().join("queue.db");
        let channel = format!(
            "[channel]\ntype = \"embedded\"\n[channel.embedded]\npath = {path:?}\nlisten = \"127.0.0.1:{port}\"\n[status]\nlisten = \"127.0.0.1:0\""
        );
        let agent = Agent::with(&config_of(&channel, &server.url())).env("FAILPOINTS", failpoints).start();
        let page = address(&agent);
        agent.wait_log("publishing");
        let clients = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        let clients = wait_for("the channel to listen", SOON, || clients.get_connection().ok());
        Self { _agent: agent, page, clients, database, _server: server, _folder: folder }
    }

    fn database(&self, does: Database) {
        *self.database.lock().unwrap() = does;
    }

    fn push(&mut self, metric: &str, host: &str) {
        let message = message(metric, host).to_string();
        let _: usize = self.clients.lpush(Q, message).unwrap();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.page)
    }

    fn browser(&self, path: &str) -> Browser {
        let browser = Browser::start();
        browser.go(&self.url(path));
        browser
    }
}

fn reply(database: Database, request: &str) -> Reply {
    match database {
        Database::RefusesTheLogin => answer("401 Unauthorized", "", "{\"error\":\"authorization failed\"}"),
        // An empty body is how the agent finds out whether it is the points.
        Database::RefusesThePoints if request.contains("\r\n\r\nuserSignup") => {
            let why = "partial write: field type conflict: input field \\\"value\\\" on measurement \\\"userSignup\\\" is type \
                       float, already exists as type string dropped=1";
            answer(
                "400 Bad Request",
                "Content-Type: application/json\r\nX-Influxdb-Version: 1.8.10\r\n",
                &format!("{{\"error\":\"{why}\"}}"),
            )
        }
        _ => answer("204 No Content", "X-Influxdb-Version: 1.8.10\r\n", ""),
    }
}

fn message(metric: &str, host: &str) -> Value {
    let time = "2026-03-01T12:00:00.000001Z";
    json!({
        "dimensions": [{ "name": "host", "value": host }],
        "counters": [{ "name": metric, "metadata": {}, "timestamp": time, "value": 1.0 }],
        "timers": [],
        "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
    })
}

#[test]
fn an_actor_that_was_restarted_is_seen_with_what_happened_to_it() {
    let mut house = House::start("publisher.publish=1*panic(out of cheese)");
    let browser = house.browser("/");
    house.push("clicks", "app-1");
    browser.wait_text(".box.publisher .restarts", "1 restart");
    browser.click(".box.publisher .actor:has(.restarts) summary");
    browser.wait_text(".box.publisher .events", "out of cheese");
    // What was opened stays open while the page changes.
    let at = browser.run("return document.querySelector('.verdict').dataset.at", &[]);
    wait_for("two updates", SOON, || {
        (browser.run("return document.querySelector('.verdict').dataset.at", &[]) != at).then_some(())
    });
    assert_eq!(browser.run("return document.querySelector('.box.publisher .actor:has(.restarts)').open", &[]), json!(true));
    browser.wait_true("a mark in each chart", "return document.querySelectorAll('.plot .mark.restart').length === 3");
    browser.pictures("agent-restart");
    browser.assert_no_barriers();
}

#[test]
fn a_hold_is_seen_with_what_to_do_and_so_is_its_end() {
    let mut house = House::start("");
    let browser = house.browser("/");
    house.database(Database::RefusesTheLogin);
    house.push("clicks", "app-1");
    browser.wait_text("h1", "Held");
    assert_eq!(browser.texts(".box.destination.held").len(), 1);
    browser.wait_true("its name in the tab", "return document.title.startsWith('Held')");
    assert!(!browser.texts(".verdict .remedy").concat().is_empty());
    browser.pictures("agent-held");
    browser.assert_no_barriers();
    house.database(Database::Works);
    browser.wait_text("h1", "Well");
    browser.wait_true("no box that is held", "return document.querySelectorAll('.box.held').length === 0");
    browser.wait_true("its end in each chart", "return document.querySelectorAll('.plot .mark.released').length === 3");
}

#[test]
fn a_pushed_metric_is_seen_soon_and_found_by_the_filter_in_the_address() {
    let mut house = House::start("");
    let browser = house.browser("/");
    browser.wait_text("#live", "Updates by itself");
    for number in 1..4 {
        let metric = format!("clicks{number}");
        house.push(&metric, "app-1");
        browser.wait_text_within(AT_ONCE, ".seen .metric", &metric);
        browser.wait_text_within(AT_ONCE, ".tally td.is", &number.to_string());
    }
    browser.wait_text("h1", "Well");
    browser.pictures("agent-well");
    browser.assert_no_barriers();

    browser.go(&house.url("/?filter=CLICKS2+host%3Dapp"));
    assert_eq!(browser.texts(".seen .metric"), ["clicks2"]);
    house.push("clicks2", "app-9");
    browser.wait_text_within(AT_ONCE, ".seen .dimension", "host=app-9");
    house.push("clicks3", "app-9");
    browser.wait_text_within(AT_ONCE, ".tally td.is", "5");
    assert_eq!(browser.texts(".seen .metric"), ["clicks2", "clicks2"], "an update filters, too");
}

#[test]
fn a_dead_letter_is_seen_with_the_words_of_the_database_and_gone_once_it_is_replayed() {
    const REPLAY: &str = ".letters article:not(.all) form[action$=replay] button";
    let mut house = House::start("");
    let browser = house.browser("/?filter=user");
    house.database(Database::RefusesThePoints);
    house.push("userSignup", "app-1");
    browser.wait_text(".letters article", "field type conflict");
    browser.wait_text(".letters h2 .badge", "1");
    browser.pictures("agent-dead-letter");
    browser.assert_no_barriers();
    house.database(Database::Works);
    assert_eq!(browser.texts(REPLAY), ["Replay 1"]);
    browser.click(REPLAY);
    browser.wait_text(".notice", "1 dead letter is queued anew");
    browser.wait_text(".letters h2 .badge", "0");
    assert!(browser.texts(".letters article").is_empty(), "gone at once");
    browser.wait_text(".tally td.is", "1");
    assert!(browser.address().ends_with("&filter=user"), "{}", browser.address());
    browser.pictures("agent-replayed");
    browser.assert_no_barriers();
    // A reload does nothing anew.
    browser.go(&browser.address());
    browser.wait_text(".notice", "1 dead letter is queued anew");
}

/// Names that mean harm are shown as text, and what is done to their dead letters is done to them alone.
#[test]
fn a_dead_letter_is_looked_at_and_discarded_by_itself() {
    const HOSTILE: &str = "userSignup<img src=x onerror=\"document.title='hurt'\">\u{202e}";
    const DISCARD: &str = ".letters article:first-of-type form[action$=discard] button";
    let mut house = House::start("");
    let browser = house.browser("/");
    house.database(Database::RefusesThePoints);
    house.push(HOSTILE, "app-1");
    house.push("userSignup", "app-1");
    browser.wait_text(".letters h2 .badge", "2");
    let text = browser.wait_text(".letters article", "onerror=");
    assert!(text.contains("<img src=x") && text.contains("\\u{202e}"), "{text}");
    browser.pictures("agent-hostile");
    browser.assert_no_barriers();
    browser.click(".letters article.all form[action='/dead-letters'] button");
    browser.wait_text("h1", "Dead letters, the oldest first");
    assert_eq!(browser.texts(".letters article").len(), 2);
    browser.click(".letters article:first-of-type summary");
    browser.pictures("agent-letters");
    browser.assert_no_barriers();
    browser.click(DISCARD);
    browser.wait_text(".notice", "1 dead letter is deleted");
    browser.wait_text(".letters h2 .badge", "1");
    // By the reason, whatever is in its text.
    house.push(HOSTILE, "app-1");
    let reason = ".letters article:not(.all):has(h3):first-of-type";
    browser.wait_text(&format!("{reason} h3"), "onerror=");
    browser.click(&format!("{reason} summary"));
    browser.click(&format!("{reason} form[action$=discard] button"));
    browser.wait_text(".notice", "1 dead letter is deleted");
    browser.wait_text(".letters h2 .badge", "1");
    assert!(!browser.texts(".letters").concat().contains("onerror="), "{}", browser.text());
    // It came through, and is text there as well.
    browser.wait_text(".seen .metric", "onerror=");
    assert!(browser.run("return document.title", &[]).as_str().unwrap().ends_with("· Kadabra"));
    assert_eq!(browser.run("return document.querySelectorAll('main script, main img').length", &[]), json!(0));
}
