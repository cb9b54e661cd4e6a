//! What comes with the agent for Prometheus and Grafana: sound, and with names that belong together.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use super::support::process::command;

fn conf(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(file)
}

fn promtool(arguments: &[&str], file: &Path) -> Output {
    command("promtool").args(arguments).arg(file).output().expect("promtool is missing; run tests/run")
}

fn assert_well(output: &Output) {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// The metrics of the agent that a text names, as they are stored.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let own = words.filter(|word| word.starts_with("kadabra_") || word.starts_with("process_"));
    own.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

/// The queries of a dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    targets.chain(annotations).map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_rules_are_sound_and_fire_when_they_should_and_only_then() {
    assert_well(&promtool(&["check", "rules"], &conf("prometheus/kadabra.rules.yml")));
    assert_well(&promtool(&["test", "rules"], &conf("prometheus/kadabra.rules.test.yml")));
}

#[test]
fn every_alert_is_tested_and_says_what_it_means() {
    let rules = fs::read_to_string(conf("prometheus/kadabra.rules.yml")).unwrap();
    let tests = fs::read_to_string(conf("prometheus/kadabra.rules.test.yml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 8);
    for alert in &alerts {
        assert!(tests.contains(&format!("alertname: {alert},")), "{alert}");
    }
    assert_eq!(rules.matches("summary: ").count(), alerts.len());
    assert_eq!(rules.matches("description: ").count(), alerts.len());
}

#[test]
fn the_queries_of_the_dashboard_are_sound() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(conf("grafana/kadabra.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, query) in queries(&dashboard).iter().enumerate() {
        // As Grafana fills them in.
        let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h");
        rules += &format!("      - record: query:number{number}\n        expr: {}\n", serde_json::to_string(&query).unwrap());
    }
    fs::write(&file, rules).unwrap();
    assert_well(&promtool(&["check", "rules"], &file));
    let ids: BTreeSet<_> = dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
    let alerts = metrics(&fs::read_to_string(conf("prometheus/kadabra.rules.yml")).unwrap());
    let drawn = metrics(&queries(&dashboard).join("\n"));
    assert!(alerts.is_subset(&drawn), "what an alert is about can be seen: {:?}", alerts.difference(&drawn).collect::<Vec<_>>());
}
