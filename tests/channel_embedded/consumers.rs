//! Several consumers of one queue: each gets every message once, none waits for another, and a message is kept until all have done it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    fs::File,
    io::Write as _,
    process::Output,
};

use kadabra::channel::{
    Demand, Lease, Patience, Threat,
    embedded::{ConsumerSettings, PushError},
};
use proptest::prelude::*;

use super::*;
use crate::{
    channel_contract::{ALL, LONG, NO_WAIT, letter},
    support::process::{Process, command, wait_for},
};

/// Required, and without a bound.
pub(super) fn consumer(name: &str) -> ConsumerSettings {
    ConsumerSettings { name: name.to_owned(), required: true, max_backlog: None }
}

async fn try_several(path: &Path, consumers: Vec<ConsumerSettings>) -> Result<Vec<EmbeddedChannel>, String> {
    let channels = EmbeddedChannel::several(&settings(path), "here", consumers);
    for channel in &channels {
        channel.open().await.map_err(|error| error.to_string())?;
    }
    Ok(channels)
}

async fn several(path: &Path, names: &[&str]) -> Vec<EmbeddedChannel> {
    try_several(path, names.iter().map(|name| consumer(name)).collect()).await.unwrap()
}

async fn take(channel: &EmbeddedChannel, messages: usize) -> Option<Lease> {
    channel.receive(Demand { messages, bytes: 100_000_000, not_before: None }, NO_WAIT).await.unwrap()
}

/// Completes all that waits, and returns it.
async fn drain(channel: &EmbeddedChannel) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
        all.extend(texts(&lease.messages));
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    all
}

async fn waits(channel: &EmbeddedChannel) -> u64 {
    channel.depth().await.unwrap().queued
}

fn count(path: &Path, of: &str) -> i64 {
    Connection::open(path).unwrap().query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).unwrap()
}

fn kadabra(arguments: &[&str], path: &Path) -> Output {
    let mut kadabra = command(env!("CARGO_BIN_EXE_kadabra"));
    kadabra.args(arguments).env("KADABRA_CHANNEL__TYPE", "embedded").env("KADABRA_CHANNEL__EMBEDDED__PATH", path);
    kadabra.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<usize>),
    Adopt(usize),
    /// By which consumer, and how many.
    Receive(usize, usize),
    Complete(usize),
    Release(usize),
    Clear,
    /// With which of the consumers.
    Reopen(Vec<bool>),
}

const NAMES: [&str; 3] = ["influx", "victoria", "debug"];

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(prop_oneof![6 => 0..20usize, 1 => 60_000..140_000usize], 1..9);
    prop_oneof![
        6 => sizes().prop_map(|sizes| Step::Push(End::Newest, sizes)),
        2 => sizes().prop_map(|sizes| Step::Push(End::Oldest, sizes)),
        1 => (1..5usize).prop_map(Step::Adopt),
        10 => (0..3usize, 1..15usize).prop_map(|(consumer, messages)| Step::Receive(consumer, messages)),
        8 => any::<usize>().prop_map(Step::Complete),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Clear),
        3 => prop::collection::vec(any::<bool>(), 3).prop_map(Step::Reopen),
    ]
}

/// Where a message belongs: adopted ones before all others.
type Place = (bool, i64);

