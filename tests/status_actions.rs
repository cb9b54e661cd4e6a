//! What can be done over HTTP to dead letters: by whom, to which, and that nothing else comes of it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use redis::Commands as _;
use serde_json::Value;

use crate::support::{
    agent::Agent,
    process::wait_for,
    redis_server::RedisServer,
    served::{Answer, address, config, connect, get, post, request},
};

const SOON: Duration = Duration::from_secs(20);
const Q: &str = "kadabra_queue";

/// An agent, and where its status is served.
struct House {
    agent: Agent,
    status: SocketAddr,
    _folder: tempfile::TempDir,
}

impl House {
    /// With these further keys of `[status]`, and sections.
    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::start(&config(folder.path(), more));
        let status = address(&agent);
        Self { agent, status, _folder: folder }
    }

    /// Pushes messages that nobody can read.
    fn push(&self, messages: &[&str]) {
        let line = self.agent.wait_log("receiving");
        let from = line["from"].as_str().unwrap();
        let to = from.strip_prefix("clients at ").and_then(|rest| rest.split(' ').next()).unwrap();
        let mut clients = redis::Client::open(format!("redis://{to}/")).unwrap().get_connection().unwrap();
        messages.iter().for_each(|message| clients.lpush::<_, _, ()>(Q, *message).unwrap());
    }

    fn token(&self, headers: &[&str]) -> String {
        get(self.status, "/api/actions", headers).json()["token"].as_str().unwrap().to_owned()
    }

    fn act(&self, act: &str, form: &str) -> Answer {
        let token = self.token(&[]);
        post(self.status, &format!("/api/actions/{act}"), &[], &format!("token={token}&{form}"))
    }

    /// The ids of dead letters, as their page has them; those whose query is this.
    fn ids(&self, query: &str) -> Vec<String> {
        ids(&get(self.status, &format!("/dead-letters{query}"), &[]).body)
    }

    fn wait_letters(&self, count: usize) {
        wait_for("dead letters", SOON, || (self.ids("").len() == count).then_some(()));
    }

    fn publisher(&self) -> Value {
        get(self.status, "/api/status", &[]).json()["publishers"][0].clone()
    }
}

