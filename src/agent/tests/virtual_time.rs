//! Long outages on a clock that jumps.

mod influxd;
mod rig;

use std::ops::RangeInclusive;

use slog::Level;
use tokio::time::Instant;

use self::{influxd::WORKS, rig::on_a_clock_of_its_own};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const UNAVAILABLE: &str = "503 Service Unavailable\r\n";

/// A timer fires up to a millisecond late.
const LATE: Duration = Duration::from_millis(2);

/// How many attempts a batch costs that goes back to the channel, at most: two writes and a question, or three if another batch was tried
/// beside it.
const BEFORE: usize = 3;

/// The n-th pause lies between half of the shortest and `min * 2^n`, and no pause is longer than the longest. `before`: so many pauses
/// may have been before the first of these.
fn assert_capped_exponential(pauses: &[Duration], settings: (Duration, Duration), asked: Duration, before: usize) {
    let (min, max) = settings;
    for (n, pause) in pauses.iter().enumerate() {
        let n = n + before;
        let ceiling = min.saturating_mul(1 << n.min(20)).min(max);
        let allowed: RangeInclusive<Duration> = asked + min / 2..=asked + ceiling + LATE;
        assert!(allowed.contains(pause), "pause {n} is {pause:?}, not in {allowed:?}");
    }
}

const DEFAULT_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

#[test]
fn ten_minutes_of_503_cost_few_attempts_few_lines_and_no_message() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(100);
            agent.wait("both workers hold a batch", || agent.memory.registry.tally().in_flight == 20).await;
            agent.wait("what nobody can write waits again", || agent.memory.registry.tally().in_flight == 0).await;
            assert!(agent.begun.elapsed() < Duration::from_secs(1), "{:?}", agent.begun.elapsed());
            // The clients go on.
            for second in 1..600 {
                agent.until(Duration::from_secs(second)).await;
                agent.push(1);
                let tally = agent.memory.registry.tally();
                assert!(
                    tally.leased <= 20 + 10 && tally.in_flight <= 1,
                    "hardly anything is leased that nobody can write: {tally:?}"
                );
            }
            agent.until(10 * MINUTE).await;

            let pauses = agent.pauses(agent.begun);
            let [one, other, asks] = &pauses[..] else { panic!("two workers, and one that asks: {pauses:?}") };
            for pauses in [one, other] {
                assert_capped_exponential(pauses, DEFAULT_PAUSES, Duration::ZERO, 0);
                assert!(pauses.len() < BEFORE, "{pauses:?}");
            }
            assert_capped_exponential(asks, DEFAULT_PAUSES, Duration::ZERO, BEFORE);
            // With pauses of 15 s on average once they have grown. Fewer than 20 there cannot be.
            assert!((20..=80).contains(&asks.len()), "{} attempts in ten minutes", asks.len() + 1);
            let longest = asks.iter().skip(9).max().unwrap();
            let shortest = asks.iter().skip(9).min().unwrap();
            assert!(*longest > Duration::from_secs(20) && *shortest < Duration::from_secs(10), "jitter: {asks:?}");

            // At 0, 10, 30, 70, 150 and 310 s, each at the first attempt after that.
            let said = agent.said();
            assert!(said.iter().all(|(_, level, _)| *level == Level::Warning), "{said:?}");
            assert!((5..=6).contains(&said.len()), "{said:?}");
            assert!(!said[0].2.contains("attempts="), "the first is news: {said:?}");
            for (n, pair) in said.windows(2).enumerate() {
                assert!(pair[1].0 - pair[0].0 >= Duration::from_secs(10) * (1 << n), "{said:?}");
            }

            let failed = agent.attempts().len();
            let back = Instant::now();
            agent.influxd.answers(WORKS);
            let memory = Arc::clone(&agent.memory);
            let all = agent.pushed;
            agent.wait("everything is written", || memory.done() == all).await;
            let first = agent.attempts().into_iter().find(|attempt| attempt.worked).unwrap();
            assert!(first.at - back <= DEFAULT_PAUSES.1 + LATE, "resumed after {:?}", first.at - back);
            let (_, level, values) = agent.said().pop().unwrap();
            assert_eq!(level, Level::Info);
            assert!(values.contains(&format!("attempts={failed};")), "{values}");
            agent.assert_all_stored_once();

            // The next outage begins with short pauses and a count of its own.
            let again = Instant::now();
            agent.influxd.answers(UNAVAILABLE);
            agent.push(5);
            agent.until(again - agent.begun + Duration::from_secs(11)).await;
            assert_capped_exponential(&agent.pauses(again)[0], DEFAULT_PAUSES, Duration::ZERO, 0);
            let (_, _, values) = agent.said().into_iter().find(|(at, _, _)| *at >= again - agent.begun).unwrap();
            assert!(!values.contains("attempts="), "counted anew: {values}");
            agent.influxd.answers(WORKS);
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

