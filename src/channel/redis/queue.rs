//! One of several queues that an agent serves: whether it may have messages, whether it can be used, and what is done with it without
//! the others waiting for that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    RedisChannel,
    queues::PATIENCE,
    receive::{self, Looked},
    trouble::{Troubles, Use},
    wishes::KEPT,
};
use crate::channel::{Channel, ChannelError, DeadLetter, Demand, Lease, WAIT};

/// When whatever is done with a queue should have ended, beyond some time-outs of it.
const STUCK: Duration = Duration::from_secs(30);

/// How many leases are completed in one step of what could not be for a while.
const AT_ONCE: usize = 500;

/// See the page.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) channel: Arc<RedisChannel>,
    state: Mutex<State>,
    /// Notified with each change of a stage.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Which task may change it.
    turn: u64,
    /// Whether the last wait ended with a message.
    woken: bool,
    /// Whether it was opened.
    is_open: bool,
    /// When it last answered a question without messages, and whether soon.
    answered: Option<(Instant, bool)>,
    troubles: Troubles,
    /// Leases that are done with and could not be completed yet, without their messages.
    unsettled: (Vec<Lease>, Vec<DeadLetter>),
    /// Renewing has failed and was not done since.
    renew_due: bool,
}

#[derive(Debug)]
enum Stage {
    /// It may have messages.
    Ready,
    /// It may have some, if it answers at all, which it is asked; since then.
    Checked(Instant),
    /// Some are being taken, since then.
    Taking(Instant),
    /// Some were taken.
    Taken(Lease),
    /// It had none and waits for one, or for the next attempt to use it; since then.
    Resting(Instant),
}

/// What a queue may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Messages,
    /// First, whether it answers at all.
    Answer,
    /// It is slow, too, and has its turn later.
    Nothing,
}

impl Queue {
    pub(super) fn new(name: &str, channel: RedisChannel, changed: &Arc<Notify>) -> Self {
        let state = State {
            stage: Stage::Ready,
            turn: 0,
            woken: false,
            is_open: false,
            answered: None,
            troubles: Troubles::default(),
            unsettled: Default::default(),
            renew_due: false,
        };
        Self { name: name.to_owned(), channel: Arc::new(channel), state: Mutex::new(state), changed: Arc::clone(changed) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects and checks, see [`Channel::open`].
    pub(super) async fn open(&self) -> Result<String, ChannelError> {
        let reached = self.noted(Use::Take, self.channel.open().await)?;
        self.state().is_open = true;
        Ok(reached)
    }

    /// What became of a use of the queue, remembered.
    pub(super) fn noted<T>(&self, at: Use, outcome: Result<T, ChannelError>) -> Result<T, ChannelError> {
        let troubles = &mut self.state().troubles;
        match &outcome {
            Ok(_) => troubles.done(at),
            Err(error) => troubles.failed(at, error),
        }
        outcome
    }

    /// Why it cannot be used for one of these, if that is so.
    pub(super) fn trouble(&self, uses: &[Use]) -> Option<ChannelError> {
        self.state().troubles.at(uses).cloned()
    }

    /// Whether it would be in vain to ask it for something that can wait.
    pub(super) fn is_away(&self) -> bool {
        let state = self.state();
        let is_paused = || state.troubles.retry_at().is_some_and(|at| Instant::now() < at);
        state.troubles.at(Use::ALL).is_some() && !state.is_open || state.troubles.is_unreachable() && is_paused()
    }

    /// Whether it may have messages that nothing has been asked for yet. `eager` counts those that wait for the first, too.
    pub(super) fn may_be_asked(&self, eager: bool) -> bool {
        let state = self.state();
        match state.stage {
            Stage::Ready => true,
            Stage::Resting(_) => eager && state.troubles.at(Use::RECEIVE).is_none(),
            Stage::Checked(_) | Stage::Taking(_) | Stage::Taken(_) => false,
        }
    }

    /// What it is asked for next; another one is slow to give messages that it was asked for then, if one is.
    pub(super) fn next(&self, slow: Option<Instant>) -> Next {
        let state = self.state();
        match (slow, state.answered) {
            _ if state.troubles.is_unreachable() => Next::Answer,
            (None, _) => Next::Messages,
            (_, Some((at, true))) if at.elapsed() < PATIENCE => Next::Messages,
            (Some(since), Some((at, false))) if at > since => Next::Nothing,
            _ => Next::Answer,
        }
    }

    /// Since when messages are being taken.
    pub(super) fn is_taking_since(&self) -> Option<Instant> {
        match self.state().stage {
            Stage::Taking(since) => Some(since),
            _ => None,
        }
    }

    /// What was taken, if that is no more than is demanded now; else it is dropped, and so given back.
    pub(super) fn taken(&self, demand: Demand) -> Option<Lease> {
        let taken = {
            let mut state = self.state();
            let Stage::Taken(_) = state.stage else { return None };
            std::mem::replace(&mut state.stage, Stage::Ready)
        };
        let Stage::Taken(lease) = taken else { return None };
        let fits = lease.messages.len() <= demand.messages && (lease.bytes() <= demand.bytes || lease.messages.len() == 1);
        fits.then_some(lease)
    }

    /// Gives back what was taken and is not asked for.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        if matches!(&state.stage, Stage::Taken(lease) if lease.since().elapsed() >= KEPT) {
            let overdue = std::mem::replace(&mut state.stage, Stage::Ready);
            drop(state);
            drop(overdue);
        }
    }

