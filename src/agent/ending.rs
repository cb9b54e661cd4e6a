//! The end of the process: every lease that is still open is given back, and the books are closed.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use slog::{Logger, error, info, warn};

use super::{
    channel_health::say_lost,
    exit::{Exit, code},
};
use crate::{
    backoff::Backoff,
    channel::Channel,
    failpoint::failing,
    observe::log::INDENTED_LINES,
    status::{Latest, ledger::Ledger},
    supervision,
};

/// How long giving back what is left may take at the end, beyond the shutdown time-out.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

/// How long counting what waits may take at the end.
const COUNT_WITHIN: Duration = Duration::from_millis(500);

/// How long the channel may take to tidy up.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// Gives back every lease that is still open, of every publisher at once, and says how the books stand. `joined` when every thread
/// has ended.
pub(super) async fn give_back(of: &[Consumer], latest: &Latest, exit: Exit, joined: bool, log: &Logger) -> Exit {
    if !joined {
        warn!(log, "a thread did not end; what it holds is given back under it");
    }
    let ends = join_all(of.iter().map(|(channel, log)| give_back_of(channel.as_ref(), exit.clone(), joined, log))).await;
    let snapshot = latest.brief_now();
    for ((publisher, (_, log)), (_, counted)) in snapshot.publishers.iter().zip(of).zip(&ends) {
        Ledger { of: publisher, waiting: publisher.waiting.filter(|_| *counted) }.say(log);
    }
    let exit = ends.into_iter().map(|(other, _)| other).find(|other| *other != exit).unwrap_or(exit);
    say_end(&exit, snapshot.publishers.iter().all(|publisher| publisher.tally.difference == 0), log);
    exit
}

/// A publisher's channel, and the log that names it.
pub(super) type Consumer = (Arc<dyn Channel>, Logger);

/// Returns whether what waits was counted at the end, too.
async fn give_back_of(channel: &dyn Channel, exit: Exit, joined: bool, log: &Logger) -> (Exit, bool) {
    let registry = channel.registry();
    if !joined {
        // Should it serve the connection, a call would find out after its whole time-out, and there is no more time than that.
        channel.reconnect();
    }
    let open = registry.abandon();
    let exit = if registry.dropped().is_empty() {
        exit
    } else {
        match give_back_within(channel, GIVE_BACK_WITHIN).await {
            Ok(messages) => {
                // A receiver that was waiting for the first message has left a lease with none.
                if messages > 0 {
                    info!(log, "messages were given back"; "messages" => messages, "open" => open);
                }
                exit
            }
            Err(why) => not_given_back(&why, exit, log),
        }
    };
    say_lost(registry.take_completed(), log);
    let depth = tokio::time::timeout(COUNT_WITHIN, channel.depth());
    let counted = joined && exit != Exit::NotGivenBack && matches!(depth.await, Ok(Ok(_)));
    // It is as safe without that, and only less tidy. A thread that hangs may keep it from coming.
    if joined && let Ok(Err(why)) = tokio::time::timeout(REST_WITHIN, channel.rest()).await {
        warn!(log, "the channel could not be tidied up"; "why" => %why);
    }
    (exit, counted)
}

/// Tries until it is done or the time is over: the connection may have been made by a thread that has ended.
async fn give_back_within(channel: &dyn Channel, time: Duration) -> Result<usize, String> {
    let mut why = "the channel did not answer in time".to_owned();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let tries = async {
        loop {
            match failing("agent.give_back.error", channel.give_back()).await {
                Ok(messages) => return messages,
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    };
    let given_back = tokio::time::timeout(time, tries).await;
    given_back.map_err(|_| why)
}

fn not_given_back(why: &str, exit: Exit, log: &Logger) -> Exit {
    warn!(log, "messages could not be given back; another agent has them when their leases expire"; "why" => why);
    if exit == Exit::Clean { Exit::NotGivenBack } else { exit }
}

pub(super) fn say_end(exit: &Exit, balanced: bool, log: &Logger) {
    match exit {
        Exit::Clean => info!(log, "stopped"; "exit_code" => exit.code()),
        // Why may be with lines to copy into the configuration.
        other => error!(
            log, #INDENTED_LINES, "stopped"; "exit_code" => other.code(), "balanced" => balanced, "why" => %other
        ),
    }
}

/// The end while the supervisor's thread hangs: gives back what can be given back without it, and says so. Returns the exit code.
pub(super) fn without_the_supervisor(of: Vec<Consumer>, latest: Latest, log: Logger) -> u8 {
    let (ended, end) = mpsc::channel();
    // What the thread hangs at may be the log, and then this hangs there, too.
    let gives_back = thread::Builder::new().spawn(move || {
        let Ok(runtime) = actix_rt::Runtime::new() else { return };
        let exit = Exit::GivenUp(supervision::Error::ThreadHung { child: "supervisor".to_owned() });
        let exit = runtime.block_on(give_back(&of, &latest, exit, false, &log));
        let _ = ended.send(exit.code());
    });
    if gives_back.is_err() {
        return code::HUNG;
    }
    end.recv_timeout(GIVE_BACK_WITHIN + REST_WITHIN).unwrap_or(code::HUNG)
}
