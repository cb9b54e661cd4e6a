//! The connections that are open: only so many, each only for so long.

use std::{cell::RefCell, collections::VecDeque, future::Future, time::Duration};

use slog::{Logger, error};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};

/// How many at once: each takes a file descriptor, and may have up to 128 KiB of a head that has not ended.
const MOST: usize = 16;
/// From this age on an answer is the last of its connection.
const LAST_ANSWER_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long a connection may last at most, so that whoever reads or writes a byte now and then does not keep it.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// When a connection was accepted.
#[derive(Clone, Copy)]
pub(super) struct Since(Instant);

impl Since {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether its next answer is to be the last.
    pub(super) fn is_long_ago(self) -> bool {
        self.0.elapsed() > LAST_ANSWER_AFTER
    }
}

/// All that are open. When this is dropped they end.
pub(super) struct Connections {
    open: RefCell<Open>,
    log: Logger,
}

#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    /// The oldest first.
    ends: VecDeque<AbortHandle>,
}

impl Connections {
    pub(super) fn new(log: Logger) -> Self {
        Self { open: RefCell::default(), log }
    }

    /// Completes once none is open; no more are to be added.
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut self.open.borrow_mut().tasks);
        while tasks.join_next().await.is_some() {}
    }

    /// Serves one more. The oldest goes where there are too many: those that are many and do nothing are the oldest, and whoever
    /// comes now and asks at once has an answer before as many more have come.
    pub(super) fn add(&self, serve: impl Future<Output = ()> + 'static) {
        let mut open = self.open.borrow_mut();
        let Open { tasks, ends } = &mut *open;
        while let Some(ended) = tasks.try_join_next() {
            if let Err(fault) = ended.map_err(|error| error.try_into_panic().is_ok())
                && fault
            {
                error!(self.log, "a request for the status ended by a fault of the agent");
            }
        }
        ends.retain(|end| !end.is_finished());
        if ends.len() >= MOST
            && let Some(oldest) = ends.pop_front()
        {
            oldest.abort();
        }
        ends.push_back(tasks.spawn_local(async {
            drop(timeout(LONGEST, serve).await);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, rc::Rc};

    use slog::{Discard, o};

    use super::*;

    #[actix_rt::test]
    async fn the_oldest_makes_room() {
        let connections = Connections::new(Logger::root(Discard, o!()));
        let counted: Vec<_> = (0..MOST + 3).map(|_| Rc::new(())).collect();
        for held in &counted {
            let held = Rc::clone(held);
            connections.add(async move {
                pending::<()>().await;
                drop(held);
            });
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let open: Vec<_> = counted.iter().map(|held| Rc::strong_count(held) > 1).collect();
        assert_eq!(open.iter().filter(|open| **open).count(), MOST);
        assert!(!open[2] && open[3]);
        drop(connections);
        tokio::task::yield_now().await;
        assert!(counted.iter().all(|held| Rc::strong_count(held) == 1));
    }
}
