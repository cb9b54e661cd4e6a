//! The page in a real browser: what a visitor sees, and how soon.
//!
//! Pictures of all that is seen here are in `target/screenshots` afterwards, each on a light, on a dark and on a phone's screen.

#[path = "page/agent.rs"]
mod agent;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use kadabra::{
    status::snapshot::{EventKind, Level, Mark, MarkKind, SeenSeries, Snapshot},
    web::page::{View, asset, fragment, render},
};
use serde_json::{Value, json};

use super::support::{
    browser::{Browser, Screen},
    http_server::{Request, Response, Server},
    process::{command, wait_for},
};

const SOON: Duration = Duration::from_secs(20);
/// How soon a change is seen, on a busy machine; a page that did not update by itself would never show it.
const AT_ONCE: Duration = Duration::from_secs(5);
/// As strict as what serves the page is.
const POLICY: (&str, &str) = (
    "Content-Security-Policy",
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// A page of an agent that is as the test says.
struct House {
    server: Server,
    snapshot: Arc<Mutex<Snapshot>>,
    /// How often the page has asked how the agent is by now.
    asked: Arc<AtomicUsize>,
}

impl House {
    fn of(snapshot: Snapshot) -> Self {
        let (snapshot, asked) = (Arc::new(Mutex::new(snapshot)), Arc::new(AtomicUsize::new(0)));
        let (shown, counted) = (Arc::clone(&snapshot), Arc::clone(&asked));
        let server = Server::start(move |request| {
            counted.fetch_add(usize::from(request.path == "/fragment"), Ordering::SeqCst);
            Some(answer(&shown.lock().unwrap(), request))
        });
        Self { server, snapshot, asked }
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.snapshot.lock().unwrap();
        snapshot.at = snapshot.at.checked_add(SignedDuration::from_secs(1)).unwrap();
        change(&mut snapshot);
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    fn browser(&self, path: &str) -> Browser {
        let browser = Browser::start();
        browser.go(&self.url(path));
        browser
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until the page has asked twice more: what has changed by now is seen then.
    fn wait_seen(&self) {
        let before = self.asked();
        wait_for("the page to ask twice", SOON, || (self.asked() >= before + 2).then_some(()));
    }
}

fn answer(snapshot: &Snapshot, request: &Request) -> Response {
    let view = View {
        filter: request.parameter("filter").unwrap_or_default(),
        access: "Anyone on this machine may see this page.",
        ..View::default()
    };
    let html = |page: String| Response::new(200, &[("Content-Type", "text/html; charset=utf-8"), POLICY], page);
    match request.path.as_str() {
        "/" => html(render(snapshot, view).unwrap()),
        "/fragment" => html(fragment(snapshot, view).unwrap()),
        path => match path.strip_prefix("/assets/").and_then(asset) {
            Some(file) => Response::new(200, &[("Content-Type", file.content_type), POLICY], file.body),
            None => Response::new(404, &[], ""),
        },
    }
}

/// An agent that works, and whose names mean no harm.
fn well() -> Snapshot {
    let mut snapshot = Snapshot::example();
    snapshot.troubles.clear();
    snapshot.verdict.level = Level::Well;
    snapshot.verdict.code = None;
    snapshot.verdict.sentence = "well: 1,240 messages a second stored, the oldest of 12 messages waits for 300ms".to_owned();
    snapshot.verdict.remedy = None;
    snapshot.channel.oldest_age_seconds = Some(0.3);
    snapshot.agent.version = env!("CARGO_PKG_VERSION").to_owned();
    snapshot.publishers[1].destination = "victoriametrics http://localhost:8428".to_owned();
    let names = ["checkout", "emailSent", "request", "userSignup"];
    let template = snapshot.seen.series[0].clone();
    let named = |(at, name): (usize, &&str)| SeenSeries {
        metric: (*name).to_owned(),
        per_second: 41.5 / (at + 1) as f64,
        spark: (0..30).map(|place| 40 + (place * (7 + at as u32)) % 13).collect(),
        ..template.clone()
    };
    snapshot.seen.series = names.iter().enumerate().map(named).collect();
    for letters in snapshot.publishers.iter_mut().flat_map(|publisher| &mut publisher.dead_letters.by_reason) {
        letters.example =
            "partial write: field type conflict: input field \"value\" on measurement \"userSignup\" is type float, already \
                           exists as type string"
                .to_owned();
    }
    snapshot
}

#[test]
fn a_change_is_seen_soon_and_nothing_moves_or_closes_by_it() {
    let house = House::of(well());
    let browser = house.browser("/");
    browser.wait_text("#live", "Updates by itself");
    browser.wait_text("h1", "Well: 1,240 messages a second stored");
    browser.pictures("well");
    // For the first page of the documentation.
    browser.picture_until(".charts", "page.png");
    browser.assert_no_barriers();

    browser.click(".box.publisher .actor summary");
    browser.enter("#filter", "sign");
    let places = "return [...document.querySelectorAll('section, .box, .chart, td')].map(one => { const at = \
                  one.getBoundingClientRect(); return [at.x, at.y, at.width, at.height] })";
    browser.wait_true("one series", "return document.querySelectorAll('.seen tbody tr').length === 1");
    let before = browser.run(places, &[]);
    house.change(|snapshot| {
        snapshot.publishers[0].tally.published += 1_234;
        snapshot.publishers[0].points_written += 12_340;
        snapshot.publishers[0].messages_per_second = 1_311.0;
        snapshot.seen.series[3].count += 7;
    });
    browser.wait_text_within(AT_ONCE, ".box.batcher .figure", "1,311/s");
    assert_eq!(browser.run(places, &[]), before, "something has moved");
    assert_eq!(browser.run("return document.querySelector('.box.publisher .actor').open", &[]), json!(true));
    assert_eq!(browser.run("return [document.activeElement.id, document.activeElement.value]", &[]), json!(["filter", "sign"]));
    // A series of which nothing was seen before.
    house.change(|snapshot| {
        let new = SeenSeries { metric: "userSignup2".to_owned(), ..snapshot.seen.series[3].clone() };
        snapshot.seen.series.push(new);
    });
    browser.wait_text_within(AT_ONCE, ".seen tbody", "userSignup2");
}

#[test]
fn a_filter_finds_series_while_it_is_typed_and_stays_in_the_address() {
    let house = House::of(well());
    let browser = house.browser("/");
    browser.enter("#filter", "SIGN host=app");
    browser.wait_true("one series", "return document.querySelectorAll('.seen tbody tr').length === 1");
    assert!(browser.address().ends_with("/?filter=SIGN%20host%3Dapp"), "{}", browser.address());
    browser.go(&browser.address());
    assert_eq!(browser.texts(".seen .metric"), ["userSignup"]);
    house.wait_seen();
    assert_eq!(browser.texts(".seen .metric"), ["userSignup"], "an update leaves it as it is");
    browser.go(&house.url("/?filter=nothing+of+that+name"));
    browser.wait_text(".seen .empty", "None of 4 series has “nothing of that name”");
    browser.pictures("filtered");
}

#[test]
fn a_hold_is_seen_with_what_to_do_and_so_is_its_end() {
    let house = House::of(well());
    let browser = house.browser("/");
    browser.wait_text("h1", "Well");
    house.wait_seen();
    house.change(|snapshot| *snapshot = Snapshot::example_held());
    browser.wait_text_within(AT_ONCE, "h1", "Held for 4m");
    browser.wait_true("its name in the tab", "return document.title.startsWith('Held')");
    browser.wait_text(".verdict .remedy", "it goes on by itself");
    assert_eq!(browser.texts(".box.destination.held").len(), 1);
    browser.pictures("held");
    browser.assert_no_barriers();
    house.change(|snapshot| *snapshot = well());
    browser.wait_text_within(AT_ONCE, "h1", "Well");
    assert_eq!(browser.texts(".box.held, .troubles").len(), 0);
}

#[test]
fn an_actor_that_was_restarted_is_seen_with_what_happened_to_it() {
    let house = House::of(well());
    let browser = house.browser("/");
    house.wait_seen();
    house.change(|snapshot| {
        let at = snapshot.at;
        let actor = snapshot.actors.iter_mut().find(|actor| actor.role == "publisher").unwrap();
        actor.life += 1;
        actor.restarts[0].count += 1;
        let mut event = actor.events[0].clone();
        (event.at, event.kind, event.what) = (at, EventKind::Failed, "panicked: out of cheese".to_owned());
        actor.events.insert(0, event);
        snapshot.history.marks.push(Mark { at, kind: MarkKind::Restart, what: "publisher 1 of influx panicked".to_owned() });
    });
    browser.wait_text_within(AT_ONCE, ".box.publisher .restarts", "1 restart");
    browser.click(".box.publisher .actor summary");
    browser.wait_text(".box.publisher .events", "failed: panicked: out of cheese");
    browser.wait_true("two marks in each chart", "return document.querySelectorAll('.plot .mark.restart').length === 6");
    browser.pictures("restart");
    browser.assert_no_barriers();
}

#[test]
fn names_that_mean_harm_are_text() {
    let mut snapshot = Snapshot::example();
    let template = snapshot.seen.series[0].clone();
    let names = [
        "<script>document.title='hurt'</script>".to_owned(),
        "\"><img src=x onerror=\"document.title='hurt'\">".to_owned(),
        "مقياس\u{202e}drawkcab".to_owned(),
        "bell\u{7}\u{1b}[31m".to_owned(),
        "x".repeat(500),
    ];
    let named = |name: &String| SeenSeries {
        metric: name.clone(),
        dimensions: [(name.clone(), name.clone())].into(),
        ..template.clone()
    };
    snapshot.seen.series = names.iter().map(named).collect();
    for (publisher, name) in snapshot.publishers.iter_mut().zip(&names) {
        publisher.name = Some(name.clone());
        publisher.destination.push_str(name);
    }
    snapshot.verdict.sentence.push_str(&names.concat());
    snapshot.agent.host.clone_from(&names[1]);
    let house = House::of(snapshot);
    let browser = house.browser("/");
    house.wait_seen();
    let text = browser.text();
    for seen in ["<script>document.title='hurt'</script>", "onerror=", "\\u{202e}", "bell\\u{7}\\u{1b}[31m"] {
        assert!(text.contains(seen), "{seen}: {text}");
    }
    assert!(browser.run("return document.title", &[]).as_str().unwrap().ends_with("· Kadabra"));
    assert_eq!(browser.run("return document.querySelectorAll('main script, main img, body > img').length", &[]), json!(0));
    browser.pictures("hostile");
    browser.assert_no_barriers();
    // However long a name is, a row is as high as three lines; opened, also by keyboard, it is whole, and stays so.
    const LONG: &str = "details.whole:has(bdi.metric)";
    let height =
        || browser.run(&format!("return [...document.querySelectorAll('{LONG}')].at(-1).closest('tr').offsetHeight"), &[]);
    let closed = height().as_i64().unwrap();
    assert!(closed < 90, "{closed} pixels");
    browser.run(&format!("[...document.querySelectorAll('{LONG}')].at(-1).querySelector('summary').focus()"), &[]);
    browser.press("\u{e007}");
    house.wait_seen();
    let opened = height().as_i64().unwrap();
    assert!(opened > 5 * closed, "{opened} pixels");
    assert!(browser.texts(".whole[open] .metric").contains(&"x".repeat(500)));
}

#[test]
fn a_page_that_nobody_sees_asks_for_nothing_and_one_whose_agent_is_gone_says_so_until_it_is_back() {
    let mut house = House::of(well());
    let browser = house.browser("/");
    house.wait_seen();
    browser.open_tab();
    // One may have been under way.
    let (hidden, before) = (Instant::now(), house.asked());
    wait_for("three seconds", SOON, || (hidden.elapsed() > Duration::from_secs(3)).then_some(()));
    assert!(house.asked() <= before + 1, "asked {} times while it was hidden", house.asked() - before);
    browser.close_tab();
    house.wait_seen();

    house.server.stop();
    browser.wait_text("#live", "The agent does not answer since");
    browser.pictures("gone");
    browser.assert_no_barriers();
    house.server.start_again();
    browser.wait_text("#live", "Updates by itself");
}

#[test]
fn everything_is_reached_by_keyboard_and_the_focus_is_seen() {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    let house = House::of(well());
    let browser = house.browser("/");
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.press(TAB);
        let focused = "const one = document.activeElement; const style = getComputedStyle(one); return [one.tagName, \
                       one.textContent.trim().split('\\n').map(part => part.trim()).filter(part => part)[0] || one.id, \
                       style.outlineStyle !== 'none' && style.outlineWidth !== '0px']";
        let focused = browser.run(focused, &[]);
        if focused[0] == "BODY" {
            break;
        }
        assert_eq!(focused[2], json!(true), "the focus cannot be seen: {focused}");
        reached.push(focused);
    }
    let all = Value::Array(reached).to_string();
    for part in ["Skip to", "listener", "nanny", "batcher", "publisher", "filter", "Filter", "Metrics", "JSON", "Configuration"] {
        assert!(all.contains(part), "{part} is not reached: {all}");
    }
    browser.go(&house.url("/"));
    browser.press(TAB);
    browser.press(ENTER);
    assert_eq!(browser.run("return document.activeElement.id", &[]), json!("content"));
    browser.run("document.querySelector('.box.publisher .actor summary').focus()", &[]);
    browser.press(ENTER);
    assert_eq!(browser.run("return document.querySelector('.box.publisher .actor').open", &[]), json!(true));
}

#[test]
fn the_page_is_whole_without_its_script() {
    let house = House::of(well());
    let browser = Browser::start();
    browser.without_scripts();
    browser.go(&house.url("/?filter=signup"));
    browser.wait_text(".seen .metric", "userSignup");
    browser.wait_text("#live", "Look again");
    assert_eq!(house.asked(), 0);
    browser.look_at(Screen::Light);
}

/// By hand, since it brings a hundred megabytes: `cargo nextest run --features failpoints --run-ignored all page::lighthouse`.
#[test]
#[ignore = "npx fetches lighthouse"]
fn lighthouse_finds_nothing_that_keeps_anybody_out() {
    let house = House::of(well());
    let mut lighthouse = command("npx");
    lighthouse.args(["--yes", "lighthouse@12.2.3", &house.url("/"), "--quiet", "--output=json", "--output-path=stdout"]);
    lighthouse.arg("--only-categories=accessibility,best-practices");
    lighthouse.arg("--chrome-flags=--headless=new --no-sandbox --disable-dev-shm-usage --disable-gpu");
    let output = lighthouse.env("CHROME_PATH", "/usr/bin/chromium").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    for category in ["accessibility", "best-practices"] {
        let failed = report["audits"]
            .as_object()
            .unwrap()
            .values()
            .filter(|audit| audit["score"].as_f64().is_some_and(|score| score < 1.0));
        assert_eq!(report["categories"][category]["score"], json!(1), "{category}: {:#?}", failed.collect::<Vec<_>>());
    }
}
