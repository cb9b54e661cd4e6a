//! A file that is damaged in places: what can be read of it is delivered, once, and the rest is said.

use std::{collections::BTreeSet, fs};

use fastrand::Rng;
use kadabra::channel::{ChannelError, Patience, Warning, embedded::PushError};

use super::*;
use crate::channel_contract::{letter, receive};

const PAGE: usize = 4096;
/// Messages a chunk, and chunks, of which the first few are done and gone.
const EACH: usize = 40;
const CHUNKS: usize = 60;
const DONE: usize = 8;

fn message(number: usize) -> String {
    format!("{number} {}", "x".repeat(number * 37 % 997))
}

fn number(message: &[u8]) -> usize {
    let text = String::from_utf8_lossy(message);
    let number = text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(text, self::message(number), "not as it was pushed");
    number
}

/// The bytes of a queue whose chunks have many pages each, and some of whose pages are free.
fn whole(folder: &Path) -> Vec<u8> {
    let path = folder.join("whole.db");
    run(async {
        let channel = open(&settings(&path)).await;
        for chunk in 0..CHUNKS {
            push(&channel, (chunk * EACH..(chunk + 1) * EACH).map(message)).await;
        }
        let lease = receive(&channel, DONE * EACH, 10_000_000).await.unwrap();
        let letters = [letter(&lease, 0)];
        channel.complete(&mut vec![lease], &letters).await.unwrap();
    });
    fs::read(path).unwrap()
}

/// The chunks that can be read by their numbers, as they were written.
fn legible(path: &Path, whole: &Path) -> BTreeSet<i64> {
    let body = |connection: &Connection, id: i64| -> Option<Vec<u8>> {
        connection.query_row("SELECT body FROM chunks WHERE id = ?1", [id], |row| row.get(0)).ok()
    };
    let (damaged, whole) = (Connection::open(path).unwrap(), Connection::open(whole).unwrap());
    let numbers = 1..=CHUNKS as i64;
    numbers.filter(|id| body(&whole, *id).is_some_and(|whole| body(&damaged, *id) == Some(whole))).collect()
}

/// Takes all that there is, in leases of all sizes, and completes it, each as it comes or all in the end. The numbers of the
/// messages, as they came.
async fn drain(channel: &EmbeddedChannel, rng: &mut Rng, each: bool) -> Vec<usize> {
    let (mut there, mut leases) = (Vec::new(), Vec::new());
    // Each lease has a message, so that there is an end.
    while let Some(lease) = receive(channel, rng.usize(1..3 * EACH), rng.usize(1..200_000)).await {
        assert!(there.len() <= CHUNKS * EACH, "without an end");
        there.extend(lease.messages.iter().map(|message| number(message)));
        leases.push(lease);
        if each {
            channel.complete(&mut leases, &[]).await.unwrap();
        }
    }
    channel.complete(&mut leases, &[]).await.unwrap();
    there
}

async fn warning(channel: &EmbeddedChannel) -> Option<Warning> {
    let patience = Patience { age: Duration::MAX, messages: u64::MAX };
    channel.pressure(&patience).await.unwrap().warnings.into_iter().find(|warning| warning.what.contains("is damaged"))
}

async fn push_one(channel: &EmbeddedChannel) -> Result<u64, PushError> {
    channel.backend().push(End::Newest, vec![message(CHUNKS * EACH).into()]).await
}

/// The beginnings of the pages of one kind, but for the first page.
fn pages(bytes: &[u8], kind: impl Fn(&[u8]) -> bool) -> Vec<usize> {
    (PAGE..bytes.len()).step_by(PAGE).filter(|at| kind(&bytes[*at..at + PAGE])).collect()
}

/// An overflow page: what begins with the number of another page and is full of messages.
fn is_overflow(page: &[u8]) -> bool {
    page[..2] == [0, 0] && page[2..4] != [0, 0] && page.iter().filter(|byte| **byte == b'x').count() > PAGE / 2
}

