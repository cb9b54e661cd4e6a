//! Looks at what waits without taking it, for an operator.

use super::{RedisChannel, answers, errors::Error};
use crate::channel::{ChannelError, Demand};

/// At how many messages, and at about how many bytes of them, one script looks.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 1 << 20;

/// How many messages an agent that listens itself is asked for at once: each may be as large as a message may be.
const AT_ONCE: usize = 16;

const LOOK: &str = "look at what waits";

/// See [`crate::channel::Channel::peek`].
pub(super) async fn peek(channel: &RedisChannel, most: Demand) -> Result<Vec<Vec<u8>>, Error> {
    let keys = &channel.keys;
    let mut lists = vec![&keys.adopted, &keys.queue];
    if let Some(membership) = &channel.membership {
        // What was not given to every consumer yet waits for each of them.
        let of_all = &membership.group.base.keys;
        lists.extend([&of_all.adopted, &of_all.queue]);
    }
    let (mut found, mut room) = (Vec::new(), most.bytes);
    for list in lists {
        let mut seen = 0;
        loop {
            let (messages, bytes) = (PAGE.min(most.messages.saturating_sub(found.len())), PAGE_BYTES.min(room));
            if messages == 0 || bytes == 0 {
                return Ok(found);
            }
            let mut script = channel.scripts.peek.prepare_invoke();
            script.key(list).arg(seen).arg(messages).arg(bytes).arg(channel.max_message_bytes);
            let texts = answers::messages(
                channel.link.within(1 + PAGE, PAGE_BYTES.saturating_add(channel.max_message_bytes)).script(LOOK, &script).await?,
            )
            .ok_or_else(|| channel.link.garbled(LOOK))?;
            let mut texts = texts.into_iter();
            let by_now = texts.next().and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok());
            let by_now = by_now.ok_or_else(|| channel.link.garbled(LOOK))?;
            if by_now <= seen {
                break;
            }
            seen = by_now;
            for message in texts {
                room = room.saturating_sub(message.len());
                found.push(message);
            }
        }
    }
    Ok(found)
}

impl RedisChannel {
    /// The newest messages of the list that clients push to, by which an agent that listens itself shows what waits there. The one that
    /// passes the bytes is the last.
    ///
    /// # Errors
    /// When it cannot be reached or refuses it.
    pub(crate) async fn newest(&self, most: Demand) -> Result<Vec<Vec<u8>>, ChannelError> {
        let (mut found, mut bytes): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        let mut asked = 1;
        while found.len() < most.messages && bytes < most.bytes {
            asked = asked.min(most.messages - found.len());
            let mut command = redis::cmd("LRANGE");
            command.arg(&self.keys.queue).arg(found.len()).arg(found.len() + asked - 1);
            let shown = answers::messages(
                self.link.within(AT_ONCE, AT_ONCE.saturating_mul(self.max_message_bytes)).command(LOOK, &command).await?,
            )
            .ok_or_else(|| self.link.garbled(LOOK))?;
            let count = shown.len();
            bytes = shown.iter().fold(bytes, |bytes, message| bytes.saturating_add(message.len()));
            found.extend(shown);
            if count < asked {
                break;
            }
            // So many as have had about a page until now: the agent has little memory for answers.
            asked = found.len().saturating_mul(PAGE_BYTES).checked_div(bytes).unwrap_or(AT_ONCE).clamp(1, AT_ONCE);
        }
        Ok(found)
    }
}
