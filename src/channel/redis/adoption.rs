//! Adopting what a Python agent left in its in-progress list.
//!
//! A Python agent that lives changes the list with every message: RPOPLPUSH puts one in front, LREM takes it out.
//! A list that stays as it is for the threshold has no owner.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use redis::Value;

use super::{RedisChannel, answers, errors::Error};

/// How many messages one script adopts when they cannot be adopted in one piece.
const SLICE: usize = 1000;

const LOOK: &str = "look into the in-progress list";
const ADOPT: &str = "adopt the in-progress list";

/// For how long the in-progress list has looked the same, by this process's clock.
#[derive(Debug)]
pub(super) struct Stillness {
    threshold: Duration,
    since: Option<(String, Instant)>,
}

impl Stillness {
    pub(super) fn new(threshold: Duration) -> Self {
        Self { threshold, since: None }
    }

    /// Takes a look in. Whether the list, which looks like `snapshot` now, has been still for the threshold.
    fn look(&mut self, snapshot: Option<&str>, now: Instant) -> bool {
        let Some(snapshot) = snapshot else {
            self.since = None;
            return false;
        };
        match &self.since {
            Some((seen, since)) if seen == snapshot => now.saturating_duration_since(*since) >= self.threshold,
            _ => {
                self.since = Some((snapshot.to_owned(), now));
                self.threshold.is_zero()
            }
        }
    }
}

/// Looks at the in-progress list and adopts it when its time has come. Returns how many messages.
pub(super) async fn adopt(channel: &RedisChannel) -> Result<usize, Error> {
    let keys = &channel.keys;
    if !channel.adopts() {
        return Ok(0);
    }
    let mut script = channel.scripts.snapshot.prepare_invoke();
    let snapshot = match channel.link.script(LOOK, script.key(&keys.inprogress)).await? {
        Value::Nil => None,
        value => Some(answers::text(value).ok_or_else(|| channel.link.garbled(LOOK))?),
    };
    let still = {
        let mut stillness = channel.adoption.lock().unwrap_or_else(PoisonError::into_inner);
        stillness.look(snapshot.as_deref(), Instant::now())
    };
    let Some(mut snapshot) = snapshot.filter(|_| still) else { return Ok(0) };
    let mut adopted = 0;
    while !snapshot.is_empty() {
        let mut script = channel.scripts.adopt.prepare_invoke();
        script.key(&keys.inprogress).key(&keys.adopted).arg(&snapshot).arg(SLICE);
        match channel.link.script(ADOPT, &script).await? {
            // A Python agent has come back.
            Value::Nil => break,
            Value::Array(answer) => {
                let mut answer = answer.into_iter();
                let count = answer.next().as_ref().and_then(answers::integer).and_then(|count| usize::try_from(count).ok());
                let (Some(count), Some(left)) = (count, answer.next().and_then(answers::text)) else {
                    return Err(channel.link.garbled(ADOPT));
                };
                adopted += count;
                snapshot = left;
            }
            _ => return Err(channel.link.garbled(ADOPT)),
        }
    }
    if adopted > 0 {
        channel.adopted.notify_waiters();
    }
    Ok(adopted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_adopted_only_after_it_was_still_for_the_threshold() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stillness = Stillness::new(Duration::from_secs(60));
        assert!(!stillness.look(Some("3 a b"), at(0)));
        assert!(!stillness.look(Some("3 a b"), at(59)));
        assert!(stillness.look(Some("3 a b"), at(60)));
        assert!(!stillness.look(Some("2 a b"), at(61)), "a message was finished");
        assert!(!stillness.look(Some("2 c b"), at(100)), "a message was taken and another finished");
        assert!(!stillness.look(Some("2 c b"), at(159)));
        assert!(!stillness.look(None, at(160)), "there is none");
        assert!(!stillness.look(Some("2 c b"), at(161)), "an emptied list starts anew");
        assert!(stillness.look(Some("2 c b"), at(221)));
    }
}
