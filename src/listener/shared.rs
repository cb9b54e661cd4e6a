//! What all connections share: the settings, the queue, the memory, and what is counted and warned of.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use slog::Logger;

use super::{
    backend::Backend,
    clients::{Clients, Stats},
    memory::MemoryPool,
    refusals::Refusals,
    report::OtherCounts,
    settings::Settings,
    unauthenticated::UnauthenticatedClients,
};

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) log: Logger,
    pub(super) memory: MemoryPool,
    pub(super) clients: Arc<Clients>,
    pub(super) stats: Stats,
    pub(super) started: Instant,
    pub(super) refusals: Arc<Refusals>,
    pub(super) unauthenticated: Arc<UnauthenticatedClients>,
    pub(super) others: OnceLock<OtherCounts>,
}

impl Shared {
    pub(super) fn new(settings: Settings, backend: Arc<dyn Backend>, refusals: Arc<Refusals>, log: Logger) -> Self {
        refusals.set_places(settings.max_connections);
        Self {
            memory: MemoryPool::new(settings.max_waiting_bytes),
            unauthenticated: Arc::new(UnauthenticatedClients::new(&settings)),
            settings,
            backend,
            log,
            clients: Arc::default(),
            stats: Stats::default(),
            started: Instant::now(),
            refusals,
            others: OnceLock::new(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}
