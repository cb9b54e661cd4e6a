//! What must hold in the end: each accepted message once, where it belongs, with its own value.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    agents::Books,
    messages::{self, Kind, PYTHON},
    producers::{Push, Sent},
    publishers::Publisher,
    queue::Home,
    world::World,
};

/// How many examples of one mistake are told.
const EXAMPLES: usize = 5;

/// How often each number was found.
type Found = HashMap<u64, usize>;

/// Looks for everything that is wrong, at each publisher by itself.
pub(crate) fn check(world: &mut World, sent: &Sent) {
    let mut wrong = Vec::new();
    let answered = sent.values().filter(|push| **push == Push::Accepted).count();
    eprintln!("{answered} of {} messages were answered", sent.len());
    if let Home::Group(group) = &world.queue.home {
        let unreplicated = sent.values().filter(|push| **push == Push::Unreplicated).count();
        eprintln!("{unreplicated} more were, by a primary whose replica was not known to have them; {}", group.told());
    }
    let mut dead = 0;
    for place in 0..world.destinations.len() {
        let mut of_this = Vec::new();
        dead += check_one(world, place, sent, &mut of_this);
        let more = of_this.len().saturating_sub(EXAMPLES * 4);
        of_this.truncate(EXAMPLES * 4);
        if more > 0 {
            of_this.push(format!("… and {more} more"));
        }
        let named = named(&world.destinations[place].publisher);
        wrong.extend(of_this.into_iter().map(|wrong| format!("{named}{wrong}")));
    }
    wrong.extend(world.queue.wrong(dead));
    world.violations.append(&mut wrong);
}

