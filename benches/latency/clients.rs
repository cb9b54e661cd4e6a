//! Clients that push messages at times that are laid down before.

use std::{
    thread,
    time::{Duration, Instant},
};

use redis::Commands;

use crate::support::{message, statistics::Distribution, world::QUEUE};

/// So that a push which takes long does not hold up the next one.
const CLIENTS: u64 = 4;

/// The pushes of one load: message `first + n` is due at `begin + n / rate`.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) begin: Instant,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) rate: f64,
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

    /// Pushes everything, and says how long the pushes took.
    pub(crate) fn push(self, redis: &str) -> Distribution {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut connection = redis::Client::open(redis).unwrap().get_connection().unwrap();
                thread::spawn(move || {
                    let numbers = (self.first..self.first + self.count).skip(client as usize).step_by(CLIENTS as usize);
                    let push = |number| {
                        let message = message::message(number);
                        thread::sleep(self.due(number).saturating_duration_since(Instant::now()));
                        let begun = Instant::now();
                        let _: u64 = connection.lpush(QUEUE, message).unwrap();
                        begun.elapsed()
                    };
                    numbers.map(push).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}