#[test]
fn leases_are_renewed_through_ten_minutes_in_which_what_was_written_cannot_be_completed() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.memory.lists.lock().unwrap().completes_nothing = true;
            agent.push(20);
            agent.wait("it is leased", || agent.memory.registry.tally().in_flight == 20).await;
            // The channel panics when a lease is renewed too late; here, that it is at all.
            for second in 1..600 {
                agent.until(Duration::from_secs(second)).await;
                let lists = agent.memory.lists.lock().unwrap();
                let age = lists.renewed.values().map(Instant::elapsed).max().unwrap();
                assert!(age <= agent.memory.lease() / 3 + Duration::from_secs(1), "at {second} s not renewed for {age:?}");
                assert_eq!(lists.leased.values().map(Vec::len).sum::<usize>(), 20);
            }
            agent.memory.lists.lock().unwrap().completes_nothing = false;
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

#[test]
fn retry_after_is_obeyed_and_its_end_is_no_appointment() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers("503 Service Unavailable\r\nRetry-After: 60\r\n");
            agent.push(20);
            agent.until(10 * MINUTE).await;
            let all = agent.pauses(agent.begun);
            all.iter().for_each(|pauses| assert_capped_exponential(pauses, DEFAULT_PAUSES, MINUTE, BEFORE));
            let asks = all.last().unwrap();
            assert!((5..=9).contains(&asks.len()), "{asks:?}");
            // Who was told the same does not come back in the same instant.
            assert!(asks.iter().any(|pause| *pause > MINUTE + Duration::from_millis(300)), "{asks:?}");
            agent.influxd.answers(WORKS);
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

#[test]
fn a_destination_that_takes_lines_and_refuses_a_request_without_is_found_back_after_an_outage() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(100);
            agent.until(MINUTE).await;
            agent.influxd.answers_questions(&["400 Bad Request\r\n"]);
            agent.influxd.answers(WORKS);
            agent.until(10 * MINUTE).await;
            assert_eq!(agent.memory.done(), 100);
            agent.assert_all_stored_once();
            agent
        },
    );
}

#[test]
fn ten_minutes_of_a_hold_are_probed_and_write_nothing() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers("401 Unauthorized\r\n");
            agent.push(100);
            agent.until(10 * MINUTE).await;
            let tally = agent.memory.registry.tally();
            assert!(tally.leased <= 20 + 10 && tally.in_flight <= 1, "{tally:?}");
            agent.pauses(agent.begun).iter().for_each(|it| assert_capped_exponential(it, DEFAULT_PAUSES, Duration::ZERO, BEFORE));
            let said = agent.said();
            assert!((5..=6).contains(&said.len()) && said.iter().all(|(_, level, _)| *level == Level::Error), "{said:?}");
            agent.influxd.answers(WORKS);
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

/// An overloaded one does that, and one behind a balancer of which a part is down.
#[test]
fn a_destination_that_answers_some_questions_and_takes_nothing_is_left_alone_for_longer_each_time() {
    for answers in [&[UNAVAILABLE, WORKS][..], &[UNAVAILABLE, UNAVAILABLE, WORKS]] {
        on_a_clock_of_its_own(
            |_| {},
            |mut agent| async move {
                agent.influxd.answers(UNAVAILABLE);
                agent.influxd.answers_questions(answers);
                agent.push(100);
                agent.until(10 * MINUTE).await;
                let (attempts, tally) = (agent.attempts().len(), agent.memory.registry.tally());
                assert!(attempts <= 400, "{attempts} attempts in ten minutes");
                assert!(tally.leased <= 400, "{tally:?}");
                let said = agent.said();
                assert!(said.iter().all(|(_, level, _)| *level == Level::Warning), "it takes nothing, so it works not: {said:?}");
                assert!((5..=6).contains(&said.len()), "{said:?}");

                agent.influxd.answers(WORKS);
                agent.influxd.answers_questions(&[]);
                agent.wait_until_all_is_stored().await;
                assert_eq!(agent.said().last().map(|(_, level, _)| *level), Some(Level::Info));
                agent
            },
        );
    }
}

