//! Leases on their way to being settled. From the beginning on nothing else can end them; if it comes to nothing, by a failed
//! write or because it is dropped, they are held as before.

use std::sync::Arc;

use super::{
    Shared,
    intervals::Part,
    letters::Letter,
    state::{Change, Settling},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Settlement {
    shared: Arc<Shared>,
    consumer: usize,
    /// With how many dead letters.
    leases: Vec<(String, usize)>,
    parts: Vec<Part>,
    pub(super) letters: Vec<Letter>,
}

impl Settlement {
    pub(super) fn new(shared: &Arc<Shared>, consumer: usize) -> Self {
        Self { shared: Arc::clone(shared), consumer, leases: Vec::new(), parts: Vec::new(), letters: Vec::new() }
    }

    /// Adds a lease, unless another settlement of it is under way. One that is lost, or has been completed before, is so
    /// whatever is said now. Takes the letters of a lease that is added.
    pub(super) fn begin(&mut self, id: &str, letters: &mut Vec<Letter>) -> bool {
        match self.shared.state().of_mut(self.consumer).begin_settling(id) {
            Settling::Begun(parts) => {
                self.parts.extend(parts);
                self.leases.push((id.to_owned(), letters.len()));
                self.letters.append(letters);
                true
            }
            Settling::Ended(_) | Settling::Lost => true,
            Settling::Busy => false,
        }
    }

    /// What is done with it, and by which consumer.
    pub(super) fn done(&self) -> impl Iterator<Item = (usize, Part)> + '_ {
        self.parts.iter().map(|part| (self.consumer, *part))
    }

    /// All of them were written down.
    pub(super) fn settled(mut settlements: Vec<Self>, shared: &Shared, change: Change) {
        let mut state = shared.state();
        state.written(change);
        for settlement in &mut settlements {
            let consumer = state.of_mut(settlement.consumer);
            settlement.leases.drain(..).for_each(|(id, parked)| consumer.settled(&id, parked));
        }
        drop(state);
        drop(settlements);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            let mut state = self.shared.state();
            let consumer = state.of_mut(self.consumer);
            self.leases.iter().for_each(|(id, _)| consumer.not_settled(id));
        }
    }
}
