//! Answers to pushes that the disk keeps waiting, where the settings have them answered rather than [refused](super::stall).
//!
//! Such pushes are committed by the writer's thread alone, since a thread that hangs in a write answers nothing. One that is not
//! committed in time is answered as if it were, and is stored as soon as the disk lets the writer go on. What waits for that is bounded:
//! beyond it pushes are refused. What cannot be stored in the end counts as dropped, like what was never taken; what is lost with the
//! process is not counted by anybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Shared,
    answers::{Push, Stored},
    errors::{Problem, PushError, StoreError},
    stall::stalled,
    writer::Job,
};

/// How much may wait that was answered: bytes of messages, and what a client's buffer takes for each push, of which they are a part.
const MOST: usize = 8 << 20;
const BUFFER: usize = 16 << 10;

/// What was answered and is not stored yet.
#[derive(Debug, Default)]
pub(super) struct EarlyAnswers {
    waiting: Arc<Waiting>,
    /// Messages that were answered so and that nobody has been told of yet.
    unreported: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    messages: AtomicU64,
    /// Messages that could not be stored in the end.
    dropped: AtomicU64,
}

impl EarlyAnswers {
    /// Has a push stored. Returns how many messages wait then; or about as many, where that takes too long to answer `within` this and goes on.
    pub(super) async fn push(
        &self,
        shared: &Shared,
        push: Push,
        mut answered: oneshot::Receiver<Result<Stored, PushError>>,
        within: Duration,
        dropped: &Arc<AtomicU64>,
    ) -> Result<u64, PushError> {
        let messages = push.messages.len() as u64;
        let bytes = BUFFER + push.messages.iter().map(Bytes::len).sum::<usize>();
        let before = self.waiting.bytes.load(Ordering::Relaxed);
        // A single one may be larger than all that may wait together.
        if before > 0 && before + bytes > MOST {
            return Err(stalled(shared));
        }
        shared.writer.put(Job::Push(push));
        // Also while others wait that were answered: who pushes on and on would fill what may wait within a hiccup of the disk.
        if let Ok(answer) = timeout(within / 5 * 4, &mut answered).await {
            let answer = answer.unwrap_or_else(|_| Err(StoreError::new(&shared.path, Problem::Interrupted).into()));
            return answer.map(|stored| stored.length);
        }
        self.unreported.fetch_add(messages, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.messages.fetch_add(messages, Ordering::Relaxed);
        let (waiting, dropped) = (Arc::clone(&self.waiting), Arc::clone(dropped));
        tokio::spawn(async move {
            if !matches!(answered.await, Ok(Ok(_))) {
                dropped.fetch_add(messages, Ordering::Relaxed);
                waiting.dropped.fetch_add(messages, Ordering::Relaxed);
            }
            waiting.messages.fetch_sub(messages, Ordering::Relaxed);
            waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        });
        Ok(shared.state().messages() + messages)
    }

    /// How many messages were answered before they were stored, since this was asked last.
    pub(super) fn take_unreported(&self) -> u64 {
        // Mostly none.
        if self.unreported.load(Ordering::Relaxed) == 0 { 0 } else { self.unreported.swap(0, Ordering::Relaxed) }
    }

    /// How many messages that were answered wait for the disk now, and how many could not be stored.
    pub(super) fn messages(&self) -> (u64, u64) {
        (self.waiting.messages.load(Ordering::Relaxed), self.waiting.dropped.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::queue::{Region, Store, WhenStalled};

    fn open(folder: &std::path::Path) -> Store {
        Store::open_with(folder, |settings| settings.when_stalled = WhenStalled::AnswerWithin(Duration::from_millis(50)))
    }

    #[test]
    fn a_stalled_disk_delays_no_answer_and_what_was_answered_is_stored_when_it_goes_on_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = fail::FailScenario::setup();
        actix_rt::System::new().block_on(async {
            let store = open(folder.path());
            let push = async |bytes| store.push(Region::Newest, vec![Bytes::from(vec![b'm'; bytes])]).await;
            assert_eq!(push(1).await, Ok(1));
            // That may have been answered early, too.
            while store.length() != Ok(1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fail::cfg("queue.push", "pause").unwrap();
            let mut stored = 1;
            loop {
                let began = Instant::now();
                let answer = push(100_000).await;
                assert!(began.elapsed() < Duration::from_secs(5), "it waits for the disk");
                match answer {
                    Ok(_) => stored += 1,
                    Err(PushError::Stalled(_)) => break,
                    other => panic!("{other:?}"),
                }
            }
            assert!((60..100).contains(&stored), "{stored}");
            assert_eq!(store.length(), Ok(1));
            fail::remove("queue.push");
            while store.length() != Ok(stored) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // And no sooner is one refused again.
            while push(1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(store.dropped_newest(), 0);
        });
        scenario.teardown();
    }

    #[test]
    fn what_was_answered_and_cannot_be_stored_in_the_end_counts_as_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = fail::FailScenario::setup();
        actix_rt::System::new().block_on(async {
            let store = open(folder.path());
            let (go_on, waits) = std::sync::mpsc::channel::<()>();
            let waits = std::sync::Mutex::new(waits);
            fail::cfg_callback("queue.push", move || {
                let _ = waits.lock().map(|waits| waits.recv());
                panic!("as a test wants it");
            })
            .unwrap();
            let messages = vec![Bytes::from_static(b"m"); 3];
            assert_eq!(store.push(Region::Newest, messages).await, Ok(3));
            drop(go_on);
            assert_eq!((store.take_answered_early(), store.take_answered_early()), (3, 0));
            while store.dropped_newest() != 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            while store.answered_early() != (0, 3) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(store.length(), Ok(0));
        });
        scenario.teardown();
    }
}