#[test]
fn at_the_first_sign_pushes_are_refused_what_can_be_read_is_delivered_and_the_next_start_does_the_same() {
    let folder = quick_folder();
    let whole = whole(folder.path());
    let path = folder.path().join("q.db");
    let overflow = pages(&whole, is_overflow);
    for at in [overflow[40], overflow[overflow.len() / 2], overflow[overflow.len() - 40]] {
        let mut damaged = whole.clone();
        damaged[at..at + 4].fill(0xff);
        fs::write(&path, damaged).unwrap();
        let legible = legible(&path, &folder.path().join("whole.db"));
        assert_eq!(legible.len(), CHUNKS - DONE - 1, "the damage is elsewhere");
        run(async {
            let channel = open(&settings(&path)).await;
            assert!(waiting(&channel).await.len() >= legible.len() * EACH);
            let there = drain(&channel, &mut Rng::with_seed(1), true).await;
            assert_eq!(there.len(), legible.len() * EACH);
            refused_for_damage(&channel).await;
            let said = warning(&channel).await.unwrap();
            assert!(said.now.contains("; 40 messages cannot be read"), "{said:?}");
            let tally = channel.registry().tally();
            assert_eq!((tally.published, tally.parked), ((legible.len() * EACH) as u64, EACH as u64));
            let depth = channel.depth().await.unwrap();
            assert_eq!((depth.queued, depth.dead), (0, 1));
            drop(channel);
            let left: i64 =
                Connection::open(&path).unwrap().query_row("SELECT count(*) FROM chunks", [], |row| row.get(0)).unwrap();
            assert!(left > 1, "deleted from a damaged file: {left} are left");
            // The next agent knows it from the start, and delivers nothing once more.
            let next = open(&settings(&path)).await;
            refused_for_damage(&next).await;
            assert!(drain(&next, &mut Rng::with_seed(1), true).await.is_empty());
            assert!(warning(&next).await.unwrap().now.contains("; 40 messages cannot be read"));
        });
    }
}

/// That a push is refused, and why.
async fn refused_for_damage(channel: &EmbeddedChannel) {
    let Err(PushError::Failed { why, .. }) = push_one(channel).await else { panic!("into a damaged file") };
    assert!(why.contains(" is damaged, so nothing more is queued in it: cannot "), "{why}");
    assert!(why.contains("; stop the agent, "), "{why}");
    let said = warning(channel).await.unwrap();
    assert!(said.what.ends_with("what clients push is refused, what can be read is published"), "{said:?}");
}

#[test]
fn where_nothing_can_be_deleted_any_more_each_message_is_published_once_and_pushes_are_refused() {
    let folder = quick_folder();
    let whole = whole(folder.path());
    let path = folder.path().join("q.db");
    let mut damaged = whole.clone();
    // What the list of the free pages says that it has.
    let trunk = u32::from_be_bytes(whole[32..36].try_into().unwrap()) as usize;
    assert!(trunk > 0, "no page is free");
    damaged[(trunk - 1) * PAGE + 4..][..4].fill(0xff);
    fs::write(&path, damaged).unwrap();
    run(async {
        let channel = open(&settings(&path)).await;
        let mut rng = Rng::with_seed(2);
        let there = drain(&channel, &mut rng, true).await;
        assert!(there.into_iter().eq(DONE * EACH..CHUNKS * EACH));
        refused_for_damage(&channel).await;
        assert!(channel.backend().clear().await.is_ok_and(|any| !any) || channel.depth().await.unwrap().queued == 0);
        drop(channel);
        // It was marked as done instead.
        assert_eq!(open(&settings(&path)).await.depth().await.unwrap().queued, 0);
    });
}

/// Two bytes of a page, as SQLite writes numbers.
fn field(page: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([page[at], page[at + 1]]))
}

/// The places of the cells of a page of the table that has rows.
fn cells(page: &[u8]) -> Vec<usize> {
    (0..field(page, 3)).map(|cell| field(page, 8 + 2 * cell)).collect()
}

