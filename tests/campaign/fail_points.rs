//! The agent's fail points: what can happen at each, and a draw among them.

use fastrand::Rng;

use super::arguments::Channel;

/// Handlers of messages, and the steps within the futures that they begin: a panic, or a thread that stands still.
const HANDLERS: [&str; 16] = [
    "receiver.wanted",
    "receiver.leased",
    "batcher.receiver_is",
    "batcher.free",
    "batcher.leased",
    "publisher.batcher_is",
    "publisher.publish",
    "publisher.written",
    "publisher.completed",
    "nanny.renew",
    "nanny.recover",
    "nanny.recovered",
    "nanny.look",
    "child.ping",
    "supervisor.up",
    "supervisor.down",
];

/// The same, for what is passed once in a life, nearly always at its end.
const ONCE: [&str; 8] = [
    "receiver.drain",
    "batcher.drain",
    "publisher.drain",
    "nanny.drain",
    "listener.drain",
    "listener.serve",
    "supervisor.stop",
    "supervisor.drained",
];

/// Just before something is committed to the queue's file: what fails here is undone.
const BEFORE_COMMITS: [&str; 3] = ["queue.push", "queue.slice", "queue.settle"];

/// Where the queue's threads can be slow, so that a kill finds them there. What is committed must be known at once, so
/// that nothing fails after it.
const ROUND_COMMITS: [&str; 7] =
    ["queue.push", "queue.pushed", "queue.slice", "queue.settle", "queue.settled", "queue.sync", "queue.checkpoint"];

/// Futures that can be made never to end, while they receive, write, settle, renew, recover and look.
const FUTURES: [&str; 7] = [
    "receiver.receive",
    "publisher.write",
    "publisher.complete",
    "publisher.release",
    "nanny.renewing",
    "nanny.recovering",
    "nanny.looking",
];

/// Calls of the channel and of the publisher that can be made to fail, before they are made or after.
const CALLS: [&str; 8] = [
    "receiver.receive.error",
    "publisher.write.error",
    "publisher.probe.error",
    "publisher.complete.error",
    "publisher.release.error",
    "nanny.renew.error",
    "nanny.recover.error",
    "nanny.look.error",
];

/// The same, for those that are made once in a life.
const CALLS_OF_A_LIFE: [&str; 2] = ["agent.open.error", "agent.give_back.error"];

/// Longer than anybody waits.
const FOR_EVER: &str = "sleep(60000)";

fn draw_listener(rng: &mut Rng) -> &'static str {
    rng.choice(["listener.serve=50%", "listener.drain=50%", "child.ping=2%"]).unwrap_or_default()
}

/// One fail point and what happens there, as the agent's environment says it.
pub(crate) fn draw(channel: Channel, rng: &mut Rng) -> String {
    let mut pick = |among: &[&'static str]| *rng.choice(among).unwrap();
    let (handler, once, future) = (pick(&HANDLERS), pick(&ONCE), pick(&FUTURES));
    let (before_commit, round_commit) = (pick(&BEFORE_COMMITS), pick(&ROUND_COMMITS));
    let (call, call_of_a_life) = (pick(&CALLS), pick(&CALLS_OF_A_LIFE));
    let error = ["before", "after", "before, refused", "after, refused"].map(|how| format!("return({how})"));
    let error = rng.choice(error).unwrap();
    let percent = f64::from(rng.u32(5..100)) / 10.0;
    let kinds = if channel == Channel::Embedded { 23 } else { 16 };
    match rng.u8(0..kinds) {
        0..=3 => format!("{handler}={percent}%panic"),
        4 => format!("{future}={percent}%panic"),
        5 => format!("{handler}={percent}%sleep({})", rng.u32(1..800)),
        6 | 7 => format!("{future}={percent}%return"),
        8..=10 => format!("{call}={}%{error}", rng.u32(1..40)),
        11 => format!("{call_of_a_life}=50%{error}"),
        12 | 13 => format!("{once}=50%panic"),
        14 => format!("{once}=50%{FOR_EVER}"),
        16 => format!("{before_commit}={percent}%panic"),
        // What the listener lives through; every child is asked, it among them.
        17 | 18 => format!("{}panic", draw_listener(rng)),
        19.. => format!("{round_commit}={}%sleep({})", percent * 5.0, rng.u32(1..400)),
        // These are seldom passed.
        _ if handler.starts_with("nanny") || handler.starts_with("supervisor") => format!("{handler}=8%{FOR_EVER}"),
        _ => format!("{handler}=1%{FOR_EVER}"),
    }
}
