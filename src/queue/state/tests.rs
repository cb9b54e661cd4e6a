//! What becomes of messages and leases, without a file.

use super::*;
use crate::queue::{ConsumerSettings, Tally, found::FoundConsumer};

#[test]
fn a_chunk_is_done_when_all_its_parts_are_in_whatever_order() {
    assert_eq!(rest(10, vec![(5, 10), (0, 3)]), Rest::Done(vec![(0, 3), (5, 10)]));
    assert_eq!(rest(10, vec![(5, 10), (0, 3), (3, 4)]), Rest::Done(vec![(0, 4), (5, 10)]));
    assert_eq!(rest(10, vec![(5, 10), (0, 3), (3, 5)]), Rest::Nothing);
}

#[test]
fn no_chunk_of_a_damaged_file_is_deleted() {
    let mut state = QueueState::new(&Found::default());
    let part = |chunk| Part { chunk, from: 0, to: 10, of: 10 };
    assert_eq!(state.rests([part(2)]), BTreeMap::from([(2, Rest::Nothing)]));
    state.keep_all();
    assert_eq!(state.rests([part(2)]), BTreeMap::from([(2, Rest::Kept(10))]));
}

#[test]
fn what_was_read_before_a_clear_is_not_leased_after_it() {
    let mut state = QueueState::new(&Found::default());
    state.stored(Region::Newest, 1, 10, None);
    let (_, mark) = state.of_mut(0).oldest(1);
    let part = Part { chunk: 1, from: 0, to: 10, of: 10 };
    let cleared = state.clear();
    let [(0, intervals)] = cleared.as_slice() else { panic!("{cleared:?}") };
    assert!(!state.of_mut(0).lease("a".to_owned(), vec![part], Instant::now(), mark));
    state.of_mut(0).uncleared(intervals);
    assert_eq!(state.of_mut(0).oldest(9).0, *intervals);
}

#[test]
fn what_waits_is_everything_that_is_not_done_and_as_old_as_its_oldest() {
    let start = Instant::now();
    let at = |second| start + std::time::Duration::from_secs(second);
    let mut state = QueueState::new(&Found::default());
    let push = |state: &mut QueueState, region, second| {
        let mark = state.mark(region, 1, at(second));
        state.stored(region, 1, 10, mark);
    };
    assert_eq!(state.pending(0, at(0)), Pending::default());
    push(&mut state, Region::Newest, 10);
    push(&mut state, Region::Newest, 20);
    push(&mut state, Region::Oldest, 30);
    let told = |state: &QueueState| {
        let Pending { messages, leased, oldest } = state.pending(0, at(100));
        (messages, leased, oldest.map(|age| age.as_secs()))
    };
    assert_eq!(told(&state), (30, 0, Some(90)));
    let lease = |state: &mut QueueState, id: &str, chunk, to| {
        assert!(state.of_mut(0).lease(id.to_owned(), vec![Part { chunk, from: 0, to, of: 10 }], at(200), 0));
    };
    lease(&mut state, "a", 1, 10);
    lease(&mut state, "b", 2, 4);
    assert_eq!((told(&state), state.messages()), ((30, 14, Some(90)), 16));
    state.of_mut(0).settled("a", 3);
    assert_eq!(told(&state), (20, 4, Some(80)));
    assert!(state.clear()[0].1.len() == 2);
    state.of_mut(0).cleared(16);
    assert_eq!(told(&state), (4, 4, Some(80)));
    assert_eq!(state.of_mut(0).tally(), Tally { found: 0, stored: 30, published: 7, parked: 3, dropped: 16, pending: 4 });
}

#[test]
fn what_is_being_settled_is_neither_given_back_nor_taken_back() {
    let mut state = QueueState::new(&Found::default());
    let (id, now) = ("a".to_owned(), Instant::now());
    state.stored(Region::Newest, 1, 10, None);
    assert!(state.of_mut(0).lease(id.clone(), vec![Part { chunk: 1, from: 0, to: 4, of: 10 }], now, 0));
    assert!(matches!(state.of_mut(0).begin_settling(&id), Settling::Begun(_)));
    assert_eq!((state.of_mut(0).give_back(&id), state.of_mut(0).expire(&[], now)), (GivenBack::Settling, 0));
    state.of_mut(0).not_settled(&id);
    assert_eq!(state.of_mut(0).expire(&[], now), 4);
    assert_eq!(state.of_mut(0).begin_settling(&id), Settling::Ended(LeaseEnd::Expired));
    assert_eq!(state.messages(), 10);
}

