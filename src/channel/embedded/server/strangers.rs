//! Who has not said the password: how many of them may be connected, and how quickly they may guess.
//!
//! The right password is answered at once, wherever it comes from, so that nobody who guesses keeps those out who know it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::settings::Settings;

/// How long after it has connected nobody has to give way: whoever knows the password says it first of all, but when all clients
/// connect again at once, it may take a while to come to them.
const GRACE: Duration = Duration::from_secs(1);
/// One place in so many is for strangers, however long they take.
const SHARE: usize = 4;
/// Of how many origins it is known that they guess; all others are then taken for one.
const MOST_ORIGINS: usize = 4096;

/// From where somebody connects: an address, of IPv6 the network, since who has one address of it has them all; `None` for
/// the socket in the file system.
pub(super) type Origin = Option<IpAddr>;

/// The origin of whoever has this address.
pub(super) fn origin(address: IpAddr) -> Origin {
    Some(match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    })
}

/// Those that are connected, and those that guess.
#[derive(Debug)]
pub(super) struct Strangers {
    /// How many may stay.
    most: usize,
    pause: Duration,
    longest_pause: Duration,
    /// By the number of their connection: the first has been there longest.
    connected: Mutex<BTreeMap<u64, Stranger>>,
    guesses: Mutex<Guesses>,
}

#[derive(Debug, Default)]
struct Guesses {
    /// When the last wrong guess from there is answered.
    answered: BTreeMap<Origin, Instant>,
    /// When those that are answered were last forgotten.
    tidied: Option<Instant>,
}

#[derive(Debug)]
struct Stranger {
    since: Instant,
    leave: oneshot::Sender<()>,
}

impl Strangers {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            most: (settings.max_connections / SHARE).max(1),
            pause: settings.wrong_password_pause,
            longest_pause: settings.timeout.max(settings.wrong_password_pause),
            connected: Mutex::default(),
            guesses: Mutex::default(),
        }
    }

    /// Makes room for somebody who comes: strangers beyond their share who have been there long enough must go.
    pub(super) fn make_room(&self) {
        let mut connected = lock(&self.connected);
        while connected.len() >= self.most
            && let Some(first) = connected.first_entry()
            && first.get().since.elapsed() >= GRACE
        {
            // Who is gone already need not be told.
            let _ = first.remove().leave.send(());
        }
    }

    /// Somebody new has come. They must go when the receiver says so.
    pub(super) fn enter(self: &Arc<Self>, id: u64) -> (Stay, oneshot::Receiver<()>) {
        let (leave, left) = oneshot::channel();
        lock(&self.connected).insert(id, Stranger { since: Instant::now(), leave });
        (Stay { strangers: Arc::clone(self), id }, left)
    }

    /// It is no stranger any more.
    pub(super) fn forget(&self, id: u64) {
        lock(&self.connected).remove(&id);
    }

    /// Somebody has guessed wrong: when they are to be told. The guesses from one origin wait for each other, over whatever
    /// connections they come.
    pub(super) fn guessed(&self, origin: Origin) -> Option<Instant> {
        if self.pause.is_zero() {
            return None;
        }
        let now = Instant::now();
        let mut guesses = lock(&self.guesses);
        // Not with each guess of a flood, which takes a look at all of them.
        if guesses.answered.len() >= MOST_ORIGINS && guesses.tidied.is_none_or(|tidied| now - tidied >= self.pause) {
            guesses.answered.retain(|_, answered| *answered > now);
            guesses.tidied = Some(now);
        }
        let known = guesses.answered.len() < MOST_ORIGINS || guesses.answered.contains_key(&origin);
        let answered = guesses.answered.entry(if known { origin } else { None }).or_insert(now);
        *answered = ((*answered).max(now) + self.pause).min(now + self.longest_pause);
        Some(*answered)
    }
}

/// A stranger while they are connected.
#[derive(Debug)]
pub(super) struct Stay {
    strangers: Arc<Strangers>,
    id: u64,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.strangers.forget(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_address_or_a_network_of_ipv6() {
        let of = |address: &str| origin(address.parse().unwrap());
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:2:3:4:5"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_from_one_origin_wait_for_each_other_but_not_for_ever_and_take_little_memory() {
        let strangers = Strangers::new(&Settings::default());
        let now = Instant::now();
        let guessed = |address: u32| strangers.guessed(origin(IpAddr::V4(address.into()))).unwrap() - now;
        assert_eq!([guessed(1), guessed(1), guessed(2)], [1, 2, 1].map(Duration::from_secs));
        assert!((0..100).all(|_| guessed(1) <= Duration::from_secs(30)));
        for address in 0..100_000 {
            guessed(address);
        }
        assert!(lock(&strangers.guesses).answered.len() <= MOST_ORIGINS + 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        guessed(1);
        assert_eq!(lock(&strangers.guesses).answered.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_beyond_their_share_go_the_first_one_first_and_not_before_they_could_speak() {
        let strangers = Arc::new(Strangers::new(&Settings { max_connections: 8, ..Settings::default() }));
        let mut stays: Vec<_> = (0..4).map(|id| strangers.enter(id)).collect();
        let mut gone = || stays.iter_mut().map(|(_, leave)| leave.try_recv().is_ok()).collect::<Vec<_>>();
        strangers.make_room();
        assert_eq!(gone(), [false; 4]);
        tokio::time::sleep(GRACE).await;
        strangers.make_room();
        assert_eq!(gone(), [true, true, true, false]);
        drop(stays);
        assert!(lock(&strangers.connected).is_empty());
    }
}
