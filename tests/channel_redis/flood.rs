//! A way to a real Redis on which something else answers at a point that the test chooses, and does not end. A stand-in,
//! since no Redis does that.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What is sent instead of an answer.
#[derive(Clone, Debug)]
pub(super) struct Flood {
    /// To a command in which this occurs.
    pub(super) instead_of: &'static str,
    pub(super) head: Vec<u8>,
    /// Over and over after the head; nothing for one that falls silent.
    pub(super) endless: Vec<u8>,
}

impl Flood {
    pub(super) fn new(instead_of: &'static str, head: &str, endless: &str) -> Self {
        Self { instead_of, head: head.into(), endless: endless.into() }
    }
}

pub(super) struct Flooding {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    flood: Mutex<Option<Flood>>,
    /// The most that could be sent to one connection before it was cut.
    most: AtomicUsize,
    cut: AtomicUsize,
    clients: Mutex<Vec<TcpStream>>,
}

impl Flooding {
    /// Listens on a free port and passes everything on to `port`, until it shall flood.
    pub(super) fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let flooding = Self { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = Arc::clone(&flooding.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                shared.clients.lock().unwrap().push(client.try_clone().unwrap());
                let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut from_server, &mut to_client)));
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(client, server));
            }
        });
        flooding
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// From now on this is what a command is answered with; `None` for Redis's own answers.
    pub(super) fn set(&self, flood: Option<Flood>) {
        *self.shared.flood.lock().unwrap() = flood;
    }

    /// Floods every connection that was made since the last time, whatever it is waiting for. Returns how many.
    pub(super) fn now(&self, flood: &Flood) -> usize {
        let clients = std::mem::take(&mut *self.shared.clients.lock().unwrap());
        for client in &clients {
            let (shared, client, flood) = (Arc::clone(&self.shared), client.try_clone().unwrap(), flood.clone());
            thread::spawn(move || shared.flood(&client, &flood));
        }
        clients.len()
    }

    /// How many connections were made since then.
    pub(super) fn connections(&self) -> usize {
        self.shared.clients.lock().unwrap().len()
    }

    /// How many floods were cut off.
    pub(super) fn cut(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// The most bytes that could be sent in one flood, without what the kernel kept of it.
    pub(super) fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst).saturating_sub(buffers())
    }
}

/// What the kernel takes in for a connection when nobody reads.
fn buffers() -> usize {
    let largest = |name: &str| -> usize {
        let sizes = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        sizes.split_whitespace().last().unwrap().parse().unwrap()
    };
    largest("tcp_rmem") + largest("tcp_wmem")
}

impl Shared {
    fn serve(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            let commands = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let flood = self.flood.lock().unwrap().clone().filter(|flood| commands.contains(flood.instead_of));
            if let Some(flood) = flood {
                self.flood(&client, &flood);
                break;
            }
            if server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
    }

    fn flood(&self, mut client: &TcpStream, flood: &Flood) {
        let mut sent = 0;
        let many = flood.endless.repeat((65536 / flood.endless.len().max(1)).max(1));
        if client.write_all(&flood.head).is_ok() {
            sent = flood.head.len();
            if many.is_empty() {
                // Until the other side closes.
                while let Ok(1..) = client.read(&mut [0; 4096]) {}
            }
            while let Ok(count @ 1..) = client.write(&many) {
                sent += count;
            }
        }
        self.most.fetch_max(sent, Ordering::SeqCst);
        self.cut.fetch_add(1, Ordering::SeqCst);
    }
}
