//! A channel that gives the same batch some times, and says when all of them are done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kadabra::{
    agent::Order,
    channel::{
        Channel, ChannelError, Completed, DeadLetter, Demand, Depth, Lease, LeaseId, LeaseRegistry, Recovered, Settlement,
    },
    wire::Payloads,
};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) struct Memory {
    registry: Arc<LeaseRegistry>,
    batch: Vec<Vec<u8>>,
    batches: usize,
    given: AtomicUsize,
    done: AtomicUsize,
    stop: UnboundedSender<Order>,
}

impl Memory {
    /// Something arrives at `stop` when all is done.
    pub(crate) fn new(batch: Vec<Vec<u8>>, batches: usize, stop: UnboundedSender<Order>) -> Self {
        Self { registry: Arc::default(), batch, batches, given: AtomicUsize::new(0), done: AtomicUsize::new(0), stop }
    }
}

#[async_trait]
impl Channel for Memory {
    fn registry(&self) -> &Arc<LeaseRegistry> {
        &self.registry
    }

    fn look_at_dead_letters(&self) -> String {
        "in memory".to_owned()
    }

    async fn open(&self) -> Result<String, ChannelError> {
        Ok("memory".to_owned())
    }

    async fn push(&self, _: Vec<bytes::Bytes>) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn receive(&self, demand: Demand, _: Duration) -> Result<Option<Lease>, ChannelError> {
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        if number >= self.batches {
            return std::future::pending().await;
        }
        assert!(demand.messages >= self.batch.len(), "a whole batch is asked for");
        let mut lease = self.registry.enter(LeaseId(number.to_string()));
        lease.fill(Payloads::of(self.batch.clone()), false);
        Ok(Some(lease))
    }

    async fn complete(&self, leases: &mut Vec<Lease>, parked: &[DeadLetter]) -> Result<Completed, ChannelError> {
        assert!(parked.is_empty(), "{parked:?}");
        let mut completed = Completed::default();
        for lease in leases.drain(..) {
            completed.messages += lease.messages.len();
            lease.settle(Settlement::Completed { parked: 0 });
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.batches {
                // Nobody listens any more only when the agent ends already.
                let _ = self.stop.send(Order::Stop { by: "SIGTERM" });
            }
        }
        Ok(completed)
    }

    async fn release(&self, _: &mut Vec<Lease>) -> Result<(), ChannelError> {
        panic!("nothing is given back")
    }

    async fn renew(&self) -> Result<bool, ChannelError> {
        Ok(false)
    }

    async fn recover(&self) -> Result<Recovered, ChannelError> {
        Ok(Recovered::default())
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn give_back(&self) -> Result<usize, ChannelError> {
        // The lease that the last demand would have had is not entered, so there is none.
        Ok(0)
    }

    async fn depth(&self) -> Result<Depth, ChannelError> {
        Ok(Depth::default())
    }
}
