//! How pushes hear that they are stored, with few wakes.
//!
//! An answer wakes who waits for it, and waking another thread is a system call. So of a commit's pushes from one thread the
//! writer answers the first only, and gives it the [`CoalescedReplies`]. They are answered when the first's answer is dropped, which
//! happens on the thread where all of them wait: there waking costs nothing. It is dropped when the first takes it, when the
//! first has been given up, and when the first is given up later; a future that is kept but never polled again keeps the
//! others waiting, see [`super::Store::push`].

use std::thread::ThreadId;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{errors::PushError, region::Region};

/// Messages to be stored.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) region: Region,
    pub(super) messages: Vec<Bytes>,
    /// Where its answer is waited for.
    pub(super) from: ThreadId,
    pub(super) answer: oneshot::Sender<Result<Stored, PushError>>,
}

/// That a push is stored, and how many messages wait.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) length: u64,
    _others: CoalescedReplies,
}

/// Whom to answer besides, with how many messages wait; they are when this is dropped, wherever and why ever that is.
#[derive(Debug, Default)]
struct CoalescedReplies(Vec<(oneshot::Sender<Result<Stored, PushError>>, u64)>);

impl Drop for CoalescedReplies {
    fn drop(&mut self) {
        for (answer, length) in self.0.drain(..) {
            // Who does not wait any more need not hear.
            drop(answer.send(Ok(Stored { length, _others: Self::default() })));
        }
    }
}

/// Tells pushes that they are stored, and how many messages wait.
pub(super) fn answer(stored: Vec<(Push, u64)>) {
    let mut threads: Vec<(ThreadId, Push, u64, CoalescedReplies)> = Vec::new();
    for (push, length) in stored {
        match threads.iter_mut().find(|(thread, ..)| *thread == push.from) {
            Some((.., others)) => others.0.push((push.answer, length)),
            None => threads.push((push.from, push, length, CoalescedReplies::default())),
        }
    }
    for (_, push, length, others) in threads {
        // Whom that does not reach drops them, which answers them from here.
        drop(push.answer.send(Ok(Stored { length, _others: others })));
    }
}

/// Tells pushes that they are not.
pub(super) fn refuse(pushes: Vec<Push>, why: &PushError) {
    pushes.into_iter().for_each(|push| drop(push.answer.send(Err(why.clone()))));
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    type Answered = oneshot::Receiver<Result<Stored, PushError>>;

    fn stored(from: ThreadId, length: u64) -> ((Push, u64), Answered) {
        let (answer, answered) = oneshot::channel();
        ((Push { region: Region::Newest, messages: Vec::new(), from, answer }, length), answered)
    }

    fn heard(answered: &mut Answered) -> Option<u64> {
        answered.try_recv().ok().map(|stored| stored.unwrap().length)
    }

    #[test]
    fn the_pushes_of_a_commit_are_answered_each_with_its_own_length_once_their_threads_first_has_its_answer() {
        let (here, there) = (thread::current().id(), thread::spawn(|| ()).thread().id());
        let (pushes, mut answers): (Vec<_>, Vec<_>) = [(here, 1), (here, 2), (there, 3), (here, 4), (there, 5)]
            .map(|(from, length)| stored(from, length))
            .into_iter()
            .unzip();
        answer(pushes);
        assert_eq!(heard(&mut answers[1]), None, "woken from the writer's thread");
        let heard: Vec<_> = [0, 1, 3, 2, 4].map(|push| heard(&mut answers[push])).into();
        assert_eq!(heard, [Some(1), Some(2), Some(4), Some(3), Some(5)]);
    }

    #[test]
    fn a_push_is_answered_although_the_first_of_its_commit_was_given_up_before_or_after_the_commit() {
        let here = thread::current().id();
        for before in [true, false] {
            let ((first, first_answer), (second, mut answered)) = (stored(here, 1), stored(here, 2));
            let mut first_answer = Some(first_answer);
            if before {
                first_answer = None;
            }
            answer(vec![first, second]);
            drop(first_answer);
            assert_eq!(heard(&mut answered), Some(2), "given up before: {before}");
        }
    }
}
