//! What must hold in the end: each accepted message once, where it belongs, with its own value.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    messages::{self, Kind, PYTHON},
    producers::{Push, Sent},
    world::World,
};

/// How many examples of one mistake are told.
const EXAMPLES: usize = 5;

/// How often each number was found.
type Found = HashMap<u64, usize>;

/// Looks for everything that is wrong.
pub(crate) fn check(world: &mut World, sent: &Sent) {
    let mut wrong = Vec::new();
    let points = world.points();
    let (counters, timers) = (found(&points, "numbered", &mut wrong), found(&points, "took", &mut wrong));
    let (python, dead) = (found_of_python(&points, &mut wrong), dead(world, sent, &mut wrong));
    let mut done = 0;
    for (number, push) in sent {
        let kind = Kind::of(*number);
        let mut places = if *number >= PYTHON {
            vec![("sent", 1, count(&python, *number))]
        } else {
            let (counter, timer) = kind.points();
            vec![("numbered", counter, count(&counters, *number)), ("took", timer, count(&timers, *number))]
        };
        places.push(("dead letters", usize::from(kind.is_dead()), count(&dead, *number)));
        let all = places.iter().all(|(_, wanted, found)| found == wanted);
        let none = places.iter().all(|(.., found)| *found == 0);
        done += u64::from(all);
        let fine = all || (none && *push == Push::Maybe);
        if !fine {
            let places = places.iter().filter(|(_, wanted, found)| found != wanted);
            let places: Vec<String> =
                places.map(|(place, wanted, found)| format!("{found} instead of {wanted} times in {place}")).collect();
            wrong.push(format!("message {number} ({kind:?}, {push:?}) is {}", places.join(", ")));
        }
    }
    for (place, found) in [("numbered", &counters), ("took", &timers), ("sent", &python)] {
        let unknown = found.keys().filter(|number| !sent.contains_key(number));
        wrong.extend(unknown.map(|number| format!("{place} has {number}, which nobody sent")));
    }
    let dead: usize = dead.values().sum();
    wrong.extend(world.queue.wrong(dead as u64));
    ledgers(world, done, &mut wrong);
    let more = wrong.len().saturating_sub(EXAMPLES * 4);
    wrong.truncate(EXAMPLES * 4);
    if more > 0 {
        wrong.push(format!("… and {more} more"));
    }
    let answered = sent.values().filter(|push| **push == Push::Accepted).count();
    eprintln!("{done} of {} messages found, {dead} of them among the dead letters; {answered} were answered", sent.len());
    world.violations.append(&mut wrong);
}

fn count(found: &Found, number: u64) -> usize {
    found.get(&number).copied().unwrap_or(0)
}

/// The points of a measurement, by their number. Their tag and their time must be those of their number.
fn found(points: &[Value], measurement: &str, wrong: &mut Vec<String>) -> Found {
    let mut found = Found::new();
    for point in points.iter().filter(|point| point["measurement"] == measurement) {
        let number = point["fields"]["value"].as_f64().unwrap() as u64;
        *found.entry(number).or_default() += 1;
        let host = format!("web{}", number % 7);
        let time = point["time"].as_i64().unwrap().div_euclid(1000);
        if time != messages::time(number) || point["tags"]["host"] != host.as_str() {
            wrong.push(format!("{measurement} {number} is stored as {point}"));
        }
    }
    found
}

/// The points of the Python client.
fn found_of_python(points: &[Value], wrong: &mut Vec<String>) -> Found {
    let mut found = Found::new();
    for point in points.iter().filter(|point| point["measurement"] == "sent") {
        let number = point["fields"]["value"].as_f64().unwrap() as u64;
        *found.entry(number).or_default() += 1;
        if point["tags"]["number"] != number.to_string().as_str() {
            wrong.push(format!("sent {number} is stored as {point}"));
        }
    }
    found
}

/// The dead letters, by the number of their message. Each must be the message as it was sent.
fn dead(world: &World, sent: &Sent, wrong: &mut Vec<String>) -> Found {
    let hostile = sent.keys().filter(|number| Kind::of(**number).is_dead());
    let numbers: HashMap<Vec<u8>, u64> = hostile.map(|number| (messages::message(*number), *number)).collect();
    let mut found = Found::new();
    for letter in world.queue.dead_letters() {
        match numbers.get(&letter["payload"]) {
            Some(number) => *found.entry(*number).or_default() += 1,
            None => {
                let [payload, reason] = ["payload", "reason"].map(|key| String::from_utf8_lossy(&letter[key]));
                wrong.push(format!("a dead letter that nobody meant ({reason}): {payload:.300}"));
            }
        }
    }
    found
}

/// What the agents say they have done, together, against what is done. InfluxDB cannot tell a message that was leased
/// twice from one that was written twice, but this can: each message is done by one agent, once.
fn ledgers(world: &World, done: u64, wrong: &mut Vec<String>) {
    let said: u64 = world.accounts.iter().map(|account| account.done).sum();
    let exactly = world.killed == 0 && !world.accounts.iter().any(|account| account.may_have_done_more);
    if said > done || (exactly && said < done) {
        wrong.push(format!("{done} messages are done, and the agents say {said}: {:?}", world.accounts));
    }
    let how = if exactly { "all agents" } else { "the agents that could" };
    eprintln!("{how} say that {said} are done, in {} lives; {} were killed", world.accounts.len(), world.killed);
}
