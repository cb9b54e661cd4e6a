//! Which server to connect to: the only one, the primary that Sentinels name, or the node of a cluster that has the queue.

use std::{future::pending, sync::Arc, time::Duration};

use super::{
    client::{Connection, Login},
    cluster::Cluster,
    failure::Failure,
    sentinel::Sentinels,
    stream::Way,
};
use crate::connect::Service;

/// How long one of several servers has, so that one that hangs does not take all of the time.
const EACH: Duration = Duration::from_secs(1);

/// See the page.
pub(super) enum Route {
    Single(Way),
    Sentinels(Arc<Sentinels>),
    Cluster(Cluster),
}

impl Route {
    /// Has errors speak of the only server by these names.
    pub(super) fn call(&mut self, service: &'static Service) {
        if let Self::Single(way) = self {
            way.call(service);
        }
    }

    /// Connects to the server that has the queue now, and logs in.
    pub(super) async fn connect(&self, login: &Login, within: Duration) -> Result<Connection, Failure> {
        match self {
            Self::Single(way) => Connection::open(way.connect(within).await?, login, pending()).await,
            Self::Sentinels(sentinels) => sentinels.connect(login, within).await,
            Self::Cluster(cluster) => cluster.connect(login, within).await,
        }
    }
}

/// The share of one of several servers in the time that there is for all.
pub(super) fn share(within: Duration) -> Duration {
    (within / 2).min(EACH)
}
