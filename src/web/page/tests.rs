use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::status::snapshot::SeenKind;

const VIEW: View<'_> = View { filter: "", notice: None, access: "Anyone on this machine may see this page.", token: "0123" };

/// What only a name that comes from outside has in it.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}\u{7}{{7*7}}";

/// Every text that can come from outside is hostile.
fn hostile() -> Snapshot {
    let text = serde_json::to_string(&Snapshot::example_held()).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    spoil(&mut value);
    serde_json::from_value(value).unwrap()
}

fn spoil(value: &mut serde_json::Value) {
    const KEPT: [&str; 8] = ["at", "level", "kind", "role", "state", "since", "started", "newest"];
    match value {
        serde_json::Value::String(text) => text.push_str(HOSTILE),
        serde_json::Value::Array(all) => all.iter_mut().for_each(spoil),
        serde_json::Value::Object(fields) => {
            for (_, field) in fields.iter_mut().filter(|(key, field)| {
                let is_time = field.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok());
                !(is_time || field.is_string() && KEPT.contains(&key.as_str()))
            }) {
                spoil(field);
            }
        }
        _ => {}
    }
}

#[test]
fn what_comes_from_outside_is_text_and_nothing_is_within_the_page_that_its_policy_forbids() {
    let snapshot = hostile();
    let view = View { filter: "\"><script>", notice: Some(HOSTILE), access: HOSTILE, token: "0123" };
    let page = render(&snapshot, view).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "its own, by an address");
    for forbidden in ["<img", "<style", " style=", "\u{202e}", "\u{7}", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden:?}");
    }
    // A hostile text within an attribute would have to end it first.
    assert!(!page.contains("\"'>") && page.contains("onerror"), "shown, as text");
    assert!(fragment(&snapshot, view).unwrap().len() < page.len());
}

#[test]
fn the_page_says_what_came_over_statsd_and_what_was_dropped_before_it_was_taken() {
    let mut snapshot = Snapshot::example();
    snapshot.publishers[0].tally.backlog_dropped = 1500;
    let page = render(&snapshot, VIEW).unwrap();
    assert!(page.contains("statsd: 4990 metrics aggregated from 5000 datagrams, 4 refused, 3 datagrams dropped by the kernel"));
    assert!(page.contains("1,500 were dropped at <code>max_backlog</code> before influx took them."), "{page}");
    snapshot.statsd = None;
    assert!(!render(&snapshot, VIEW).unwrap().contains("statsd"));
}

#[test]
fn the_page_says_at_its_beginning_how_it_is_and_a_trouble_once() {
    let held = render(&Snapshot::example_held(), VIEW).unwrap();
    let from = held.find("<h1").unwrap();
    let heading = &held[from..held.find("</h1>").unwrap()];
    assert!(heading.contains(">Held</span> for 4m: influx: influxdb"), "{heading}");
    assert!(held.contains("<title>Held · app-1 · Kadabra</title>") && held.contains("/assets/held.svg"));
    assert_eq!(held.matches("authorization failed").count(), 2, "in the verdict, and where it happened");
    let well = Snapshot { troubles: Vec::new(), ..Snapshot::example() };
    assert!(!render(&well, VIEW).unwrap().contains("Also to look after"));
}

#[test]
fn a_message_that_is_not_accounted_for_stands_out() {
    let mut snapshot = Snapshot::example();
    assert!(!render(&snapshot, VIEW).unwrap().contains("class=\"wrong\""));
    snapshot.publishers[0].tally.difference = -3;
    let page = render(&snapshot, VIEW).unwrap();
    assert!(page.contains("class=\"wrong\"") && page.contains(">-3</td>"));
}

#[test]
fn every_actor_stands_once_in_the_flow() {
    let mut snapshot = Snapshot::example();
    let mut other = snapshot.actors[0].clone();
    (other.name, other.role) = ("web".to_owned(), "web".to_owned());
    snapshot.actors.push(other);
    let page = render(&snapshot, VIEW).unwrap();
    for actor in &snapshot.actors {
        assert_eq!(page.matches(&format!("data-key=\"{}\"", actor.name)).count(), 1, "{}", actor.name);
    }
    let flow = flow::Flow::of(&snapshot);
    assert_eq!((flow.ways.len(), flow.ways[1].batchers.len(), flow.others.len()), (2, 2, 1));
}