#[test]
fn what_was_delivered_and_cannot_be_found_again_to_be_deleted_is_marked_as_done() {
    let folder = quick_folder();
    let path = folder.path().join("whole.db");
    let text = |number: usize| format!("{number} {}", "x".repeat(600));
    run(async {
        let channel = open(&settings(&path)).await;
        for chunk in 0..CHUNKS {
            push(&channel, [text(chunk)]).await;
        }
    });
    let whole = fs::read(path).unwrap();
    let path = folder.path().join("q.db");
    let leaves = pages(&whole, |page| page[0] == 13 && cells(page).len() > 3);
    assert!(leaves.len() > 5, "only {} pages have rows to be hidden", leaves.len());
    for leaf in leaves {
        let mut damaged = whole.clone();
        let cells = cells(&whole[leaf..leaf + PAGE]);
        // Where a search begins, the row's number, behind two bytes of its length: what is before it is not found any more.
        damaged[leaf + cells[(cells.len() - 1) / 2] + 2] = 0;
        fs::write(&path, damaged).unwrap();
        run(async {
            let channel = open(&settings(&path)).await;
            let mut there = BTreeSet::new();
            while let Some(lease) = receive(&channel, 1, 10_000_000).await {
                for message in lease.messages.iter() {
                    assert!(there.insert(message.to_vec()), "page {leaf}: delivered twice");
                }
                channel.complete(&mut vec![lease], &[]).await.unwrap();
            }
            // Before the damage is noticed, deletions take along what lies beside it.
            assert!(there.len() >= CHUNKS - 4 * cells.len(), "page {leaf}: only {} were delivered", there.len());
            let warning = warning(&channel).await.unwrap();
            assert!(!warning.now.contains("again, since the file did not take the mark"), "page {leaf}: {warning:?}");
            drop(channel);
            let next = open(&settings(&path)).await;
            while let Some(lease) = receive(&next, 1, 10_000_000).await {
                let again = lease.messages.iter().filter(|message| there.contains(&message[..])).count();
                assert_eq!(again, 0, "page {leaf}: delivered by the next agent once more");
                next.complete(&mut vec![lease], &[]).await.unwrap();
            }
        });
    }
}

#[test]
fn what_is_done_stays_so_where_the_index_has_another_count_of_its_messages() {
    let folder = quick_folder();
    let mut damaged = whole(folder.path());
    let path = folder.path().join("q.db");
    let chunk = 30;
    // In the index: what the three columns are, and they: the chunk, its messages, and its row's number.
    let entry = [4, 1, 1, 1, chunk, EACH as u8, chunk];
    let at = damaged.windows(entry.len()).position(|bytes| bytes == entry).expect("no such entry");
    damaged[at + 5] = EACH as u8 - 1;
    fs::write(&path, damaged).unwrap();
    run(async {
        let channel = open(&settings(&path)).await;
        let there = drain(&channel, &mut Rng::with_seed(4), true).await;
        assert!(there.into_iter().eq(DONE * EACH..CHUNKS * EACH));
        drop(channel);
        let again = drain(&open(&settings(&path)).await, &mut Rng::with_seed(4), true).await;
        assert!(again.is_empty(), "{} once more", again.len());
    });
}

/// One place of it, drawn: bits, bytes, pages in the place of others.
fn damage(bytes: &mut [u8], rng: &mut Rng) -> String {
    let page = rng.usize(1..bytes.len() / PAGE) * PAGE;
    let kind = bytes[page];
    let at = page + rng.usize(..PAGE);
    let end = bytes.len().min(at + rng.usize(1..3 * PAGE));
    let what = match rng.u8(..7) {
        0 => {
            bytes[at] ^= 1 << rng.u8(..8);
            "a bit"
        }
        1 => {
            bytes[at..end].iter_mut().for_each(|byte| *byte = rng.u8(..));
            "noise"
        }
        2 => {
            bytes[at..end].fill(0);
            "zeros"
        }
        3 => {
            bytes[page..page + 4].fill(0xff);
            "the first bytes"
        }
        4 => {
            let other = rng.usize(1..bytes.len() / PAGE) * PAGE;
            bytes.copy_within(other..other + PAGE, page);
            "another page"
        }
        5 => {
            // A page of a tree: how much it says that it has.
            bytes[page + 3..page + 5].fill(0);
            "an empty page"
        }
        _ => {
            bytes[page + rng.usize(..16)] = rng.u8(..);
            "a byte of a head"
        }
    };
    format!("{what} at {at} in the page at {page} of kind {kind}")
}

