//! A Redis Cluster: all that the agent keeps of a queue is in one slot, so that it speaks to one node, the primary that has that slot.
//!
//! Which one that is any node tells when it is asked for the queue's slot: by an answer, or by MOVED. No map of the cluster is needed.
//! While the slot is being moved, its messages stay where they are: a step of several keys is answered TRYAGAIN or ASK then, and tried
//! again.

use std::{collections::VecDeque, future::pending, sync::Mutex, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::{
    client::{Connection, Login, Request, by, lock},
    errors::{self, CLUSTER_KEYS},
    failure::{Attempt, Failure},
    keys::Keys,
    resp::Budget,
    route::share,
    stream::Way,
    target,
};
use crate::config::{self, HostAndPort};

/// How often a node may name another one in turn. In a cluster that is well it is once.
const HOPS: usize = 5;

/// How many nodes are kept in mind that the configuration does not name.
const SEEN: usize = 32;

/// How long it is waited for a node until another one is asked as well.
const STAGGER: Duration = Duration::from_millis(250);

/// See the page.
pub(super) struct Cluster {
    nodes: Vec<HostAndPort>,
    /// Nodes that had the queue, the latest first: those that are configured may be gone one day.
    seen: Mutex<VecDeque<HostAndPort>>,
    /// A key in the slot of the queue that nothing is ever at. To delete it is a write, which a node refuses that was cut off from the
    /// others, even where it still lets be read what it has (`cluster-allow-reads-when-down`).
    nothing: String,
    /// What there is of TLS, where that is spoken.
    tls: Option<config::Tls>,
}

impl Cluster {
    pub(super) fn new(nodes: &[HostAndPort], queue: &str, tls: Option<config::Tls>) -> Self {
        Self { nodes: nodes.to_vec(), seen: Mutex::default(), nothing: Keys::new(queue, "", "").probe("node"), tls }
    }

    /// Asks one node after the other, the next when one has failed or has said nothing for a moment, so that those that hang hide none
    /// behind them: all are asked before the time is over.
    pub(super) async fn connect(&self, login: &Login, within: Duration) -> Result<Connection, Failure> {
        let (deadline, each) = (Instant::now() + within, share(within));
        let known = self.known();
        let questions = u32::try_from(known.len() + HOPS).unwrap_or(u32::MAX);
        let pause = STAGGER.min((within - each) / questions);
        let mut candidates = VecDeque::from(known.clone());
        let (mut asking, mut asked, mut due) = (FuturesUnordered::new(), Vec::new(), Instant::now());
        let (mut attempts, mut hops) = (Vec::new(), 0);
        let mut next = candidates.pop_front();
        loop {
            // What is not asked any more is not told of as if it had not answered.
            if let Some(node) = next.take().filter(|_| Instant::now() < deadline) {
                due = Instant::now() + pause;
                asked.push(node.clone());
                asking.push(self.ask_within(node, login, each.min(deadline - Instant::now())));
            }
            let (node, failure) = select! {
                Some((node, outcome)) = asking.next() => match outcome {
                    Ok(connection) => {
                        self.remember(node);
                        return Ok(connection);
                    }
                    Err(failure) => (node, failure),
                },
                () = sleep_until(due), if !candidates.is_empty() => {
                    next = candidates.pop_front();
                    continue;
                }
                else => break,
            };
            asked.retain(|other| *other != node);
            next = match failure.moved_to(&node.0) {
                // What it says itself is waited for.
                Some(owner) if asked.contains(&owner) => None,
                Some(owner) if hops < HOPS && Instant::now() < deadline => {
                    hops += 1;
                    // It may have been asked before the failover that made it the owner.
                    attempts.retain(|tried: &Attempt| tried.at != target::address(&owner));
                    candidates.retain(|other| *other != owner);
                    Some(owner)
                }
                _ => {
                    attempts.push(Attempt { at: target::address(&node), names: CLUSTER_KEYS, failure });
                    candidates.pop_front()
                }
            };
        }
        // Told in their order, and so in the same words each time.
        attempts.sort_by_key(|attempt| known.iter().position(|node| target::address(node) == attempt.at));
        Err(Failure::Nowhere(attempts))
    }

    /// Those that may know who has the queue, each once.
    fn known(&self) -> Vec<HostAndPort> {
        let mut known = Vec::new();
        for node in lock(&self.seen).iter().chain(&self.nodes) {
            if !known.contains(node) {
                known.push(node.clone());
            }
        }
        known
    }

    async fn ask_within(&self, node: HostAndPort, login: &Login, within: Duration) -> (HostAndPort, Result<Connection, Failure>) {
        let outcome = by(Instant::now() + within, within, self.ask(&node, login, within)).await;
        (node, outcome)
    }

    /// Connects to a node; the failure is where it says that the queue is elsewhere.
    async fn ask(&self, node: &HostAndPort, login: &Login, within: Duration) -> Result<Connection, Failure> {
        let way = Way::to(&CLUSTER_KEYS.service, node, self.tls.clone());
        let connection = Connection::open(way.connect(within).await?, login, pending()).await?;
        let mut command = redis::cmd("UNLINK");
        match connection.ask(Request::Command(command.arg(&self.nothing)), Budget::ORDINARY).await {
            // What else is wrong with it is said of what is done there.
            Err(Failure::Redis(error)) if !errors::is_elsewhere(&error) => Ok(connection),
            Err(failure) => Err(failure),
            Ok(_) => Ok(connection),
        }
    }

    fn remember(&self, node: HostAndPort) {
        let mut seen = lock(&self.seen);
        seen.retain(|known| *known != node);
        seen.push_front(node);
        seen.truncate(SEEN);
    }
}
