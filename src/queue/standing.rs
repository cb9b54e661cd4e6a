//! How the queue stands: for those who look after it, and for clients that ask.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{KnownDamage, Stand, Store, errors::Trouble, reader::Question};
use crate::{
    channel::{
        Backlog, ChannelError,
        embedded::{Backend as _, BackendError, Standing},
    },
    plural::count,
};

/// For how long what was said of it holds.
const LATELY: Duration = Duration::from_secs(1);

impl Store {
    pub(crate) async fn stand(&self) -> Result<Stand, ChannelError> {
        self.ask(Question::Stand).await.map_err(Trouble::refused)
    }

    /// How it stands now.
    pub(crate) async fn standing_now(&self) -> Result<Standing, ChannelError> {
        let stand = self.stand().await?;
        let Backlog { waiting, in_hand, age } = self.backlog().unwrap_or_default();
        let damage = self.damage();
        Ok(Standing {
            waiting,
            in_hand,
            age,
            used: stand.used,
            max_bytes: self.settings.max_bytes,
            dead: stand.dead,
            max_dead_letters: self.settings.max_dead_letters as u64,
            damaged: damage.set_aside,
            unsafe_because: self.unsafe_because(),
            broken: damage.broken.is_some(),
        })
    }

    /// Why nothing more is queued, and what to do about it.
    pub(super) fn unsafe_because(&self) -> Option<(String, String)> {
        let KnownDamage { set_aside, unwritten, broken } = self.damage();
        if let Some((mut what, mend)) = broken {
            if set_aside > 0 {
                what += &format!("; {} cannot be read", count(set_aside, "message"));
            }
            if unwritten > 0 {
                what += &format!(
                    "; of {} it could not be written down that it is published, so that the next start publishes it again",
                    count(unwritten, "message")
                );
            }
            return Some((what, mend));
        }
        self.running.get()?.shared.keeper.failed().map(|Trouble { what, mend, .. }| (what, mend))
    }

    /// How it stands, or stood a moment ago.
    pub(super) async fn standing_lately(&self) -> Result<Standing, BackendError> {
        self.length().await?;
        let Backlog { waiting, in_hand, age } = self.backlog().unwrap_or_default();
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, standing)) = lately.filter(|(when, _)| when.elapsed() < LATELY) {
            return Ok(Standing { waiting, in_hand, age, ..standing });
        }
        let standing = self.standing_now().await.map_err(|why| BackendError(why.to_string()))?;
        *self.lately.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), standing.clone()));
        Ok(standing)
    }
}
