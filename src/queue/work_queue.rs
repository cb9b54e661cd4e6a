//! How work comes to a thread: everything that waits is taken at once.
//!
//! Waking a thread costs a system call here and a wait there, which may be more than the work. So work that can be done
//! anywhere is gathered while the thread sleeps: the caller that brings the first of it may do all that has come until then.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// For how much work room is made before it comes.
const USUAL: usize = 64;

/// Work for one thread.
#[derive(Debug)]
pub(super) struct WorkQueue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    work: Vec<T>,
    closed: bool,
    /// The thread waits, so it must be woken: a system call, which is spared as long as it is at work.
    idle: bool,
    /// A caller has the [`CommitLeader`].
    leader: bool,
}

impl<T> Waiting<T> {
    /// Takes all work, and makes room for some that is probably as much.
    fn take(&mut self) -> Vec<T> {
        let room = self.work.len().min(USUAL);
        mem::replace(&mut self.work, Vec::with_capacity(room))
    }
}

/// The work that is gathered while the thread sleeps. What is not taken by the time this is dropped is left to the thread.
#[derive(Debug)]
pub(super) struct CommitLeader<'a, T>(&'a WorkQueue<T>);

impl<T> WorkQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting { work: Vec::new(), closed: false, idle: false, leader: false }),
            changed: Condvar::new(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts work in. When the queue of work is closed the work is dropped, and with it whatever waits for its answer is told.
    pub(super) fn put(&self, work: T) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.work.push(work);
            if mem::take(&mut waiting.idle) {
                self.changed.notify_one();
            }
        }
    }

    /// Puts work in that can be done anywhere. While the thread sleeps it is not woken for it: whoever brought the first work
    /// since then is given all that is gathered. When the queue of work is closed the work is dropped.
    pub(super) fn gather(&self, work: T) -> Option<CommitLeader<'_, T>> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        waiting.work.push(work);
        let first = waiting.idle && !mem::replace(&mut waiting.leader, true);
        drop(waiting);
        first.then(|| CommitLeader(self))
    }

    /// Waits for work and takes all of it; `None` when there is none and there will be none.
    pub(super) fn take(&self) -> Option<Vec<T>> {
        Some(self.wait()?.take())
    }

    /// Waits for work and takes all of it but what `stays` says; `None` when there is none and there will be none.
    pub(super) fn take_but(&self, stays: impl Fn(&T) -> bool) -> Option<Vec<T>> {
        let mut waiting = self.wait()?;
        Some(waiting.work.extract_if(.., |work| !stays(work)).collect())
    }

    fn wait(&self) -> Option<MutexGuard<'_, Waiting<T>>> {
        let mut waiting = self.waiting();
        while waiting.work.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.idle = true;
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        Some(waiting)
    }

    /// Takes the work that `pick` gives back as such, and leaves the rest in its order.
    pub(super) fn take_those<U>(&self, mut pick: impl FnMut(T) -> Result<U, T>) -> Vec<U> {
        let mut waiting = self.waiting();
        let mut picked = Vec::with_capacity(waiting.work.len());
        let rest = |work| match pick(work) {
            Ok(work) => {
                picked.push(work);
                None
            }
            Err(work) => Some(work),
        };
        waiting.work = mem::take(&mut waiting.work).into_iter().filter_map(rest).collect();
        picked
    }

    /// Whether there is any work such as this.
    pub(super) fn has(&self, such: impl FnMut(&T) -> bool) -> bool {
        self.waiting().work.iter().any(such)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting().work.is_empty()
    }

    /// Whether the thread sleeps.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.waiting().idle
    }

    /// What is in it is still to be done, more does not come in.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_all();
    }
}

impl<T> CommitLeader<'_, T> {
    /// Takes what is gathered, if `fits` says so of it; nothing when the thread was woken meanwhile, since it takes all.
    pub(super) fn take(self, fits: impl FnOnce(&[T]) -> bool) -> Vec<T> {
        let mut waiting = self.0.waiting();
        if waiting.idle && fits(&waiting.work) { waiting.take() } else { Vec::new() }
    }
}

