//! The ledger: what became of every message since the start, as a sentence and as log values.

use std::fmt;

use slog::{KV, Logger, Record, Serializer, error, info};

use super::snapshot::{Publisher, Tally};
use crate::{
    codes::Code,
    plural::{count, either},
};

/// What has become of the messages of a publisher, to be said.
#[derive(Clone, Copy, Debug)]
pub struct Ledger<'a> {
    /// The publisher.
    pub of: &'a Publisher,
    /// What waits for it, where clients push to a Redis and that is known.
    pub waiting: Option<u64>,
}

impl Ledger<'_> {
    /// Says the ledger: at info, or as an error when it does not balance.
    pub fn say(self, log: &Logger) {
        if self.of.tally.difference == 0 {
            info!(log, "{}", self; self);
        } else {
            error!(log, "{}", self; "code" => Code::Unbalanced.name(), self);
        }
    }
}

impl fmt::Display for Ledger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { leased, published, parked, given_back, lost, in_flight, dropped, .. } = self.of.tally;
        let Tally { accepted, found, waiting, letters_dropped, backlog_dropped, difference, .. } = self.of.tally;
        match accepted {
            Some(all) => {
                write!(f, "accepted {all}")?;
                if found > 0 {
                    write!(f, " ({found} of them by an earlier process)")?;
                }
                let waiting = waiting.unwrap_or(0);
                write!(f, ", published {published}, parked {parked}, dropped {dropped}, waiting {waiting}")?;
                if in_flight > 0 {
                    write!(f, " ({in_flight} of them in hand)")?;
                }
            }
            None => {
                write!(f, "leased {leased}, published {published}, parked {parked}, given back {given_back}")?;
                if lost > 0 {
                    write!(f, " ({lost} of them taken over by another agent or undone by a failover)")?;
                }
                write!(f, ", in flight {in_flight}")?;
                if let Some(waiting) = self.waiting {
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
        if difference != 0 {
            let due = accepted.unwrap_or(leased);
            let are = i128::from(due) - i128::from(difference);
            write!(f, "; this does not balance: {due} to be accounted for, {are} are")?;
        }
        Ok(())
    }
}

impl KV for Ledger<'_> {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let tally = self.of.tally;
        if let Some(accepted) = tally.accepted {
            serializer.emit_u64("accepted", accepted)?;
            serializer.emit_u64("found", tally.found)?;
            serializer.emit_u64("dropped", tally.dropped)?;
        }
        if let Some(waiting) = tally.waiting.or(self.waiting) {
            serializer.emit_u64("waiting", waiting)?;
        }
        serializer.emit_u64("leased", tally.leased)?;
        serializer.emit_u64("published", tally.published)?;
        serializer.emit_u64("parked", tally.parked)?;
        serializer.emit_u64("given_back", tally.given_back)?;
        serializer.emit_u64("lost", tally.lost)?;
        serializer.emit_u64("in_flight", tally.in_flight)?;
        serializer.emit_u64("letters_dropped", tally.letters_dropped)?;
        serializer.emit_u64("backlog_dropped", tally.backlog_dropped)?;
        serializer.emit_bool("balances", tally.difference == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Accepted, Tally};
    use crate::observe::log::{lines::Form, tests::written};
    use crate::status::Snapshot;

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
    fn of(tally: Tally) -> Publisher {
        let mut publisher = Snapshot::example().publishers.remove(0);
        publisher.tally = (&tally).into();
        publisher
    }

    fn words(tally: Tally) -> String {
        Ledger { of: &of(tally), waiting: None }.to_string()
    }

    const QUEUE: Accepted = Accepted { all: 20, found: 4, waiting: 6, dropped: 1 };

    #[test]
    fn a_ledger_that_balances_is_a_plain_sentence() {
        assert_eq!(
            words(BALANCED),
            "leased 20, published 10, parked 3, given back 5 (2 of them taken over by another agent or undone by a failover), in flight 2"
        );
        assert_eq!(words(Tally::default()), "leased 0, published 0, parked 0, given back 0, in flight 0");
    }

    #[test]
    fn where_messages_are_accepted_the_tally_begins_there() {
        let tally = Tally { accepted: Some(QUEUE), ..BALANCED };
        assert!(tally.balances() && !Tally { accepted: Some(Accepted { all: 21, ..QUEUE }), ..BALANCED }.balances());
        assert_eq!(
            words(tally),
            "accepted 20 (4 of them by an earlier process), published 10, parked 3, dropped 1, waiting 6 (2 of them in hand)"
        );
    }

    #[test]
    fn dropped_dead_letters_are_said() {
        let dropped = words(Tally { letters_dropped: 4, ..BALANCED });
        assert!(dropped.ends_with(", in flight 2; 4 dead letters were dropped for newer ones"), "{dropped}");
    }

    #[test]
    fn a_ledger_that_does_not_balance_says_so() {
        let off = words(Tally { leased: 21, ..BALANCED });
        assert!(off.ends_with("; this does not balance: 21 to be accounted for, 20 are"), "{off}");
    }

    fn said(tally: Tally) -> serde_json::Value {
        written(slog::Level::Trace, Form::Json, |log| Ledger { of: &of(tally), waiting: None }.say(log)).json().remove(0)
    }

    #[test]
    fn the_ledger_in_the_log_is_numbers_and_an_error_when_it_does_not_balance() {
        let line = said(BALANCED);
        assert_eq!((&line["level"], &line["leased"], &line["balances"]), (&"INFO".into(), &20.into(), &true.into()));
        let line = said(Tally { in_flight: 3, ..BALANCED });
        assert_eq!((&line["level"], &line["in_flight"], &line["balances"]), (&"ERROR".into(), &3.into(), &false.into()));
    }
}