struct World {
    path: std::path::PathBuf,
    /// The configured ones, in their order.
    channels: Vec<(&'static str, EmbeddedChannel)>,
    leases: Vec<(&'static str, Lease, Vec<Place>)>,
    /// By each consumer that the file knows.
    waiting: BTreeMap<&'static str, BTreeSet<Place>>,
    all: BTreeMap<Place, String>,
    newest: i64,
    oldest: i64,
}

impl World {
    fn message(&mut self, place: Place, size: usize) -> Bytes {
        let message = format!("{place:?}{}", ".".repeat(size));
        self.all.insert(place, message.clone());
        for (name, _) in &self.channels {
            self.waiting.get_mut(name).unwrap().insert(place);
        }
        message.into()
    }

    fn most(&self) -> u64 {
        self.channels.iter().map(|(name, _)| self.waiting[name].len() as u64).max().unwrap()
    }

    async fn open(&mut self, names: &[&'static str]) {
        let is_first = self.waiting.is_empty();
        // What was removed and has nothing left is as new.
        self.waiting.retain(|name, waiting| names.contains(name) || !waiting.is_empty());
        for name in names {
            self.waiting
                .entry(name)
                .or_insert_with(|| if is_first { self.all.keys().copied().collect() } else { BTreeSet::new() });
        }
        self.channels = names.iter().copied().zip(several(&self.path, names).await).collect();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Push(end, sizes) => {
                let messages = sizes.into_iter().map(|size| {
                    let place = if end == End::Newest { &mut self.newest } else { &mut self.oldest };
                    *place += if end == End::Newest { 1 } else { -1 };
                    let place = (true, *place);
                    self.message(place, size)
                });
                let messages = messages.collect();
                assert_eq!(self.channels[0].1.backend().push(end, messages).await.unwrap(), self.most());
            }
            Step::Adopt(messages) => {
                let messages = (0..messages).map(|_| {
                    self.newest += 1;
                    self.message((false, self.newest), 3)
                });
                let messages = messages.collect();
                self.channels[0].1.adopt(messages).await.unwrap();
            }
            Step::Receive(which, messages) => {
                let (name, channel) = &self.channels[which % self.channels.len()];
                let lease = take(channel, messages).await;
                let waiting = self.waiting.get_mut(name).unwrap();
                let first = waiting.first().copied();
                let mut expected: Vec<Place> =
                    waiting.iter().copied().filter(|place| Some(place.0) == first.map(|first| first.0)).take(messages).collect();
                let there = lease.as_ref().map(|lease| texts(&lease.messages)).unwrap_or_default();
                // What another one has leased, or up to there.
                if lease.as_ref().is_some_and(|lease| lease.more || there.len() > messages / 2) {
                    expected.truncate(there.len());
                }
                assert!(
                    there == expected.iter().map(|place| self.all[place].clone()).collect::<Vec<_>>(),
                    "{name}: {expected:?}"
                );
                let Some(lease) = lease else { return };
                waiting.retain(|place| !expected.contains(place));
                self.leases.push((name, lease, expected));
            }
            Step::Complete(which) => {
                let Some((name, lease, places)) = self.pick(which) else { return };
                let completed = self.channel(name).complete(&mut vec![lease], &[]).await.unwrap();
                assert_eq!((completed.messages, completed.lost), (places.len(), 0));
            }
            Step::Release(which) => {
                let Some((name, lease, places)) = self.pick(which) else { return };
                self.channel(name).release(&mut vec![lease]).await.unwrap();
                self.waiting.get_mut(name).unwrap().extend(places);
            }
            Step::Clear => {
                let configured: Vec<_> = self.channels.iter().map(|(name, _)| *name).collect();
                let regular = |place: &Place| place.0;
                let any = configured.iter().any(|name| self.waiting[name].iter().any(regular));
                assert_eq!(self.channels[0].1.backend().clear().await.unwrap(), any);
                configured.iter().for_each(|name| self.waiting.get_mut(name).unwrap().retain(|place| !place.0));
            }
            Step::Reopen(chosen) => {
                let mut names: Vec<_> =
                    NAMES.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(name, _)| name).collect();
                if names.is_empty() {
                    names.push(NAMES[0]);
                }
                self.channels.clear();
                for (name, lease, places) in std::mem::take(&mut self.leases) {
                    drop(lease);
                    self.waiting.get_mut(name).unwrap().extend(places);
                }
                self.open(&names).await;
            }
        }
        for (name, channel) in &self.channels {
            assert_eq!(waits(channel).await, self.waiting[name].len() as u64, "{name}");
            let tally = channel.tally();
            assert!(tally.balances(), "{name}: {tally:?}");
        }
        let held = self.leases.iter().any(|(_, _, places)| !places.is_empty());
        if !held && self.waiting.values().all(BTreeSet::is_empty) {
            assert_eq!(count(&self.path, "chunks"), 0, "what all have done is still there");
        }
    }

    fn channel(&self, name: &str) -> &EmbeddedChannel {
        &self.channels.iter().find(|(other, _)| *other == name).unwrap().1
    }

    fn pick(&mut self, which: usize) -> Option<(&'static str, Lease, Vec<Place>)> {
        (!self.leases.is_empty()).then(|| self.leases.remove(which % self.leases.len()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_consumer_gets_each_message_once_whoever_comes_and_goes(
        first in prop::sample::subsequence(NAMES.to_vec(), 1..=3),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let folder = quick_folder();
        run(async {
            let mut world = World {
                path: folder.path().join("q.db"),
                channels: Vec::new(),
                leases: Vec::new(),
                waiting: BTreeMap::new(),
                all: BTreeMap::new(),
                newest: 0,
                oldest: 0,
            };
            world.open(&first).await;
            for step in steps {
                world.step(step).await;
            }
            world.step(Step::Reopen(vec![true; 3])).await;
            for (consumer, name) in NAMES.iter().enumerate() {
                while !world.waiting[name].is_empty() {
                    world.step(Step::Receive(consumer, 7)).await;
                    world.step(Step::Complete(0)).await;
                }
            }
            assert_eq!(count(&world.path, "chunks"), 0);
        });
    }
}

#[test]
fn a_message_is_stored_once_and_kept_until_all_have_done_it_in_few_rows() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let channels = several(&path, &["a", "b"]).await;
        for number in 0..300 {
            push(&channels[0], [number.to_string()]).await;
        }
        let chunks = count(&path, "chunks");
        assert!(drain(&channels[0]).await == numbered(0..300));
        assert_eq!((count(&path, "chunks"), count(&path, "done_by")), (chunks, 1));
        assert_eq!((waits(&channels[0]).await, waits(&channels[1]).await), (0, 300));
        let lease = take(&channels[1], 100).await.unwrap();
        channels[1].complete(&mut vec![lease], &[]).await.unwrap();
        assert_eq!((count(&path, "chunks"), count(&path, "done_by")), (chunks - 100, 2));
        assert!(drain(&channels[1]).await == numbered(100..300));
        assert_eq!(count(&path, "chunks"), 0);
    });
}

#[test]
fn a_backlog_is_read_once_for_all_that_drain_it() {
    let folder = quick_folder();
    run(async {
        let channels = several(&folder.path().join("q.db"), &["a", "b"]).await;
        push(&channels[0], numbered(0..3000)).await;
        let (mut held, mut shared, mut went) = (VecDeque::new(), 0, 0);
        for turn in 0..10 {
            // The one in front has two batches in hand.
            held.push_back(take(&channels[0], 100).await.unwrap());
            if held.len() > 2 {
                channels[0].complete(&mut vec![held.pop_front().unwrap()], &[]).await.unwrap();
            }
            // The other one falls out of step once, and then is given less until it is in step again; there it asks for more at once.
            let lease = take(&channels[1], if turn == 2 { 60 } else { 100 }).await.unwrap();
            assert_eq!(
                (lease.messages.len(), lease.more),
                [(100, false), (60, false), (40, true)][(turn == 2) as usize + 2 * (turn == 3) as usize]
            );
            assert_eq!(texts(&lease.messages), numbered(went..went + lease.messages.len()));
            went += lease.messages.len();
            shared += usize::from(held.iter().any(|held| Arc::ptr_eq(&held.messages, &lease.messages)));
            channels[1].complete(&mut vec![lease], &[]).await.unwrap();
        }
        assert_eq!(shared, 8);
        // What would be little for it is not given to it.
        assert_eq!(take(&channels[1], 1000).await.unwrap().messages.len(), 1000);
    });
}

#[test]
fn what_waits_in_a_file_of_one_publisher_waits_for_each_of_several() {
    let (_folder, path) = super::formats::fixture("1.db");
    run(async {
        let channels = several(&path, &["a", "b"]).await;
        push(&channels[1], ["pushed"]).await;
        let expected: Vec<_> = super::formats::expected().into_iter().chain(["pushed".to_owned()]).collect();
        for channel in &channels {
            assert_eq!(drain(channel).await, expected);
            assert!(channel.depth().await.unwrap().age.is_none());
        }
        assert_eq!((count(&path, "chunks"), count(&path, "dead")), (0, 2));
    });
}

#[test]
fn one_that_is_added_gets_what_is_accepted_from_then_on_and_one_that_is_removed_keeps_what_waits_for_it() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        push(&several(&path, &["a", "b"]).await[0], numbered(0..10)).await;
        // Renamed: what waits for b is kept, and c is new.
        let channels = several(&path, &["a", "c"]).await;
        assert_eq!((waits(&channels[0]).await, waits(&channels[1]).await), (10, 0));
        push(&channels[0], numbered(10..20)).await;
        assert_eq!(drain(&channels[0]).await, numbered(0..20));
        assert_eq!(drain(&channels[1]).await, numbered(10..20));
        assert_eq!(count(&path, "chunks"), 1, "what waits for b");
        drop(channels);
        // As often as it is started without it.
        push(&several(&path, &["a", "c"]).await[0], numbered(20..30)).await;
        let channels = several(&path, &["b"]).await;
        push(&channels[0], numbered(30..31)).await;
        assert_eq!(drain(&channels[0]).await, [numbered(0..10), numbered(30..31)].concat());
        drop(channels);
        let channels = several(&path, &["a", "b", "c"]).await;
        for (channel, expected) in channels.iter().zip([numbered(20..30), Vec::new(), numbered(20..30)]) {
            assert_eq!(drain(channel).await, expected);
        }
        assert_eq!(count(&path, "chunks"), 0);
    });
}

