//! The names of everything this channel keeps in Redis.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    channel::LeaseId,
    config::{self, hash_tag},
};

/// How the name of a lease of adopted messages ends. Their origin is part of the name, so that it outlives
/// expiry, release and every process.
const ADOPTED: &str = ":adopted";

/// The queue's name, the in-progress list's, and those derived from the queue's.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) queue: String,
    /// Empty where nothing is adopted.
    pub(super) inprogress: String,
    pub(super) leases: String,
    pub(super) dead: String,
    pub(super) adopted: String,
    /// The set of portions that are on their way to another channel.
    pub(super) portions: String,
    /// The sorted set of agents with several consumers that are at work.
    pub(super) agents: String,
    /// The sorted set of consumers that the queue has had.
    pub(super) consumers: String,
    prefix: String,
    pub(super) agent: String,
    /// How the names of all leases begin that are given here, and of no others: behind the agent it is random.
    of_leases: String,
    process: u64,
    next: AtomicU64,
}

impl Keys {
    pub(super) fn new(queue: &str, inprogress: &str, agent: &str) -> Self {
        // Derived names share the queue's slot in a cluster.
        let prefix = config::prefix(queue);
        let process = fastrand::u64(..);
        Self {
            queue: queue.to_owned(),
            inprogress: inprogress.to_owned(),
            leases: format!("{prefix}:leases"),
            dead: format!("{prefix}:dead"),
            adopted: format!("{prefix}:adopted"),
            portions: format!("{prefix}:moving"),
            agents: format!("{prefix}:agents"),
            consumers: format!("{prefix}:consumers"),
            prefix,
            agent: agent.to_owned(),
            of_leases: format!("{agent}:{process:016x}-"),
            process,
            next: AtomicU64::new(0),
        }
    }

    /// A name that no lease ever had: the process part is random, the number counts.
    pub(super) fn new_lease(&self, adopted: bool) -> LeaseId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let origin = if adopted { ADOPTED } else { "" };
        LeaseId(format!("{}{number}{origin}", self.of_leases))
    }

    /// Whether a lease was given here.
    pub(super) fn has_named(&self, lease: &LeaseId) -> bool {
        lease.0.starts_with(&self.of_leases)
    }

    /// This process, as no other calls itself.
    pub(super) fn process(&self) -> String {
        format!("{:016x}", self.process)
    }

    /// Where the process is written that has this agent's name.
    pub(super) fn of_name(&self) -> String {
        format!("{}:name:{}", self.prefix, self.agent)
    }

    /// The list from which one of several consumers leases; it is a queue with derived names of its own.
    pub(super) fn list_for(&self, consumer: &str) -> String {
        format!("{}:for:{consumer}", self.prefix)
    }

    /// The list with a lease's messages.
    pub(super) fn lease(&self, name: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b":lease:", name].concat()
    }

    /// The mark that a lease was taken back after it had expired.
    pub(super) fn lost(&self, name: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b":lost:", name].concat()
    }

    /// A key on which commands are tried. Nothing stays there.
    pub(super) fn probe(&self, what: &str) -> String {
        format!("{}:probe:{what}", self.prefix)
    }

    /// What precedes a lease's name in the key of its list.
    pub(super) fn lease_prefix(&self) -> Vec<u8> {
        self.lease(b"")
    }

    /// What precedes a portion's name in the key of its list.
    pub(super) fn portion_prefix(&self) -> Vec<u8> {
        self.portion("").into_bytes()
    }

    /// The list with the messages of a portion that is on its way to another channel.
    pub(super) fn portion(&self, name: &str) -> String {
        format!("{}:moving:{name}", self.prefix)
    }

    /// The list that a lease's messages came from and go back to.
    pub(super) fn home(&self, name: &[u8]) -> &str {
        if name.ends_with(ADOPTED.as_bytes()) { &self.adopted } else { &self.queue }
    }

    /// A name in the slot of the queue, for whatever is to be beside it.
    pub(super) fn beside(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }

    /// Whether the in-progress list is in the slot of the queue, which a cluster wants of keys that one script uses.
    pub(super) fn inprogress_is_beside(&self) -> bool {
        hash_tag(&self.inprogress) == hash_tag(&self.queue)
    }

    /// The pattern of every key but the in-progress list's, for a Redis ACL.
    pub(super) fn pattern(&self) -> String {
        let [queue, prefix, inprogress] = [&self.queue, &self.prefix, &self.inprogress]
            .map(|name| String::from_utf8_lossy(&literal(name.as_bytes())).into_owned());
        let inprogress = if inprogress.is_empty() { inprogress } else { format!(" ~{inprogress}") };
        format!("~{queue} ~{prefix}:*{inprogress}")
    }
}

/// As a part of a pattern that stands for these bytes alone: by backslashes, which a Redis takes in SCAN and in its ACL.
pub(super) fn literal(name: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(name.len());
    for byte in name {
        if b"*?[\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_share_the_slot() {
        for (queue, leases) in [
            ("kadabra_queue", "{kadabra_queue}:leases"),
            ("{team}:metrics", "{team}:metrics:leases"),
            ("a{b}c", "a{b}c:leases"),
            ("a{}c", "{a{}c}:leases"),
            ("a{c", "{a{c}:leases"),
        ] {
            assert_eq!(Keys::new(queue, "p", "host").leases, leases);
        }
    }

    #[test]
    fn what_shares_the_queues_slot_is_known() {
        for (queue, inprogress, is_beside) in [
            ("kadabra_queue", "kadabra_inprogress", false),
            ("kadabra_queue", "{kadabra_queue}:inprogress", true),
            ("{k}queue", "{k}inprogress", true),
            ("{k}queue", "k", true),
            ("{}k", "{}p", false),
        ] {
            let keys = Keys::new(queue, inprogress, "host");
            assert_eq!(keys.inprogress_is_beside(), is_beside, "{queue} {inprogress}");
            // No name can hold one that has an empty pair of braces as its tag.
            let named = Keys::new(queue, &keys.beside("inprogress"), "host");
            assert_eq!(named.inprogress_is_beside(), !queue.contains("{}"), "{queue}");
        }
    }

    #[test]
    fn a_lease_name_is_never_used_twice_and_tells_its_origin() {
        let (one, two) = (Keys::new("q", "p", "host"), Keys::new("q", "p", "host"));
        let names: std::collections::HashSet<_> = (0..100)
            .flat_map(|_| [one.new_lease(false), one.new_lease(true), two.new_lease(false), two.new_lease(true)])
            .collect();
        assert_eq!(names.len(), 400);
        assert_eq!(names.iter().filter(|name| one.has_named(name)).count(), 200);
        assert_eq!(one.home(one.new_lease(false).0.as_bytes()), "q");
        assert_eq!(one.home(one.new_lease(true).0.as_bytes()), "{q}:adopted");
    }
}
