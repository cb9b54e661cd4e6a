//! What Redis keeps, and the scripts. `Wrong` leaves something out of them, or of an agent.

use std::collections::{BTreeMap, BTreeSet};

/// A message, by its number.
pub(super) type Message = u8;

/// What a dead letter has that was made of no message.
pub(super) const NO_MESSAGE: Message = u8::MAX;

/// A lease's name. In reality no name is ever used twice; here one that nothing and nobody knows any more may be, which
/// nobody can tell from a new one, and which keeps the states finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) agent: u8,
    pub(super) number: u8,
    pub(super) adopted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Command {
    /// `had`: how many messages of the lease have come.
    Take {
        name: Name,
        adopted: bool,
        had: usize,
        adopted_first: bool,
    },
    /// `letters`: which of its messages are parked, counted from the oldest.
    Complete {
        name: Name,
        letters: Vec<usize>,
    },
    Release {
        name: Name,
        held: Held,
    },
    Renew {
        name: Name,
    },
    Adopt {
        snapshot: Snapshot,
    },
    Sweep {
        name: Name,
    },
}

/// Whose a lease is that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Held {
    ByUs,
    InDoubt,
    ByNobody,
}

/// Length, newest and oldest of the in-progress list.
pub(super) type Snapshot = (usize, Message, Message);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Messages(Vec<Message>),
    AdoptedFirst,
    Done,
    /// Not registered.
    Gone,
    /// Not registered, and there is a mark of loss.
    Lost,
}

/// What is wrong with a protocol that must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// take.lua does not register the lease.
    TakeDoesNotRegister,
    /// take.lua adds to a lease that is not registered any more.
    TakeOfMoreDoesNotLook,
    /// take.lua adds to a lease of which it has less than the agent has.
    TakeOfMoreDoesNotCount,
    /// complete.lua does not look whether the lease is still registered.
    CompleteDoesNotLook,
    /// complete.lua parks something of which it has no message.
    CompleteParksNothing,
    /// complete.lua forgets its dead letters.
    CompleteDoesNotPark,
    /// release.lua forgets the messages.
    ReleaseForgets,
    /// release.lua leaves the messages where they were, too.
    ReleaseCopies,
    /// release.lua does not look whether the lease is still registered.
    ReleaseDoesNotLook,
    /// release.lua leaves no mark when it takes back an expired lease.
    NoMarkOfLoss,
    /// renew.lua registers what is not registered.
    RenewRegisters,
    /// An agent completes what it has of a lease when the answer with the rest did not come.
    HalfALeaseIsCompleted,
    /// An agent takes for done whatever is not there any more.
    GoneIsDone,
    /// An agent gives back what it may have completed without a mark that it was given back.
    DoubtIsForgotten,
    /// An agent does not count what it drops as given back.
    DroppedIsForgotten,
    /// Nobody takes back what has expired.
    NobodyTakesBack,
    /// sweep.lua registers what was a list when it was looked for, and may be none by now.
    SweepDoesNotLook,
    /// sweep.lua has a lease that is registered expire.
    SweepTakesWhatIsRegistered,
    /// Nobody looks for lists that belong to no lease.
    NobodySweeps,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Redis {
    /// All lists: the oldest first.
    pub(super) queue: Vec<Message>,
    pub(super) adopted: Vec<Message>,
    pub(super) inprogress: Vec<Message>,
    /// The sorted set: whether the lease has expired.
    pub(super) leases: BTreeMap<Name, bool>,
    /// The lists of leases, registered or not.
    pub(super) lists: BTreeMap<Name, Vec<Message>>,
    pub(super) marks: BTreeSet<Name>,
    pub(super) dead: Vec<Message>,
    /// What no Redis keeps: the messages that were completed and not parked.
    pub(super) done: Vec<Message>,
    /// Nor this: of each lease somebody knows, that it was settled or taken back before.
    pub(super) ended: BTreeSet<Name>,
    /// Nor this: a lease was settled that had ended before.
    pub(super) ended_twice: bool,
    /// Nor this: a sweep has changed a lease that was registered.
    pub(super) swept_a_lease: bool,
}

impl Redis {
    /// One script.
    pub(super) fn execute(&mut self, command: &Command, wrong: Option<Wrong>) -> Answer {
        match command {
            &Command::Take { name, adopted, had, adopted_first } => self.take(name, adopted, had, adopted_first, wrong),
            Command::Complete { name, letters } => self.complete(*name, letters, wrong),
            &Command::Release { name, held } => self.release(name, held, wrong),
            &Command::Renew { name } => self.renew(name, wrong),
            &Command::Adopt { snapshot } => self.adopt(snapshot),
            &Command::Sweep { name } => self.sweep(name, wrong),
        }
    }

