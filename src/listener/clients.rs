//! Who is connected, and what was counted.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{replies::Protocol, unauthenticated::Origin};

/// A client that is connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    /// From where it comes and to which address.
    pub(super) peer: String,
    pub(super) origin: Origin,
    local: String,
    since: Instant,
    /// Seconds after `since` at which it last sent something.
    heard: AtomicU64,
    /// How often a push of its has begun or ended to wait for the queue.
    waits: AtomicU64,
    /// Its connection, where another thread may have to end it.
    socket: Option<OwnedFd>,
    cut_off: AtomicBool,
    said: Mutex<Said>,
}

/// What it says of itself.
#[derive(Debug, Default)]
struct Said {
    name: String,
    library: String,
    version: String,
    protocol: Protocol,
}

impl Client {
    pub(super) fn heard(&self) {
        self.heard.store(self.since.elapsed().as_secs(), Relaxed);
    }

    /// A push of its begins to wait for the queue, or ends.
    pub(super) fn begins_or_ends_to_wait(&self) {
        // Only its own thread writes it.
        self.waits.store(self.waits.load(Relaxed) + 1, Relaxed);
    }

    /// Which of its pushes waits for the queue, if any does.
    pub(super) fn waits(&self) -> Option<u64> {
        Some(self.waits.load(Relaxed)).filter(|waits| waits % 2 == 1)
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Nothing more is to be done for it. Returns whether that is new.
    pub(super) fn cut_off(&self) -> bool {
        !self.cut_off.swap(true, Relaxed)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Relaxed)
    }

    /// To which port it has connected; 0 when to none.
    pub(super) fn port(&self) -> u16 {
        self.local.parse::<SocketAddr>().map_or(0, |address| address.port())
    }

    pub(super) fn rename(&self, name: &[u8]) {
        lock(&self.said).name = String::from_utf8_lossy(name).into_owned();
    }

    pub(super) fn uses(&self, is_library: bool, value: &[u8]) {
        let mut said = lock(&self.said);
        let value = String::from_utf8_lossy(value).into_owned();
        if is_library {
            said.library = value;
        } else {
            said.version = value;
        }
    }

    pub(super) fn speaks(&self, protocol: Protocol) {
        lock(&self.said).protocol = protocol;
    }

    /// As CLIENT LIST shows it.
    pub(super) fn line(&self) -> String {
        let age = self.since.elapsed().as_secs();
        let idle = age.saturating_sub(self.heard.load(Relaxed));
        let said = lock(&self.said);
        format!(
            "id={} addr={} laddr={} name={} age={age} idle={idle} flags=N db=0 user=default lib-name={} lib-ver={} resp={}",
            self.id,
            self.peer,
            self.local,
            said.name,
            said.library,
            said.version,
            said.protocol.number()
        )
    }
}

/// All who are connected.
#[derive(Debug, Default)]
pub(super) struct Clients {
    last: AtomicU64,
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Takes one more in; the guard takes it out again.
    pub(super) fn welcome(self: &Arc<Self>, peer: String, origin: Origin, local: String, socket: Option<OwnedFd>) -> Connected {
        let id = self.last.fetch_add(1, Relaxed) + 1;
        let client = Arc::new(Client {
            id,
            peer,
            origin,
            local,
            since: Instant::now(),
            heard: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            socket,
            cut_off: AtomicBool::new(false),
            said: Mutex::default(),
        });
        lock(&self.connected).insert(id, Arc::clone(&client));
        Connected { clients: Arc::clone(self), client }
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.connected).len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.connected).values().cloned().collect()
    }

    pub(super) fn lines(&self) -> String {
        self.all().iter().fold(String::new(), |mut lines, client| {
            let _ = writeln!(lines, "{}", client.line());
            lines
        })
    }
}

/// A client while it is connected.
#[derive(Debug)]
pub(super) struct Connected {
    clients: Arc<Clients>,
    pub(super) client: Arc<Client>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        lock(&self.clients.connected).remove(&self.client.id);
    }
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Stats {
    connections: AtomicU64,
    turned_away: AtomicU64,
    commands: AtomicU64,
    queued: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Stats {
    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(super) fn command(&self) {
        self.commands.fetch_add(1, Relaxed);
    }

    pub(super) fn queued(&self, messages: u64) {
        self.queued.fetch_add(messages, Relaxed);
    }

    pub(super) fn refused(&self, messages: u64) {
        self.refused.fetch_add(messages, Relaxed);
    }

    /// Messages were dropped in place of being queued.
    pub(super) fn dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Relaxed);
    }

    /// By Redis's names.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("total_connections_received", self.connections.load(Relaxed).to_string()),
            ("rejected_connections", self.turned_away.load(Relaxed).to_string()),
            ("total_commands_processed", self.commands.load(Relaxed).to_string()),
        ]
    }

    /// How many messages were queued, how many were refused, and how many were dropped in place of either.
    pub(super) fn messages(&self) -> (u64, u64, u64) {
        (self.queued.load(Relaxed), self.refused.load(Relaxed), self.dropped.load(Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
