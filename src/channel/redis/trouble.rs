//! Why a queue cannot be used, and when that is tried again, for each use by itself: one that lets nobody wait may well give messages.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    channel::{ChannelError, RECONNECT},
};

/// What is asked of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// To take messages.
    Take,
    /// To wait for the first one.
    Wait,
    /// To complete leases or to give them back.
    Settle,
    /// To renew leases, to take them back, and to be looked at.
    Tend,
}

impl Use {
    /// All that messages come by: nothing is taken before what is done with is off the queue.
    pub(super) const RECEIVE: &[Self] = &[Self::Take, Self::Wait, Self::Settle];
    pub(super) const ALL: &[Self] = &[Self::Take, Self::Wait, Self::Settle, Self::Tend];
}

/// The uses that have failed and were not done since.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<Use, Trouble>);

#[derive(Debug)]
struct Trouble {
    /// Why; none once another use has shown that it can be reached.
    error: Option<ChannelError>,
    backoff: Backoff,
    retry_at: Instant,
}

impl Trouble {
    fn is_unreachable(&self) -> bool {
        matches!(self.error, Some(ChannelError::Unreachable { .. }))
    }
}

impl Troubles {
    /// It was used so.
    pub(super) fn done(&mut self, at: Use) {
        self.0.remove(&at);
        self.is_reached();
    }

    /// It may be used so; whether it can shows only when that ends.
    pub(super) fn is_allowed(&mut self, at: Use) {
        if let Some(trouble) = self.0.get_mut(&at) {
            trouble.error = None;
        }
    }

    /// It has answered, whatever it was asked. When it could not be reached, any answer shows that it can be.
    pub(super) fn is_reached(&mut self) {
        self.0.values_mut().filter(|trouble| trouble.is_unreachable()).for_each(|trouble| trouble.error = None);
    }

    /// It could not be used so.
    pub(super) fn failed(&mut self, at: Use, error: &ChannelError) {
        let now = Instant::now();
        let begin = || Trouble { error: None, backoff: Backoff::new(RECONNECT.0, RECONNECT.1), retry_at: now };
        let trouble = self.0.entry(at).or_insert_with(begin);
        trouble.error = Some(error.clone());
        trouble.retry_at = now + trouble.backoff.next_pause();
    }

    /// Why it cannot be used for one of these.
    pub(super) fn at(&self, uses: &[Use]) -> Option<&ChannelError> {
        let concerns = |(at, trouble): &(&Use, &Trouble)| uses.contains(at) || trouble.is_unreachable();
        self.0.iter().filter(concerns).find_map(|(_, trouble)| trouble.error.as_ref())
    }

    /// Whether it cannot be reached.
    pub(super) fn is_unreachable(&self) -> bool {
        self.0.values().any(Trouble::is_unreachable)
    }

    #[cfg(test)]
    pub(super) fn backoff(&self, at: Use) -> Option<&Backoff> {
        self.0.get(&at).map(|trouble| &trouble.backoff)
    }

    /// Until when it would be in vain to use it.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.0.values().map(|trouble| trouble.retry_at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> ChannelError {
        ChannelError::Refused { what: "it is full".to_owned(), mend: "make room".to_owned() }
    }

    fn unreachable() -> ChannelError {
        ChannelError::Unreachable { what: "cannot connect".to_owned(), why: "it is down".to_owned() }
    }

    fn backoff_after(failures: usize) -> Backoff {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        for _ in 0..failures {
            backoff.next_pause();
        }
        backoff
    }

    #[test]
    fn what_one_use_comes_to_says_nothing_of_another_that_is_refused() {
        let mut troubles = Troubles::default();
        for failures in 1..6 {
            troubles.failed(Use::Wait, &refused());
            for other in [Use::Take, Use::Settle, Use::Tend] {
                troubles.failed(other, &unreachable());
                troubles.done(other);
            }
            assert_eq!(troubles.backoff(Use::Wait), Some(&backoff_after(failures)));
            assert!(troubles.at(Use::RECEIVE).is_some() && troubles.at(&[Use::Settle]).is_none() && !troubles.is_unreachable());
            troubles.is_allowed(Use::Wait);
            assert!(troubles.at(Use::ALL).is_none());
        }
        troubles.done(Use::Wait);
        assert!(troubles.at(Use::ALL).is_none() && troubles.retry_at().is_none());
    }

    #[test]
    fn any_answer_shows_that_it_can_be_reached_and_the_pauses_of_what_fails_still_grow() {
        let mut troubles = Troubles::default();
        for failures in 1..6 {
            troubles.failed(Use::Wait, &unreachable());
            assert!(troubles.at(&[Use::Settle]).is_some() && troubles.is_unreachable());
            troubles.is_reached();
            assert!(troubles.at(Use::ALL).is_none() && !troubles.is_unreachable());
            assert_eq!(troubles.backoff(Use::Wait), Some(&backoff_after(failures)));
        }
    }
}
