//! Moving a queue out of Redis into another channel, each message exactly once, whatever is killed in between.
//!
//! A portion of messages is first set apart under a name of its own, where no agent looks. It is stored elsewhere in one
//! step with that name, and only then deleted here. Whoever finds a portion later, after a crash, asks the other side
//! whether it has that name: if so it is deleted, else it is stored. Unlike a lease a portion never expires, so it does
//! not matter how long that takes.

use redis::Value;

use super::{RedisChannel, answers, sweep};
use crate::{channel::ChannelError, config::LARGEST_MESSAGE};

const SET_APART: &str = "set messages apart";
const FIND: &str = "find portions that were set apart";
const READ: &str = "read a portion";
const TAKE_OVER: &str = "take a portion over";
const FORGET: &str = "delete a portion";

/// How many messages a portion has at most.
const MOST: usize = 1000;
/// How many bytes a portion has at most, unless one message has more.
const MOST_BYTES: usize = 1 << 20;

/// How the name of a portion of adopted messages ends.
const ADOPTED: &str = ":adopted";

/// The name of a portion: who moves it, then what nobody else is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortionName(String);

impl PortionName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the messages were in a Python agent's hands, so that it may have written them already.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.0.ends_with(ADOPTED)
    }

    /// On its way to where: the identity of a queue's file.
    #[must_use]
    pub fn destination(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    fn new(destination: &str, adopted: bool) -> Self {
        Self(format!("{destination}:{:016x}{}", fastrand::u64(..), if adopted { ADOPTED } else { "" }))
    }

    /// Whether it is on its way to that destination.
    #[must_use]
    pub fn is_for(&self, destination: &str) -> bool {
        self.0.strip_prefix(destination).is_some_and(|rest| rest.starts_with(':'))
    }
}

impl RedisChannel {
    /// One that is to be emptied into another channel: opening it also tries the rights that this takes.
    #[must_use]
    pub fn exporting(mut self) -> Self {
        self.exporting = true;
        self
    }

    /// Whether anything of the queue is there: messages, leases, portions, or what dead letters are kept in.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn is_there(&self) -> Result<bool, ChannelError> {
        const LOOK: &str = "look for the queue";
        let keys = &self.keys;
        let mut exists = redis::cmd("EXISTS");
        exists.arg(&[&keys.queue, &keys.adopted, &keys.leases, &keys.dead, &keys.portions]);
        let answer = self.link.command(LOOK, &exists).await?;
        Ok(answers::integer(&answer).ok_or_else(|| self.link.garbled(LOOK))? > 0)
    }

    /// Looks through all keys for messages that an older version has left where neither leases nor portions lead to, so that
    /// [`Channel::recover`](crate::channel::Channel::recover) and [`RedisChannel::portions`] find them.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn find_orphans(&self) -> Result<(), ChannelError> {
        self.named(sweep::all(self).await).await?;
        let prefix = self.keys.portion_prefix();
        let known = self.portions().await?;
        for key in sweep::every_key(self, &prefix).await? {
            let name = key.strip_prefix(prefix.as_slice()).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|name| !known.iter().any(|known| known.0 == *name)) {
                let mut command = redis::cmd("SADD");
                self.link.command(FIND, command.arg(&self.keys.portions).arg(name)).await?;
            }
        }
        Ok(())
    }

    /// The portions that were set apart and not deleted yet, of whichever destination.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn portions(&self) -> Result<Vec<PortionName>, ChannelError> {
        let mut command = redis::cmd("SMEMBERS");
        let answer = self.named(self.link.command(FIND, command.arg(&self.keys.portions)).await).await?;
        let names = match answer {
            Value::Set(names) => answers::messages(Value::Array(names)),
            other => answers::messages(other),
        };
        let names =
            names.and_then(|names| names.into_iter().map(|name| String::from_utf8(name).ok()).collect::<Option<Vec<_>>>());
        Ok(names.ok_or_else(|| self.link.garbled(FIND))?.into_iter().map(PortionName).collect())
    }

    /// Sets the next waiting messages apart, on their way to `destination`. A message that is too large becomes a dead
    /// letter. `None` when nothing waits.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it. The portion may exist then: see [`RedisChannel::portions`].
    pub async fn set_apart(&self, destination: &str) -> Result<Option<PortionName>, ChannelError> {
        for (source, adopted) in [(&self.keys.adopted, true), (&self.keys.queue, false)] {
            loop {
                let name = PortionName::new(destination, adopted);
                let mut script = self.scripts.set_apart.prepare_invoke();
                script.key(source).key(self.keys.portion(&name.0)).key(&self.keys.portions).key(&self.keys.dead);
                script.arg(&name.0).arg(MOST).arg(MOST_BYTES).arg(self.max_message_bytes);
                script.arg(&self.keys.agent).arg(jiff::Timestamp::now().to_string()).arg(self.max_dead_letters);
                let answer = self.named(self.link.script(SET_APART, &script).await).await?;
                match answers::integer(&answer).ok_or_else(|| self.link.garbled(SET_APART))? {
                    0 => break,
                    count if count > 0 => return Ok(Some(name)),
                    // One was set aside, and others may be behind it.
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Gives a portion that is on its way to another destination a new one, which that must never hear of: what has arrived
    /// there and was not deleted here would be there twice. Returns its new name; `None` when it is gone.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it. It may have its new name then: see [`RedisChannel::portions`].
    pub async fn take_over(&self, name: &PortionName, destination: &str) -> Result<Option<PortionName>, ChannelError> {
        let ours = PortionName::new(destination, name.is_adopted());
        let mut script = self.scripts.take_over.prepare_invoke();
        script.key(self.keys.portion(&name.0)).key(self.keys.portion(&ours.0)).key(&self.keys.portions);
        let answer = self.named(self.link.script(TAKE_OVER, script.arg(&name.0).arg(&ours.0)).await).await?;
        let taken = answers::integer(&answer).ok_or_else(|| self.link.garbled(TAKE_OVER))?;
        Ok((taken > 0).then_some(ours))
    }

    /// The messages of a portion, oldest first, also those that are larger than is allowed by now.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn read_portion(&self, name: &PortionName) -> Result<Vec<Vec<u8>>, ChannelError> {
        let key = self.keys.portion(&name.0);
        let mut script = self.scripts.weigh_portion.prepare_invoke();
        let bytes = self.named(self.link.script(READ, script.key(&key)).await).await?;
        let bytes = answers::integer(&bytes).and_then(|bytes| usize::try_from(bytes).ok());
        // A portion may have been set apart when more was allowed than is now.
        let bytes = bytes.filter(|bytes| *bytes <= LARGEST_MESSAGE).ok_or_else(|| self.link.garbled(READ))?;
        let mut command = redis::cmd("LRANGE");
        command.arg(&key).arg(0).arg(-1);
        let answer = self.link.within(MOST + 1, MOST_BYTES.max(bytes)).command(READ, &command).await?;
        let mut messages = answers::messages(answer).ok_or_else(|| self.link.garbled(READ))?;
        messages.reverse();
        Ok(messages)
    }

    /// Deletes a portion that has arrived.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses it.
    pub async fn forget_portion(&self, name: &PortionName) -> Result<(), ChannelError> {
        let mut script = self.scripts.forget_portion.prepare_invoke();
        script.key(self.keys.portion(&name.0)).key(&self.keys.portions).arg(&name.0);
        self.named(self.link.script(FORGET, &script).await).await.map(drop)
    }
}