/// Looks at one publisher. Returns how many dead letters it has.
fn check_one(world: &World, place: usize, sent: &Sent, wrong: &mut Vec<String>) -> u64 {
    let destination = &world.destinations[place];
    let publisher = &destination.publisher;
    let points = destination.points();
    let (counters, timers) = (found(&points, "numbered", wrong), found(&points, "took", wrong));
    let (python, dead) = (found_of_python(&points, wrong), dead(world, publisher, sent, wrong));
    let is_of_several_servers = matches!(world.queue.home, Home::Group(_));
    let mut become_of = Become { sent: sent.len() as u64, ..Become::default() };
    for (number, push) in sent {
        let kind = Kind::of(*number);
        let mut places = if *number >= PYTHON {
            vec![("sent", 1, count(&python, *number))]
        } else {
            let (counter, timer) = kind.points(publisher.kind);
            vec![("numbered", counter, count(&counters, *number)), ("took", timer, count(&timers, *number))]
        };
        places.push(("dead letters", usize::from(kind.is_dead(publisher.kind)), count(&dead, *number)));
        let all = places.iter().all(|(_, wanted, found)| found == wanted);
        let none = places.iter().all(|(.., found)| *found == 0);
        become_of.done += u64::from(all);
        become_of.forgotten += u64::from(all && *push != Push::Accepted && is_of_several_servers);
        become_of.nowhere += u64::from(none);
        become_of.missing += u64::from(none && *push == Push::Accepted);
        // What was written when its agent was killed may be dropped before its dead letter is made. What a failover has undone may
        // have been written, too.
        let may_be_lost = *push != Push::Accepted && is_of_several_servers;
        let begun =
            (publisher.drops() || world.queue.drops() || may_be_lost) && places.iter().all(|(_, wanted, found)| found <= wanted);
        let fine = all || begun || (none && *push == Push::Maybe);
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
    eprintln!("{}{} messages found, {dead} of them among the dead letters", named(publisher), become_of.done);
    ledgers(world, place, become_of, wrong);
    dead as u64
}

/// What has become of all messages at one publisher.
#[derive(Clone, Copy, Default)]
struct Become {
    sent: u64,
    /// Where they belong, and nowhere else.
    done: u64,
    /// Those of them of which no server may know any more, so that whoever has written them says that they were lost.
    forgotten: u64,
    /// In no place, and those of them that were answered.
    nowhere: u64,
    missing: u64,
}

/// How a line about one of several publishers begins.
fn named(publisher: &Publisher) -> String {
    publisher.name.map(|name| format!("{name} ({:?}): ", publisher.kind)).unwrap_or_default()
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
        let (dimension, host) = (Kind::of(number).dimension(), format!("web{}", number % 7));
        let time = point["time"].as_i64().unwrap().div_euclid(1000);
        if time != messages::time(number) || point["tags"][dimension] != host.as_str() {
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
fn dead(world: &World, publisher: &Publisher, sent: &Sent, wrong: &mut Vec<String>) -> Found {
    let hostile = sent.keys().filter(|number| Kind::of(**number).is_dead(publisher.kind));
    let numbers: HashMap<Vec<u8>, u64> = hostile.map(|number| (messages::message(*number), *number)).collect();
    let mut found = Found::new();
    for letter in world.queue.dead_letters(publisher.name) {
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

/// What the agents say of one publisher's messages, together, against what is found. A database cannot tell a message that was leased
/// twice from one that was written twice, but this can: each message is done by one agent, once. What was dropped is nowhere, and told.
fn ledgers(world: &World, place: usize, become_of: Become, wrong: &mut Vec<String>) {
    let Become { sent, done, forgotten, nowhere, missing } = become_of;
    let publisher = &world.destinations[place].publisher;
    let drops = publisher.drops() || world.queue.drops();
    let books: Vec<Books> = world.accounts.iter().filter_map(|account| account.publishers.get(place)).copied().collect();
    let (said, dropped): (u64, u64) =
        books.iter().fold((0, 0), |(done, dropped), books| (done + books.done, dropped + books.dropped));
    let may_have_done_more = world.accounts.iter().any(|account| account.may_have_done_more);
    let exactly = world.killed == 0 && !may_have_done_more;
    // A queue that drops is too small for all dead letters; of those that it drops a killed agent has not said how many there were.
    let letters = |books: &Books| if world.killed == 0 { books.letters_dropped } else { books.parked };
    let letters = if world.queue.drops() { books.iter().map(letters).sum() } else { 0 };
    // What a failover has undone is done again, and said again.
    let undone = world.queue.undone();
    // What was written and not settled may be dropped, as far as anything is.
    if said > done + letters + undone || (exactly && said + dropped + forgotten < done) {
        wrong.push(format!("{done} messages are done, and the agents say {said}: {books:?}"));
    }
    // Over a Redis, an agent does not know what was dropped by a script whose answer it did not get.
    let all_is_told =
        matches!(world.queue.home, Home::Embedded { .. }) && world.asked.len() == world.killed && !may_have_done_more;
    let dropped = dropped + world.asked.iter().map(|asked| asked.dropped[place]).sum::<u64>();
    // What waited for the disk when its agent was killed.
    let perhaps: u64 = world.asked.iter().map(|asked| asked.answered_early).sum();
    if said + dropped > sent + undone || (all_is_told && dropped + perhaps + letters < missing) || (dropped > 0 && !drops) {
        wrong.push(format!(
            "{missing} to {nowhere} messages are nowhere, and the agents say that {dropped} were dropped, and {perhaps} perhaps: {books:?}"
        ));
    }
    let how = if exactly { "all agents" } else { "the agents that could" };
    let named = named(publisher);
    if undone > 0 {
        eprintln!("{named}{said} - {done} = {} of at most {undone} were done again", said.saturating_sub(done));
    }
    eprintln!(
        "{named}{how} say that {said} are done, {dropped} dropped and {perhaps} perhaps, in {} lives; {} were killed, {} of them asked",
        books.len(),
        world.killed,
        world.asked.len()
    );
    if drops {
        eprintln!("{named}{nowhere} are nowhere, {missing} of them answered");
    }
}
