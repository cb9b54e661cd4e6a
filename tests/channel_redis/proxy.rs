//! A way to Redis that can be cut after a command has arrived and before its answer has.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

pub(super) struct Proxy {
    port: u16,
    /// Where new connections lead to.
    to: Arc<AtomicU16>,
    /// How many more answers pass before one is cut off; zero and below: all.
    left: Arc<AtomicI64>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `port`.
    pub(super) fn start(port: u16) -> Self {
        Self::narrow(port, usize::MAX)
    }

    /// One on which answers come with so many bytes a second.
    pub(super) fn narrow(port: u16, bytes_per_second: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let left = Arc::new(AtomicI64::new(0));
        let to = Arc::new(AtomicU16::new(port));
        let proxy = Self { port: listener.local_addr().unwrap().port(), to: Arc::clone(&to), left: Arc::clone(&left) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst))).unwrap();
                let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    drop(std::io::copy(&mut from_client, &mut to_server));
                    drop(to_server.shutdown(Shutdown::Both));
                });
                let left = Arc::clone(&left);
                thread::spawn(move || answer(server, client, &left, bytes_per_second));
            }
        });
        proxy
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Leads new connections to another port, as a name does after a failover. Those that are open stay where they are.
    pub(super) fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// Cuts the connection on which Redis answers next, without passing the answer on.
    pub(super) fn cut_before_next_answer(&self) {
        self.cut_before_answer(1);
    }

    /// Cuts the connection on which Redis gives its n-th answer from now, without passing that on.
    pub(super) fn cut_before_answer(&self, n: i64) {
        self.left.store(n, Ordering::SeqCst);
    }

    /// Whether the cut that was asked for has happened.
    pub(super) fn has_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, left: &AtomicI64, bytes_per_second: usize) {
    // A hundred times a second.
    let mut buffer = vec![0; (bytes_per_second / 100).min(65536)];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if bytes_per_second < usize::MAX {
            thread::sleep(Duration::from_millis(10));
        }
        if left.fetch_sub(1, Ordering::SeqCst) == 1 || client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}
