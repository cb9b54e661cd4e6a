//! The ledger: what became of every message since the start, as a sentence and as log values.

use std::fmt;

use slog::{KV, Logger, Record, Serializer, error, info};

use crate::{
    channel::{Accepted, Backlog, Tally},
    plural::{count, either},
};

/// A [`Tally`] to be said, with what waits as far as that is known otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger(pub Tally, pub Option<Backlog>);

impl Ledger {
    /// Says the ledger: at info, or as an error when it does not balance.
    pub fn say(self, log: &Logger) {
        if self.0.balances() {
            info!(log, "{}", self; self);
        } else {
            error!(log, "{}", self; self);
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { leased, published, parked, given_back, lost, in_flight, letters_dropped, backlog_dropped, accepted } = self.0;
        match accepted {
            Some(Accepted { all, found, waiting, dropped }) => {
                write!(f, "accepted {all}")?;
                if found > 0 {
                    write!(f, " ({found} of them by an earlier process)")?;
                }
                write!(f, ", published {published}, parked {parked}, dropped {dropped}, waiting {waiting}")?;
                if in_flight > 0 {
                    write!(f, " ({in_flight} of them in hand)")?;
                }
            }
            None => {
                write!(f, "leased {leased}, published {published}, parked {parked}, given back {given_back}")?;
                if lost > 0 {
                    write!(f, " ({lost} of them taken over by another agent)")?;
                }
                write!(f, ", in flight {in_flight}")?;
                if let Some(Backlog { waiting, .. }) = self.1 {
                    write!(f, "; {waiting} wait in the channel")?;
                }
            }
        }
        if letters_dropped > 0 {
            write!(
                f,
                "; {} {} dropped for newer ones",
                count(letters_dropped, "dead letter"),
                either(letters_dropped, "was", "were")
            )?;
        }
        if backlog_dropped > 0 {
            write!(f, "; {} dropped at max_backlog before", count(backlog_dropped, "message"))?;
        }
        if !self.0.balances() {
            write!(f, "; this does not balance: {} to be accounted for, {} are", self.0.due(), self.0.accounted_for())?;
        }
        Ok(())
    }
}

impl KV for Ledger {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let Tally { leased, published, parked, given_back, lost, in_flight, letters_dropped, backlog_dropped, accepted } = self.0;
        if let Some(Accepted { all, found, dropped, .. }) = accepted {
            serializer.emit_u64("accepted", all)?;
            serializer.emit_u64("found", found)?;
            serializer.emit_u64("dropped", dropped)?;
        }
        if let Some(waiting) = accepted.map(|accepted| accepted.waiting).or(self.1.map(|backlog| backlog.waiting)) {
            serializer.emit_u64("waiting", waiting)?;
        }
        serializer.emit_u64("leased", leased)?;
        serializer.emit_u64("published", published)?;
        serializer.emit_u64("parked", parked)?;
        serializer.emit_u64("given_back", given_back)?;
        serializer.emit_u64("lost", lost)?;
        serializer.emit_u64("in_flight", in_flight)?;
        serializer.emit_u64("letters_dropped", letters_dropped)?;
        serializer.emit_u64("backlog_dropped", backlog_dropped)?;
        serializer.emit_bool("balances", self.0.balances())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log::{lines::Form, tests::written};

    const BALANCED: Tally = Tally {
        leased: 20,
        published: 10,
        parked: 3,
        given_back: 5,
        lost: 2,
        in_flight: 2,
        letters_dropped: 0,
        backlog_dropped: 0,
        accepted: None,
    };
    const QUEUE: Accepted = Accepted { all: 20, found: 4, waiting: 6, dropped: 1 };

    #[test]
    fn a_ledger_that_balances_is_a_plain_sentence() {
        assert_eq!(
            Ledger(BALANCED, None).to_string(),
            "leased 20, published 10, parked 3, given back 5 (2 of them taken over by another agent), in flight 2"
        );
        assert_eq!(Ledger(Tally::default(), None).to_string(), "leased 0, published 0, parked 0, given back 0, in flight 0");
    }

    #[test]
    fn where_messages_are_accepted_the_tally_begins_there() {
        let tally = Tally { accepted: Some(QUEUE), ..BALANCED };
        assert!(tally.balances() && !Tally { accepted: Some(Accepted { all: 21, ..QUEUE }), ..BALANCED }.balances());
        assert_eq!(
            Ledger(tally, None).to_string(),
            "accepted 20 (4 of them by an earlier process), published 10, parked 3, dropped 1, waiting 6 (2 of them in hand)"
        );
    }

    #[test]
    fn dropped_dead_letters_are_said() {
        let dropped = Ledger(Tally { letters_dropped: 4, ..BALANCED }, None).to_string();
        assert!(dropped.ends_with(", in flight 2; 4 dead letters were dropped for newer ones"), "{dropped}");
    }

    #[test]
    fn a_ledger_that_does_not_balance_says_so() {
        let off = Ledger(Tally { leased: 21, ..BALANCED }, None);
        assert!(off.to_string().ends_with("; this does not balance: 21 to be accounted for, 20 are"), "{off}");
    }

    fn said(tally: Tally) -> serde_json::Value {
        written(slog::Level::Trace, Form::Json, |log| Ledger(tally, None).say(log)).json().remove(0)
    }

    #[test]
    fn the_ledger_in_the_log_is_numbers_and_an_error_when_it_does_not_balance() {
        let line = said(BALANCED);
        assert_eq!((&line["level"], &line["leased"], &line["balances"]), (&"INFO".into(), &20.into(), &true.into()));
        let line = said(Tally { in_flight: 3, ..BALANCED });
        assert_eq!((&line["level"], &line["in_flight"], &line["balances"]), (&"ERROR".into(), &3.into(), &false.into()));
    }
}