#[test]
fn one_publisher_does_not_take_what_waits_for_several_and_says_so_and_what_is_forgotten_is_let_go() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let channels = several(&path, &["a", "b"]).await;
        push(&channels[0], numbered(0..11)).await;
        let lease = take(&channels[0], 5).await.unwrap();
        channels[0].complete(&mut vec![lease], &[]).await.unwrap();
        let lease = take(&channels[1], 1).await.unwrap();
        let letters = [letter(&lease, 0)];
        channels[1].complete(&mut vec![lease], &letters).await.unwrap();
        let output = kadabra(&["queue", "forget", "b"], &path);
        assert!(said(&output).contains("is another agent's that is running; stop that agent first"), "{}", said(&output));
    });
    let open_alone =
        || run(async { EmbeddedChannel::new(&settings(&path), "here").open().await.map_err(|error| error.to_string()) });
    let error = open_alone().unwrap_err();
    assert!(
        error.contains("6 messages wait for a, 10 messages wait for b") && error.contains("kadabra queue forget NAME"),
        "{error}"
    );
    let output = kadabra(&["queue", "forget", "c"], &path);
    assert!(output.status.code() == Some(69) && said(&output).contains("but a, b"), "{}", said(&output));
    let output = kadabra(&["queue", "forget", "b"], &path);
    assert!(
        output.status.success() && said(&output).contains("10 messages and 1 dead letter of b are gone"),
        "{}",
        said(&output)
    );
    assert_eq!((count(&path, "chunks"), count(&path, "dead")), (1, 0), "what waits for a");
    run(async { assert_eq!(drain(&several(&path, &["a"]).await[0]).await, numbered(5..11)) });
    // Nothing waits for anybody now.
    open_alone().unwrap();
    assert_eq!((count(&path, "consumers"), count(&path, "done_by")), (0, 0));
    let output = kadabra(&["queue", "forget", "a"], &path);
    assert!(said(&output).contains("the queue of one publisher"), "{}", said(&output));
}

