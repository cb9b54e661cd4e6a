//! The agent without what makes it safe: take messages under a lease, decode, encode, post, forget them. No actors, no
//! supervision, no verdicts, no renewal, no fencing; whatever goes wrong ends it. What it costs is what the work costs;
//! what the agent costs besides is the price of safety.
//!
//! It runs as a process of its own, so that its CPU time can be told from the bench's.

use std::{path::Path, process::Command, thread};

use kadabra::wire::{Decoder, MessageSet};
use redis::Script;

use super::{http::Connection, lines};

/// The argument that makes a bench a bare loop.
pub(crate) const ARGUMENT: &str = "bare-loop";

/// The lists of leased messages, one a worker, that are empty when everything is done.
pub(crate) const LEASES: [&str; WORKERS] = ["bare:lease:0", "bare:lease:1"];

/// As many as the agent has publishers: while one waits for the database another one decodes.
const WORKERS: usize = 2;

/// Messages of 10,000 points, which is what InfluxDB likes best.
const BATCH: usize = 2000;

/// As many as one script takes; more at once cost Lua's garbage collector more for each.
const SLICE: usize = 500;

/// The oldest messages, moved to a lease in the same step.
const TAKE: &str = "
local all = {}
while #all < tonumber(ARGV[1]) do
  local chunk = redis.call('LRANGE', KEYS[1], -math.min(100, ARGV[1] - #all), -1)
  if #chunk == 0 then break end
  redis.call('RPUSH', KEYS[2], unpack(chunk))
  redis.call('LTRIM', KEYS[1], 0, -#chunk - 1)
  for i = #chunk, 1, -1 do all[#all + 1] = chunk[i] end
end
return all";

/// This bench as a bare loop from Redis to a server that takes line protocol.
pub(crate) fn command(redis: &str, to: &str) -> Command {
    let mut command = crate::servers::process::command(std::env::current_exe().unwrap());
    command.args([ARGUMENT, redis, to]);
    command
}

/// What it writes to its log when it waits for messages.
pub(crate) fn is_ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.matches("ready").count() == WORKERS)
}

/// If this process was started as a bare loop, is one and does not return.
pub(crate) fn run_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return;
    }
    let (Some(redis), Some(to)) = (arguments.next(), arguments.next()) else { panic!("{ARGUMENT} REDIS-URL INFLUXDB-URL") };
    let workers: Vec<_> = LEASES
        .iter()
        .map(|lease| {
            thread::spawn({
                let (redis, to) = (redis.clone(), to.clone());
                move || work(&redis, &to, lease)
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

fn work(redis: &str, to: &str, lease: &str) {
    let mut redis = redis::Client::open(redis).unwrap().get_connection().unwrap();
    let mut http = Connection::open(to).unwrap();
    let (mut decoder, mut set, mut body) = (Decoder::new(), MessageSet::new(), Vec::new());
    let take = Script::new(TAKE);
    take.prepare_invoke().load(&mut redis).unwrap();
    println!("ready");
    loop {
        let mut messages: Vec<Vec<u8>> = Vec::with_capacity(BATCH);
        while messages.len() < BATCH {
            let slice: Vec<Vec<u8>> = take.key("kadabra_queue").key(lease).arg(SLICE).invoke(&mut redis).unwrap();
            let is_last = slice.len() < SLICE;
            messages.extend(slice);
            if is_last {
                break;
            }
        }
        if messages.is_empty() {
            let mut wait = redis::cmd("BLMOVE");
            wait.arg("kadabra_queue").arg("kadabra_queue").arg("RIGHT").arg("RIGHT").arg(0);
            let _: Vec<u8> = wait.query(&mut redis).unwrap();
            continue;
        }
        set.clear();
        for message in &messages {
            assert!(decoder.decode(message, &mut set).is_empty());
        }
        body.clear();
        lines::encode(&set, &mut body);
        assert_eq!(http.post("/write?db=kadabra&precision=ns", &body).unwrap(), 204);
        let _: () = redis::cmd("UNLINK").arg(lease).query(&mut redis).unwrap();
    }
}
