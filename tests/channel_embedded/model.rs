//! The queue against a model of it, over operations nobody thought of.

use std::collections::BTreeMap;

use kadabra::channel::{DeadLetter, Demand, Lease};
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
}

impl World {
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
                    self.message(place, size)
                });
                let messages = messages.collect();
                assert_eq!(backend.push(end, messages).await.unwrap(), self.waiting.len() as u64);
            }
            Step::Adopt(sizes) => {
                let messages = sizes.into_iter().map(|size| {
                    self.newest += 1;
                    self.message((false, self.newest), size)
                });
                let messages = messages.collect();
                let channel = self.channel.as_ref().unwrap();
                assert_eq!(channel.adopt(messages).await.unwrap(), self.waiting.len() as u64);
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
                for (lease, places) in std::mem::take(&mut self.leases) {
                    drop(lease);
                    self.wait_again(places);
                }
            }
        }
        assert_eq!(self.channel.as_ref().unwrap().backend().length().await.unwrap(), self.waiting.len() as u64);
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
            let mut world = World {
                channel: Some(open(&settings).await),
                settings,
                leases: Vec::new(),
                waiting: BTreeMap::new(),
                all: BTreeMap::new(),
                dead: Vec::new(),
                newest: 0,
                oldest: 0,
            };
            for step in steps {
                world.step(step).await;
            }
            world.step(Step::Reopen).await;
            let connection = Connection::open(&world.settings.path).unwrap();
            let mut dead = connection.prepare("SELECT payload FROM dead ORDER BY id").unwrap();
            let dead: Vec<Vec<u8>> = dead.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert!(dead == world.dead);
            while !world.waiting.is_empty() {
                world.step(Step::Receive(7, 100_000)).await;
            }
        });
    }
}