    fn take(&mut self, name: Name, adopted: bool, had: usize, adopted_first: bool, wrong: Option<Wrong>) -> Answer {
        if had > 0 && !self.leases.contains_key(&name) && wrong != Some(Wrong::TakeOfMoreDoesNotLook) {
            return Answer::Gone;
        }
        let has = self.lists.get(&name).map_or(0, Vec::len);
        if had > 0 && has != had && !matches!(wrong, Some(Wrong::TakeOfMoreDoesNotLook | Wrong::TakeOfMoreDoesNotCount)) {
            return Answer::Gone;
        }
        if adopted_first && !self.adopted.is_empty() {
            return Answer::AdoptedFirst;
        }
        let source = if adopted { &mut self.adopted } else { &mut self.queue };
        if source.is_empty() {
            return Answer::Messages(Vec::new());
        }
        // A slice is one message.
        let message = source.remove(0);
        if wrong != Some(Wrong::TakeDoesNotRegister) {
            self.leases.insert(name, false);
        }
        self.lists.entry(name).or_default().push(message);
        Answer::Messages(vec![message])
    }

    fn complete(&mut self, name: Name, letters: &[usize], wrong: Option<Wrong>) -> Answer {
        if !self.leases.contains_key(&name) && wrong != Some(Wrong::CompleteDoesNotLook) {
            return if self.marks.contains(&name) { Answer::Lost } else { Answer::Gone };
        }
        let list = self.lists.remove(&name).unwrap_or_default();
        if wrong != Some(Wrong::CompleteDoesNotPark) {
            for letter in letters {
                match list.get(*letter) {
                    None if wrong == Some(Wrong::CompleteParksNothing) => self.dead.push(NO_MESSAGE),
                    message => self.dead.extend(message),
                }
            }
        }
        let kept = list.iter().enumerate().filter(|(place, _)| !letters.contains(place));
        self.done.extend(kept.map(|(_, message)| message));
        self.leases.remove(&name);
        self.end(name);
        Answer::Done
    }

    fn release(&mut self, name: Name, held: Held, wrong: Option<Wrong>) -> Answer {
        match self.leases.get(&name) {
            None if wrong == Some(Wrong::ReleaseDoesNotLook) => {}
            None => return if self.marks.contains(&name) { Answer::Lost } else { Answer::Gone },
            Some(false) if held == Held::ByNobody => return Answer::Gone,
            Some(_) => {}
        }
        if held == Held::InDoubt || held == Held::ByNobody && wrong != Some(Wrong::NoMarkOfLoss) {
            self.marks.insert(name);
        }
        let messages = self.lists.get(&name).cloned().unwrap_or_default();
        if wrong != Some(Wrong::ReleaseForgets) {
            let home = if name.adopted { &mut self.adopted } else { &mut self.queue };
            home.splice(0..0, messages);
        }
        if wrong != Some(Wrong::ReleaseCopies) {
            self.lists.remove(&name);
            self.leases.remove(&name);
        }
        self.end(name);
        Answer::Done
    }

    fn renew(&mut self, name: Name, wrong: Option<Wrong>) -> Answer {
        if !self.leases.contains_key(&name) && wrong != Some(Wrong::RenewRegisters) {
            return Answer::Gone;
        }
        self.leases.insert(name, false);
        Answer::Done
    }

    fn adopt(&mut self, snapshot: Snapshot) -> Answer {
        if self.snapshot() != Some(snapshot) {
            return Answer::Gone;
        }
        if self.adopted.is_empty() {
            self.adopted = std::mem::take(&mut self.inprogress);
        } else {
            self.adopted.push(self.inprogress.remove(0));
        }
        Answer::Done
    }

    fn sweep(&mut self, name: Name, wrong: Option<Wrong>) -> Answer {
        let before = self.leases.get(&name).copied();
        if self.lists.contains_key(&name) || wrong == Some(Wrong::SweepDoesNotLook) {
            self.leases.entry(name).or_insert(false);
        }
        if wrong == Some(Wrong::SweepTakesWhatIsRegistered) {
            self.leases.insert(name, true);
        }
        self.swept_a_lease |= before.is_some() && before != self.leases.get(&name).copied();
        Answer::Done
    }

    /// snapshot.lua
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        Some((self.inprogress.len(), *self.inprogress.last()?, *self.inprogress.first()?))
    }

    fn end(&mut self, name: Name) {
        self.ended_twice |= !self.ended.insert(name);
    }
}
