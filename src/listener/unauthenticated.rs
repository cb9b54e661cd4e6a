//! Clients that have not said the password: how many of them may be connected, and how quickly they may guess.
//!
//! A wrong password is answered at once, so that a person reads what is wrong. The *next* one from the same origin is looked at a
//! pause later, those after it one a pause each, over however many connections they come; so a right one tells nothing earlier
//! than a wrong one does. Nobody is made to wait longer than clients do ([`LONGEST`]): what cannot be looked at by then is
//! refused without a look, right or wrong. A password that is known to be wrong, as a client with a mistake in its configuration
//! says it again and again, tells nothing new and so delays nobody; the same password said by many at once is looked at once.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::settings::Settings;

/// How long after it has connected nobody has to give way: whoever knows the password says it first of all, but when all clients
/// connect again at once, it may take a while to come to them.
const GRACE: Duration = Duration::from_secs(1);
/// One place in so many is for clients that have not said it, however long they take.
const SHARE: usize = 4;
/// Of how many origins it is known that they guess; all others are then taken for one.
const MOST_ORIGINS: usize = 4096;
/// How long a password may wait to be looked at: clients wait 5 s for an answer and longer.
const LONGEST: Duration = Duration::from_secs(4);
/// How many passwords of an origin are remembered as wrong.
const REMEMBERED: usize = 8;

/// From where a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// An address; of IPv6 the network, since who has one address of it has them all.
    Address(IpAddr),
    /// A user of this machine, by the socket in the file system.
    User(u32),
    /// Unknown, or too many to be told apart.
    Others,
}

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        })
    }
}

/// Those that are connected, and those that guess.
#[derive(Debug)]
pub(super) struct UnauthenticatedClients {
    /// How many may stay.
    most: usize,
    pause: Duration,
    hasher: RandomState,
    /// By the number of their connection: the first has been there longest.
    connected: Mutex<BTreeMap<u64, UnauthenticatedClient>>,
    guesses: Mutex<Guesses>,
}

#[derive(Debug, Default)]
struct Guesses {
    by: BTreeMap<Origin, Guesser>,
    /// When those that have not guessed lately were last forgotten.
    tidied: Option<Instant>,
}

/// Passwords that came from an origin after a wrong one. They are kept as numbers that mean nothing elsewhere.
#[derive(Debug)]
struct Guesser {
    /// When the next one is looked at.
    next: Instant,
    /// Those that wait, and when they are looked at.
    line: VecDeque<(u64, Instant)>,
    wrong: VecDeque<u64>,
}

/// When a password is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Now,
    At(Instant),
    /// Never; it is to be refused then.
    RefusedAt(Instant),
}

#[derive(Debug)]
struct UnauthenticatedClient {
    since: Instant,
    leave: oneshot::Sender<()>,
}

impl UnauthenticatedClients {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            most: (settings.max_connections / SHARE).max(1),
            pause: settings.wrong_password_pause,
            hasher: RandomState::new(),
            connected: Mutex::default(),
            guesses: Mutex::default(),
        }
    }

    /// Makes room for a client that comes: those beyond their share that have been there long enough must go.
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

    /// A client has come. It must go when the receiver says so.
    pub(super) fn enter(self: &Arc<Self>, id: u64) -> (Stay, oneshot::Receiver<()>) {
        let (leave, left) = oneshot::channel();
        lock(&self.connected).insert(id, UnauthenticatedClient { since: Instant::now(), leave });
        (Stay { unauthenticated: Arc::clone(self), id }, left)
    }

    /// The client has said the password, or is gone.
    pub(super) fn forget(&self, id: u64) {
        lock(&self.connected).remove(&id);
    }

    /// A client says a password: when it is looked at.
    pub(super) fn says(&self, origin: Origin, login: (&[u8], &[u8])) -> Look {
        let now = Instant::now();
        let number = self.hasher.hash_one(login);
        let mut guesses = lock(&self.guesses);
        let Some(guesser) = guesses.of(origin) else { return Look::Now };
        guesser.line.retain(|(_, due)| *due > now);
        if guesser.wrong.contains(&number) {
            return Look::Now;
        }
        if let Some((_, due)) = guesser.line.iter().find(|(waiting, _)| *waiting == number) {
            return Look::At(*due);
        }
        let due = guesser.next;
        if due <= now {
            // A wrong one has the next ones wait.
            return Look::Now;
        }
        if due > now + LONGEST {
            return Look::RefusedAt(now + LONGEST);
        }
        guesser.next = due + self.pause;
        guesser.line.push_back((number, due));
        Look::At(due)
    }

    /// It was looked at, and is wrong.
    pub(super) fn was_wrong(&self, origin: Origin, login: (&[u8], &[u8])) {
        if self.pause.is_zero() {
            return;
        }
        let now = Instant::now();
        let number = self.hasher.hash_one(login);
        let mut guesses = lock(&self.guesses);
        guesses.tidy(now, self.pause);
        let known = guesses.by.len() < MOST_ORIGINS || guesses.by.contains_key(&origin);
        let guesser = guesses.by.entry(if known { origin } else { Origin::Others }).or_insert_with(|| Guesser::new(now));
        if guesser.wrong.contains(&number) {
            return;
        }
        if guesser.wrong.len() >= REMEMBERED {
            guesser.wrong.pop_front();
        }
        guesser.wrong.push_back(number);
        // The clients that waited for this look have made the next ones wait already.
        guesser.next = guesser.next.max(now + self.pause);
    }
}

