//! Where clients come in: the listener, bound before anything is promised to anybody, and again after it has failed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use slog::Logger;

use crate::{
    channel::{ChannelError, Intake},
    config,
    listener::{Backend, BindError, OtherCounts, PassedSockets, Refusals, Refused, Server, Settings},
};

/// How long a client may still bring a push at the end, where those that connect meanwhile wait for the next agent. Long for one
/// that has connected just now and introduces itself before it pushes, short for those that wait. Where nothing lets clients wait,
/// the next agent ought to come at once.
const LAST_PUSH: Duration = Duration::from_millis(250);

/// What the configuration says to the listener.
pub(super) fn listener_settings(settings: &config::Embedded) -> Settings {
    Settings {
        listen: settings.listen.clone(),
        unix_socket: settings.unix_socket.clone(),
        unix_socket_mode: settings.unix_socket_mode,
        queue_key: settings.queue_key.clone(),
        password: settings.password.clone(),
        when_full: settings.when_full,
        allow_delete: settings.allow_delete,
        max_connections: settings.max_connections,
        max_message_bytes: settings.max_message_bytes,
        max_waiting_bytes: settings.max_waiting_bytes,
        idle_timeout: settings.idle_timeout,
        // The system counts in seconds.
        tcp_keepalive: settings.tcp_keepalive.filter(|silence| silence.as_secs() > 0),
        ..Settings::default()
    }
}

/// The listener's addresses, settings and queue.
pub(super) struct ListenerSlot {
    settings: Settings,
    backend: Arc<dyn Backend>,
    log: Logger,
    refusals: Arc<Refusals>,
    bound: Mutex<Option<Server>>,
    /// Of the server that was bound last.
    clients: Mutex<Option<CountClients>>,
    others: OnceLock<OtherCounts>,
}

/// How many clients are connected, and may be.
type CountClients = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

impl ListenerSlot {
    /// `None` when clients have no address to push to.
    pub(super) fn new(
        settings: &config::Embedded,
        passed: &PassedSockets,
        backend: Arc<dyn Backend>,
        log: &Logger,
    ) -> Option<Self> {
        if settings.listen.is_empty() && settings.unix_socket.is_none() {
            return None;
        }
        let last_push = if passed.have_no_listener() { Duration::ZERO } else { LAST_PUSH };
        let settings = Settings { passed: passed.clone(), last_push, ..listener_settings(settings) };
        let refusals = Arc::new(Refusals::new(&settings, log));
        let log = log.clone();
        let (bound, clients, others) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Some(Self { settings, backend, log, refusals, bound, clients, others })
    }

    /// Where clients push to, in words.
    pub(super) fn addresses(&self) -> String {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = bound.as_ref().map(Server::addresses).unwrap_or_default();
        let tcp = addresses.iter().map(ToString::to_string);
        let unix = self.settings.unix_socket.iter().map(|path| path.display().to_string());
        let kept =
            if self.settings.passed.have_no_listener() { "" } else { ", where systemd lets them wait while no agent runs," };
        tcp.chain(unix).collect::<Vec<_>>().join(" and ") + kept
    }
}

#[async_trait(?Send)]
impl Intake for ListenerSlot {
    fn bind(&self) -> Result<(), ChannelError> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.is_none() {
            let (backend, refusals) = (Arc::clone(&self.backend), Arc::clone(&self.refusals));
            let server = Server::bind(self.settings.clone(), backend, refusals, self.log.clone())
                .map_err(|BindError { what, remedy }| ChannelError::Unusable { what, mend: remedy })?;
            *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(server.clients()));
            *bound = Some(server);
        }
        if let (Some(server), Some(others)) = (&*bound, self.others.get()) {
            server.tell_of(Arc::clone(others));
        }
        Ok(())
    }

    fn refused(&self) -> Vec<Refused> {
        self.refusals.all()
    }

    fn tell_of(&self, counts: OtherCounts) {
        // The first is of the same agent.
        drop(self.others.set(counts));
    }

    fn clients(&self) -> (u64, u64) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or((0, 0), |count| count())
    }

    async fn serve(&self, closing: Pin<Box<dyn Future<Output = ()>>>) -> Result<(), ChannelError> {
        let server = self.bound.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(server) = server else { return Ok(()) };
        server
            .serve(closing)
            .await
            .map_err(|error| ChannelError::Unreachable { what: "clients cannot be served".to_owned(), why: error.to_string() })
    }
}

impl fmt::Debug for ListenerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings hold the password.
        f.debug_struct("ListenerSlot").field("listen", &self.settings.listen).finish_non_exhaustive()
    }
}
