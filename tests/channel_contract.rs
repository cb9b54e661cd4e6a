//! What every channel promises, tried on each of them.

use std::{
    collections::HashSet,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use kadabra::channel::{Channel, Completed, DeadLetter, Demand, Lease, RefusedPoint, Tally};
use redis::{
    Commands as _,
    streams::{StreamId, StreamRangeReply},
};

use crate::support::redis_server::RedisServer;

pub(crate) const ALL: Demand = Demand { messages: 100_000, bytes: 100_000_000, not_before: None };
pub(crate) const NO_WAIT: Duration = Duration::ZERO;
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A dead letter as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) payload: Vec<u8>,
    pub(crate) reason: String,
    pub(crate) refused: String,
    pub(crate) agent: String,
    pub(crate) time: String,
}

/// A queue, and what clients and operators do with it.
pub(crate) trait Home: Sized {
    /// An empty one whose leases last so long, with at most so many dead letters.
    fn new(lease: Duration, max_dead_letters: usize) -> Self;
    /// An agent's channel to it.
    fn channel(&self) -> Arc<dyn Channel>;
    /// Pushes messages as a client does, the first one first.
    fn push(&self, messages: Vec<Vec<u8>>) -> impl Future<Output = ()>;
    /// The messages that wait, from the newest on.
    fn waiting(&self) -> impl Future<Output = Vec<Vec<u8>>>;
    /// The dead letters, the oldest first.
    fn dead(&self) -> Vec<Kept>;
}

/// Every promise as a test for one channel.
macro_rules! keeps_the_contract {
    ($home:ty) => {
        $crate::channel_contract::keeps_the_contract!($home:
            the_oldest_come_first_and_no_more_than_demanded,
            never_more_bytes_than_demanded_except_one_message_alone,
            bytes_are_bytes,
            waiting_ends_with_the_first_message,
            what_is_demanded_for_later_is_taken_then_with_what_has_come,
            a_receive_that_is_dropped_while_it_waits_loses_nothing,
            several_at_once_never_share_a_message,
            letters_are_parked_with_all_that_is_needed_to_look_into_them,
            the_oldest_dead_letters_are_dropped_when_there_are_too_many,
            released_and_dropped_messages_wait_again_where_they_were,
            whoever_slept_past_the_expiry_can_settle_nothing,
            a_late_agent_keeps_what_it_holds,
            a_lease_lasts_while_it_is_renewed,
            thousands_of_expired_leases_are_taken_back,
            nothing_open_is_nothing_to_do,
            what_waits_can_be_looked_at_and_is_left_where_it_is,
        );
    };
    ($home:ty: $($promise:ident),* $(,)?) => {
        $(#[test] fn $promise() {
            actix_rt::System::new().block_on($crate::channel_contract::$promise::<$home>());
        })*
    };
}
pub(crate) use keeps_the_contract;

/// Waits for a condition that has to be asked for asynchronously.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}");
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

fn home<H: Home>() -> H {
    H::new(Duration::from_secs(60), 10_000)
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_string().into_bytes()).collect()
}

pub(crate) async fn receive(channel: &dyn Channel, messages: usize, bytes: usize) -> Option<Lease> {
    channel.receive(Demand { messages, bytes, not_before: None }, NO_WAIT).await.unwrap()
}

pub(crate) fn letter(lease: &Lease, message: usize) -> DeadLetter {
    DeadLetter { lease: lease.id().clone(), message, reason: "it is not JSON".into(), refused: Vec::new() }
}

/// Every message is accounted for, and nobody holds any.
pub(crate) async fn settled(channel: &dyn Channel) {
    let tally = channel.registry().tally();
    assert!(tally.balances(), "{tally:?}");
    assert_eq!((tally.in_flight, channel.depth().await.unwrap().leases), (0, 0));
}