impl<T> Drop for CommitLeader<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.leader = false;
        if !waiting.work.is_empty() && mem::take(&mut waiting.idle) {
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    /// Far longer than anything here takes: a wake that was lost never comes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_that_waits_is_woken_for_each_work_that_comes_alone() {
        let work_queue = WorkQueue::new();
        let (done, heard) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(work) = work_queue.take() {
                    work.into_iter().for_each(|work| done.send(work).unwrap());
                }
            });
            let heard: Vec<_> = (0..10_000)
                .map_while(|work| {
                    work_queue.put(work);
                    heard.recv_timeout(PATIENCE).ok()
                })
                .collect();
            work_queue.close();
            assert!(heard.into_iter().eq(0..10_000), "work that nobody was woken for");
        });
    }

    #[test]
    fn who_is_at_work_is_not_woken_and_takes_all_that_came_meanwhile() {
        let work_queue = WorkQueue::new();
        work_queue.put(1);
        assert_eq!(work_queue.take(), Some(vec![1]));
        work_queue.put(2);
        work_queue.put(3);
        assert!(!work_queue.waiting().idle);
        assert_eq!(work_queue.take(), Some(vec![2, 3]));
        work_queue.close();
        work_queue.put(4);
        assert_eq!(work_queue.take(), None);
    }

    /// A queue of work whose thread waits, as far as it knows.
    fn asleep() -> WorkQueue<u32> {
        let work_queue = WorkQueue::new();
        work_queue.waiting().idle = true;
        work_queue
    }

    #[test]
    fn who_brings_the_first_work_gets_all_that_is_gathered_and_the_thread_sleeps_on() {
        let work_queue = asleep();
        let leader = work_queue.gather(1).unwrap();
        assert!(work_queue.gather(2).is_none());
        assert_eq!(leader.take(|work| work == [1, 2]), [1, 2]);
        assert!(work_queue.waiting().idle);
        let next = work_queue.gather(3).unwrap();
        assert_eq!(next.take(|_| true), [3]);
    }

    #[test]
    fn what_is_gathered_and_not_taken_is_the_threads() {
        let given_up = |work_queue: &WorkQueue<u32>| drop(work_queue.gather(1));
        let too_much = |work_queue: &WorkQueue<u32>| assert!(work_queue.gather(1).unwrap().take(|_| false).is_empty());
        let woken = |work_queue: &WorkQueue<u32>| {
            let leader = work_queue.gather(1).unwrap();
            work_queue.put(2);
            assert!(leader.take(|_| true).is_empty());
        };
        for leave in [given_up, too_much, woken] as [fn(&WorkQueue<u32>); 3] {
            let work_queue = asleep();
            leave(&work_queue);
            assert!(!work_queue.waiting().idle, "nobody was woken");
            assert_eq!(work_queue.take().unwrap()[0], 1);
        }
    }

    #[test]
    fn a_part_of_the_work_can_be_taken_before_the_rest() {
        let work_queue = WorkQueue::new();
        (1..7).for_each(|work| work_queue.put(work));
        assert_eq!(work_queue.take_those(|work| if work % 2 == 0 { Ok(work) } else { Err(work) }), [2, 4, 6]);
        assert_eq!(work_queue.take(), Some(vec![1, 3, 5]));
    }

    #[test]
    fn a_part_of_the_work_can_stay_until_it_is_taken() {
        let work_queue = WorkQueue::new();
        (1..7).for_each(|work| work_queue.put(work));
        assert_eq!(work_queue.take_but(|work| work % 2 == 0), Some(vec![1, 3, 5]));
        assert_eq!(work_queue.take_but(|work| work % 2 == 0), Some(vec![]));
        work_queue.close();
        assert_eq!(work_queue.take(), Some(vec![2, 4, 6]));
        assert_eq!(work_queue.take_but(|_| false), None);
    }

    #[test]
    fn a_thread_at_work_is_left_what_comes_meanwhile() {
        let work_queue = WorkQueue::new();
        assert!(work_queue.gather(1).is_none());
        assert_eq!(work_queue.take(), Some(vec![1]));
    }
}
