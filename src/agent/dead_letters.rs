//! What can be done to dead letters while the agent runs: for whoever asks over HTTP, on whose thread it happens. No pipeline waits for it,
//! since it takes one letter after the other, each in a step of its own beside what else the channel is asked for.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use slog::{Logger, info};
use tokio::{sync::Mutex, time::Instant};

use super::snapshots::Maker;
use crate::{
    channel::{ChannelError, LetterAct, Letters, Patience, redis::StoredLetter},
    config::{self, Settings},
    failpoint::failing,
    quote::printable,
    status::dead_letters::generalized,
    web::{Act, Actions, Chosen, Done, Letter, Listed},
};

/// How long to go on with a list, and with what is asked for at once.
const LIST_WITHIN: Duration = Duration::from_secs(5);
const ACT_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct DeadLetters {
    maker: Arc<Maker>,
    channel: config::Channel,
    patience: Patience,
    /// Two that are asked for at once would each count what the other does.
    turn: Mutex<()>,
    log: Logger,
}

impl DeadLetters {
    pub(super) fn new(settings: &Settings, maker: &Arc<Maker>, log: &Logger) -> Self {
        let patience = Patience::from(&settings.nanny);
        Self { maker: Arc::clone(maker), channel: settings.channel.clone(), patience, turn: Mutex::default(), log: log.clone() }
    }

    async fn open(&self) -> Result<Letters, ChannelError> {
        if !self.maker.has_opened() {
            let (what, mend) = ("the channel is not open yet".to_owned(), "it is tried by itself".to_owned());
            return Err(ChannelError::Refused { what, mend });
        }
        match &self.channel {
            config::Channel::Redis(redis) => Letters::of_redis(redis).await,
            config::Channel::Embedded(_) => {
                let queue = self.maker.pipelines().iter().find_map(|told| told.channel.queue());
                queue.map(Letters::Queue).ok_or_else(|| ChannelError::Refused {
                    what: "the queue is not this process's".to_owned(),
                    mend: "use kadabra dead-letters".to_owned(),
                })
            }
        }
    }

    /// Those that are meant, behind `after`, at most so many; and the id of the one to go on behind, when time or number was up.
    async fn find(
        &self,
        letters: &Letters,
        chosen: &Chosen,
        mut after: Option<String>,
        (most, until): (usize, Instant),
    ) -> Result<(Vec<Letter>, Option<String>), ChannelError> {
        let mut found = Vec::new();
        while let Some(letter) = letters.after(after.as_deref()).await? {
            if found.len() == most || Instant::now() >= until {
                return Ok((found, after));
            }
            after = Some(letter.id.clone());
            if is_meant(&letter, chosen) {
                found.push(without_message(letter));
            }
        }
        Ok((found, None))
    }

    /// Those with the ids that are named; and which of these are not there.
    async fn named(&self, letters: &Letters, chosen: &Chosen) -> Result<(Vec<Letter>, Vec<String>), ChannelError> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for id in &chosen.ids {
            match letters.get(id).await?.filter(|letter| is_meant(letter, chosen)) {
                Some(letter) => found.push(without_message(letter)),
                None => missing.push(id.clone()),
            }
        }
        Ok((found, missing))
    }

    /// All that are meant are found before anything is done: what is refused anew is not found again.
    async fn act_on(&self, act: LetterAct, chosen: &Chosen) -> Result<Done, ChannelError> {
        let until = Instant::now() + ACT_WITHIN;
        let letters = self.open().await?;
        let mut done = Done::default();
        let found;
        if chosen.ids.is_empty() {
            let (those, more) = self.find(&letters, chosen, None, (usize::MAX, until)).await?;
            (found, done.more) = (those, more.is_some());
            for (queue, error) in letters.left_out() {
                info!(self.log, "the dead letters of a queue were left out"; "queue" => queue, "error" => %error);
                done.more = true;
            }
        } else {
            (found, done.missing) = self.named(&letters, chosen).await?;
        }
        for Letter { id, time, reason, publisher, .. } in found {
            if Instant::now() >= until {
                done.more = true;
                break;
            }
            // One that is gone by now is done with, by whomever.
            match failing("agent.letter.error", letters.act(act, &id, &time)).await {
                Ok(true) => {}
                Ok(false) if chosen.ids.is_empty() => continue,
                Ok(false) => {
                    done.missing.push(id);
                    continue;
                }
                Err(error) if done.letters == 0 => return Err(error),
                Err(error) => {
                    info!(self.log, "not all dead letters were dealt with"; "error" => %error);
                    done.more = true;
                    break;
                }
            }
            done.letters += 1;
            if let Some(told) = self.maker.pipelines().iter().find(|told| told.settings.name == publisher) {
                told.dead_letters.gone(&reason);
            }
        }
        Ok(done)
    }
}

