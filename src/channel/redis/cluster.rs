//! A Redis Cluster: all that the agent keeps of a queue is in one slot, so that it speaks to one node, the primary that has that slot.
//!
//! Which one that is any node tells when it is asked for the queue: by an answer, or by MOVED. No map of the cluster is needed.
//! While the slot is being moved, its messages stay where they are: a step of several keys is answered TRYAGAIN or ASK then, and tried
//! again.

use std::{collections::VecDeque, future::pending, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{
    client::{Connection, Login, Request, by, lock},
    errors::{self, CLUSTER_KEYS},
    failure::{Attempt, Failure},
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

/// See the page.
pub(super) struct Cluster {
    nodes: Vec<HostAndPort>,
    /// Nodes that had the queue, the latest first: those that are configured may be gone one day.
    seen: Mutex<VecDeque<HostAndPort>>,
    queue: String,
    /// What there is of TLS, where that is spoken.
    tls: Option<config::Tls>,
}

impl Cluster {
    pub(super) fn new(nodes: &[HostAndPort], queue: &str, tls: Option<config::Tls>) -> Self {
        Self { nodes: nodes.to_vec(), seen: Mutex::default(), queue: queue.to_owned(), tls }
    }

    pub(super) async fn connect(&self, login: &Login, within: Duration) -> Result<Connection, Failure> {
        let (deadline, each) = (Instant::now() + within, share(within));
        let (mut attempts, mut hops) = (Vec::new(), 0);
        let mut candidates: VecDeque<_> = lock(&self.seen).iter().chain(&self.nodes).cloned().collect();
        while let Some(node) = candidates.pop_front() {
            let at = target::address(&node);
            if attempts.iter().any(|tried: &Attempt| tried.at == at) {
                continue;
            }
            let until = deadline.min(Instant::now() + each);
            let failure = match by(until, each, self.ask(&node, login, each)).await {
                Ok(connection) => {
                    self.remember(node);
                    return Ok(connection);
                }
                Err(failure) => failure,
            };
            match failure.moved_to(&node.0) {
                Some(owner) if hops < HOPS => {
                    hops += 1;
                    // It may have been asked before the failover that made it the owner.
                    attempts.retain(|tried| tried.at != target::address(&owner));
                    candidates.push_front(owner);
                }
                _ => attempts.push(Attempt { at, names: CLUSTER_KEYS, failure }),
            }
        }
        Err(Failure::Nowhere(attempts))
    }

    /// Connects to a node; the failure is where it says that the queue is elsewhere.
    async fn ask(&self, node: &HostAndPort, login: &Login, within: Duration) -> Result<Connection, Failure> {
        let way = Way::to(&CLUSTER_KEYS.service, node, self.tls.clone());
        let connection = Connection::open(way.connect(within).await?, login, pending()).await?;
        let mut command = redis::cmd("LLEN");
        match connection.ask(Request::Command(command.arg(&self.queue)), Budget::ORDINARY).await {
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
