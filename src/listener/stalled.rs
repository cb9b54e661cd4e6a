//! What becomes of connections while a write to the queue's file stalls: see [`Stalled`].
//!
//! A client whose push is part of that write can neither be answered nor refused. It loses its connection, which tells it that the push
//! may be stored later or not at all. While the write holds up the very thread that serves clients, so does any other client that asks for
//! something, and those that connect are turned away with the reason. All of it happens on the thread that watches the disk.

use std::{
    collections::HashMap,
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{Shutdown, shutdown},
};
use socket2::Socket;

use super::{cause::Cause, clients::Client, shared::Shared};
use crate::{descriptors, queue::Stalled};

const TURNED_AWAY: &[u8] = b"-MISCONF the disk that the queue is on stalls, so that nothing is taken\r\n";

/// The connections, and the sockets by which they come.
#[derive(Debug)]
pub(super) struct StalledClients {
    shared: Arc<Shared>,
    listening: Vec<Socket>,
    /// Which push of each client waited at the last look.
    waited: Mutex<HashMap<u64, u64>>,
}

impl StalledClients {
    /// Ends connections from now on as long as it is kept; `None` where none is ever to be ended, or where clients have no second file
    /// descriptor for that.
    pub(super) fn watch(shared: &Arc<Shared>, tcp: &[TcpListener], unix: Option<&UnixListener>) -> Option<Arc<Self>> {
        let tcp = tcp.iter().filter_map(|listener| listener.try_clone().ok()).map(Socket::from);
        let unix = unix.and_then(|listener| listener.try_clone().ok()).map(Socket::from);
        let listening = tcp.chain(unix).collect();
        let watching = Arc::new(Self { shared: Arc::clone(shared), listening, waited: Mutex::default() });
        let weak = Arc::downgrade(&watching);
        let look = move |stalled| weak.upgrade().into_iter().for_each(|watching: Arc<Self>| watching.look(stalled));
        let is_watched = shared.backend.when_stalled(Arc::new(look));
        (is_watched && descriptors::enough_for_two(shared.settings.max_connections)).then_some(watching)
    }

    fn look(&self, stalled: Stalled) {
        let clients = self.shared.clients.all();
        if stalled.holds_up_callers {
            self.turn_away();
            clients.iter().filter(|client| client.waits().is_some() || has_asked(client)).for_each(|client| self.cut_off(client));
            return;
        }
        // Pushes that are not part of the write were refused just now, which their own thread has yet to hear.
        let waiting = clients.iter().filter_map(|client| Some((client.id, client.waits()?))).collect();
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = std::mem::replace(&mut *waited, waiting);
        let still = |client: &&Arc<Client>| client.waits().is_some_and(|push| waited.get(&client.id) == Some(&push));
        clients.iter().filter(still).for_each(|client| self.cut_off(client));
    }

    fn turn_away(&self) {
        for listener in &self.listening {
            while let Ok((client, _)) = listener.accept() {
                self.shared.stats.connection();
                self.shared.stats.turned_away();
                self.shared.refusals.note(Cause::Stalled, "a client that has just connected");
                drop(client.send(TURNED_AWAY));
            }
        }
    }

    fn cut_off(&self, client: &Client) {
        let Some(socket) = client.socket() else { return };
        if client.cut_off() {
            let _ = shutdown(socket, Shutdown::Both);
            self.shared.refusals.unanswered(&client.peer);
        }
    }
}

/// Whether something has arrived that was not read yet.
fn has_asked(client: &Client) -> bool {
    client.socket().is_some_and(|socket| {
        let mut asked = [PollFd::new(socket, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    })
}
