//! Leases on their way to being settled. From the beginning on nothing else can end them; if it comes to nothing, by a failed
//! write or because it is dropped, they are held as before.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Shared,
    intervals::Part,
    letters::Letter,
    state::{Rest, Settling},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Settlement {
    shared: Arc<Shared>,
    /// With how many dead letters.
    leases: Vec<(String, usize)>,
    pub(super) parts: Vec<Part>,
    pub(super) letters: Vec<Letter>,
}

impl Settlement {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), leases: Vec::new(), parts: Vec::new(), letters: Vec::new() }
    }

    /// Adds a lease, unless another settlement of it is under way. One that is lost, or has been completed before, is so
    /// whatever is said now. Takes the letters of a lease that is added.
    pub(super) fn begin(&mut self, id: &str, letters: &mut Vec<Letter>) -> bool {
        match self.shared.state().begin_settling(id) {
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

    /// All of them were written down.
    pub(super) fn settled(settlements: Vec<Self>, shared: &Shared, rests: BTreeMap<i64, Rest>) {
        let mut state = shared.state();
        state.written(rests);
        let mut settlements = settlements;
        for (id, parked) in settlements.iter_mut().flat_map(|settlement| settlement.leases.drain(..)) {
            state.settled(&id, parked);
        }
        drop(state);
        drop(settlements);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            let mut state = self.shared.state();
            self.leases.iter().for_each(|(id, _)| state.not_settled(id));
        }
    }
}
