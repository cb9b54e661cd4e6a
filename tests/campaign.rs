//! Nothing lost, nothing doubled, under many faults at once.
//!
//! Real servers, one to three agents as processes, one to three publishers, producers that number their messages, and a
//! schedule of faults drawn from a seed. At the end every fault is lifted, what is left is drained, and what is in each database, each
//! publisher's dead letters and what the channel holds are compared with what was sent, one message at a time and for
//! each publisher by itself: what was answered is there once, what was refused is nowhere, and what was not answered is there once or
//! nowhere. A publisher that may drop its oldest messages has each once or not at all, and as many are nowhere as it says that it has
//! dropped. The same holds of a queue that drops what finds no room: there an agent that is killed is asked just before what it has
//! dropped, while nobody pushes, and no more may be nowhere of what was answered than all of them say, and than waited for the disk. Points that were in a database when it was dropped count as stored. An agent whose ledger does not balance at any
//! moment panics, which is no panic of a fail point, and so fails the run; as does one that takes too much memory or ends in an
//! unknown way.
//!
//! Over the embedded channel there is one agent, to which several kinds of clients push. It is killed many times in quick
//! succession, its commits are slowed down so that kills find them, and its disk is full now and then.
//!
//! Over Sentinels and over a cluster, the server that has the queue is killed, frozen or failed over by command while it is drained, and
//! the queue's slot moves. A replica has what its primary has done a moment later, so a failover may undo the last of it, and it is
//! known exactly what: what was pushed may be lost unless the replica had acknowledged it (`WAIT`), and as many messages may be done
//! once more as are held by the server that becomes the primary and not by the one that was it, message by message. A server that the
//! Sentinels name no more goes on as a primary for some seconds, and no agent may use it for long.
//!
//! An agent may serve two queues: on one Redis, or, in the beginning, on two nodes of a cluster, of which faults strike the one that has the
//! first queue. What is promised holds of both together.
//!
//! One publisher writes to a real InfluxDB 1.x. Of several each has its own server, drawn among that, a real VictoriaMetrics
//! and strict stand-ins for InfluxDB 2 and 3, with its own way there and faults of its own on both.
//!
//! Which faults there are is in `campaign/schedule.rs`, which fail points in `campaign/fail_points.rs`; a test of its own
//! says that each is drawn, and that no fail point of the agent is left out.
//!
//! ```sh
//! cargo nextest run --features failpoints campaign                            # a short run, as with every test run
//! cargo test --features failpoints --test campaign -- --seconds 600 --seed 42  # a longer one, of this schedule
//! ```
//!
//! The first runs all channels beside each other, with one publisher, with several, over another Redis and to another database; the
//! second runs each after the other. For one of them, and longer:
//!
//! - `--channel redis`, `embedded`, `sentinel` or `cluster`; all without it;
//! - `--publishers 2` or `3`; one without it, with the schedule that the seed has always had;
//! - `--queues 2`, over any but the embedded channel; one without it;
//! - `--redis redis-6.2.5`, or another of those that `tests/run` installs, in place of Debian's Redis; with
//!   `--redis upgraded` it is stopped and started as its next version now and then;
//! - `--to influxdb2`, `influxdb3` or `victoriametrics`, for a single publisher.
//!
//! The seed decides every fault, when it begins and how long it lasts, each agent's configuration and fail points and
//! what the messages are. Which message a fault hits depends on the machine besides, so a seed that fails may have to
//! be run more than once. `--keep FOLDER`, which must be empty or not there yet, leaves the agents' logs and what Redis
//! has written there. A run that fails leaves them in a temporary folder, and says which.

// What is forbidden on data from outside is fine here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout
)]

#[path = "support/mod.rs"]
mod support;

#[path = "campaign/agents.rs"]
mod agents;
#[path = "campaign/arguments.rs"]
mod arguments;
#[path = "campaign/check.rs"]
mod check;
#[path = "campaign/destination.rs"]
mod destination;
#[path = "campaign/drawn.rs"]
mod drawn;
#[path = "campaign/fail_points.rs"]
mod fail_points;
#[path = "campaign/group.rs"]
mod group;
#[path = "campaign/held.rs"]
mod held;
#[path = "campaign/messages.rs"]
mod messages;
#[path = "campaign/producers.rs"]
mod producers;
#[path = "campaign/proxy.rs"]
mod proxy;
#[path = "campaign/publishers.rs"]
mod publishers;
#[path = "campaign/queue.rs"]
mod queue;
#[path = "campaign/raw.rs"]
mod raw;
#[path = "campaign/run.rs"]
mod run;
#[path = "campaign/schedule.rs"]
mod schedule;
#[path = "campaign/whereabouts.rs"]
mod whereabouts;
#[path = "campaign/world.rs"]
mod world;

use std::process::ExitCode;

use arguments::{Campaign, Wanted};

/// What the campaign itself is held to, without a run.
const OF_ITSELF: [(&str, fn()); 3] = [
    ("every_fault_and_every_fail_point_is_drawn", drawn::check),
    ("a_server_that_is_promoted_and_not_named_yet_is_left_alone", group::check_promoted),
    ("a_node_that_was_frozen_and_is_the_primary_no_more_executes_nothing", group::check_held_back),
];

/// How cargo's own harness says that a test failed.
const FAILED: u8 = 101;

fn main() -> ExitCode {
    match arguments::wanted(std::env::args().skip(1)) {
        Wanted::List(tests) => tests.iter().for_each(|name| println!("{name}: test")),
        Wanted::Run(_, options) if !run::can_keep(&options) => return ExitCode::from(FAILED),
        Wanted::Run(tests, options) => {
            for name in tests {
                if let Some((_, check)) = OF_ITSELF.iter().find(|(of_itself, _)| *of_itself == name) {
                    check();
                } else if !Campaign::of_test(name).is_some_and(|campaign| run::run(name, campaign, &options)) {
                    return ExitCode::from(FAILED);
                }
            }
        }
    }
    ExitCode::SUCCESS
}
