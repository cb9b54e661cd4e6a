//! A way to Redis that can be cut after a command has arrived and before its answer has.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

pub(super) struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `port`.
    pub(super) fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let proxy = Self { port: listener.local_addr().unwrap().port(), cut: Arc::clone(&cut) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    drop(std::io::copy(&mut from_client, &mut to_server));
                    drop(to_server.shutdown(Shutdown::Both));
                });
                let cut = Arc::clone(&cut);
                thread::spawn(move || answer(server, client, &cut));
            }
        });
        proxy
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Cuts the connection on which Redis answers next, without passing the answer on.
    pub(super) fn cut_before_next_answer(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, cut: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if cut.swap(false, Ordering::SeqCst) || client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}
