//! That everybody gets memory in the end, and nobody more than there is.

use std::{cell::Cell, rc::Rc};

use tokio::{
    task::{LocalSet, yield_now},
    time::{Instant, sleep},
};

use super::*;

/// Longer than anybody in these tests has to wait, unless for ever.
const PATIENCE: Duration = Duration::from_secs(3600);

#[test]
fn memory_is_claimed_beyond_what_is_ones_own_and_comes_back() {
    let memory = MemoryPool::new(100 << 10);
    let (mut one, mut other) = (memory.claim(), memory.claim());
    assert!(one.cover(2 * OWN) && memory.used() == 0 && !one.holds());
    assert!(one.cover(2 * OWN + (90 << 10)) && memory.used() == 90 << 10 && one.holds());
    assert!(!other.cover(2 * OWN + (11 << 10)) && memory.used() == 90 << 10);
    assert!(other.cover(2 * OWN + (10 << 10)) && memory.used() == 100 << 10);
    assert!(one.cover(2 * OWN + 1) && memory.used() == 11 << 10);
    drop(other);
    assert!(one.cover(0) && memory.used() == 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_and_whoever_gives_up_holds_up_nobody() {
    let memory = MemoryPool::new(100 << 10);
    let mut first = memory.claim();
    assert!(first.cover(2 * OWN + (60 << 10)));
    let order = Rc::new(Cell::new(0));
    let local = LocalSet::new();
    let wait = |kib: usize, patience: u64| {
        let (memory, order) = (memory.clone(), Rc::clone(&order));
        local.spawn_local(async move {
            let mut claim = memory.claim();
            let had = claim.whole(2 * OWN + (kib << 10), Duration::from_secs(patience)).await;
            if had {
                order.set(order.get() + 1);
            }
            (had.then_some(order.get()), claim)
        })
    };
    // There is room for the small one at once, but it came later.
    let (large, small, last) = (wait(90, 5), wait(10, 60), wait(100, 60));
    local
        .run_until(async {
            let (none, _) = large.await.unwrap();
            assert_eq!(none, None);
            let (served, claim) = small.await.unwrap();
            assert_eq!(served, Some(1));
            assert!(memory.is_wanted());
            drop((first, claim));
            assert_eq!(last.await.unwrap().0, Some(2));
            assert!(!memory.is_wanted());
        })
        .await;
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_some_and_not_the_turn_is_refused_rather_than_waited_for() {
    let memory = MemoryPool::new(100 << 10);
    let (mut one, mut other) = (memory.claim(), memory.claim());
    assert!(one.cover(2 * OWN + (60 << 10)) && other.cover(2 * OWN + (40 << 10)));
    assert!(!one.whole(2 * OWN + (70 << 10), PATIENCE).await);
    assert!(!one.in_turn(2 * OWN + (70 << 10), PATIENCE).await);
    // More than there is.
    drop((one, other));
    assert!(!memory.claim().whole(2 * OWN + (101 << 10), PATIENCE).await);
    assert!(!memory.claim().in_turn(2 * OWN + (101 << 10), PATIENCE).await);
}

/// What one client does, by chance: commands of a known size, others that grow, answers; some go in the middle of it.
async fn client(memory: MemoryPool, total: usize, mut random: fastrand::Rng) {
    for _ in 0..random.usize(1..8) {
        let mut claim = memory.claim();
        let size = 2 * OWN + random.usize(1..=total);
        let patience = if random.u8(..10) == 0 { Duration::from_millis(random.u64(..50)) } else { PATIENCE };
        let begun = Instant::now();
        let mut had = true;
        if random.bool() {
            had = claim.whole(size, patience).await;
        } else {
            let mut step = 2 * OWN;
            while had && step < size {
                step = size.min(step + random.usize(1..=total));
                had = claim.in_turn(step, patience).await;
                rest(&mut random).await;
            }
        }
        assert!(had || patience < PATIENCE, "refused after {:?}", begun.elapsed());
        assert!(memory.used() <= total);
        if random.bool() {
            // An answer, which may have it or not.
            let mut answer = memory.claim();
            answer.cover(2 * OWN + random.usize(1..=total));
            rest(&mut random).await;
        }
        rest(&mut random).await;
        claim.cover(0);
    }
}

async fn rest(random: &mut fastrand::Rng) {
    if random.bool() {
        yield_now().await;
    } else {
        sleep(Duration::from_millis(random.u64(..20))).await;
    }
}

#[test]
fn everybody_gets_what_their_command_takes_whatever_others_do() {
    for seed in 0..500 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let mut random = fastrand::Rng::with_seed(seed);
            let total = random.usize(1..64) << 10;
            let memory = MemoryPool::new(total);
            let clients: Vec<_> = (0..random.usize(2..20))
                .map(|_| {
                    let client = client(memory.clone(), total, random.fork());
                    let leaves = (random.u8(..5) == 0).then(|| Duration::from_millis(random.u64(..100)));
                    tokio::task::spawn_local(async move {
                        // Some go, whatever they wait for.
                        drop(timeout(leaves.unwrap_or(PATIENCE * 100), client).await);
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap_or_else(|panic| panic!("seed {seed}: {panic}"));
            }
            assert!(memory.used() == 0 && !memory.is_wanted(), "seed {seed}");
            // And the turn was given back.
            assert!(memory.claim().in_turn(2 * OWN + total, Duration::ZERO).await, "seed {seed}");
        });
    }
}