fn ids(page: &str) -> Vec<String> {
    page.split("<h2><code>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_done_by_get_without_the_token_or_for_a_page_elsewhere() {
    let house = House::with("");
    house.push(&["nonsense", "nonsense", "nonsense"]);
    house.wait_letters(3);
    let status = house.status;
    let right = format!("token={}&all=true", house.token(&[]));
    let wrong = format!("token={}&all=true", "0".repeat(64));
    for act in ["replay", "discard"] {
        let path = format!("/api/actions/{act}");
        assert_eq!(get(status, &format!("{path}?{right}"), &[]).status, 405, "{act}");
        assert_eq!(
            post(status, &format!("{path}?{right}"), &[], "all=true").status,
            403,
            "the token is read from the form alone"
        );
        let refused = post(status, &path, &[], &wrong);
        assert_eq!(refused.status, 403);
        assert!(refused.json()["error"].as_str().unwrap().starts_with("the token is not that of this process"), "{refused:?}");
        assert_eq!(post(status, &path, &["Origin: http://evil.example.com"], &right).status, 403);
        assert_eq!(post(status, &path, &["Origin: null"], &right).status, 403);
        assert_eq!(post(status, &path, &["Sec-Fetch-Site: cross-site"], &right).status, 403);
        assert_eq!(post(status, &path, &["Host: evil.example.com"], &right).status, 421);
        for unclear in ["", "&all=false", "&reasn=x&all=true", "&id="] {
            let form = right.replace("&all=true", unclear);
            assert_eq!(post(status, &path, &[], &form).status, 400, "{form}");
        }
        let unknown = post(status, &path, &[], &right.replace("all=true", "id=999+nonsense+-1"));
        assert_eq!(unknown.status, 404);
        assert!(unknown.json()["error"].as_str().unwrap().contains("none any more with the id 999, nonsense, -1"), "{unknown:?}");
    }
    assert_eq!(post(status, "/api/actions/publish", &[], &right).status, 404);
    // Many megabytes are refused before they have come.
    let huge = format!("{right}&filter={}", "a".repeat(8 << 20));
    let mut stream = connect(status);
    let head = ["Content-Type: application/x-www-form-urlencoded"];
    drop(stream.write_all(request("POST", "/api/actions/discard", &head, &huge).as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(house.ids("").len(), 3, "nothing was done");
    assert!(house.agent.logged("over HTTP").is_empty());
}

#[test]
fn dead_letters_are_replayed_and_discarded_by_id_by_reason_and_all_of_them() {
    let house = House::with("");
    house.push(&["nonsense", "{}", "[1]"]);
    house.wait_letters(3);
    let first = house.ids("")[0].clone();
    let done = house.act("discard", &format!("id={first}"));
    assert_eq!((done.status, &done.json()["letters"]), (200, &1.into()), "{done:?}");
    assert_eq!(done.json()["notice"], "1 dead letter is deleted");
    assert_eq!(house.act("discard", &format!("id={first}")).status, 404, "twice");
    assert_eq!(house.act("replay", &format!("id={first}")).status, 404);
    // By one that is gone and one that is there.
    let second = house.ids("")[0].clone();
    let done = house.act("replay", &format!("id={first}+{second}")).json();
    assert_eq!((&done["letters"], &done["missing"]), (&1.into(), &serde_json::json!([first])));
    // It is refused anew, under an id of its own.
    wait_for("it to be refused anew", SOON, || {
        let ids = house.ids("");
        (ids.len() == 2 && !ids.contains(&second)).then_some(())
    });
    // Those that nobody has seen yet are not meant.
    let done = house.act("discard", "all=true&until=2020-01-01T00:00:00Z").json();
    assert_eq!(done["letters"], 0);
    let reasons = wait_for("the reasons of both", SOON, || {
        let reasons = house.publisher()["dead_letters"]["by_reason"].as_array().unwrap().clone();
        (reasons.len() == 2).then_some(reasons)
    });
    let reason: String = url::form_urlencoded::byte_serialize(reasons[0]["reason"].as_str().unwrap().as_bytes()).collect();
    assert_eq!(house.ids(&format!("?reason={reason}")).len(), 1);
    assert_eq!(house.act("discard", &format!("reason={reason}")).json()["letters"], 1);
    assert_eq!(house.publisher()["dead_letters"]["by_reason"].as_array().unwrap().len(), 1, "it is not told of any more");
    assert_eq!(house.act("discard", "publisher=another").json()["letters"], 0);
    assert_eq!(house.act("discard", "all=true").json()["letters"], 1);
    assert_eq!(house.act("discard", "all=true").json()["letters"], 0);
    let letters = house.publisher()["dead_letters"].clone();
    assert_eq!((&letters["count"], letters["by_reason"].as_array().unwrap().len()), (&0.into(), 0), "at once");
    assert_eq!(house.publisher()["tally"]["difference"], 0);
    assert!(!house.agent.logged("dead letters were deleted, as was asked for over HTTP").is_empty());
}

#[test]
fn a_browser_is_sent_back_to_the_page_with_a_notice_that_is_text() {
    let house = House::with("");
    house.push(&["nonsense"]);
    house.wait_letters(1);
    let form = format!("token={}&id=7<script>&filter=a+b", house.token(&[]));
    let sent = post(house.status, "/api/actions/replay", &["Accept: text/html,*/*", "Origin: http://localhost"], &form);
    assert_eq!(sent.status, 303, "{sent:?}");
    let to = sent.header("location").unwrap();
    assert!(to.starts_with("/?notice=") && to.ends_with("&filter=a+b"), "{to}");
    for path in [to.to_owned(), to.replacen("/?", "/fragment?", 1)] {
        let page = get(house.status, &path, &[]).body;
        assert!(page.contains("none any more with the id 7&#60;script&#62;") && !page.contains("7<script>"), "{page}");
    }
    assert!(!get(house.status, "/?notice=nothing", &[]).body.contains("class=\"notice\""));
    assert_eq!(house.ids("").len(), 1);
}

#[test]
fn with_a_password_an_action_needs_both_it_and_the_token() {
    let house = House::with("password = \"right\"");
    house.push(&["nonsense"]);
    let bearer = "Authorization: Bearer right";
    assert_eq!(get(house.status, "/api/actions", &[]).status, 401);
    assert_eq!(get(house.status, "/dead-letters", &[]).status, 401);
    let form = format!("token={}&all=true", house.token(&[bearer]));
    assert_eq!(post(house.status, "/api/actions/discard", &[], &form).status, 401);
    assert_eq!(post(house.status, "/api/actions/discard", &[bearer], "all=true").status, 403);
    let done = wait_for("the dead letter to be gone", SOON, || {
        let done = post(house.status, "/api/actions/discard", &[bearer], &form);
        (done.json()["letters"] == 1).then_some(done)
    });
    assert_eq!(done.status, 200);
}

#[test]
fn each_of_several_publishers_has_its_own() {
    let house = House::with("[publishers.one]\ntype = \"debug\"\n[publishers.two]\ntype = \"debug\"");
    house.push(&["nonsense", "nonsense"]);
    house.wait_letters(4);
    assert_eq!(house.ids("?publisher=one").len(), 2);
    assert_eq!(house.act("discard", "publisher=one").json()["letters"], 2);
    assert_eq!((house.ids("").len(), house.ids("?publisher=two").len()), (2, 2));
    assert_eq!(house.act("replay", "publisher=two").json()["letters"], 2);
    wait_for("them to be refused anew for that one alone", SOON, || (house.ids("?publisher=two").len() == 2).then_some(()));
    assert_eq!(house.ids("").len(), 2);
}

#[test]
fn those_in_a_redis_are_got_at_beside_the_pipelines() {
    let redis = RedisServer::start();
    let more = "[publishers.one]\ntype = \"debug\"\n[publishers.two]\ntype = \"debug\"";
    let text = format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = {:?}\n[status]\nlisten = \"127.0.0.1:0\"\n{more}",
        redis.url()
    );
    let agent = Agent::start(&text);
    let status = address(&agent);
    agent.wait_log("publishing");
    let mut clients = redis.connection();
    let _: () = clients.lpush(Q, ["nonsense", "nonsense"].as_slice()).unwrap();
    let house = House { agent, status, _folder: tempfile::tempdir().unwrap() };
    house.wait_letters(4);
    let one = house.ids("?publisher=one");
    assert!(one.len() == 2 && one.iter().all(|id| id.starts_with("one/")), "{one:?}");
    assert_eq!(house.act("discard", &format!("id={}", one[0].replace('/', "%2F"))).json()["letters"], 1);
    assert_eq!(house.act("replay", "publisher=two").json()["letters"], 2);
    wait_for("them to be refused anew", SOON, || (house.ids("?publisher=two").len() == 2).then_some(()));
    assert_eq!(house.ids("").len(), 3);
}

#[test]
#[cfg(feature = "failpoints")]
fn what_cannot_be_done_now_is_said_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Agent::with(&config(folder.path(), "")).env("FAILPOINTS", "agent.letter.error=1*return(refused)->off");
    let agent = failing.start();
    let status = address(&agent);
    let house = House { agent, status, _folder: folder };
    house.push(&["nonsense", "nonsense"]);
    house.wait_letters(2);
    let failed = house.act("discard", "all=true");
    assert_eq!(failed.status, 503, "{failed:?}");
    assert!(failed.json()["error"].as_str().unwrap().contains("this is a test"), "{failed:?}");
    assert_eq!(house.act("discard", "all=true").json()["letters"], 2);
}

/// Whoever sends a form byte by byte, or stops in the middle of it, has five seconds.
#[test]
fn a_form_that_does_not_arrive_in_time_is_refused() {
    let house = House::with("");
    house.push(&["nonsense"]);
    house.wait_letters(1);
    let form = format!("token={}&all=true", house.token(&[]));
    let whole = request("POST", "/api/actions/discard", &["Content-Type: application/x-www-form-urlencoded"], &form);
    let begun = Instant::now();
    let mut stream = connect(house.status);
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (now, later) = whole.split_at(whole.len() - 90);
    stream.write_all(now.as_bytes()).unwrap();
    let mut answer = Vec::new();
    for byte in later.as_bytes().iter().take(89) {
        // It may be answered, or closed, before the next byte.
        drop(stream.write_all(&[*byte]));
        match stream.read_to_end(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        if answer.starts_with(b"HTTP/1.1 408") {
            break;
        }
    }
    let (took, answer) = (begun.elapsed(), String::from_utf8_lossy(&answer).into_owned());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(house.ids("").len(), 1, "nothing was done");
}

/// What takes longer than twenty seconds is done in part, which is said.
#[test]
#[cfg(feature = "failpoints")]
fn an_action_ends_after_twenty_seconds_and_the_rest_is_done_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::with(&config(folder.path(), "")).env("FAILPOINTS", "agent.letter.error=3*sleep(7000)->off").start();
    let status = address(&agent);
    let house = House { agent, status, _folder: folder };
    house.push(&["nonsense", "nonsense", "nonsense", "nonsense", "nonsense"]);
    house.wait_letters(5);
    let form = format!("token={}&all=true", house.token(&[]));
    let mut stream = connect(status);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let begun = Instant::now();
    let head = ["Content-Type: application/x-www-form-urlencoded"];
    let done = crate::support::served::exchange(&mut stream, &request("POST", "/api/actions/discard", &head, &form)).json();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(30), "{took:?}");
    assert_eq!((&done["letters"], &done["more"]), (&3.into(), &true.into()), "{done}");
    assert!(done["notice"].as_str().unwrap().ends_with("there are more, for which to do it again"), "{done}");
    let done = house.act("discard", "all=true").json();
    assert_eq!((&done["letters"], &done["more"]), (&2.into(), &false.into()), "{done}");
}

/// A pipeline waits for nobody who deals with many dead letters.
#[test]
fn messages_go_on_while_many_dead_letters_are_dealt_with() {
    let house = House::with("");
    let nonsense: Vec<_> = (0..2_000).map(|number| format!("nonsense {number}")).collect();
    let nonsense: Vec<&str> = nonsense.iter().map(String::as_str).collect();
    house.push(&nonsense);
    wait_for("all of them", SOON, || (house.publisher()["tally"]["parked"] == 2_000).then_some(()));
    let token = house.token(&[]);
    let status = house.status;
    let replayed = thread::spawn(move || post(status, "/api/actions/discard", &[], &format!("token={token}&all=true")));
    let mut pushed = 0_u64;
    while !replayed.is_finished() {
        house.push(&[&crate::support::pipeline::numbered(pushed)]);
        pushed += 1;
        wait_for("it to be published meanwhile", SOON, || (house.publisher()["tally"]["published"] == pushed).then_some(()));
    }
    assert_eq!(replayed.join().unwrap().json()["letters"], 2_000);
    assert!(pushed > 0);
}
