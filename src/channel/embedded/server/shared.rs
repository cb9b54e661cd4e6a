//! What all connections share: the settings, the queue, the memory, and what is counted and warned of.

use std::{sync::Arc, time::Instant};

use slog::Logger;

use super::{
    clients::{Clients, Stats},
    cut_offs::CutOffs,
    memory::Memory,
    refusing::Refusing,
    settings::Settings,
    strangers::Strangers,
};
use crate::channel::embedded::backend::Backend;

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) log: Logger,
    pub(super) memory: Memory,
    pub(super) clients: Arc<Clients>,
    pub(super) stats: Stats,
    pub(super) started: Instant,
    pub(super) refusing: Refusing,
    pub(super) cut_offs: CutOffs,
    pub(super) strangers: Arc<Strangers>,
}

impl Shared {
    pub(super) fn new(settings: Settings, backend: Arc<dyn Backend>, log: Logger) -> Self {
        Self {
            memory: Memory::new(settings.max_waiting_bytes),
            cut_offs: CutOffs::new(&settings, log.clone()),
            strangers: Arc::new(Strangers::new(&settings)),
            settings,
            backend,
            log,
            clients: Arc::default(),
            stats: Stats::default(),
            started: Instant::now(),
            refusing: Refusing::default(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}
