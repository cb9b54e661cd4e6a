//! The names of the Redis lists that one agent takes messages from, and what is derived from each.

use super::{schema::Key, sections::Redis, setting::Setting, values::Values};

/// How many queues one agent serves at most: each has connections of its own.
pub(super) const MOST: usize = 64;

/// The list that clients push to, or several of them, the first one first. Never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    first: String,
    others: Vec<String>,
}

impl Queues {
    /// The only one, or the first: what this agent queues itself goes there.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.others).map(String::as_str)
    }

    /// These, unless there are none.
    #[must_use]
    pub fn of(names: Vec<String>) -> Option<Self> {
        let mut names = names.into_iter();
        Some(Self { first: names.next()?, others: names.collect() })
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }
}

impl<T: Into<String>> From<T> for Queues {
    /// That one alone.
    fn from(only: T) -> Self {
        Self { first: only.into(), others: Vec::new() }
    }
}

/// Those of `channel.redis.queue_keys`, else the one of `channel.redis.queue_key`.
impl Setting for Queues {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        Self::of(Vec::of(values, Redis::queue_keys)?).or_else(|| String::of(values, key).map(Self::from))
    }
}

/// What the names of everything that an agent keeps of a queue begin with, before a colon. In a cluster they share the queue's slot then,
/// unless [`shares_its_slot`] says otherwise.
pub(crate) fn prefix(queue: &str) -> String {
    if hash_tag(queue).len() < queue.len() { queue.to_owned() } else { format!("{{{queue}}}") }
}

/// Whether what is kept of a queue is in its slot of a cluster: not where its name has a closing brace and no part in braces.
pub(super) fn shares_its_slot(queue: &str) -> bool {
    hash_tag(&prefix(queue)) == hash_tag(queue)
}

/// Why two queues cannot be served by one agent, if they cannot.
pub(super) fn collision(one: &str, other: &str) -> Option<String> {
    if one == other {
        return Some(format!("{one} is there twice"));
    }
    let (of_one, of_other) = (prefix(one), prefix(other));
    if of_one == of_other {
        return Some(format!("what the agent keeps of {one} and of {other} has the same names, {of_one}:…"));
    }
    let is_of = |queue: &str, prefix: &str| queue.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(':'));
    [(one, other, of_other), (other, one, of_one)]
        .into_iter()
        .find(|(queue, _, prefix)| is_of(queue, prefix))
        .map(|(queue, of, prefix)| format!("{queue} is a name that the agent has for what it keeps of {of}, {prefix}:…"))
}

/// The part of the name that decides its cluster slot, in braces or all of it:
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>.
pub(crate) fn hash_tag(name: &str) -> &str {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_queue_is_in_its_slot_or_that_is_known() {
        for queue in ["kadabra_queue", "{team}:metrics", "a{b}c", "a{c", "}{x}", "web:{a}"] {
            assert!(shares_its_slot(queue), "{queue}");
        }
        for queue in ["a{}c", "{}", "a}c", "}"] {
            assert!(!shares_its_slot(queue), "{queue}");
        }
    }

    #[test]
    fn queues_whose_own_names_collide_are_known() {
        for (one, other) in
            [("q", "q"), ("q", "{q}"), ("q", "{q}:leases"), ("{q}:for:a:dead", "q"), ("{team}:metrics", "{team}:metrics:dead")]
        {
            assert!(collision(one, other).is_some(), "{one} {other}");
            assert!(collision(other, one).is_some(), "{other} {one}");
        }
        for (one, other) in [("q", "r"), ("web:{a}", "web:{b}"), ("{team}:web", "{team}:jobs"), ("q", "q:leases"), ("q", "{q}x")]
        {
            assert_eq!(collision(one, other), None);
        }
    }
}
