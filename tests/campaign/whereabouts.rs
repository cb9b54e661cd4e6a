//! How clients find the one of several servers that has the queue.

use std::time::Duration;

use redis::{Commands as _, Connection};

use crate::support::redis_groups::MASTER_NAME;

pub(crate) const QUEUE: &str = "kadabra_queue";

/// The second of two queues: in a cluster on another node than the first, until that one's slot moves.
pub(crate) const OTHER_QUEUE: &str = "another_queue";

/// How long a server that lives may take for an answer.
const ANSWER: Duration = Duration::from_millis(500);

/// Where to ask for the server that has the queue, by port.
#[derive(Clone, Debug)]
pub(crate) enum Whereabouts {
    Sentinels(Vec<u16>),
    Nodes(Vec<u16>),
}

impl Whereabouts {
    /// Connects to the server that has this queue now, as clients do.
    pub(crate) fn connect(&self, queue: &str) -> Option<Connection> {
        match self {
            Self::Sentinels(ports) => connect(ports.iter().find_map(|port| named_by(*port))?),
            Self::Nodes(ports) => ports.iter().find_map(|port| has(queue, *port, None)?.1),
        }
    }
}

/// Which node of a cluster has the queue, by what one says and those that it names, and the connection to it. One that does not answer
/// is not asked.
pub(crate) fn has_the_queue(node: u16, silent: Option<u16>) -> Option<(u16, Option<Connection>)> {
    has(QUEUE, node, silent)
}

/// The same of this queue.
pub(crate) fn has(queue: &str, mut node: u16, silent: Option<u16>) -> Option<(u16, Option<Connection>)> {
    for _ in 0..4 {
        if Some(node) == silent {
            return Some((node, None));
        }
        let mut connection = connect(node)?;
        match connection.llen::<_, u64>(queue) {
            Ok(_) => return Some((node, Some(connection))),
            Err(error) => node = error.redirect_node()?.0.rsplit_once(':')?.1.parse().ok()?,
        }
    }
    None
}

/// Which port a Sentinel says that the primary has.
pub(crate) fn named_by(sentinel: u16) -> Option<u16> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER_NAME);
    command.query::<(String, u16)>(&mut connect(sentinel)?).ok().map(|(_, port)| port)
}

/// Connects to a server that answers.
pub(crate) fn connect(port: u16) -> Option<Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).ok()?;
    let connection = client.get_connection_with_timeout(ANSWER).ok()?;
    connection.set_read_timeout(Some(2 * ANSWER)).ok()?;
    connection.set_write_timeout(Some(2 * ANSWER)).ok()?;
    Some(connection)
}
