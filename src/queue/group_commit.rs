//! Group commit: pushes that come together are one commit, made by the writer's thread or by the task that brought the first of them.
//!
//! A thread that sleeps would have to be woken for a push, and then wake who waits for the answer; both together take longer
//! than a usual commit. So while it sleeps, the first who brings a push commits it on its own thread, with what others have
//! brought by then. All other tasks on that thread wait meanwhile, so only what is quick is done there: little, without a
//! sync, while the log has room, and when no other program is in the way. All else is left to the writer's thread.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    task::Poll,
    thread,
};

use super::{
    Shared,
    answers::Push,
    work_queue::CommitLeader,
    writer::{Job, Writer},
};

/// How many bytes are little: some 50 µs to commit.
const LITTLE: usize = 64 << 10;
/// How often it is looked whether the writer has done with what is quick.
const TRIES: usize = 20;

/// Where the writer is, for one at a time. It is there as long as its thread runs.
#[derive(Debug, Default)]
pub(super) struct GroupCommit(Mutex<Option<Writer>>);

impl GroupCommit {
    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        // A panic does not come so far.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the writer do what comes, until nothing will come any more.
    pub(super) fn run(&self, shared: &Shared, writer: Writer) {
        *self.writer() = Some(writer);
        while let Some(jobs) = shared.writer.take_but(Job::is_push) {
            let mut group_commit = self.writer();
            let Some(writer) = group_commit.as_mut() else { break };
            let _writes = shared.stall.writes();
            // A panic drops the answers' senders, by which their receivers notice; the transaction is undone.
            drop(catch_unwind(AssertUnwindSafe(|| writer.work(jobs))));
            if shared.writer.is_empty() {
                writer.shrink();
            }
        }
        // Which closes its connection.
        drop(self.writer().take());
    }

    fn writer_now(&self) -> Option<MutexGuard<'_, Option<Writer>>> {
        match self.0.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Keeps all pushes from being written for as long as what it returns is kept; `None` while the writer has much to do.
    pub(super) fn keep_free(&self) -> Option<MutexGuard<'_, Option<Writer>>> {
        (0..TRIES).find_map(|_| {
            let writer = self.writer_now();
            if writer.is_none() {
                thread::yield_now();
            }
            writer
        })
    }

    /// Commits what is gathered, if that is quick.
    fn commit(&self, shared: &Shared, leader: CommitLeader<'_, Job>) {
        if shared.stall.is_likely() {
            return;
        }
        let Some(mut group_commit) = self.writer_now() else { return };
        let Some(writer) = group_commit.as_mut().filter(|writer| writer.is_quick()) else { return };
        let jobs = leader.take(|jobs| jobs.iter().map(Job::bytes).sum::<usize>() <= LITTLE);
        let mut pushes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Push(push) => pushes.push(push),
                other => shared.writer.put(other),
            }
        }
        if !pushes.is_empty() {
            let _writes = shared.stall.callers_write();
            let left = catch_unwind(AssertUnwindSafe(|| writer.push_at_once(pushes))).unwrap_or_default();
            left.into_iter().for_each(|push| shared.writer.put(Job::Push(push)));
        }
    }
}

/// Sees to it that a push is committed, together with what else comes on this thread.
pub(super) async fn push(shared: &Shared, push: Push) {
    if let Some(leader) = shared.writer.gather(Job::Push(push)) {
        others_first().await;
        shared.group_commit.commit(shared, leader);
    }
}

/// Lets the other tasks run that the thread was woken for: they may bring more pushes. Tokio's own `yield_now` has the thread ask the
/// kernel for news before, which is a system call for each push that comes alone.
async fn others_first() {
    let mut first = true;
    poll_fn(|context| {
        if std::mem::take(&mut first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll, time::Duration};

    use bytes::Bytes;
    use futures_util::poll;
    use rusqlite::Connection;

    use crate::queue::{Region, Store};

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("a push is never answered") });
    }

    async fn until_the_thread_sleeps(store: &Store) {
        while !store.shared().unwrap().writer.is_idle() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn message() -> Vec<Bytes> {
        vec![Bytes::from_static(b"m")]
    }

    #[test]
    fn pushes_on_one_thread_are_one_commit_there_without_waking_the_writers() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path());
        run(async {
            until_the_thread_sleeps(&store).await;
            let (mut first, mut second) =
                (pin!(store.push(Region::Newest, message())), pin!(store.push(Region::Newest, message())));
            assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
            assert!(matches!(poll!(first.as_mut()), Poll::Ready(Ok(1))));
            assert!(matches!(poll!(second.as_mut()), Poll::Ready(Ok(2))));
            assert!(store.shared().unwrap().writer.is_idle());
        });
    }

    #[test]
    fn pushes_are_stored_although_who_was_to_commit_them_was_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path());
        run(async {
            until_the_thread_sleeps(&store).await;
            let mut second = pin!(store.push(Region::Newest, message()));
            {
                let mut first = pin!(store.push(Region::Newest, message()));
                assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
            }
            assert_eq!(second.await, Ok(2));
        });
    }

    #[test]
    fn nobody_on_its_thread_waits_for_a_push_that_waits_for_another_program() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path());
        let other = Connection::open(folder.path().join("q.db")).unwrap();
        run(async {
            until_the_thread_sleeps(&store).await;
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let mut push = pin!(store.push(Region::Newest, message()));
            assert!(poll!(push.as_mut()).is_pending() && poll!(push.as_mut()).is_pending());
            // Had the commit waited on this thread, nobody would have come to this.
            other.execute_batch("ROLLBACK").unwrap();
            assert_eq!(push.await, Ok(1));
        });
    }

    #[test]
    fn much_is_left_to_the_writers_thread() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in(folder.path());
        run(async {
            until_the_thread_sleeps(&store).await;
            let mut push = pin!(store.push(Region::Newest, vec![Bytes::from(vec![b'm'; super::LITTLE + 1])]));
            assert!(poll!(push.as_mut()).is_pending() && poll!(push.as_mut()).is_pending());
            assert_eq!(push.await, Ok(1));
        });
    }
}
