//! What all connections share: the settings, the queue, the memory, and what is counted and warned of.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use slog::{Logger, warn};

use super::{
    clients::{Client, Clients, Stats},
    memory::Memory,
    refusing::Refusing,
    settings::Settings,
};
use crate::channel::embedded::backend::Backend;

/// How often the same warning is written at most, as in Redis.
const SPARINGLY: Duration = Duration::from_secs(60);

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) log: Logger,
    pub(super) memory: Memory,
    pub(super) clients: Arc<Clients>,
    pub(super) stats: Stats,
    pub(super) started: Instant,
    pub(super) accepting: Sparingly,
    pub(super) turning_away: Sparingly,
    pub(super) refusing: Refusing,
    wrong_passwords: Sparingly,
    cutting: Sparingly,
}

impl Shared {
    pub(super) fn new(settings: Settings, backend: Arc<dyn Backend>, log: Logger) -> Self {
        Self {
            memory: Memory::new(settings.max_waiting_bytes),
            settings,
            backend,
            log,
            clients: Arc::default(),
            stats: Stats::default(),
            started: Instant::now(),
            accepting: Sparingly::default(),
            turning_away: Sparingly::default(),
            refusing: Refusing::default(),
            wrong_passwords: Sparingly::default(),
            cutting: Sparingly::default(),
        }
    }

    pub(super) fn wrong_password(&self, client: &Client) {
        self.stats.wrong_password();
        if self.wrong_passwords.may() {
            warn!(self.log, "a client gave a wrong password or another user than default"; "client" => &client.peer);
        }
    }

    /// A connection was cut since it spoke HTTP.
    pub(super) fn cut(&self, client: &Client) {
        if self.cutting.may() {
            warn!(
                self.log,
                "possible attack: a client spoke HTTP to the channel, as when a web page makes its reader's browser do so; it was cut off";
                "client" => &client.peer
            );
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Lets a warning through now and then.
#[derive(Debug, Default)]
pub(super) struct Sparingly(Mutex<Option<Instant>>);

impl Sparingly {
    pub(super) fn may(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= SPARINGLY);
        if may {
            *last = Some(now);
        }
        may
    }
}
