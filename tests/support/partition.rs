//! A way to a server that is cut, as a network is, for some of those who use it: nothing passes, and nothing is closed.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

/// Where Sentinels and replicas come from; clients come from 127.0.0.1.
pub(crate) const SERVERS: &str = "127.0.0.2";

/// How soon a connection notices that it is cut.
const LOOK: Duration = Duration::from_millis(10);

/// A way to one server.
pub(crate) struct Partition {
    port: u16,
    to: Arc<AtomicU16>,
    servers: Arc<AtomicBool>,
    clients: Arc<AtomicBool>,
}

impl Partition {
    /// Listens on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, servers, clients) = (Arc::<AtomicU16>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let partition = Self { port, to: Arc::clone(&to), servers: Arc::clone(&servers), clients: Arc::clone(&clients) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let is_server = client.peer_addr().is_ok_and(|peer| peer.ip() == SERVERS.parse::<IpAddr>().unwrap());
                let cut = Arc::clone(if is_server { &servers } else { &clients });
                let to = to.load(Ordering::SeqCst);
                thread::spawn(move || connect(&client, to, &cut));
            }
        });
        partition
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads to the server on that port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// Cuts the server off from Sentinels and replicas, from clients, or joins them again.
    pub(crate) fn cut(&self, servers: bool, clients: bool) {
        self.servers.store(servers, Ordering::SeqCst);
        self.clients.store(clients, Ordering::SeqCst);
    }
}

fn connect(client: &TcpStream, to: u16, cut: &AtomicBool) {
    while cut.load(Ordering::SeqCst) {
        thread::sleep(LOOK);
    }
    // A server that is not there looks like a connection that is closed at once.
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
    for stream in [client, &server] {
        stream.set_read_timeout(Some(LOOK)).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, cut, &over));
        pump(&server, client, cut, &over);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, cut: &AtomicBool, over: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while !over.load(Ordering::SeqCst) {
        if cut.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    over.store(true, Ordering::SeqCst);
    drop(to.shutdown(Shutdown::Both));
}