#[test]
fn an_agent_that_cannot_write_does_not_take_what_it_has_given_back_nor_what_comes() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(5);
            let memory = Arc::clone(&agent.memory);
            agent.wait("one of two workers holds a batch, and the other waits", || memory.registry.tally().in_flight == 5).await;
            for second in 1..5 {
                agent.until(Duration::from_secs(second)).await;
                agent.push(1);
            }
            let tally = memory.registry.tally();
            assert_eq!((tally.leased, tally.in_flight), (5, 0), "{tally:?}");
            agent.influxd.answers(WORKS);
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

#[test]
fn what_is_tried_while_the_destination_is_away_is_in_hand_no_longer_than_its_one_attempt() {
    for interval in [0, 20] {
        on_a_clock_of_its_own(
            |settings| {
                settings.batch.interval = Duration::from_secs(interval);
                settings.batch.max_messages = 640;
                settings.publisher.backoff_max = Duration::from_secs(1);
            },
            |mut agent| async move {
                agent.influxd.answers(UNAVAILABLE);
                // Fewer than a batch may have.
                agent.push(5);
                agent.until(MINUTE).await;
                // Which keeps who was told so from asking, and no message from other agents.
                agent.influxd.answers("503 Service Unavailable\r\nRetry-After: 90\r\n");
                agent.influxd.answers_questions(&[UNAVAILABLE]);
                let (memory, mut in_hand) = (Arc::clone(&agent.memory), 0_u64);
                let leased = memory.registry.tally().leased;
                for tenth in 0..6000 {
                    agent.until(MINUTE + tenth * Duration::from_millis(100)).await;
                    in_hand += u64::from(memory.registry.tally().in_flight > 0);
                }
                // All of them at once.
                let tried = (memory.registry.tally().leased - leased) / 5;
                assert!((3..=10).contains(&tried), "{tried} batches were tried in ten minutes");
                assert!(in_hand <= 2 * tried, "in hand for {in_hand} tenths of a second, for {tried} attempts");
                agent.influxd.answers(WORKS);
                agent.influxd.answers_questions(&[]);
                agent.wait_until_all_is_stored().await;
                agent
            },
        );
    }
}

