//! A failover that loses the last of what was done: Redis is at an earlier point, and the agent remembers what came after. What
//! `tests/lease_model.rs` looks at in every order, here with the scripts themselves.

use std::collections::BTreeSet;

use super::*;

/// All that a Redis keeps, key by key.
struct Snapshot(Vec<(Vec<u8>, Vec<u8>)>);

impl Snapshot {
    fn of(redis: &mut Connection) -> Self {
        let keys: Vec<Vec<u8>> = redis.keys("*").unwrap();
        let dump = |key: Vec<u8>| {
            let content = redis::cmd("DUMP").arg(&key).query(redis).unwrap();
            (key, content)
        };
        Self(keys.into_iter().map(dump).collect())
    }

    fn restore(&self, redis: &mut Connection) {
        let _: () = redis::cmd("FLUSHALL").query(redis).unwrap();
        for (key, content) in &self.0 {
            let _: () = redis::cmd("RESTORE").arg(key).arg(0).arg(content).query(redis).unwrap();
        }
    }
}

/// An agent, whose destination refuses what begins with "bad".
struct Drain<'a> {
    channel: RedisChannel,
    redis: &'a mut Connection,
    leases: Vec<Lease>,
    written: BTreeSet<String>,
}

impl Drain<'_> {
    async fn receive(&mut self) {
        self.leases.extend(receive(&self.channel, 2, 100).await);
    }

    async fn complete(&mut self) {
        let mut letters = Vec::new();
        for lease in &self.leases {
            let (refused, written): (Vec<_>, Vec<_>) =
                texts(lease).into_iter().enumerate().partition(|(_, text)| text.starts_with("bad"));
            self.written.extend(written.into_iter().map(|(_, text)| text));
            letters.extend(refused.into_iter().map(|(place, _)| letter(lease, place)));
        }
        self.channel.complete(&mut self.leases, &letters).await.unwrap();
    }

    async fn step(&mut self, number: usize) {
        match number {
            0 | 2 | 5 | 8 => self.receive().await,
            1 | 7 | 10 => self.complete().await,
            3 => drop(self.channel.renew().await.unwrap()),
            4 => self.channel.release(&mut self.leases).await.unwrap(),
            // Another agent takes back what this one has in hand.
            6 => {
                expire(self.redis);
                self.channel.recover().await.unwrap();
            }
            // It goes with a panic.
            9 => self.leases.clear(),
            _ => unreachable!(),
        }
    }

    /// Until nothing waits, whatever has no owner included.
    async fn finish(&mut self) {
        self.complete().await;
        loop {
            expire(self.redis);
            self.channel.recover().await.unwrap();
            self.receive().await;
            if self.leases.is_empty() {
                break;
            }
            self.complete().await;
        }
    }
}

const STEPS: usize = 11;

#[test]
fn wherever_it_is_put_back_to_everything_is_done_once() {
    let server = RedisServer::start();
    let (mut redis, mut pushing) = (server.connection(), server.connection());
    run(async {
        for (undone_after, back_to) in (0..STEPS).flat_map(|after| (0..=after).map(move |back_to| (after, back_to))) {
            let case = format!("back from after step {undone_after} to before step {back_to}");
            let _: () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
            push(&mut pushing, ["m1", "bad2", "m3", "bad4", "m5"]);
            let (channel, mut snapshot) = (channel(&server), None);
            let mut drain = Drain { channel, redis: &mut redis, leases: Vec::new(), written: BTreeSet::new() };
            for step in 0..STEPS {
                if step == back_to {
                    snapshot = Some(Snapshot::of(drain.redis));
                }
                drain.step(step).await;
                if step == undone_after {
                    snapshot.take().unwrap().restore(drain.redis);
                }
            }
            drain.finish().await;
            let Drain { channel, written, .. } = drain;
            assert_eq!(written, ["m1", "m3", "m5"].map(str::to_owned).into(), "{case}");
            assert_eq!(payloads(&mut redis), ["bad2", "bad4"], "{case}");
            settled(&channel, &mut redis);
            assert!(list(&mut redis, Q).is_empty(), "{case}");
        }
    });
}

fn payloads(redis: &mut Connection) -> Vec<String> {
    let letters: redis::streams::StreamRangeReply = redis.xrange_all(DEAD).unwrap();
    let mut payloads: Vec<String> = letters.ids.iter().map(|letter| letter.get("payload").unwrap()).collect();
    payloads.sort_unstable();
    payloads
}

/// The agent has two messages of a lease of which Redis has one again.
#[test]
fn of_what_is_not_taken_any_more_nothing_is_parked() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, ["m1", "bad2", "m3"]);
    run(async {
        let channel = channel(&server);
        let mut leases = vec![receive(&channel, 2, 100).await.unwrap()];
        let list_of_it = format!("{{kadabra_queue}}:lease:{}", leases[0].id().0);
        let undone: String = redis.lpop(&list_of_it, None).unwrap();
        assert_eq!(undone, "bad2");
        let _: usize = redis.rpush(Q, undone).unwrap();
        let letters = [letter(&leases[0], 1)];
        channel.complete(&mut leases, &letters).await.unwrap();
        assert!(payloads(&mut redis).is_empty());
        let mut leases = vec![receive(&channel, 2, 100).await.unwrap()];
        assert_eq!(texts(&leases[0]), ["bad2", "m3"]);
        let letters = [letter(&leases[0], 0)];
        channel.complete(&mut leases, &letters).await.unwrap();
        assert_eq!(payloads(&mut redis), ["bad2"]);
        settled(&channel, &mut redis);
    });
}

/// Else the places of its messages would not be those that the agent knows, and a dead letter would be of another message.
#[test]
fn to_a_lease_of_which_some_is_undone_nothing_is_added() {
    let server = RedisServer::start();
    let mut redis = server.connection();
    push(&mut redis, ["m1", "m2", "m3"]);
    let took = |message: &[u8]| {
        let values = [redis::Value::Int(0), redis::Value::Int(0), redis::Value::BulkString(message.to_vec())];
        redis::Value::Array(values.into())
    };
    let take = |redis: &mut Connection, had| settling::take(redis, "here:a-1", had, 1);
    assert_eq!(take(&mut redis, 0), took(b"m1"));
    let snapshot = Snapshot::of(&mut redis);
    assert_eq!(take(&mut redis, 1), took(b"m2"));
    snapshot.restore(&mut redis);
    assert_eq!(take(&mut redis, 2), redis::Value::Int(-1));
    assert_eq!(list(&mut redis, Q), ["m3", "m2"]);
    assert_eq!(take(&mut redis, 1), took(b"m2"));
}
