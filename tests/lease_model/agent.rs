//! One agent: what it remembers, what it sends, and what it makes of the answers.

use super::redis::{Answer, Command, Held, Message, Name, Snapshot, Wrong};

/// The settlement of a lease that was tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Settlement {
    Completed,
    Released,
    Lost,
}

/// A command that is under way and whose answer is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    Sent(Command),
    Answered(Command, Answer),
}

/// The Receiver and the Publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Work {
    #[default]
    Idle,
    /// Some slices have come.
    Taking {
        name: Name,
        came: Vec<Message>,
    },
    Held(Lease),
}

/// A lease in the registry that has its messages, and what was tried with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) name: Name,
    pub(super) messages: Vec<Message>,
    pub(super) struck: bool,
    /// See `attempts.rs`.
    pub(super) tried: Option<Settlement>,
    /// What had been tried before the attempt that is under way.
    before: Option<Settlement>,
}

/// What the Nanny will do when it comes to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Plan {
    #[default]
    None,
    /// It has read that this lease has expired.
    Expired(Name),
    /// It has read what the in-progress list looks like.
    Adopt(Snapshot),
    /// It has found this list among all keys.
    Sweep(Name),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    pub(super) dead: bool,
    pub(super) work: Work,
    pub(super) work_wire: Option<Wire>,
    pub(super) plan: Plan,
    pub(super) nanny_wire: Option<Wire>,
    /// The oldest first.
    pub(super) dropped: Vec<Lease>,
    pub(super) tally: Tally,
}

/// The tally, as what can be wrong with it, since sums that only grow would make every history a state of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    /// Received, and neither published nor parked nor given back.
    pub(super) open: i8,
    /// Completed by this agent in Redis and not parked, and not counted as published.
    pub(super) unpublished: i8,
    /// Parked by this agent in Redis, and not counted.
    pub(super) unparked: i8,
}

impl Lease {
    fn new(name: Name, messages: Vec<Message>) -> Self {
        Self { name, messages, struck: false, tried: None, before: None }
    }

    fn count(&self) -> i8 {
        i8::try_from(self.messages.len()).unwrap()
    }
}

/// Every other message has something that the destination refuses.
pub(super) fn is_refused(message: Message) -> bool {
    message % 2 == 1
}

/// Which of these are parked, by their places.
fn letters(messages: &[Message]) -> Vec<usize> {
    (0..messages.len()).filter(|place| is_refused(messages[*place])).collect()
}

impl Agent {
    /// The lease that is renewed.
    pub(super) fn live(&self) -> Option<&Lease> {
        match &self.work {
            Work::Held(lease) if !lease.struck => Some(lease),
            _ => None,
        }
    }

    /// Whether nothing is under way and nothing left to do.
    pub(super) fn rests(&self) -> bool {
        self.work == Work::Idle && self.work_wire.is_none() && self.nanny_wire.is_none() && self.dropped.is_empty()
    }

    /// What it has leased and not accounted for is what it holds.
    pub(super) fn balances(&self) -> bool {
        let held = if let Work::Held(lease) = &self.work { lease.count() } else { 0 };
        self.tally.open == held
    }

    /// It has counted as done no more than it has done, and no less when there is nothing left to count.
    pub(super) fn tells_the_truth(&self) -> bool {
        let uncounted = [self.tally.unpublished, self.tally.unparked];
        uncounted.iter().all(|count| *count >= 0) && (!self.rests() || uncounted == [0, 0])
    }

    pub(super) fn take(&mut self, name: Name, adopted_first: bool) {
        self.work = Work::Taking { name, came: Vec::new() };
        let take = Command::Take { name, adopted: name.adopted, had: 0, adopted_first };
        self.work_wire = Some(Wire::Sent(take));
    }

    /// Gives back what was dropped last.
    pub(super) fn give_back_dropped(&mut self, wrong: Option<Wrong>) {
        let Some(lease) = self.dropped.last() else { return };
        let in_doubt = lease.tried == Some(Settlement::Completed) && wrong != Some(Wrong::DoubtIsForgotten);
        let held = if in_doubt { Held::InDoubt } else { Held::ByUs };
        self.nanny_wire = Some(Wire::Sent(Command::Release { name: lease.name, held }));
    }

    /// Notes the attempt and sends it.
    pub(super) fn settle(&mut self, how: Settlement) {
        let Work::Held(lease) = &mut self.work else { return };
        let name = lease.name;
        lease.before = lease.tried;
        lease.tried.get_or_insert(how);
        let command = match how {
            Settlement::Completed => Command::Complete { name, letters: letters(&lease.messages) },
            _ => Command::Release { name, held: Held::ByUs },
        };
        self.work_wire = Some(Wire::Sent(command));
    }