pub(crate) async fn the_oldest_come_first_and_no_more_than_demanded<H: Home>() {
    let home = home::<H>();
    home.push(numbers(0..2500)).await;
    let channel = home.channel();
    let mut next = 0;
    for (demand, expected) in [(1, 1), (7, 7), (10, 10), (110, 110), (1000, 1000), (1001, 1001), (5000, 371)] {
        let lease = receive(&*channel, demand, 1_000_000).await.unwrap();
        assert_eq!(lease.messages.to_vec(), numbers(next..next + expected));
        next += expected;
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    assert!(receive(&*channel, 10, 100).await.is_none());
    assert_eq!(channel.registry().tally().published, 2500);
    settled(&*channel).await;
}

pub(crate) async fn what_waits_can_be_looked_at_and_is_left_where_it_is<H: Home>() {
    const ALL: Demand = Demand { messages: 10_000, bytes: 1 << 20, not_before: None };
    let home = home::<H>();
    let channel = home.channel();
    assert_eq!(channel.peek(ALL).await.unwrap(), numbers(0..0));
    home.push(numbers(0..2500)).await;
    let lease = receive(&*channel, 100, 1_000_000).await.unwrap();
    let depth = channel.depth().await.unwrap();
    assert_eq!(channel.peek(ALL).await.unwrap(), numbers(100..2500), "what is leased is not shown");
    for (most, shown) in
        [(Demand { messages: 7, ..ALL }, 7), (Demand { messages: 1001, ..ALL }, 1001), (Demand { bytes: 5, ..ALL }, 2)]
    {
        assert_eq!(channel.peek(most).await.unwrap(), numbers(100..100 + shown), "{most:?}");
    }
    let after = channel.depth().await.unwrap();
    assert_eq!((after.queued, after.leased, after.dead), (depth.queued, depth.leased, depth.dead));
    channel.release(&mut vec![lease]).await.unwrap();
    assert_eq!(channel.peek(Demand { messages: 1, ..ALL }).await.unwrap(), numbers(0..1));
    let (mut leases, mut messages) = (Vec::new(), Vec::new());
    while messages.len() < 2500 {
        let lease = receive(&*channel, 5000, 1_000_000).await.unwrap();
        messages.extend(lease.messages.to_vec());
        leases.push(lease);
    }
    assert_eq!(messages, numbers(0..2500));
}

pub(crate) async fn never_more_bytes_than_demanded_except_one_message_alone<H: Home>() {
    let home = home::<H>();
    let sizes = [10, 20, 30, 500, 5, 5, 0, 90, 11, 1000, 1];
    home.push(sizes.iter().map(|&size| vec![b'x'; size]).collect()).await;
    home.push((0..3000).map(|n| format!("{n:0100}").into_bytes()).collect()).await;
    let channel = home.channel();
    let mut leases = Vec::new();
    for expected in [&[10, 20, 30][..], &[500], &[5, 5, 0, 90], &[11], &[1000]] {
        let lease = receive(&*channel, 100, 100).await.unwrap();
        assert_eq!(lease.messages.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        leases.push(lease);
    }
    for (demand, messages, bytes) in [(155_000, 1550, 154_901), (145_101, 1451, 145_100)] {
        let lease = receive(&*channel, 10_000, demand).await.unwrap();
        assert_eq!((lease.messages.len(), lease.bytes()), (messages, bytes));
        leases.push(lease);
    }
    channel.complete(&mut leases, &[]).await.unwrap();
    settled(&*channel).await;
}

pub(crate) async fn bytes_are_bytes<H: Home>() {
    let home = home::<H>();
    let odd: [&[u8]; 6] = [b"", b"\0\0", b"\xff\xfe\x80", b"12345", b"line\r\n$3\r\n", "\u{1F600}".as_bytes()];
    home.push(odd.iter().map(|message| message.to_vec()).collect()).await;
    let channel = home.channel();
    let mut leases = vec![receive(&*channel, 10, 1000).await.unwrap()];
    assert_eq!(leases[0].messages.to_vec(), odd);
    channel.release(&mut leases).await.unwrap();
    let lease = receive(&*channel, 10, 1000).await.unwrap();
    assert_eq!(lease.messages.to_vec(), odd);
    let letters = [letter(&lease, 2)];
    channel.complete(&mut vec![lease], &letters).await.unwrap();
    assert_eq!(home.dead()[0].payload, odd[2]);
    settled(&*channel).await;
}

pub(crate) async fn waiting_ends_with_the_first_message<H: Home>() {
    let home = home::<H>();
    let channel = home.channel();
    let start = Instant::now();
    assert!(channel.receive(ALL, Duration::from_millis(300)).await.unwrap().is_none());
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    let waiting = actix_rt::spawn({
        let channel = Arc::clone(&channel);
        async move { channel.receive(ALL, LONG).await.unwrap() }
    });
    actix_rt::time::sleep(Duration::from_millis(50)).await;
    home.push(vec![b"woken".to_vec()]).await;
    let mut leases = vec![waiting.await.unwrap().unwrap()];
    assert_eq!(leases[0].messages.to_vec(), [b"woken"]);
    let waiting = actix_rt::spawn({
        let channel = Arc::clone(&channel);
        async move { channel.receive(ALL, LONG).await.unwrap() }
    });
    actix_rt::time::sleep(Duration::from_millis(50)).await;
    channel.release(&mut leases).await.unwrap();
    leases.push(waiting.await.unwrap().unwrap());
    channel.complete(&mut leases, &[]).await.unwrap();
    assert!(start.elapsed() < LONG);
    settled(&*channel).await;
}

pub(crate) async fn what_is_demanded_for_later_is_taken_then_with_what_has_come<H: Home>() {
    let home = home::<H>();
    home.push(numbers(0..1)).await;
    let channel = home.channel();
    let begins = tokio::time::Instant::now() + Duration::from_secs(2);
    let demand = Demand { not_before: Some(begins), ..ALL };
    let (taken, ()) = futures_util::join!(channel.receive(demand, LONG), home.push(numbers(1..100)));
    let lease = taken.unwrap().unwrap();
    assert!(tokio::time::Instant::now() >= begins);
    assert_eq!(lease.messages.to_vec(), numbers(0..100));
    channel.complete(&mut vec![lease], &[]).await.unwrap();
    // Later than it waits for: the time has come to look whether the agent closes.
    let later = Demand { not_before: Some(tokio::time::Instant::now() + 60 * LONG), ..ALL };
    home.push(numbers(0..1)).await;
    assert!(channel.receive(later, NO_WAIT).await.unwrap().is_none());
    let lease = receive(&*channel, 1, 100).await.unwrap();
    channel.complete(&mut vec![lease], &[]).await.unwrap();
    settled(&*channel).await;
}

pub(crate) async fn a_receive_that_is_dropped_while_it_waits_loses_nothing<H: Home>() {
    let home = home::<H>();
    let channel = home.channel();
    for n in 0..20 {
        let waiting = actix_rt::spawn({
            let channel = Arc::clone(&channel);
            async move { channel.receive(ALL, LONG).await.unwrap() }
        });
        actix_rt::time::sleep(Duration::from_millis(n % 4)).await;
        if n % 2 == 0 {
            home.push(vec![b"kept".to_vec()]).await;
        }
        waiting.abort();
        drop(waiting.await);
        eventually("what was taken to wait again", async || {
            channel.recover().await.unwrap();
            (channel.depth().await.unwrap().queued == n / 2 + 1).then_some(())
        })
        .await;
    }
    assert_eq!(home.waiting().await, vec![b"kept"; 10]);
    settled(&*channel).await;
}

pub(crate) async fn several_at_once_never_share_a_message<H: Home>() {
    const MESSAGES: usize = 8000;
    let home = home::<H>();
    home.push(numbers(0..MESSAGES)).await;
    let agents = (0..3).map(|agent| {
        let channel = home.channel();
        async move {
            let (mut mine, mut turn) = (Vec::new(), agent);
            while let Some(lease) = receive(&*channel, 37, 500).await {
                turn += 1;
                // Some are given back, some dropped, most completed.
                match turn % 7 {
                    0 => channel.release(&mut vec![lease]).await.unwrap(),
                    1 => {
                        drop(lease);
                        channel.recover().await.unwrap();
                    }
                    _ => {
                        mine.extend(lease.messages.to_vec());
                        channel.complete(&mut vec![lease], &[]).await.unwrap();
                    }
                }
            }
            settled_book(&*channel);
            mine
        }
    });
    let mine = futures_util::future::join_all(agents).await;
    // An agent may have found the queue empty just before another gave something back.
    let all: Vec<_> = mine.into_iter().flatten().chain(home.waiting().await).collect();
    assert_eq!(all.len(), MESSAGES);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), MESSAGES);
}

