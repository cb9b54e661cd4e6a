//! The queue against a model of it, over operations nobody thought of; one that is bounded with each `when_full`.

use std::collections::BTreeMap;

use kadabra::channel::{DeadLetter, Demand, Lease, embedded::PushError};
use proptest::prelude::*;

use super::*;
use crate::channel_contract::{NO_WAIT, letter};

#[derive(Clone, Debug)]
enum Step {
    /// Sizes of messages.
    Push(End, Vec<usize>),
    Adopt(Vec<usize>),
    Receive(usize, usize),
    /// Which lease, and which of its messages become dead letters: every so many.
    Complete(usize, usize),
    Release(usize),
    Drop(usize),
    Clear,
    Range(i64, i64),
    Reopen,
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![6 => 0..20usize, 2 => 0..2000usize, 1 => 30_000..80_000usize, 1 => 120_000..140_000usize];
    prop::collection::vec(size, 1..12)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => sizes().prop_map(|sizes| Step::Push(End::Newest, sizes)),
        2 => sizes().prop_map(|sizes| Step::Push(End::Oldest, sizes)),
        1 => sizes().prop_map(Step::Adopt),
        8 => (1..15usize, prop_oneof![1..50usize, 1..300_000usize]).prop_map(|(messages, bytes)| Step::Receive(messages, bytes)),
        5 => (any::<usize>(), 1..9usize).prop_map(|(lease, every)| Step::Complete(lease, every)),
        3 => any::<usize>().prop_map(Step::Release),
        3 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::Clear),
        2 => (-9..9i64, -9..9i64).prop_map(|(start, stop)| Step::Range(start, stop)),
        1 => Just(Step::Reopen),
    ]
}

/// Much is pushed, of which some is leased, and little is set aside: dead letters that are dropped are another test's.
fn full_step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(prop_oneof![2 => 1..3000usize, 1 => 20_000..120_000usize], 1..6);
    prop_oneof![
        8 => sizes().prop_map(|sizes| Step::Push(End::Newest, sizes)),
        2 => sizes().prop_map(|sizes| Step::Push(End::Oldest, sizes)),
        3 => (1..15usize, 1..200_000usize).prop_map(|(messages, bytes)| Step::Receive(messages, bytes)),
        2 => any::<usize>().prop_map(|lease| Step::Complete(lease, usize::MAX)),
        1 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::Reopen),
    ]
}

/// Where a message belongs: adopted ones before all others.
type Place = (bool, i64);

struct World {
    channel: Option<EmbeddedChannel>,
    settings: Embedded,
    leases: Vec<(Lease, Vec<Place>)>,
    waiting: BTreeMap<Place, Vec<u8>>,
    all: BTreeMap<Place, Vec<u8>>,
    dead: Vec<Vec<u8>>,
    newest: i64,
    oldest: i64,
    /// Since the file was opened.
    pushed: u64,
    dropped: u64,
    /// Whether any ever was, and whether any was refused.
    was_full: (bool, bool),
}

impl World {
    async fn new(settings: Embedded) -> Self {
        Self {
            channel: Some(open(&settings).await),
            settings,
            leases: Vec::new(),
            waiting: BTreeMap::new(),
            all: BTreeMap::new(),
            dead: Vec::new(),
            newest: 0,
            oldest: 0,
            pushed: 0,
            dropped: 0,
            was_full: (false, false),
        }
    }

