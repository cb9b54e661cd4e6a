//! Clients that push messages at times that are laid down before, and when each message was stored.

use std::{
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use redis::Commands;

use super::{message, sink::Answered, statistics::Distribution, world::QUEUE};

/// How long a message may be on its way.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pushes of one load: message `first + n` is due at `begin + n / rate`.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) begin: Instant,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) rate: f64,
}

/// A push, from its sending to its answer.
#[derive(Clone, Copy)]
pub(crate) struct Push {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
}

impl Load {
    /// One that begins in a moment, when the clients are ready.
    pub(crate) fn soon(first: u64, rate: f64, seconds: f64) -> Self {
        Self { begin: Instant::now() + Duration::from_millis(200), first, count: (rate * seconds).ceil() as u64, rate }
    }

    /// When a message of this load is due.
    pub(crate) fn due(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64((number - self.first) as f64 / self.rate)
    }

    /// Pushes everything one by one from so many clients, which take turns, as the servers do that they are connected to.
    pub(crate) fn push(self, servers: &[String], clients: usize) -> Vec<Push> {
        let clients: Vec<_> = (0..clients)
            .zip(servers.iter().cycle())
            .map(|(client, server)| {
                let mut connection = redis::Client::open(server.as_str()).unwrap().get_connection().unwrap();
                thread::spawn(move || {
                    let numbers = (self.first..self.first + self.count).skip(client).step_by(clients);
                    let push = |number| {
                        let message = message::message(number);
                        thread::sleep(self.due(number).saturating_duration_since(Instant::now()));
                        let begun = Instant::now();
                        let _: u64 = connection.lpush(QUEUE, message).unwrap();
                        Push { begun, took: begun.elapsed() }
                    };
                    numbers.map(push).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }

    /// Waits until each message was answered for, and says how long each one took.
    pub(crate) fn stored(&self, answered: &Receiver<Answered>) -> Distribution {
        let mut took = vec![None; self.count as usize];
        let mut missing = took.len();
        while missing > 0 {
            let idle = PATIENCE + self.begin.saturating_duration_since(Instant::now());
            let Answered { at, body } =
                answered.recv_timeout(idle).unwrap_or_else(|_| panic!("{missing} messages were never written"));
            for number in message::numbers_in(&body) {
                let place = number.checked_sub(self.first).and_then(|index| took.get_mut(index as usize));
                if let Some(place) = place
                    && place.is_none()
                {
                    *place = Some(at.saturating_duration_since(self.due(number)));
                    missing -= 1;
                }
            }
        }
        took.into_iter().flatten().collect()
    }
}
