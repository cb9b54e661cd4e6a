//! Dead letters in their stream, one at a time; and those of an agent that listens itself, which answers as the stream would.

use redis::Value;

use super::{RedisChannel, answers, errors, resp::Excess};
use crate::{channel::ChannelError, config};

const LETTERS: &str = "read dead letters";
const REPLAY: &str = "queue a dead letter anew";
const DELETE: &str = "delete a dead letter";

/// How many values a dead letter has at most that is read: its identifier, fields and their values.
const LETTER_VALUES: usize = 1 + 2 * 16;
/// How many bytes a dead letter has at most besides its message, or it is not read: its reasons take more than the message.
const LETTER_BYTES: usize = 16 << 20;
/// How many bytes one of an agent has at most in all.
const MOST: usize = config::LARGEST_MESSAGE + LETTER_BYTES;
/// How many of an agent may be gone one after the other before the last piece of them has come.
const GONE: usize = 1000;

/// A dead letter as it lies in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLetter {
    /// Its identifier in the stream.
    pub id: String,
    /// The message's bytes; `None` when it is larger than `max_message_bytes`, or the letter has more beside it than
    /// an agent writes, and nothing else was read then.
    pub payload: Option<Vec<u8>>,
    /// Why it was set aside.
    pub reason: String,
    /// The refused points, as JSON.
    pub refused: String,
    /// The agent that set it aside.
    pub agent: String,
    /// When.
    pub time: String,
    /// Which of several publishers could do nothing with it, where that is told.
    pub publisher: Option<String>,
}

impl StoredLetter {
    /// One of its identifier, then names and values.
    pub(crate) fn of_fields(fields: Vec<Vec<u8>>) -> Option<Self> {
        let mut parts = fields.into_iter();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut letter = Self {
            id: text(parts.next()?),
            payload: None,
            reason: String::new(),
            refused: "[]".to_owned(),
            agent: String::new(),
            time: String::new(),
            publisher: None,
        };
        while let Some(field) = parts.next() {
            let value = parts.next()?;
            match field.as_slice() {
                b"payload" => letter.payload = Some(value),
                b"reason" => letter.reason = text(value),
                b"refused" => letter.refused = text(value),
                b"agent" => letter.agent = text(value),
                b"time" => letter.time = text(value),
                b"publisher" => letter.publisher = Some(text(value)),
                // A field that no agent has written is not kept.
                _ => {}
            }
        }
        Some(letter)
    }
}

/// Where dead letters are of one queue, or of one of its publishers.
#[derive(Debug)]
pub(crate) struct LetterStream {
    /// Which of several it is, as identifiers of its letters begin; `None` for the only queue itself.
    pub(crate) name: Option<String>,
    /// Which of the publishers that the queue has had.
    pub(crate) publisher: Option<String>,
    pub(crate) channel: RedisChannel,
}