#[test]
fn one_asks_whether_the_destination_is_back_however_often_it_goes_away() {
    on_a_clock_of_its_own(
        |settings| settings.publisher.backoff_max = Duration::from_secs(2),
        |mut agent| async move {
            // It wants to be left alone for longer than it is away.
            agent.influxd.answers_questions(&["503 Service Unavailable\r\nRetry-After: 40\r\n"]);
            for _ in 0..10 {
                agent.influxd.answers(UNAVAILABLE);
                agent.push(20);
                tokio::time::sleep(Duration::from_millis(900)).await;
                agent.influxd.answers(WORKS);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            agent.influxd.answers(UNAVAILABLE);
            agent.influxd.answers_questions(&[]);
            tokio::time::sleep(MINUTE).await;
            let before = agent.attempts().len();
            tokio::time::sleep(MINUTE).await;
            let asked = agent.attempts().len() - before;
            assert!((30..=90).contains(&asked), "{asked} times in a minute, with pauses of a second");
            agent.influxd.answers(WORKS);
            agent.wait_until_all_is_stored().await;
            agent
        },
    );
}

#[test]
fn no_trial_is_spent_on_messages_of_which_nothing_is_written() {
    on_a_clock_of_its_own(
        |_| {},
        |mut agent| async move {
            agent.influxd.answers(UNAVAILABLE);
            agent.push(1);
            agent.until(MINUTE).await;
            assert_eq!(agent.memory.registry.tally().in_flight, 0);
            const EMPTY: &[u8] =
                br#"{"dimensions": [], "counters": [], "timers": [], "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ"}"#;
            for _ in 0..1000 {
                agent.memory.lists.lock().unwrap().queue.push_front(EMPTY.to_vec());
            }
            agent.influxd.answers_questions(&["400 Bad Request\r\n"]);
            agent.influxd.answers(WORKS);
            // With every eighth question.
            agent.until(8 * MINUTE).await;
            assert_eq!((agent.memory.done(), agent.influxd.stored().len()), (1001, 1));
            agent
        },
    );
}

/// What an application does: one message after the other, for ever.
#[test]
fn a_steady_load_is_published_in_beats_of_which_the_first_is_at_once() {
    for (gap, batches, longest) in [(2, 20, 60), (50, 3, 1010)] {
        on_a_clock_of_its_own(
            |settings| settings.batch.max_messages = 1000,
            |mut agent| async move {
                let (gap, longest) = (Duration::from_millis(gap), Duration::from_millis(longest));
                let memory = Arc::clone(&agent.memory);
                agent.push(1);
                agent.wait("the first is written", || memory.done() == 1).await;
                assert!(agent.begun.elapsed() <= Duration::from_millis(20), "{:?}", agent.begun.elapsed());
                let (second, mut done_at) = (Duration::from_secs(1), Vec::new());
                for at in 0..10 * u32::try_from(second.as_millis() / gap.as_millis()).unwrap() {
                    agent.push(1);
                    tokio::time::sleep(gap).await;
                    done_at.push((gap * at, memory.done()));
                }
                agent.wait("everything is written", || memory.done() == agent.pushed).await;
                let loaded = agent.loaded.lock().unwrap().len();
                assert!(loaded <= 10 * batches + 6, "{loaded} batches in ten seconds");
                // The message that came at that time was done so much later.
                for (number, (at, _)) in done_at.iter().enumerate() {
                    let done = done_at.iter().find(|(_, done)| *done > number + 1).map_or(*at, |(done, _)| *done);
                    assert!(done.saturating_sub(*at) <= longest, "message {number} of {at:?} was done at {done:?}");
                }
                agent.assert_all_stored_once();
                agent
            },
        );
    }
}

/// A destination that comes back finds many agents, all of them with a backlog.
#[test]
fn after_an_outage_batches_begin_small_and_double_with_each_success() {
    const MOST: usize = 640;
    for down in [UNAVAILABLE, "401 Unauthorized\r\n"] {
        on_a_clock_of_its_own(
            |settings| settings.batch.max_messages = MOST,
            |mut agent| async move {
                agent.push(5 * MOST);
                agent.wait("everything is written", || agent.memory.done() == 5 * MOST).await;
                let before: Vec<usize> = agent.loaded.lock().unwrap().drain(..).map(|(size, _)| size).collect();
                assert_eq!(before[0], MOST, "no slow start without an outage: {before:?}");

                agent.influxd.answers(down);
                agent.push(10 * MOST);
                agent.until(2 * MINUTE).await;
                agent.loaded.lock().unwrap().clear();
                let succeeded = agent.attempts().iter().filter(|attempt| attempt.worked).count();
                agent.influxd.answers(WORKS);
                let (memory, all) = (Arc::clone(&agent.memory), agent.pushed);
                agent.wait("everything is written", || memory.done() == all).await;
                let divisors: Vec<usize> =
                    agent.attempts().iter().filter(|attempt| attempt.worked).skip(succeeded).map(|it| it.divisor).collect();
                assert!(divisors.contains(&64) && divisors.last() == Some(&1), "requests were divided by {divisors:?}");
                let loaded = agent.loaded.lock().unwrap().clone();
                for (size, successes) in &loaded {
                    let halvings = 6_usize.saturating_sub(successes - succeeded);
                    assert!(*size <= MOST >> halvings, "{size} of {MOST} after {} successes", successes - succeeded);
                }
                let small = loaded.iter().take_while(|(size, _)| *size < MOST).count();
                // Two that are the smallest, one for each worker.
                assert!((2..=7).contains(&small), "full batches again after {small}: {loaded:?}");
                agent.assert_all_stored_once();
                agent
            },
        );
    }
}

#[test]
fn a_publisher_gives_its_memory_back_once_it_has_had_nothing_to_write_for_five_seconds_and_writes_on() {
    on_a_clock_of_its_own(
        |settings| settings.publisher.workers = 1,
        |mut agent| async move {
            let shrunk = Arc::clone(&agent.shrunk);
            for (round, begin) in [(1, Duration::ZERO), (2, MINUTE)] {
                // No pause is long enough.
                for message in 0..5 {
                    agent.until(begin + message * Duration::from_secs(4)).await;
                    assert_eq!(shrunk.lock().unwrap().len(), round - 1);
                    agent.push(1);
                }
                let (memory, all) = (Arc::clone(&agent.memory), agent.pushed);
                agent.wait("everything is written", || memory.done() == all).await;
                agent.until(begin + MINUTE).await;
                let last = agent.attempts().last().unwrap().at;
                let after: Vec<Duration> = shrunk.lock().unwrap().iter().skip(round - 1).map(|at| *at - last).collect();
                assert_eq!(after.len(), 1, "once: {after:?}");
                let expected = Duration::from_secs(5)..=Duration::from_secs(5) + LATE;
                assert!(expected.contains(&after[0]), "after {after:?}");
            }
            agent.assert_all_stored_once();
            agent
        },
    );
}