#[test]
fn at_the_bound_a_required_publisher_refuses_pushes_and_another_drops_its_own_oldest() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let bound = |name, required| ConsumerSettings { required, max_backlog: Some(100), ..consumer(name) };
        let channels = try_several(&path, vec![bound("main", true), bound("side", false), consumer("free")]).await.unwrap();
        let backend = channels[0].backend();
        for number in 0..100 {
            push(&channels[0], [number.to_string()]).await;
        }
        let refused = backend.push(End::Newest, vec![Bytes::from_static(b"x")]).await;
        let Err(PushError::Failed { why, .. }) = refused else { panic!("{refused:?}") };
        assert!(why.contains("publisher main") && why.contains("publishers.main.max_backlog"), "{why}");
        assert_eq!(drain(&channels[0]).await, numbered(0..100));
        let held = take(&channels[1], 5).await.unwrap();
        push(&channels[0], ["100"]).await;
        // At once a little more than one, and none of those in hand.
        assert_eq!((waits(&channels[1]).await, channels[1].tally().accepted.unwrap().dropped), (94, 2));
        assert_eq!(channels[1].complete(&mut vec![held], &[]).await.unwrap().messages, 5);
        assert_eq!(drain(&channels[1]).await, numbered(7..101));
        assert_eq!(drain(&channels[2]).await, numbered(0..101));
        assert_eq!(drain(&channels[0]).await, ["100"]);
        assert_eq!(count(&path, "chunks"), 0);
    });
}