impl Guesses {
    fn of(&mut self, origin: Origin) -> Option<&mut Guesser> {
        let known = if self.by.len() < MOST_ORIGINS || self.by.contains_key(&origin) { origin } else { Origin::Others };
        self.by.get_mut(&known)
    }

    /// Forgets who has not guessed lately. Not with each guess of a flood, which takes a look at all of them.
    fn tidy(&mut self, now: Instant, pause: Duration) {
        if self.by.len() >= MOST_ORIGINS && self.tidied.is_none_or(|tidied| now - tidied >= pause) {
            self.by.retain(|_, guesser| guesser.next > now);
            self.tidied = Some(now);
        }
    }
}

impl Guesser {
    fn new(now: Instant) -> Self {
        Self { next: now, line: VecDeque::new(), wrong: VecDeque::new() }
    }
}

/// The entry of a client that has not said the password, while it is connected.
#[derive(Debug)]
pub(super) struct Stay {
    unauthenticated: Arc<UnauthenticatedClients>,
    id: u64,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.unauthenticated.forget(self.id);
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
        let of = |address: &str| Origin::of(address.parse().unwrap());
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:2:3:4:5"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    fn from(address: u32) -> Origin {
        Origin::of(IpAddr::V4(address.into()))
    }

    fn login(password: &str) -> (&'static [u8], &[u8]) {
        (b"default", password.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn one_guess_a_second_is_looked_at_and_what_would_wait_long_never() {
        let unauthenticated = UnauthenticatedClients::new(&Settings::default());
        let begun = Instant::now();
        let second = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(unauthenticated.says(from(1), login("a")), Look::Now);
        unauthenticated.was_wrong(from(1), login("a"));
        let said: Vec<_> = (0..6).map(|number| unauthenticated.says(from(1), login(&number.to_string()))).collect();
        let at = |seconds| Look::At(second(seconds));
        assert_eq!(said, [at(1), at(2), at(3), at(4), Look::RefusedAt(second(4)), Look::RefusedAt(second(4))]);
        // Those who say the same wait for the same look, and what is known to be wrong for none.
        assert_eq!(unauthenticated.says(from(1), login("2")), at(3));
        assert_eq!(unauthenticated.says(from(1), login("a")), Look::Now);
        // Nobody elsewhere waits.
        assert_eq!(unauthenticated.says(from(2), login("5")), Look::Now);
        assert_eq!(unauthenticated.says(Origin::User(1), login("5")), Look::Now);
        tokio::time::sleep_until(second(4)).await;
        assert_eq!(unauthenticated.says(from(1), login("6")), at(5));
        tokio::time::sleep_until(second(6)).await;
        // What was right has nobody wait.
        assert_eq!(unauthenticated.says(from(1), login("right")), Look::Now);
        assert_eq!(unauthenticated.says(from(1), login("right")), Look::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_guesses_takes_little_memory_and_is_forgotten() {
        let unauthenticated = UnauthenticatedClients::new(&Settings::default());
        for address in 0..100_000 {
            unauthenticated.was_wrong(from(address), login("x"));
        }
        assert!(lock(&unauthenticated.guesses).by.len() <= MOST_ORIGINS + 1);
        // Those who are too many to be told apart are one.
        assert_eq!(unauthenticated.says(from(200_000), login("x")), Look::Now);
        assert!(matches!(unauthenticated.says(from(200_000), login("y")), Look::At(_)));
        (0..1000).for_each(|number| unauthenticated.was_wrong(from(1), login(&number.to_string())));
        assert_eq!(lock(&unauthenticated.guesses).by[&from(1)].wrong.len(), REMEMBERED);
        tokio::time::sleep(Duration::from_secs(60)).await;
        unauthenticated.was_wrong(from(1), login("x"));
        assert_eq!(lock(&unauthenticated.guesses).by.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn unauthenticated_clients_beyond_their_share_go_the_first_one_first_and_not_before_they_could_speak() {
        let unauthenticated = Arc::new(UnauthenticatedClients::new(&Settings { max_connections: 8, ..Settings::default() }));
        let mut stays: Vec<_> = (0..4).map(|id| unauthenticated.enter(id)).collect();
        let mut gone = || stays.iter_mut().map(|(_, leave)| leave.try_recv().is_ok()).collect::<Vec<_>>();
        unauthenticated.make_room();
        assert_eq!(gone(), [false; 4]);
        tokio::time::sleep(GRACE).await;
        unauthenticated.make_room();
        assert_eq!(gone(), [true, true, true, false]);
        drop(stays);
        assert!(lock(&unauthenticated.connected).is_empty());
    }
}