    /// What has become of messages, of which the last are these.
    async fn pushed(&mut self, places: &[Place], outcome: Result<u64, PushError>) {
        let backend = self.channel.as_ref().unwrap().backend();
        let count = places.len() as u64;
        self.pushed += count;
        if let Err(why) = &outcome {
            assert_eq!(*why, PushError::Full);
            self.waiting.retain(|place, _| !places.contains(place));
            self.was_full.1 = true;
            if self.settings.when_full == WhenFull::Refuse {
                self.pushed -= count;
            } else {
                backend.drop_newest(count);
                self.dropped += count;
            }
        }
        let dropped = backend.take_dropped_oldest();
        if dropped > 0 {
            assert_eq!(self.settings.when_full, WhenFull::DropOldest);
            let mut left = Vec::new();
            while (left.len() as u64) < backend.length().await.unwrap() {
                let next = left.len() as i64;
                left.extend(backend.range(next, next).await.unwrap().into_iter().map(|message| message.to_vec()));
            }
            let before = self.waiting.len() as u64;
            self.waiting.retain(|_, message| left.contains(message));
            assert_eq!(self.waiting.len(), left.len(), "something else waits than was pushed");
            assert_eq!(before - self.waiting.len() as u64, dropped);
            self.dropped += dropped;
            self.was_full.0 = true;
        }
        if let Ok(length) = outcome {
            assert_eq!(length, self.waiting.len() as u64);
        }
        let of = self.channel.as_ref().unwrap().tally();
        assert!(of.balances(), "{of:?}");
        let of = of.accepted.unwrap();
        assert_eq!((of.all - of.found, of.dropped), (self.pushed, self.dropped));
    }

    fn message(&mut self, place: Place, size: usize) -> Bytes {
        let mut message = format!("{place:?}").into_bytes();
        message.resize(message.len().max(size), b'.');
        self.waiting.insert(place, message.clone());
        self.all.insert(place, message.clone());
        message.into()
    }

    async fn step(&mut self, step: Step) {
        let channel = self.channel.as_ref().unwrap();
        let backend = channel.backend();
        match step {
            Step::Push(end, sizes) => {
                let messages = sizes.into_iter().map(|size| {
                    let place = if end == End::Newest { &mut self.newest } else { &mut self.oldest };
                    *place += if end == End::Newest { 1 } else { -1 };
                    let place = (true, *place);
                    (place, self.message(place, size))
                });
                let (places, messages): (Vec<_>, _) = messages.unzip();
                let outcome = backend.push(end, messages).await;
                self.pushed(&places, outcome).await;
            }
            Step::Adopt(sizes) => {
                let messages = sizes.into_iter().map(|size| {
                    self.newest += 1;
                    let place = (false, self.newest);
                    (place, self.message(place, size))
                });
                let (places, messages): (Vec<_>, _) = messages.unzip();
                let outcome = self.channel.as_ref().unwrap().adopt(messages).await;
                self.pushed(&places, outcome).await;
            }
            Step::Receive(messages, bytes) => {
                let mut expected: Vec<(Place, Vec<u8>)> = Vec::new();
                let mut room = bytes;
                for (place, message) in &self.waiting {
                    let other = expected.first().is_some_and(|(first, _)| first.0 != place.0);
                    let full = expected.len() == messages || room == 0 || message.len() > room;
                    if !expected.is_empty() && (other || full) {
                        break;
                    }
                    room = room.saturating_sub(message.len());
                    expected.push((*place, message.clone()));
                }
                let lease = channel.receive(Demand { messages, bytes, not_before: None }, NO_WAIT).await.unwrap();
                assert_eq!(lease.is_none(), expected.is_empty());
                let Some(lease) = lease else { return };
                let (places, texts): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
                assert!(lease.messages.to_vec() == texts, "{:?} instead of {places:?}", lease.messages.len());
                assert_eq!(lease.adopted, !places[0].0);
                self.waiting.retain(|place, _| !places.contains(place));
                self.leases.push((lease, places));
            }
            Step::Complete(which, every) => {
                let Some((lease, _)) = self.pick(which) else { return };
                let letters: Vec<DeadLetter> =
                    (0..lease.messages.len()).skip(every - 1).step_by(every).map(|message| letter(&lease, message)).collect();
                self.dead.extend(letters.iter().map(|letter| lease.messages[letter.message].clone()));
                let messages = lease.messages.len();
                let completed = self.channel.as_ref().unwrap().complete(&mut vec![lease], &letters).await.unwrap();
                assert_eq!((completed.messages, completed.lost), (messages, 0));
            }
            Step::Release(which) => {
                let Some((lease, places)) = self.pick(which) else { return };
                self.channel.as_ref().unwrap().release(&mut vec![lease]).await.unwrap();
                self.wait_again(places);
            }
            Step::Drop(which) => {
                let Some((lease, places)) = self.pick(which) else { return };
                drop(lease);
                assert_eq!(self.channel.as_ref().unwrap().recover().await.unwrap().dropped, places.len());
                self.wait_again(places);
            }
            Step::Clear => {
                let before = self.waiting.len();
                self.waiting.retain(|place, _| !place.0);
                self.dropped += (before - self.waiting.len()) as u64;
                assert_eq!(backend.clear().await.unwrap(), before > self.waiting.len());
            }
            Step::Range(start, stop) => {
                let length = self.waiting.len() as i64;
                let at = |n: i64| if n < 0 { n + length } else { n };
                let newest = self.waiting.values().rev().enumerate();
                let expected: Vec<_> = newest
                    .filter(|(n, _)| (at(start).max(0)..=at(stop)).contains(&(*n as i64)))
                    .map(|(_, message)| message.clone())
                    .collect();
                assert!(backend.range(start, stop).await.unwrap() == expected);
            }
            Step::Reopen => {
                drop(backend);
                self.channel = None;
                self.channel = Some(open(&self.settings).await);
                (self.pushed, self.dropped) = (0, 0);
                for (lease, places) in std::mem::take(&mut self.leases) {
                    drop(lease);
                    self.wait_again(places);
                }
            }
        }
        assert_eq!(self.channel.as_ref().unwrap().backend().length().await.unwrap(), self.waiting.len() as u64);
    }