impl RedisChannel {
    /// The queue itself, and the list of each publisher that it has had: each has dead letters of its own. `several`: whether it is one of
    /// several queues.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub(crate) async fn letter_streams(
        settings: &config::Redis,
        queue: &str,
        several: bool,
    ) -> Result<Vec<LetterStream>, ChannelError> {
        let new = |queue: String| {
            let own = config::Redis { queue_key: queue.into(), ..settings.clone() };
            Self::new(&own, "", std::time::Duration::ZERO)
        };
        let base = new(queue.to_owned())?;
        let publishers = base.named(base.removed(&[]).await).await?;
        let lists: Vec<_> = publishers.into_iter().map(|(name, _)| (base.keys.list_for(&name), name)).collect();
        let mut streams = vec![LetterStream { name: several.then(|| queue.to_owned()), publisher: None, channel: base }];
        for (list, publisher) in lists {
            let name = if several { format!("{queue}/{publisher}") } else { publisher.clone() };
            streams.push(LetterStream { name: Some(name), publisher: Some(publisher), channel: new(list)? });
        }
        Ok(streams)
    }

    /// The first dead letter after the one with that identifier, or the very first.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn letter_after(&self, id: Option<&str>) -> Result<Option<StoredLetter>, ChannelError> {
        self.letter_from(&id.map_or_else(|| "-".to_owned(), |id| format!("({id}"))).await
    }

    /// The first dead letter from that identifier on.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn letter_from(&self, from: &str) -> Result<Option<StoredLetter>, ChannelError> {
        let mut script = self.scripts.next_letter.prepare_invoke();
        script.key(&self.keys.dead).arg(from).arg(self.max_message_bytes).arg(LETTER_BYTES);
        let answer = self
            .named(
                self.link
                    .within(LETTER_VALUES, self.max_message_bytes.saturating_add(LETTER_BYTES))
                    .script(LETTERS, &script)
                    .await,
            )
            .await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let letter = answers::messages(answer).and_then(StoredLetter::of_fields);
        Ok(Some(letter.ok_or_else(|| self.link.garbled(LETTERS))?))
    }

    /// Queues a dead letter anew for whom it was set aside. Returns whether it was there, with its message.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn replay_letter(&self, id: &str) -> Result<bool, ChannelError> {
        let mut script = self.scripts.replay.prepare_invoke();
        script.key(&self.keys.dead).key(&self.keys.queue).arg(id);
        let answer = self.named(self.link.script(REPLAY, &script).await).await?;
        Ok(answers::integer(&answer).ok_or_else(|| self.link.garbled(REPLAY))? == 1)
    }

    /// Deletes a dead letter. Returns whether it was there.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn forget_letter(&self, id: &str) -> Result<bool, ChannelError> {
        let mut command = redis::cmd("XDEL");
        let answer = self.named(self.link.command(DELETE, command.arg(&self.keys.dead).arg(id)).await).await?;
        Ok(answers::integer(&answer).ok_or_else(|| self.link.garbled(DELETE))? == 1)
    }

    /// The first dead letter with a larger number than this, of an agent that listens itself, which tells of it piece by piece.
    pub(crate) async fn agents_letter_after(&self, number: i64) -> Result<Option<StoredLetter>, ChannelError> {
        let garbled = || self.link.garbled(LETTERS);
        let (mut letter, mut had, mut gone): (Vec<Vec<u8>>, usize, usize) = (Vec::new(), 0, 0);
        loop {
            let mut command = redis::cmd("KADABRA");
            let answer = self
                .link
                .within(LETTER_VALUES + 1, LETTER_BYTES)
                .command(LETTERS, command.arg("LETTER").arg(number).arg(had))
                .await?;
            let mut piece = answers::messages(answer).ok_or_else(garbled)?;
            if piece.len() < 2 {
                return if piece.is_empty() { Ok(None) } else { Err(garbled().into()) };
            }
            let total = piece.remove(1);
            let bytes = std::str::from_utf8(&total).ok().and_then(|total| total.parse::<usize>().ok()).ok_or_else(garbled)?;
            if bytes > MOST {
                return Err(errors::excess(LETTERS, &self.link.server, Excess::Large(MOST)));
            }
            let of_piece: usize = piece.iter().skip(1).map(Vec::len).sum();
            if letter.is_empty() {
                letter = piece;
            } else if letter.first() == piece.first() && letter.len() == piece.len() {
                letter.iter_mut().zip(piece).skip(1).for_each(|(field, more)| field.extend(more));
            } else {
                // It is gone, and this is of the one behind it.
                (letter, had, gone) = (Vec::new(), 0, gone + 1);
                if gone == GONE {
                    return Err(ChannelError::Refused {
                        what: format!("cannot {LETTERS} of {}: {GONE} were gone before all of one had come", self.link.server),
                        mend: "try again once nothing else queues them anew or deletes them".to_owned(),
                    });
                }
                continue;
            }
            had += of_piece;
            if had >= bytes {
                let letter = StoredLetter::of_fields(letter);
                let letter = letter.filter(|letter| letter.id.parse().is_ok_and(|id: i64| id > number));
                return Ok(Some(letter.ok_or_else(garbled)?));
            }
            if of_piece == 0 {
                return Err(garbled().into());
            }
        }
    }

    /// Has an agent that listens itself queue a dead letter of its anew, or else delete it, if it is the one of that time. Returns
    /// whether it was there.
    pub(crate) async fn agent_takes_out(&self, number: i64, time: &str, replay: bool) -> Result<bool, ChannelError> {
        let (doing, word) = if replay { (REPLAY, "REPLAY") } else { (DELETE, "DISCARD") };
        let mut command = redis::cmd("KADABRA");
        let answer = self.link.command(doing, command.arg(word).arg(number).arg(time)).await?;
        Ok(answers::integer(&answer).ok_or_else(|| self.link.garbled(doing))? == 1)
    }
}
