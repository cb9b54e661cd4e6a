//! What the agent is told to do while it runs, and what it does before it works: it waits for its channel.

use slog::{Logger, info};
use tokio::sync::{Notify, mpsc::UnboundedReceiver};

use super::{channel_health::ChannelHealth, exit::Exit};
use crate::{
    backoff::Backoff,
    channel::{Channel, ChannelError, RECONNECT},
    connect,
    failpoint::failing,
};

/// What the agent is told to do while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To stop: flush what can be flushed, give the rest back.
    Stop {
        /// Which signal says so.
        by: &'static str,
    },
    /// To reload the configuration, and to read passwords, tokens and certificates again.
    Reload,
}

/// Opens the channel, however long that takes, and says how the agent is while that fails. Returns the reason when it cannot be done, or
/// when told to stop first. What is to be reloaded meanwhile is once the agent works.
pub(super) async fn open(
    channel: &dyn Channel,
    health: &ChannelHealth,
    say_status: impl Fn(),
    log: &Logger,
    (orders, reloads): (&mut UnboundedReceiver<Order>, &Notify),
) -> Option<Exit> {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let opened = tokio::select! {
            opened = failing("agent.open.error", channel.open()) => opened,
            () = stopped(orders, reloads, log) => return Some(Exit::Clean),
        };
        match opened {
            Ok(reached) => {
                health.is_open();
                info!(log, "receiving"; "from" => reached);
                return None;
            }
            Err(error @ ChannelError::Unusable { .. }) => return Some(Exit::ChannelUnusable { why: error.to_string() }),
            Err(error) => {
                health.say_failed(&error);
                say_status();
            }
        }
        if let Ok(Told::Stop) = tokio::time::timeout(backoff.next_pause(), told(orders, reloads, log)).await {
            return Some(Exit::Clean);
        }
    }
}

/// What the agent was told before it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// To stop.
    Stop,
    /// To use what may have been mended.
    TryAgain,
}

/// Completes when the agent is told something.
async fn told(orders: &mut UnboundedReceiver<Order>, reloads: &Notify, log: &Logger) -> Told {
    match orders.recv().await {
        Some(Order::Stop { by }) => {
            info!(log, "stopping"; "by" => by);
            Told::Stop
        }
        Some(Order::Reload) => {
            read_secrets(log);
            reloads.notify_one();
            Told::TryAgain
        }
        // No sender is left.
        None => std::future::pending().await,
    }
}

/// Completes when the agent is told to stop.
async fn stopped(orders: &mut UnboundedReceiver<Order>, reloads: &Notify, log: &Logger) {
    while told(orders, reloads, log).await != Told::Stop {}
}

/// Password files are read when they are used, so that only certificates are kept in between.
pub(super) fn read_secrets(log: &Logger) {
    connect::read_certificates_anew();
    info!(log, "told to read passwords, tokens and certificates again; what was refused is tried again at once");
}