    /// What is left is what should be.
    async fn end(&mut self) {
        self.step(Step::Reopen).await;
        let connection = Connection::open(&self.settings.path).unwrap();
        let mut dead = connection.prepare("SELECT payload FROM dead ORDER BY id").unwrap();
        let dead: Vec<Vec<u8>> = dead.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(dead == self.dead);
        while !self.waiting.is_empty() {
            self.step(Step::Receive(7, 100_000)).await;
        }
    }

    fn pick(&mut self, which: usize) -> Option<(Lease, Vec<Place>)> {
        (!self.leases.is_empty()).then(|| self.leases.remove(which % self.leases.len()))
    }

    fn wait_again(&mut self, places: Vec<Place>) {
        let messages = places.into_iter().map(|place| (place, self.all[&place].clone()));
        self.waiting.extend(messages.collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_does_what_a_list_with_leases_does(steps in prop::collection::vec(step(), 1..80)) {
        let folder = quick_folder();
        run(async {
            let settings = settings(&folder.path().join("q.db"));
            let mut world = World::new(settings).await;
            for step in steps {
                world.step(step).await;
            }
            world.end().await;
        });
    }

    #[test]
    fn a_queue_that_is_full_holds_what_was_pushed_but_for_what_it_says_that_it_has_dropped(
        when_full in prop::sample::select(vec![WhenFull::Refuse, WhenFull::DropNewest, WhenFull::DropOldest]),
        steps in prop::collection::vec(full_step(), 20..60),
    ) {
        let folder = quick_folder();
        run(async {
            // Answers come when it is known what has become of the push.
            let answer_within = AnswerWithin::Set(Duration::ZERO);
            let settings = Embedded { when_full, max_bytes: 1 << 20, answer_within, ..settings(&folder.path().join("q.db")) };
            let mut world = World::new(settings).await;
            for step in steps {
                world.step(step).await;
            }
            // So much does not fit.
            for _ in 0..12 {
                world.step(Step::Push(End::Newest, vec![100_000])).await;
            }
            assert!(world.was_full.0 || (when_full != WhenFull::DropOldest && world.was_full.1), "{:?}", world.was_full);
            world.end().await;
        });
    }
}