#[test]
fn wherever_it_is_damaged_what_can_be_read_is_delivered_once_and_nothing_hangs() {
    let folder = quick_folder();
    let whole = whole(folder.path());
    // Most pages are a chunk's; the others are where a tree can break.
    let trees = pages(&whole, |page| matches!(page[0], 2 | 5 | 10 | 13));
    let seed = std::env::var("KADABRA_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let (mut started, mut unreadable, mut refused) = (0, 0, 0);
    let rounds = std::env::var("KADABRA_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    for round in 0..rounds {
        let path = folder.path().join(format!("{round}.db"));
        let mut damaged = whole.clone();
        let mut what = damage(&mut damaged, &mut rng);
        if round % 2 == 0 {
            damaged.clone_from(&whole);
            let page = trees[rng.usize(..trees.len())];
            let mut tree = [&whole[..PAGE], &whole[page..page + PAGE]].concat();
            what = format!("{} but at {page}", damage(&mut tree, &mut rng));
            damaged[page..page + PAGE].copy_from_slice(&tree[PAGE..]);
        }
        let what = format!("seed {seed}, round {round}: {what}");
        fs::write(&path, &damaged).unwrap();
        let legible = legible(&path, &folder.path().join("whole.db"));
        drop(fs::remove_file(folder.path().join(format!("{round}.db-shm"))));
        let test = async {
            let channel = EmbeddedChannel::new(&settings(&path), "here");
            match channel.open().await {
                Ok(_) => {}
                Err(ChannelError::Unusable { what: why, mend }) => {
                    assert!(why.contains("is damaged: ") && mend.starts_with("stop the agent, "), "{what}: {why}; {mend}");
                    return;
                }
                Err(other) => panic!("{what}: {other}"),
            }
            started += 1;
            let each = rng.bool();
            let there = drain(&channel, &mut rng, each).await;
            let once: BTreeSet<usize> = there.iter().copied().collect();
            assert_eq!(once.len(), there.len(), "{what}: delivered twice");
            // Before the damage is noticed, deletions take along what lies beside it.
            for chunk in legible.into_iter().filter(|_| !each) {
                let first = (chunk as usize - 1) * EACH;
                let lost: Vec<usize> = (first..first + EACH).filter(|number| !once.contains(number)).collect();
                assert!(lost.is_empty(), "{what}: {} from {:?} on can be read and were not delivered", lost.len(), lost.first());
            }
            let known = warning(&channel).await;
            let missing = (CHUNKS - DONE) * EACH - once.len();
            assert!(missing == 0 || known.is_some(), "{what}: {missing} are missing, and nobody says so");
            unreadable += usize::from(missing > 0);
            let unwritten = known.as_ref().is_some_and(|said| said.now.contains("again, since the file did not take the mark"));
            match push_one(&channel).await {
                Ok(_) => assert_eq!(drain(&channel, &mut rng, each).await, [CHUNKS * EACH], "{what}"),
                Err(PushError::Failed { why, .. }) => {
                    refused += 1;
                    assert!(why.contains(" is damaged, so nothing more is queued in it"), "{what}: {why}");
                    let said = warning(&channel).await.unwrap();
                    assert!(said.what.contains("what clients push is refused"), "{what}: {said:?}");
                }
                Err(other) => panic!("{what}: {other:?}"),
            }
            channel.rest().await.ok();
            drop(channel);
            // What is done stays so, where that could be written down.
            let channel = EmbeddedChannel::new(&settings(&path), "here");
            if channel.open().await.is_ok() {
                let again = drain(&channel, &mut rng, each).await;
                assert!(
                    unwritten || again.iter().all(|number| !once.contains(number)),
                    "{what}: {} from {:?} on once more: {known:?}",
                    again.len(),
                    again.first()
                );
            }
        };
        run(async { tokio::time::timeout(Duration::from_secs(30), test).await.unwrap_or_else(|_| panic!("{what}: it hangs")) });
        for suffix in ["", "-wal", "-shm", "-lock"] {
            drop(fs::remove_file(folder.path().join(format!("{round}.db{suffix}"))));
        }
    }
    println!("{started} started, {unreadable} with something unreadable, {refused} refused pushes");
    assert!(started > rounds / 4 && unreadable > rounds / 10, "{started}, {unreadable}");
}