#[test]
fn a_filter_finds_series_by_the_words_of_their_names_and_dimensions() {
    let mut snapshot = Snapshot::example();
    let mut one = snapshot.seen.series[0].clone();
    (one.metric, one.kind) = ("userSignup".to_owned(), SeenKind::Counter);
    one.dimensions = BTreeMap::from([("region".to_owned(), "north".to_owned())]);
    snapshot.seen.series.push(one.clone());
    let found = |filter| seen::Series::of(&snapshot, filter).shown.iter().map(|one| one.metric.as_str()).collect::<Vec<_>>();
    assert_eq!(found("usersign region=NORTH"), ["userSignup"]);
    assert_eq!(found("north south").len(), 0);
    assert_eq!(found(" ").len(), snapshot.seen.series.len());
    let none = fragment(&snapshot, View { filter: "nothing of that name", ..VIEW }).unwrap();
    assert!(none.contains("None of 4 series has “nothing of that name”"));
    // What is too much for a page is counted.
    snapshot.seen.series = (0..1_000).map(|n| seen_as(&one, n)).collect();
    let page = fragment(&snapshot, VIEW).unwrap();
    assert!(page.contains("940 more; a filter finds them") && page.contains("series0000") && !page.contains("series0060"));
}

fn seen_as(one: &crate::status::snapshot::SeenSeries, number: usize) -> crate::status::snapshot::SeenSeries {
    crate::status::snapshot::SeenSeries { metric: format!("series{number:04}"), ..one.clone() }
}

#[test]
fn a_chart_has_a_gap_where_the_agent_did_not_run_and_stays_within_its_edges() {
    let mut snapshot = Snapshot::example();
    let [rates, age, writes] = charts::charts(&snapshot);
    assert_eq!(rates.area.path.matches('M').count(), 2, "a restart of two minutes");
    let accepted = rates.line.unwrap();
    assert!(accepted.now.ends_with("/s") && rates.summary.starts_with("Messages a second over the last hour: stored "));
    assert!(age.line.is_none() && writes.line.is_some());
    let alarm = age.alarm.unwrap();
    assert!(alarm.from.starts_with('2') && alarm.y.is_some_and(|y| (0.0..charts::HEIGHT).contains(&y)), "{alarm:?}");
    assert!(rates.alarm.is_none());
    snapshot.channel.warn_age_seconds = Some(1e9);
    assert_eq!(charts::charts(&snapshot)[1].alarm.as_ref().unwrap().y, None, "it is above the edge");
    for number in accepted.path.split(['M', 'L', ' ', 'h']).filter(|text| !text.is_empty()) {
        let number: f64 = number.parse().unwrap();
        assert!((0.0..=charts::WIDTH).contains(&number), "{number}");
    }
    let marks = charts::happened(&snapshot);
    assert!(marks.windows(2).all(|two| two[0].x <= two[1].x) && marks.len() == 4);

    // Numbers as nobody expects them.
    snapshot.history.points[0].accepted_per_second = f64::NAN;
    snapshot.history.points[1].accepted_per_second = f64::INFINITY;
    snapshot.history.points[2].at = snapshot.at.checked_sub(SignedDuration::from_hours(100)).unwrap();
    let page = render(&snapshot, VIEW).unwrap();
    assert!(!page.contains("NaN") && !page.contains("inf "));
    snapshot.history.points.clear();
    snapshot.history.marks.clear();
    assert_eq!(charts::charts(&snapshot)[0].area.path, "");
    assert_eq!(
        (charts::spark(&[]), charts::spark(&[0, 0]), charts::spark(&[0, 2])),
        (String::new(), String::new(), "M0 19L1 1".to_owned())
    );
}

#[test]
fn what_a_page_names_is_there_under_a_name_of_its_content() {
    let page = render(&Snapshot::example(), VIEW).unwrap();
    let names: Vec<_> = page.split("/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        assert!(!asset(name).unwrap().body.is_empty(), "{name}");
    }
    for icon in ["well.svg", "attention.svg", "held.svg", "stopping.svg"] {
        assert_eq!(asset(icon).unwrap().content_type, "image/svg+xml");
    }
    assert!(asset("style.css").is_none() && asset("../mod.rs").is_none());
}