#[test]
fn dead_letters_name_their_consumer_and_none_takes_anothers_room() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let settings = Embedded { max_dead_letters: 3, ..settings(&path) };
        let channels = EmbeddedChannel::several(&settings, "here", vec![consumer("a"), consumer("b")]);
        channels[0].open().await.unwrap();
        push(&channels[0], numbered(0..10)).await;
        for (channel, letters) in channels.iter().zip([1, 10]) {
            let lease = take(channel, 10).await.unwrap();
            let letters: Vec<_> = (0..letters).map(|message| letter(&lease, message)).collect();
            channel.complete(&mut vec![lease], &letters).await.unwrap();
        }
        assert_eq!((channels[0].depth().await.unwrap().dead, channels[1].depth().await.unwrap().dead), (1, 3));
        assert_eq!(channels[0].tally().parked, 1);
        assert!(channels[1].look_at_dead_letters().contains("--publisher b"));
        let of = |name: &str| -> Vec<String> {
            let connection = Connection::open(&path).unwrap();
            let mut of = connection.prepare("SELECT payload FROM dead WHERE consumer = ?1 ORDER BY id").unwrap();
            of.query_map([name], |row| row.get::<_, Vec<u8>>(0)).unwrap().map(|text| texts(&[text.unwrap()]).remove(0)).collect()
        };
        assert_eq!((of("a"), of("b")), (numbered(0..1), numbered(7..10)));
    });
}

#[test]
fn each_is_given_what_can_be_read_of_a_damaged_file_and_told_what_cannot() {
    let (_folder, path) = super::formats::fixture("1-damaged.db");
    run(async {
        let channels = several(&path, &["a", "b"]).await;
        let drained = [drain(&channels[0]).await, drain(&channels[1]).await];
        assert!(drained[0] == drained[1] && !drained[0].is_empty());
        for channel in &channels {
            let tally = channel.tally();
            assert!(tally.balances() && tally.parked == 10, "{tally:?}");
        }
        drop(channels);
        let channels = several(&path, &["a", "b"]).await;
        assert_eq!((drain(&channels[0]).await.len(), drain(&channels[1]).await.len()), (0, 0), "delivered twice");
    });
}

#[test]
fn what_is_salvaged_waits_for_whom_it_waited() {
    let folder = quick_folder();
    let (path, new) = (folder.path().join("q.db"), folder.path().join("new.db"));
    run(async {
        let channels = several(&path, &["a", "b"]).await;
        for chunk in 0..4 {
            push(&channels[0], numbered(chunk * 10..chunk * 10 + 10)).await;
        }
        for (channel, done) in channels.iter().zip([15, 23]) {
            let lease = take(channel, done).await.unwrap();
            let letters = [letter(&lease, 0)];
            channel.complete(&mut vec![lease], &letters).await.unwrap();
        }
    });
    let output = kadabra(&["queue", "salvage", path.to_str().unwrap(), "--to", new.to_str().unwrap()], &path);
    assert!(said(&output).starts_with("25 messages wait in "), "{}", said(&output));
    run(async {
        let channels = several(&new, &["a", "b"]).await;
        assert_eq!(drain(&channels[0]).await, numbered(15..40));
        assert_eq!(drain(&channels[1]).await, numbered(23..40));
        assert_eq!(channels[0].depth().await.unwrap().dead, 1);
    });
}

#[test]
fn what_is_brought_in_waits_for_all_that_are_configured() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        push(&several(&path, &["a", "b", "gone"]).await[0], ["0"]).await;
        drop(several(&path, &["a", "b"]).await);
        let to = EmbeddedChannel::to_bring_in(&settings(&path), "here");
        to.open().await.unwrap();
        assert!(to.import("portion", false, vec![Bytes::from_static(b"1")]).await.unwrap());
        drop(to);
        let channels = several(&path, &["a", "b", "gone"]).await;
        for (channel, expected) in channels.iter().zip([2, 2, 1]) {
            assert_eq!(drain(channel).await, numbered(0..expected));
        }
        assert!(!channels[0].import("portion", false, vec![Bytes::from_static(b"1")]).await.unwrap());
    });
}