fn settled_book(channel: &dyn Channel) {
    let tally = channel.registry().tally();
    assert!(tally.balances() && tally.in_flight == 0, "{tally:?}");
}

pub(crate) async fn letters_are_parked_with_all_that_is_needed_to_look_into_them<H: Home>() {
    let home = home::<H>();
    home.push(["good", "bad", "half", "fine"].map(|text| text.as_bytes().to_vec()).to_vec()).await;
    let channel = home.channel();
    let mut leases = vec![receive(&*channel, 3, 100).await.unwrap(), receive(&*channel, 1, 100).await.unwrap()];
    assert_eq!(channel.depth().await.unwrap().leases, 2);
    let refused = vec![RefusedPoint { metric: "cpu".into(), reason: "\"field type\" conflict".into() }];
    let letters = [letter(&leases[0], 1), DeadLetter { refused, ..letter(&leases[0], 2) }];
    let completed = channel.complete(&mut leases, &letters).await.unwrap();
    assert_eq!(completed, Completed { messages: 4, lost: 0, letters_dropped: 0 });
    assert!(leases.is_empty());
    let dead = home.dead();
    assert_eq!((dead[0].payload.as_slice(), dead[1].payload.as_slice()), (&b"bad"[..], &b"half"[..]));
    assert_eq!((dead[0].reason.as_str(), dead[0].agent.as_str(), dead[0].refused.as_str()), ("it is not JSON", "here", "[]"));
    assert_eq!(dead[1].refused, r#"[{"metric":"cpu","reason":"\"field type\" conflict"}]"#);
    assert!(dead[1].time.starts_with("20") && dead[1].time.ends_with('Z'));
    assert_eq!(channel.depth().await.unwrap().dead, 2);
    assert_eq!(channel.registry().tally(), Tally { leased: 4, published: 2, parked: 2, ..Tally::default() });
    settled(&*channel).await;
}

pub(crate) async fn the_oldest_dead_letters_are_dropped_when_there_are_too_many<H: Home>() {
    let home = H::new(LONG, 100);
    home.push(numbers(0..250)).await;
    let channel = home.channel();
    let park = async |messages: usize| {
        let lease = receive(&*channel, messages, 10_000).await.unwrap();
        let letters: Vec<_> = (0..messages).map(|message| letter(&lease, message)).collect();
        channel.complete(&mut vec![lease], &letters).await.unwrap()
    };
    assert_eq!(park(60).await, Completed { messages: 60, lost: 0, letters_dropped: 0 });
    assert_eq!(park(40).await.letters_dropped, 0, "exactly as many as may be kept");
    assert_eq!(park(1).await.letters_dropped, 1);
    assert_eq!(park(49).await.letters_dropped, 49);
    let kept: Vec<_> = home.dead().into_iter().map(|letter| letter.payload).collect();
    assert_eq!(kept, numbers(50..150));
    let clean = receive(&*channel, 5, 10_000).await.unwrap();
    assert_eq!(channel.complete(&mut vec![clean], &[]).await.unwrap().letters_dropped, 0);
    let tally = channel.registry().tally();
    assert_eq!((tally.letters_dropped, tally.parked), (50, 150));
    settled(&*channel).await;
}

pub(crate) async fn released_and_dropped_messages_wait_again_where_they_were<H: Home>() {
    let home = home::<H>();
    home.push(numbers(0..350)).await;
    let channel = home.channel();
    let before = home.waiting().await;
    let mut leases = Vec::new();
    while let Some(lease) = receive(&*channel, 150, 10_000).await {
        leases.push(lease);
    }
    channel.release(&mut leases).await.unwrap();
    assert!(leases.is_empty());
    assert_eq!(home.waiting().await, before);
    drop(receive(&*channel, 120, 10_000).await);
    channel.registry().wait_dropped().await;
    assert_eq!(channel.recover().await.unwrap().dropped, 120);
    assert_eq!(home.waiting().await, before);
    settled(&*channel).await;
}

/// Lets leases of half a second expire, and another agent take them.
async fn expire(other: &dyn Channel, messages: usize) {
    let mut taken = 0;
    eventually("the leases to expire", async || {
        taken += other.recover().await.unwrap().expired;
        (taken >= messages).then_some(())
    })
    .await;
    assert_eq!(taken, messages);
}

pub(crate) async fn whoever_slept_past_the_expiry_can_settle_nothing<H: Home>() {
    let home = H::new(Duration::from_millis(500), 10);
    home.push(numbers(0..4)).await;
    let (sleeper, other) = (home.channel(), home.channel());
    let mut one = vec![receive(&*sleeper, 1, 100).await.unwrap()];
    let mut two = vec![receive(&*sleeper, 1, 100).await.unwrap()];
    let three = receive(&*sleeper, 1, 100).await.unwrap();
    let mut four = vec![receive(&*sleeper, 1, 100).await.unwrap()];
    expire(&*other, 4).await;
    let theirs = other.receive(ALL, NO_WAIT).await.unwrap().unwrap();
    let mut texts = theirs.messages.to_vec();
    texts.sort();
    assert_eq!(texts, numbers(0..4));

    let letters = [letter(&one[0], 0)];
    assert_eq!(sleeper.complete(&mut one, &letters).await.unwrap(), Completed { messages: 0, lost: 1, letters_dropped: 0 });
    sleeper.release(&mut two).await.unwrap();
    sleeper.renew().await.unwrap();
    assert!(sleeper.registry().live().is_empty(), "neither renewed nor kept");
    assert_eq!(sleeper.registry().tally().in_flight, 2);
    drop(three);
    assert_eq!(sleeper.complete(&mut four, &[]).await.unwrap().lost, 1);
    assert_eq!(sleeper.give_back().await.unwrap(), 0);
    assert_eq!(sleeper.registry().tally(), Tally { leased: 4, given_back: 4, lost: 4, ..Tally::default() });
    let depth = other.depth().await.unwrap();
    assert_eq!((depth.dead, depth.queued), (0, 0));
    assert_eq!(other.complete(&mut vec![theirs], &[]).await.unwrap().messages, 4);
    settled(&*other).await;
    settled(&*sleeper).await;
}

pub(crate) async fn a_late_agent_keeps_what_it_holds<H: Home>() {
    let home = H::new(Duration::from_millis(100), 10);
    home.push(numbers(0..1)).await;
    let channel = home.channel();
    let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
    actix_rt::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(channel.recover().await.unwrap().expired, 0);
    assert_eq!(channel.complete(&mut vec![lease], &[]).await.unwrap().messages, 1);
    settled(&*channel).await;
}

pub(crate) async fn a_lease_lasts_while_it_is_renewed<H: Home>() {
    let home = H::new(Duration::from_millis(500), 10);
    home.push(numbers(0..1)).await;
    let (holder, other) = (home.channel(), home.channel());
    let lease = holder.receive(ALL, NO_WAIT).await.unwrap().unwrap();
    let mut renewed = Instant::now();
    let end = renewed + Duration::from_millis(1500);
    while renewed < end {
        holder.renew().await.unwrap();
        // Whoever was kept waiting for so long has proved nothing, and has harmed nothing either.
        let late = renewed.elapsed() > Duration::from_millis(400);
        renewed = Instant::now();
        if late {
            continue;
        }
        actix_rt::time::sleep(Duration::from_millis(50)).await;
        let (expired, in_time) = (other.recover().await.unwrap().expired, renewed.elapsed() < Duration::from_millis(400));
        if expired > 0 {
            assert!(!in_time, "taken {:?} after it was renewed", renewed.elapsed());
            return;
        }
    }
    expire(&*other, 1).await;
    let lost = holder.complete(&mut vec![lease], &[]).await.unwrap();
    assert_eq!(lost, Completed { messages: 0, lost: 1, letters_dropped: 0 });
    assert_eq!(home.waiting().await, numbers(0..1));
    settled(&*holder).await;
}

pub(crate) async fn thousands_of_expired_leases_are_taken_back<H: Home>() {
    let home = H::new(Duration::from_secs(2), 10);
    home.push(numbers(0..1500)).await;
    let (dead, other) = (home.channel(), home.channel());
    let mut leases = Vec::new();
    // One of several queues that is slow for a moment gives nothing at once.
    while leases.len() < 1500 {
        leases.extend(receive(&*dead, 1, 100).await);
    }
    expire(&*other, 1500).await;
    dead.complete(&mut leases, &[]).await.unwrap();
    // A channel of several queues waits only so long for one of them, and goes on by itself.
    eventually("all to be known as lost", async || (dead.registry().tally().lost == 1500).then_some(())).await;
    assert_eq!(other.depth().await.unwrap().queued, 1500);
    settled(&*dead).await;
}

pub(crate) async fn nothing_open_is_nothing_to_do<H: Home>() {
    let home = home::<H>();
    let channel = home.channel();
    channel.renew().await.unwrap();
    channel.complete(&mut Vec::new(), &[]).await.unwrap();
    channel.release(&mut Vec::new()).await.unwrap();
    assert_eq!(channel.give_back().await.unwrap(), 0);
    settled(&*channel).await;
}

/// The dead letters in a stream of a Redis.
pub(crate) fn kept_in(server: &RedisServer, stream: &str) -> Vec<Kept> {
    let dead: StreamRangeReply = server.connection().xrange_all(stream).unwrap();
    let kept = |entry: &StreamId| Kept {
        payload: entry.get("payload").unwrap(),
        reason: entry.get("reason").unwrap(),
        refused: entry.get("refused").unwrap(),
        agent: entry.get("agent").unwrap(),
        time: entry.get("time").unwrap(),
    };
    dead.ids.iter().map(kept).collect()
}

/// The Redis channel.
mod redis_list {
    use kadabra::{
        channel::redis::RedisChannel,
        config::{Redis, RedisMode, Secret},
    };
    use redis::Commands as _;

    use super::*;

    struct RedisList {
        server: RedisServer,
        settings: Redis,
    }

    impl Home for RedisList {
        fn new(lease: Duration, max_dead_letters: usize) -> Self {
            let server = RedisServer::for_agents();
            let settings = Redis {
                mode: RedisMode::Single(Secret::new(server.url())),
                password: None,
                tls: kadabra::config::Tls::default(),
                queue_key: "kadabra_queue".into(),
                inprogress_key: "kadabra_inprogress".into(),
                lease,
                timeout: Duration::from_secs(5),
                max_dead_letters,
                max_message_bytes: 4 << 20,
                wait_replicas: 0,
            };
            Self { server, settings }
        }

        fn channel(&self) -> Arc<dyn Channel> {
            Arc::new(RedisChannel::new(&self.settings, "here", LONG).unwrap())
        }

        async fn push(&self, messages: Vec<Vec<u8>>) {
            let _: usize = self.server.connection().lpush("kadabra_queue", messages).unwrap();
        }

        async fn waiting(&self) -> Vec<Vec<u8>> {
            self.server.connection().lrange("kadabra_queue", 0, -1).unwrap()
        }

        fn dead(&self) -> Vec<Kept> {
            kept_in(&self.server, "{kadabra_queue}:dead")
        }
    }

    keeps_the_contract!(RedisList);
}