#[async_trait(?Send)]
impl Actions for DeadLetters {
    async fn list(&self, chosen: &Chosen, after: Option<&str>, most: usize) -> Result<Listed, String> {
        let bounds = (most, Instant::now() + LIST_WITHIN);
        let listed = async {
            let letters = self.open().await?;
            let found = self.find(&letters, chosen, after.map(str::to_owned), bounds).await?;
            letters.left_out().into_iter().next().map_or(Ok(found), |(_, error)| Err(error))
        };
        let (found, more) = listed.await.map_err(|error| error.to_string())?;
        Ok(Listed { letters: found, more })
    }

    async fn act(&self, act: Act, chosen: &Chosen) -> Result<Done, String> {
        let _turn = self.turn.lock().await;
        let (of_letter, what) = match act {
            Act::Replay => (LetterAct::Replay, "dead letters were queued anew, as was asked for over HTTP"),
            Act::Discard => (LetterAct::Discard, "dead letters were deleted, as was asked for over HTTP"),
        };
        let done = self.act_on(of_letter, chosen).await.map_err(|error| error.to_string())?;
        if done.letters > 0 {
            info!(self.log, "{}", what; "messages" => done.letters);
        }
        // What is shown next has them no more. A Redis is asked by its pipelines alone.
        for told in self.maker.pipelines().iter().filter(|told| told.channel.queue().is_some()) {
            drop(told.channel.pressure(&self.patience).await);
        }
        Ok(done)
    }
}

/// Of many dead letters all is kept at once but their messages.
fn without_message(letter: StoredLetter) -> Letter {
    let StoredLetter { id, payload, reason, time, publisher, .. } = letter;
    Letter { id, time, publisher, reason, bytes: payload.map(|payload| payload.len() as u64) }
}

fn is_meant(letter: &StoredLetter, Chosen { publisher, reason, until, .. }: &Chosen) -> bool {
    let is_of = |reason: &str| {
        let own = generalized(&letter.reason);
        own == reason || printable(&own) == reason
    };
    publisher.as_ref().is_none_or(|name| letter.publisher.as_ref() == Some(name))
        && reason.as_deref().is_none_or(is_of)
        && until.is_none_or(|until| letter.time.parse::<Timestamp>().is_ok_and(|at| at <= until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_said_must_fit_and_a_reason_is_known_as_the_page_shows_it() {
        let letter = StoredLetter {
            id: "17".to_owned(),
            payload: None,
            reason: "c\u{202e}: value 12 is too large".to_owned(),
            refused: String::new(),
            agent: String::new(),
            time: "2026-03-01T12:00:00.5Z".to_owned(),
            publisher: Some("two".to_owned()),
        };
        let text = |text: &str| Some(text.to_owned());
        let is_meant = |chosen: Chosen| is_meant(&letter, &chosen);
        assert!(is_meant(Chosen::default()));
        for reason in ["c\u{202e}: value # is too large", "c\\u{202e}: value # is too large"] {
            assert!(is_meant(Chosen { reason: text(reason), publisher: text("two"), ..Chosen::default() }), "{reason}");
        }
        assert!(!is_meant(Chosen { reason: text("value"), ..Chosen::default() }));
        assert!(!is_meant(Chosen { publisher: text("one"), ..Chosen::default() }));
        let until = |text: &str| Chosen { until: Some(text.parse().unwrap()), ..Chosen::default() };
        assert!(is_meant(until("2026-03-01T12:00:00.5Z")) && !is_meant(until("2026-03-01T12:00:00Z")));
        let unknown = StoredLetter { time: String::new(), ..letter.clone() };
        assert!(!super::is_meant(&unknown, &until("2026-03-01T12:00:00Z")));
    }
}
