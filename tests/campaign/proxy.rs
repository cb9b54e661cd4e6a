//! A way to a server on which connections break, crawl, lie and fall silent.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// How soon an idle connection notices what has changed.
const LOOK: Duration = Duration::from_millis(50);

/// How much a flood sends at once, so that it fills memories rather than the processor.
const WAVE: usize = 1 << 20;

/// One header of very many.
const HEADER: &[u8] = b"X-More: and more, and more, and more\r\n";

/// How long all of them are.
const HEADERS: usize = 1 << 30;

/// What the way does with what passes on it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Clear,
    /// Each piece arrives later.
    Slow(Duration),
    Narrow {
        bytes_per_second: usize,
    },
    /// Of so many pieces to the server one is cut in the middle, by a reset.
    CutRequest {
        every: u32,
    },
    /// Of so many pieces from the server one is lost, by a reset: what was asked for is done, and nobody is told.
    CutAnswer {
        every: u32,
    },
    /// Half-open, and then everything arrives after all, though whoever has sent it has given up.
    Hold,
    /// Half-open, and then a reset.
    Swallow,
    /// Nothing is passed on, and this is the answer.
    Say(Vec<u8>),
    /// The same, and it never ends.
    Flood(Vec<u8>),
    /// The same, and all but the beginning comes one byte at a time.
    Trickle(Vec<u8>),
    /// The same, and it begins with a gigabyte of headers.
    Headers,
}

/// A way to one server.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    mode: Mutex<Mode>,
    /// Whether nothing may pass, whatever the mode.
    fenced: AtomicBool,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    way: Arc<State>,
    /// Pieces so far, so that which one is cut is not a matter of chance.
    pieces: AtomicU32,
    over: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { mode: Mutex::new(Mode::Clear), fenced: AtomicBool::new(false) });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let way = Arc::clone(&shared);
                thread::spawn(move || connect(client, server, way));
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    /// Lets nothing pass from now on, or lets it pass again. What has passed before may still be on its way: once the
    /// server was restarted behind the fence nothing is.
    pub(crate) fn fence(&self, fenced: bool) {
        self.state.fenced.store(fenced, Ordering::SeqCst);
    }
}

fn connect(client: TcpStream, server: SocketAddr, way: Arc<State>) {
    // A server that is not there looks like a connection that is closed at once.
    let Ok(server) = TcpStream::connect_timeout(&server, Duration::from_secs(2)) else { return };
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LOOK)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    let connection = Connection { client, server, way, pieces: AtomicU32::new(0), over: AtomicBool::new(false) };
    thread::scope(|scope| {
        scope.spawn(|| connection.pump(Direction::ToServer));
        connection.pump(Direction::ToClient);
    });
}

impl Connection {
    fn mode(&self) -> Mode {
        self.way.mode.lock().unwrap().clone()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Passes on what comes from one side, until either side ends.
    fn pump(&self, direction: Direction) {
        let (mut from, mut to) = match direction {
            Direction::ToServer => (&self.client, &self.server),
            Direction::ToClient => (&self.server, &self.client),
        };
        let mut buffer = vec![0; 64 << 10];
        while !self.is_over() {
            let piece = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => &buffer[..count],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if self.pass(piece, direction, &mut to).is_none() {
                return;
            }
        }
        if !self.over.swap(true, Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
    }

    /// Does with one piece what the mode says. `None` when the connection is over.
    fn pass(&self, piece: &[u8], direction: Direction, to: &mut &TcpStream) -> Option<()> {
        if self.way.fenced.load(Ordering::SeqCst) {
            return self.reset();
        }
        let mode = self.mode();
        let due = |every: u32| self.pieces.fetch_add(1, Ordering::SeqCst) % every == every - 1;
        match &mode {
            Mode::Slow(latency) => thread::sleep(*latency),
            Mode::Narrow { bytes_per_second } => {
                for part in piece.chunks(512) {
                    // The way may have become wide again meanwhile.
                    if self.mode() == mode {
                        thread::sleep(Duration::from_secs_f64(part.len() as f64 / *bytes_per_second as f64));
                    }
                    to.write_all(part).ok()?;
                }
                return Some(());
            }
            Mode::CutRequest { every } if direction == Direction::ToServer && due(*every) => {
                let _ = to.write_all(&piece[..piece.len() / 2]);
                return self.reset();
            }
            Mode::CutAnswer { every } if direction == Direction::ToClient && due(*every) => return self.reset(),
            Mode::Hold => self.wait_while(&mode, || {}),
            Mode::Swallow => {
                self.wait_while(&mode, || {});
                return self.reset();
            }
            Mode::Say(answer) => {
                if direction == Direction::ToServer {
                    let _ = (&self.client).write_all(answer);
                    // The answer is read rather than lost in a reset.
                    thread::sleep(LOOK);
                }
                self.over.store(true, Ordering::SeqCst);
                return None;
            }
            Mode::Flood(beginning) => {
                if direction == Direction::ToServer && (&self.client).write_all(beginning).is_ok() {
                    let wave = vec![b'x'; WAVE];
                    let mut broken = false;
                    self.wait_while(&mode, || broken = broken || (&self.client).write_all(&wave).is_err());
                }
                return self.reset();
            }
            Mode::Trickle(beginning) => {
                if direction == Direction::ToServer && (&self.client).write_all(beginning).is_ok() {
                    self.wait_while(&mode, || drop((&self.client).write_all(b"x")));
                }
                return self.reset();
            }
            Mode::Headers => {
                if direction == Direction::ToServer && (&self.client).write_all(b"HTTP/1.1 500 No\r\n").is_ok() {
                    let wave = HEADER.repeat(WAVE / HEADER.len());
                    let mut left = HEADERS / wave.len();
                    while left > 0 && self.mode() == mode && (&self.client).write_all(&wave).is_ok() {
                        left -= 1;
                    }
                }
                return self.reset();
            }
            Mode::Clear | Mode::CutRequest { .. } | Mode::CutAnswer { .. } => {}
        }
        to.write_all(piece).ok()
    }

    /// Waits until the mode is another one.
    fn wait_while(&self, mode: &Mode, mut meanwhile: impl FnMut()) {
        while self.mode() == *mode {
            meanwhile();
            thread::sleep(LOOK);
        }
    }

    /// Ends both sides by a reset rather than in order.
    fn reset(&self) -> Option<()> {
        for stream in [&self.client, &self.server] {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.over.store(true, Ordering::SeqCst);
        None
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => write!(f, "clear"),
            Self::Slow(latency) => write!(f, "{} ms longer", latency.as_millis()),
            Self::Narrow { bytes_per_second } => write!(f, "{bytes_per_second} B/s"),
            Self::CutRequest { every } => write!(f, "every request of {every} cut"),
            Self::CutAnswer { every } => write!(f, "every answer of {every} lost"),
            Self::Hold => write!(f, "half-open, delivered late"),
            Self::Swallow => write!(f, "half-open, then reset"),
            Self::Say(answer) => write!(f, "answers {:?}", String::from_utf8_lossy(answer)),
            Self::Trickle(beginning) => write!(f, "trickles {:?}", String::from_utf8_lossy(beginning)),
            Self::Headers => write!(f, "1 GB of headers"),
            Self::Flood(beginning) => write!(f, "answers without end {:?}", String::from_utf8_lossy(beginning)),
        }
    }
}
