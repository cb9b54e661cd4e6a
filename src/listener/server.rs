//! The sockets that clients connect to, served until the agent ends: accepts, gives each client a place or turns it away, and closes
//! them in order.

use std::{
    fs::File,
    future::{Future, poll_fn},
    io::{self, Write as _},
    net::SocketAddr,
    os::fd::AsFd as _,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use slog::{Logger, error, warn};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    backend::Backend, cause::Cause, connection, error::BindError, listen, refusals::Refusals, report::OtherCounts,
    settings::Settings, shared::Shared, stalled::StalledClients, unauthenticated::Origin,
};

/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const BREATHER: Duration = Duration::from_millis(100);
/// What a client is told for whom there is no place.
const TURNED_AWAY: &[u8] = b"-ERR max number of clients reached\r\n";
/// How long answers may take to be sent at the end.
const GRACE: Duration = Duration::from_secs(5);

/// A listener that has its addresses but serves no client yet.
pub(crate) struct Server {
    shared: Arc<Shared>,
    tcp: Vec<std::net::TcpListener>,
    unix: Option<(std::os::unix::net::UnixListener, listen::UnixSocket)>,
    stalled: Option<Arc<StalledClients>>,
}

impl Server {
    /// Takes the addresses. A client that connects from now on waits for [`Server::serve`]. What is refused is noted in `refusals`,
    /// which outlive this.
    ///
    /// # Errors
    /// When an address cannot be had, or must not be had; with who has it.
    pub(crate) fn bind(
        mut settings: Settings,
        backend: Arc<dyn Backend>,
        refusals: Arc<Refusals>,
        log: Logger,
    ) -> Result<Self, BindError> {
        let mut tcp = Vec::new();
        for address in &settings.listen {
            let passed = settings.passed.tcp(*address)?;
            let listener = if passed.is_some() { passed } else { listen::tcp(*address)? };
            match listener {
                Some(listener) => tcp.push(listener),
                None => warn!(log, "no client can come by {address}: this machine has no IPv6"),
            }
        }
        let unix = match &settings.unix_socket {
            Some(path) => Some(match settings.passed.unix(path)? {
                Some(listener) => (listener, listen::passed_unix(path)),
                None => listen::unix(path, settings.unix_socket_mode, "channel.embedded")?,
            }),
            None => None,
        };
        if tcp.is_empty() && unix.is_none() {
            return Err(BindError {
                what: "clients have no address to push to".to_owned(),
                remedy: "set listen or unix_socket in [channel.embedded]".to_owned(),
            });
        }
        settings.max_connections = crate::descriptors::places(settings.max_connections, &log);
        let shared = Arc::new(Shared::new(settings, backend, refusals, log));
        let stalled = StalledClients::watch(&shared, &tcp, unix.as_ref().map(|(listener, _)| listener));
        Ok(Self { shared, tcp, unix, stalled })
    }

    /// How many clients are connected now and may be, from now on and as long as it serves.
    pub(crate) fn clients(&self) -> impl Fn() -> (u64, u64) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || (shared.clients.len() as u64, shared.settings.max_connections as u64)
    }

    /// Has it tell of these, too, where it tells of itself.
    pub(crate) fn tell_of(&self, counts: OtherCounts) {
        // What it has been told before is of the same agent.
        drop(self.shared.others.set(counts));
    }

    /// The addresses that it has, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves clients until `closing` comes; then accepts no more, answers what has arrived, and closes. To be called in a
    /// tokio runtime, on whose thread everything happens.
    ///
    /// # Errors
    /// When the runtime cannot wait for the sockets.
    pub(crate) async fn serve(self, closing: impl Future<Output = ()>) -> io::Result<()> {
        let Self { shared, tcp, unix, stalled } = self;
        let (unix, file) = unix.unzip();
        let mut listeners = Vec::new();
        for listener in tcp {
            listeners.push(Listener::Tcp(TcpListener::from_std(listener)?));
        }
        if let Some(listener) = unix {
            let path = file.as_ref().map(|file: &listen::UnixSocket| file.path.clone()).unwrap_or_default();
            listeners.push(Listener::Unix(UnixListener::from_std(listener)?, path));
        }
        let (close, closed) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut closing = pin!(closing);
        let mut saying = pin!(shared.refusals.say_the_rest_in_time());
        let mut spare = Spare::new();
        loop {
            tokio::select! {
                biased;
                () = &mut closing => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    if let Err(panic) = ended {
                        error!(shared.log, "a client's connection ended by a fault of the agent: {panic}");
                    }
                }
                accepted = accept(&listeners) => match accepted {
                    Ok(stream) => admit(stream, &shared, &mut connections, &closed, stalled.is_some()),
                    Err(error) => {
                        shared.refusals.note(Cause::NotAccepted, &error.to_string());
                        if !spare.turn_one_away(&listeners).await {
                            tokio::time::sleep(BREATHER).await;
                        }
                    }
                },
                never = &mut saying => match never {},
            }
        }
        drop((listeners, file, stalled));
        let _ = close.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        drop(tokio::time::timeout(GRACE, ended).await);
        shared.refusals.say_the_rest();
        if !connections.is_empty() {
            warn!(shared.log, "clients were cut off at the end, since they did not read their answers"; "clients" => connections.len());
        }
        Ok(())
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A file that is open for nothing but to be closed when no more can be: then one who waits can be accepted, and told so.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Whether a client was turned away. None is when no descriptor was kept for that, or none waits any more.
    async fn turn_one_away(&mut self, listeners: &[Listener]) -> bool {
        let kept = self.0.take().is_some();
        let accepted = poll_fn(|context| match pin!(accept(listeners)).poll(context) {
            Poll::Ready(Ok(stream)) => Poll::Ready(Some(stream)),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
        });
        let stream = if kept { accepted.await } else { None };
        let accepted = stream.is_some();
        if let Some(stream) = stream {
            stream.turn_away();
        }
        *self = Self::new();
        accepted
    }
}