    /// A lease that is dropped unsettled, in whatever state.
    pub(super) fn drop_lease(&mut self, wrong: Option<Wrong>) -> Option<Command> {
        match std::mem::take(&mut self.work) {
            Work::Idle => {}
            Work::Taking { name, .. } => self.dropped.push(Lease::new(name, Vec::new())),
            Work::Held(lease) => {
                if wrong != Some(Wrong::DroppedIsForgotten) {
                    self.tally.open -= lease.count();
                }
                if !lease.struck {
                    self.dropped.push(Lease { before: None, ..lease });
                }
            }
        }
        unanswered(self.work_wire.take())
    }

    /// The answer to the one who works does not come. Returns the command, which is still under way.
    pub(super) fn give_up_work(&mut self, wrong: Option<Wrong>) -> Option<Command> {
        match &mut self.work {
            Work::Held(lease) if matches!(self.work_wire, Some(Wire::Sent(Command::Complete { .. }))) => {
                lease.before = None;
                unanswered(self.work_wire.take())
            }
            Work::Taking { name, came } if !came.is_empty() && wrong == Some(Wrong::HalfALeaseIsCompleted) => {
                let lease = Lease::new(*name, std::mem::take(came));
                self.fill(lease);
                unanswered(self.work_wire.take())
            }
            _ => self.drop_lease(wrong),
        }
    }

    /// The answer to the Nanny does not come.
    pub(super) fn give_up_nanny(&mut self) -> Option<Command> {
        unanswered(self.nanny_wire.take())
    }

    fn fill(&mut self, lease: Lease) {
        self.tally.open += lease.count();
        self.work = Work::Held(lease);
    }

    /// What the one who works makes of an answer. `demand` is how many messages were asked for.
    pub(super) fn work_answered(&mut self, command: &Command, answer: Answer, demand: usize, wrong: Option<Wrong>) {
        match std::mem::take(&mut self.work) {
            Work::Idle => {}
            Work::Taking { name, came } => self.taken(name, came, answer, demand, wrong),
            Work::Held(lease) => {
                let how = match (command, answer) {
                    (Command::Complete { .. }, Answer::Done) => Settlement::Completed,
                    (Command::Complete { .. }, _) if wrong == Some(Wrong::GoneIsDone) => Settlement::Completed,
                    (_, Answer::Done) => Settlement::Released,
                    (_, Answer::Gone) => lease.before.unwrap_or(Settlement::Lost),
                    _ => Settlement::Lost,
                };
                self.tally.open -= lease.count();
                self.count(&lease, how);
            }
        }
    }

    fn taken(&mut self, name: Name, mut came: Vec<Message>, answer: Answer, demand: usize, wrong: Option<Wrong>) {
        let slice = match answer {
            Answer::AdoptedFirst => return self.take(Name { adopted: true, ..name }, false),
            Answer::Messages(slice) => slice,
            // It expired between two slices.
            _ => {
                self.work = Work::Taking { name, came };
                self.drop_lease(wrong);
                return;
            }
        };
        let whole = slice.is_empty() || came.len() + 1 >= demand;
        came.extend(slice);
        if came.is_empty() {
            // Others were quicker to take the adopted ones; or there is nothing.
            if name.adopted {
                self.take(Name { adopted: false, ..name }, false);
            }
        } else if whole {
            self.fill(Lease::new(name, came));
        } else {
            let more = Command::Take { name, adopted: name.adopted, had: came.len(), adopted_first: false };
            self.work = Work::Taking { name, came };
            self.work_wire = Some(Wire::Sent(more));
        }
    }

    /// What the Nanny makes of an answer.
    pub(super) fn nanny_answered(&mut self, command: &Command, answer: &Answer) {
        match command {
            Command::Renew { name } if *answer == Answer::Gone => {
                if let Work::Held(lease) = &mut self.work
                    && lease.name == *name
                    && lease.tried.is_none()
                {
                    lease.struck = true;
                }
            }
            Command::Release { name, held: Held::ByUs | Held::InDoubt } => {
                let place = self.dropped.iter().position(|lease| lease.name == *name).unwrap();
                let lease = self.dropped.remove(place);
                let how = match answer {
                    Answer::Done => Settlement::Released,
                    Answer::Gone => lease.tried.unwrap_or(Settlement::Released),
                    _ => Settlement::Lost,
                };
                self.count(&lease, how);
            }
            _ => {}
        }
    }

    fn count(&mut self, lease: &Lease, how: Settlement) {
        if how == Settlement::Completed {
            let parked = i8::try_from(letters(&lease.messages).len()).unwrap();
            self.tally.unparked -= parked;
            self.tally.unpublished -= lease.count() - parked;
        }
    }
}

fn unanswered(wire: Option<Wire>) -> Option<Command> {
    match wire {
        Some(Wire::Sent(command)) => Some(command),
        _ => None,
    }
}
