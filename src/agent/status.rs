//! What is told of the agent while it runs: to systemd, from a snapshot.

use std::{sync::Arc, time::Duration};

use super::snapshots::Maker;
use crate::{observe::systemd::Notifier, status::words, supervision::Observer};

/// Speaks for the agent; feeds the watchdog while every child makes progress.
pub(super) struct Status {
    notifier: Arc<Notifier>,
    maker: Arc<Maker>,
}

impl Status {
    pub(super) fn new(notifier: Arc<Notifier>, maker: Arc<Maker>) -> Self {
        Self { notifier, maker }
    }
}

impl Observer for Status {
    /// How often the watchdog wants to be fed, if there is one.
    fn interval(&self) -> Option<Duration> {
        self.notifier.watchdog_interval()
    }

    fn looked(&mut self, healthy: bool) {
        if healthy {
            self.notifier.watchdog();
        }
        self.maker.measure();
        if self.notifier.is_heard() {
            self.notifier.status(&words::line(&self.maker.make_brief()));
        }
    }

    fn stopping(&mut self) {
        self.maker.is_stopping();
        self.notifier.stopping();
    }
}