    /// Whether what is done with it is gone, or will not end: the thread that does it may hang. Then it may be asked again.
    pub(super) fn is_left(&self, is_over: bool) {
        let mut state = self.state();
        if let Stage::Checked(since) | Stage::Taking(since) | Stage::Resting(since) = state.stage
            && (is_over || since.elapsed() > STUCK + 8 * self.channel.timeout)
        {
            state.stage = Stage::Ready;
        }
    }

    /// Messages are about to be taken by [`Queue::fetch`], with what this returns.
    pub(super) fn begin(&self) -> u64 {
        self.enter(Stage::Taking(Instant::now()))
    }

    /// It is about to be asked whether it answers, by [`Queue::check`] with what this returns.
    pub(super) fn begin_check(&self) -> u64 {
        self.enter(Stage::Checked(Instant::now()))
    }

    fn enter(&self, stage: Stage) -> u64 {
        let mut state = self.state();
        state.turn += 1;
        state.stage = stage;
        state.turn
    }

    /// Asks for something without messages: what does not answer that is not asked for messages, which would be room kept for nothing.
    pub(super) async fn check(self: Arc<Self>, turn: u64) {
        let (begun, is_open) = (Instant::now(), self.state().is_open);
        let answer = if is_open { self.channel.waiting().await.map(drop) } else { self.open().await.map(drop) };
        match answer {
            Err(error @ ChannelError::Unreachable { .. }) => {
                if is_open {
                    drop(self.noted::<()>(Use::Take, Err(error)));
                }
                return self.pause(turn).await;
            }
            // What it refuses is said when messages are taken.
            _ => self.state().troubles.is_reached(),
        }
        self.state().answered = Some((Instant::now(), begun.elapsed() < PATIENCE));
        self.is_now(Stage::Ready, turn);
    }

    /// Takes messages; where there are none, waits until there may be some, and where that fails, until it may be tried again.
    pub(super) async fn fetch(self: Arc<Self>, demand: Demand, turn: u64) {
        // From here on an adoption is not missed.
        let adopted = self.channel.adopted.notified();
        let at_bound = match self.look(demand).await {
            Ok(Looked::Lease(lease)) => {
                self.state().woken = false;
                self.is_now(Stage::Taken(lease), turn);
                return;
            }
            Ok(Looked::Nothing { at_bound }) => at_bound,
            Ok(Looked::Again) => false,
            Err(_) => return self.pause(turn).await,
        };
        self.is_now(Stage::Resting(Instant::now()), turn);
        if self.trouble(&[Use::Wait]).is_some() {
            match self.channel.may_wait().await {
                Ok(()) => self.state().troubles.is_allowed(Use::Wait),
                Err(error) => {
                    drop(self.noted::<()>(Use::Wait, Err(error)));
                    return self.pause(turn).await;
                }
            }
        }
        let woken = self.state().woken;
        let waited = receive::wait_for_one(&self.channel, (woken, at_bound), WAIT, adopted).await;
        match self.noted(Use::Wait, self.channel.named(waited).await) {
            Ok(woken) => {
                self.state().woken = woken;
                self.is_now(Stage::Ready, turn);
            }
            Err(_) => self.pause(turn).await,
        }
    }

    async fn pause(&self, turn: u64) {
        self.is_now(Stage::Resting(Instant::now()), turn);
        // The failure is still known, though by now another use may have shown that it can be reached.
        let until = self.state().troubles.retry_at().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(until).await;
        self.is_now(Stage::Ready, turn);
    }

    /// What becomes of each step is noted.
    async fn look(&self, demand: Demand) -> Result<Looked, ChannelError> {
        let is_open = self.state().is_open;
        if !is_open {
            self.open().await?;
        }
        // Nothing more is taken before what was done with is off the queue: so there is never more of that than was in hand.
        self.settle_the_rest().await?;
        let channel = &*self.channel;
        let asking = channel.membership.as_ref().map(|membership| membership.asks(demand));
        loop {
            let looked = channel.named(receive::look(channel, demand, asking.as_ref()).await).await;
            match self.noted(Use::Take, looked)? {
                Looked::Again => {}
                looked => return Ok(looked),
            }
        }
    }