fn several(settings: &[ConsumerSettings]) -> QueueState {
    let consumers = settings.iter().zip(1..).map(|(settings, id)| {
        let configured = Some(settings.clone());
        FoundConsumer { id, name: settings.name.clone(), configured, ..FoundConsumer::default() }
    });
    QueueState::new(&Found { consumers: consumers.collect(), ..Found::default() })
}

fn consumer(name: &str, required: bool, max_backlog: Option<u64>) -> ConsumerSettings {
    ConsumerSettings { name: name.to_owned(), required, max_backlog }
}

#[test]
fn a_chunk_is_deleted_by_the_last_to_have_done_it_and_none_of_a_damaged_file() {
    let mut state = several(&["a", "b", "c"].map(|name| consumer(name, true, None)));
    state.stored(Region::Newest, 3, 30, None);
    let part = |chunk, from, to| Part { chunk, from, to, of: 10 };
    let done = |state: &mut QueueState, parts: Vec<(usize, Part)>| {
        let Change::OfSeveral(changes) = state.change(parts) else { panic!("not of several") };
        let deleted = changes.deleted.clone();
        state.written(Change::OfSeveral(changes));
        deleted
    };
    assert_eq!(done(&mut state, vec![(0, part(1, 0, 10)), (0, part(2, 0, 10)), (1, part(2, 0, 10))]), []);
    assert_eq!(done(&mut state, vec![(2, part(1, 0, 10)), (2, part(2, 0, 9))]), []);
    assert_eq!(done(&mut state, vec![(2, part(2, 9, 10)), (1, part(1, 0, 4))]), [(2, 2)]);
    assert_eq!(
        done(&mut state, vec![(1, part(1, 4, 10)), (0, part(3, 0, 10)), (1, part(3, 0, 10)), (2, part(3, 0, 10))]),
        [(1, 1), (3, 3)]
    );
    state.stored(Region::Newest, 1, 10, None);
    state.keep_all();
    assert_eq!(done(&mut state, vec![(0, part(4, 0, 10)), (1, part(4, 0, 10)), (2, part(4, 0, 10))]), []);
}

#[test]
fn backlogs_are_bounded_each_as_its_consumer_is() {
    let mut state = several(&[consumer("main", true, Some(10)), consumer("side", false, Some(5)), consumer("free", true, None)]);
    state.stored(Region::Newest, 1, 8, None);
    assert_eq!((state.no_backlog_for(2), state.no_backlog_for(3)), (None, Some(("main".to_owned(), 10))));
    assert_eq!(state.too_long(false), [(1, 3, 5)]);
}

#[test]
fn what_is_dropped_was_not_leased_meanwhile_nor_is_leased_after() {
    let mut state = several(&[consumer("side", false, Some(5))]);
    state.stored(Region::Newest, 1, 10, None);
    let side = state.of_mut(0);
    let (found, mark) = side.oldest(1);
    let part = |from, to| Part { chunk: 1, from, to, of: 10 };
    assert!(side.lease("a".to_owned(), vec![part(0, 2)], Instant::now(), mark));
    assert!(!side.begin_dropping(&found, mark), "some of it is in hand");
    let (from, to) = (part(2, 4).start(), part(2, 4).end());
    assert!(side.begin_dropping(&[(from, to)], mark));
    assert!(!side.lease("b".to_owned(), vec![part(2, 5)], Instant::now(), mark), "it was read before it was dropped");
    side.cleared(2);
    assert_eq!((side.messages(), side.tally().dropped), (6, 2));
}

#[test]
fn a_chunk_of_which_anything_is_leased_by_anybody_makes_room_for_nobody() {
    let mut state = several(&["quick", "slow"].map(|name| consumer(name, true, None)));
    state.stored(Region::Newest, 3, 30, None);
    let chunks = |from, to| {
        let mut chunks = IntervalSet::default();
        chunks.insert(Offset::start(from), Offset::start(to));
        chunks
    };
    assert_eq!(state.droppable(10), chunks(1, 4));
    let (_, mark) = state.of(0).oldest(1);
    let part = Part { chunk: 1, from: 0, to: 3, of: 10 };
    assert!(state.of_mut(0).lease("a".to_owned(), vec![part], Instant::now(), mark));
    assert_eq!(state.droppable(10), chunks(2, 4));
    // It was leased after it had been looked for what to drop.
    let taken_off = state.begin_dropping(&chunks(1, 3));
    let second = vec![(Offset::start(2), Offset::start(3))];
    assert_eq!(taken_off, [(0, second.clone()), (1, second)]);
    for consumer in 0..2 {
        state.of_mut(consumer).cleared(10);
        assert_eq!(state.of(consumer).tally().dropped, 10);
    }
}