/// A client that has connected.
enum Stream {
    Tcp(TcpStream, SocketAddr),
    /// With the path of the socket, as Redis tells it.
    Unix(UnixStream, String),
}

impl Stream {
    /// Tells them that there is no place for them.
    fn turn_away(self) {
        drop(match self {
            Self::Tcp(stream, _) => stream.into_std().and_then(|mut stream| stream.write(TURNED_AWAY)),
            Self::Unix(stream, _) => stream.into_std().and_then(|mut stream| stream.write(TURNED_AWAY)),
        });
    }

    fn peer(&self) -> String {
        match self {
            Self::Tcp(_, peer) => peer.to_string(),
            Self::Unix(_, path) => path.clone(),
        }
    }
}

impl Listener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, peer)| Stream::Tcp(stream, peer)),
            Self::Unix(listener, path) => {
                listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream, format!("{}:0", path.display())))
            }
        }
    }
}

async fn accept(listeners: &[Listener]) -> io::Result<Stream> {
    poll_fn(|context| {
        let ready = listeners.iter().find_map(|listener| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Serves a client that has connected, if there is a place.
fn admit(stream: Stream, shared: &Arc<Shared>, connections: &mut JoinSet<()>, closed: &watch::Receiver<bool>, may_stall: bool) {
    shared.stats.connection();
    let (shared, mut closed) = (Arc::clone(shared), closed.clone());
    let asks = shared.settings.password.is_some();
    if asks {
        shared.unauthenticated.make_room();
    }
    if shared.clients.len() >= shared.settings.max_connections {
        shared.stats.turned_away();
        shared.refusals.note(Cause::NoPlace, &stream.peer());
        return stream.turn_away();
    }
    let closing = async move {
        // When the sender is gone, the server is, too.
        drop(closed.wait_for(|closed| *closed).await);
    };
    let (peer, origin, local) = match &stream {
        Stream::Tcp(stream, peer) => {
            // An answer waits for nothing. Where that cannot be set, it still comes.
            drop(stream.set_nodelay(true));
            listen::keep_alive(stream, shared.settings.tcp_keepalive);
            let local = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
            (peer.to_string(), Origin::of(peer.ip()), local)
        }
        Stream::Unix(stream, path) => {
            let origin = stream.peer_cred().map_or(Origin::Others, |who| Origin::User(who.uid()));
            (path.clone(), origin, path.clone())
        }
    };
    let socket = match &stream {
        Stream::Tcp(stream, _) => stream.as_fd(),
        Stream::Unix(stream, _) => stream.as_fd(),
    };
    let socket = if may_stall { socket.try_clone_to_owned().ok() } else { None };
    let connected = shared.clients.welcome(peer, origin, local, socket);
    let unauthenticated = asks.then(|| shared.unauthenticated.enter(connected.client.id));
    connections.spawn(async move {
        let client = &connected.client;
        let must_leave = async {
            if let Some((_stay, leave)) = unauthenticated
                && leave.await.is_ok()
            {
                return;
            }
            // It has said the password, or need not.
            std::future::pending::<()>().await;
        };
        let refusals = Arc::clone(&shared.refusals);
        let served = async {
            match stream {
                Stream::Tcp(mut stream, _) => connection::serve(&mut stream, shared, client, closing).await,
                Stream::Unix(mut stream, _) => connection::serve(&mut stream, shared, client, closing).await,
            }
        };
        tokio::select! {
            biased;
            () = served => {}
            () = must_leave => refusals.note(Cause::Crowded, &client.peer),
        }
    });
}