    /// What comes too late is dropped.
    fn is_now(&self, stage: Stage, turn: u64) {
        let mut state = self.state();
        if state.turn == turn {
            state.stage = stage;
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Completes leases; where that fails, it is done as soon as it can be.
    pub(super) async fn complete(self: Arc<Self>, leases: Vec<Lease>, letters: Vec<DeadLetter>) {
        let mut settling = Settling { queue: &self, leases, letters };
        let is_known_to_fail = self.trouble(&[Use::Settle]).is_some();
        if !is_known_to_fail {
            drop(settling.settle().await);
        }
    }

    /// Completes what could not be before.
    pub(super) async fn settle_the_rest(&self) -> Result<(), ChannelError> {
        loop {
            let mut settling = {
                let mut state = self.state();
                let (leases, letters) = &mut state.unsettled;
                if leases.is_empty() {
                    return Ok(());
                }
                let leases: Vec<_> = leases.split_off(leases.len().saturating_sub(AT_ONCE));
                let (now, later) = std::mem::take(letters).into_iter().partition(|letter| is_of(letter, &leases));
                *letters = later;
                Settling { queue: self, leases, letters: now }
            };
            settling.settle().await?;
        }
    }

    /// Whether there is something that could not be completed yet.
    pub(super) fn has_unsettled(&self) -> bool {
        !self.state().unsettled.0.is_empty()
    }

    /// Renews its leases, also when it cannot be used for something else: they run out. Returns whether there are any.
    pub(super) async fn renew(&self) -> Result<bool, ChannelError> {
        self.give_up();
        let renewed = self.channel.renew().await;
        let renewed = if matches!(renewed, Ok(false)) { renewed } else { self.noted(Use::Tend, renewed) };
        self.state().renew_due = renewed.is_err();
        renewed
    }

    /// Renews its leases if that has failed before.
    pub(super) async fn renew_if_due(&self) -> Result<(), ChannelError> {
        let is_due = self.state().renew_due;
        if is_due { self.renew().await.map(drop) } else { Ok(()) }
    }
}

/// Leases that are done with. Those that are not completed when this is dropped, be it since that failed or since whoever did it was ended,
/// are completed later: given back, what is written would be written once more.
struct Settling<'a> {
    queue: &'a Queue,
    leases: Vec<Lease>,
    letters: Vec<DeadLetter>,
}

impl Settling<'_> {
    async fn settle(&mut self) -> Result<(), ChannelError> {
        self.queue.noted(Use::Settle, self.queue.channel.settle(&mut self.leases, &self.letters).await)
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let Self { queue, leases, letters } = self;
        // Their messages are written, and are not needed any more.
        leases.iter_mut().for_each(|lease| lease.messages = Arc::default());
        letters.retain(|letter| is_of(letter, leases));
        let mut state = queue.state();
        state.unsettled.0.append(leases);
        state.unsettled.1.append(letters);
    }
}

fn is_of(letter: &DeadLetter, leases: &[Lease]) -> bool {
    leases.iter().any(|lease| *lease.id() == letter.lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backoff::Backoff,
        channel::RECONNECT,
        config::{Redis, RedisMode, Secret, Tls},
    };

    fn queue() -> Arc<Queue> {
        let settings = Redis {
            // Nobody listens there.
            mode: RedisMode::Single(Secret::new("redis://127.0.0.1:1/0")),
            password: None,
            tls: Tls::default(),
            queue_key: "q".into(),
            inprogress_key: String::new(),
            lease: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            max_dead_letters: 100,
            max_message_bytes: 1000,
            wait_replicas: 0,
        };
        Arc::new(Queue::new("q", RedisChannel::new(&settings, "here", Duration::ZERO).unwrap(), &Arc::default()))
    }

    #[test]
    fn while_one_is_slow_another_one_is_asked_for_messages_only_if_it_has_answered_soon() {
        let (queue, since) = (queue(), Instant::now());
        let (later, slow) = (since + Duration::from_secs(60), Some(since));
        for (answered, next) in [
            (None, Next::Answer),
            (Some((later, true)), Next::Messages),
            (Some((since - PATIENCE, true)), Next::Answer),
            // It has its turn when no other one is slow.
            (Some((later, false)), Next::Nothing),
            (Some((since, false)), Next::Answer),
        ] {
            queue.state().answered = answered;
            assert_eq!((queue.next(slow), queue.next(None)), (next, Next::Messages), "{answered:?}");
        }
        let away = ChannelError::Unreachable { what: String::new(), why: String::new() };
        queue.state().answered = Some((later, true));
        drop(queue.noted::<()>(Use::Tend, Err(away)));
        assert_eq!((queue.next(slow), queue.next(None)), (Next::Answer, Next::Answer));
    }

    #[test]
    fn a_failure_makes_the_pauses_grow_once() {
        let queue = queue();
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        for _ in 0..2 {
            let turn = queue.begin();
            let fetch = Arc::clone(&queue).fetch(Demand { messages: 1, bytes: 1000, not_before: None }, turn);
            actix_rt::System::new().block_on(fetch);
            backoff.next_pause();
            assert_eq!(queue.state().troubles.backoff(Use::Take), Some(&backoff));
        }
    }
}