#[test]
fn a_slow_one_fills_the_file_for_all_and_is_named() {
    let folder = quick_folder();
    let path = folder.path().join("q.db");
    run(async {
        let settings = Embedded { max_bytes: 1 << 20, ..settings(&path) };
        let channels = EmbeddedChannel::several(&settings, "here", vec![consumer("quick"), consumer("slow")]);
        channels[0].open().await.unwrap();
        let backend = channels[0].backend();
        let message = || vec![Bytes::from(vec![b'm'; 10_000])];
        let mut stored = 0;
        let refused = loop {
            match backend.push(End::Newest, message()).await {
                Ok(_) => stored += 1,
                Err(refused) => break refused,
            }
            drain(&channels[0]).await;
        };
        assert!(refused == PushError::Full && stored > 50, "{stored}: {refused:?}");
        let patience = Patience { age: Duration::from_secs(60), messages: 1000 };
        let pressure = channels[0].pressure(&patience).await.unwrap();
        let room = pressure.warnings.iter().find(|warning| warning.threat == Threat::Capacity).unwrap();
        assert!(room.now.contains(&format!("{stored} messages wait for publisher slow")), "{room:?}");
        assert_eq!(drain(&channels[1]).await.len(), stored);
        backend.push(End::Newest, message()).await.unwrap();
    });
}

const FOLDER: &str = "KADABRA_TEST_FOLDER";

/// Not a test: what the next one kills. Pushes, and completes for three consumers, one after the other.
#[test]
#[ignore = "a child of another test"]
fn a_child_that_completes_for_three() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let log = || File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let first = fs::read_to_string(folder.join("log")).unwrap_or_default().lines().count() * 1_000_000;
    run(async {
        let channels = several(&folder.join("q.db"), &NAMES).await;
        let (backend, mut pushed) = (channels[0].backend(), log());
        actix_rt::spawn(async move {
            for number in (first..).step_by(5) {
                let messages = (number..number + 5).map(|number| Bytes::from(number.to_string())).collect();
                backend.push(End::Newest, messages).await.unwrap();
                pushed.write_all(format!("pushed {number} {}\n", number + 5).as_bytes()).unwrap();
            }
        });
        let mut log = log();
        loop {
            for (name, channel) in NAMES.iter().zip(&channels) {
                let Some(lease) = channel.receive(Demand { messages: fastrand::usize(1..40), ..ALL }, LONG).await.unwrap() else {
                    continue;
                };
                let numbers = texts(&lease.messages).join(" ");
                log.write_all(format!("completing {name} {numbers}\n").as_bytes()).unwrap();
                channel.complete(&mut vec![lease], &[]).await.unwrap();
                log.write_all(format!("completed {name} {numbers}\n").as_bytes()).unwrap();
            }
        }
    });
}

#[test]
fn after_kill_9_between_the_settles_of_two_each_gets_what_it_has_not_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let lines = |what: &str| -> Vec<String> {
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|line| line.strip_prefix(what)).map(|rest| rest.trim().to_owned()).collect()
    };
    let of = |what: &str, name: &str| -> BTreeSet<usize> {
        let prefix = format!("{what} {name} ");
        lines(&prefix).iter().flat_map(|line| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<usize>>()).collect()
    };
    for round in 0..4 {
        let mut child = command(std::env::current_exe().unwrap());
        child.args(["channel_embedded::consumers::a_child_that_completes_for_three", "--exact", "--ignored"]);
        let before = lines("completed ").len();
        child.env(FOLDER, folder.path());
        let mut child = Process::start("the child", child, &folder.path().join("output"));
        let goal = before + 10 + fastrand::usize(..40);
        wait_for("it to be at work", LONG, || {
            assert!(child.ended().is_none(), "{}", fs::read_to_string(folder.path().join("output")).unwrap());
            (lines("completed ").len() >= goal).then_some(())
        });
        child.kill();
        let pushed: Vec<usize> = lines("pushed ")
            .iter()
            .flat_map(|line| {
                let (from, to) = line.split_once(' ').unwrap();
                from.parse::<usize>().unwrap()..to.parse().unwrap()
            })
            .collect();
        run(async {
            let channels = several(&path, &NAMES).await;
            for (name, channel) in NAMES.iter().zip(&channels) {
                let (completing, completed) = (of("completing", name), of("completed", name));
                let mut leases = Vec::new();
                let mut there = BTreeSet::new();
                while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                    for text in texts(&lease.messages) {
                        assert!(there.insert(text.parse::<usize>().unwrap()), "{text} is there twice for {name}");
                    }
                    leases.push(lease);
                }
                assert!(there.is_disjoint(&completed), "round {round}: what {name} has completed is there again");
                let lost: Vec<_> = pushed.iter().filter(|n| !there.contains(n) && !completing.contains(n)).collect();
                assert!(lost.is_empty(), "round {round}: {lost:?} are gone for {name}");
                channel.release(&mut leases).await.unwrap();
            }
        });
    }
}
