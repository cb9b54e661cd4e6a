//! Which of several queues is asked for messages: one after the other, and none is waited for that is slow.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::{Instant, timeout_at};

use super::{
    client::Task,
    queue::{Next, Queue},
    queues::{PATIENCE, Queues},
    trouble::Use,
};
use crate::channel::{ChannelError, Demand, Lease};

/// Where a demand stands.
enum Step {
    Given(Lease),
    /// A queue is being asked, and is waited for until then.
    Asked(Instant),
    /// No queue is known to have messages.
    NoneLeft,
}

/// Which queues are asked: all that may have messages, or, where that is told, each once.
pub(super) struct Round {
    pub(super) asked: Option<Vec<bool>>,
    /// Also those that wait for their first message.
    pub(super) eager: bool,
}

impl Queues {
    /// Takes from the next queue that may have messages; waits for the first one until then.
    pub(super) async fn take(&self, demand: Demand, until: Instant, round: &mut Round) -> Result<Option<Lease>, ChannelError> {
        loop {
            let changed = self.changed.notified();
            let waits_until = match self.advance(demand, round) {
                Step::Given(lease) => return Ok(Some(lease)),
                Step::Asked(patience) => patience,
                Step::NoneLeft => match self.trouble_of_all(Use::RECEIVE) {
                    Some(error) => return Err(error),
                    None if Instant::now() >= until => return Ok(None),
                    None => until,
                },
            };
            drop(timeout_at(waits_until, changed).await);
        }
    }

    /// Gives what was taken, or asks the next queue.
    fn advance(&self, demand: Demand, round: &mut Round) -> Step {
        let (all, next) = (self.queues.len(), self.next.load(Ordering::Relaxed));
        let in_turn = || (0..all).map(|place| (next + place) % all).filter_map(|at| Some((at, self.queues.get(at)?)));
        let mut tasks = self.tasks();
        for (queue, task) in self.queues.iter().zip(tasks.iter()) {
            queue.is_left(task.as_ref().is_none_or(Task::is_over));
        }
        if let Some(lease) = in_turn().find_map(|(_, queue)| queue.taken(demand)) {
            return Step::Given(lease);
        }
        let (mut slow, now) = (Vec::new(), Instant::now());
        for since in in_turn().filter_map(|(_, queue)| queue.is_taking_since()) {
            if now < since + PATIENCE {
                return Step::Asked(since + PATIENCE);
            }
            slow.push(since);
        }
        // One that is slow may still give as much as was demanded of it.
        if slow.len() > 1 {
            return Step::NoneLeft;
        }
        let may_be_asked = |(at, queue): &(usize, &Arc<Queue>)| {
            let was_asked = round.asked.as_ref().and_then(|asked| asked.get(*at)).is_some_and(|asked| *asked);
            !was_asked && queue.may_be_asked(round.eager)
        };
        let mut ready = None;
        for (at, queue) in in_turn().filter(may_be_asked) {
            match queue.next(slow.first().copied()) {
                Next::Messages => ready = ready.or(Some((at, queue))),
                // So of many that hang the first one alone takes the room of one that is slow.
                Next::Answer => {
                    let turn = queue.begin_check();
                    if let Some(task) = tasks.get_mut(at) {
                        *task = Some(Task::spawn(Arc::clone(queue).check(turn)));
                    }
                }
                Next::Nothing => {}
            }
        }
        let Some((at, queue)) = ready else { return Step::NoneLeft };
        if let Some(asked) = round.asked.as_mut().and_then(|asked| asked.get_mut(at)) {
            *asked = true;
        }
        self.next.store((at + 1) % all, Ordering::Relaxed);
        let turn = queue.begin();
        if let Some(task) = tasks.get_mut(at) {
            // The one before is over, or waits for a first message.
            *task = Some(Task::spawn(Arc::clone(queue).fetch(demand, turn)));
        }
        Step::Asked(now + PATIENCE)
    }
}
