//! A supervisor on a clock that is moved.

use std::sync::{Mutex, mpsc};

use super::*;
use crate::supervision::{Drain, Supervision, Thread, answers_pings};

struct Idle {
    life: Life,
}

impl Actor for Idle {
    type Context = Context<Self>;
}

impl Handler<Drain> for Idle {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.life.say_drained();
    }
}

answers_pings!(Idle);

#[actix_rt::test]
async fn no_child_is_to_blame_for_not_having_started_while_the_whole_process_stood_still() {
    tokio::time::pause();
    let (starts, waits) = mpsc::channel::<()>();
    let mut children = Children::default();
    let waits = Mutex::new(waits);
    children.add("slow", Thread::Named("slow".to_owned()), 0, move |life| {
        let _ = waits.lock().map(|waits| waits.recv());
        Idle { life }
    });
    // A clock that stands while nothing is to be done jumps to each look, of which there must be many until then.
    let hang_timeout = Duration::from_secs(10_000_000);
    let rules = Rules {
        restarts: config::Supervisor {
            max_restarts: 0,
            window: hang_timeout,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
            hang_timeout,
        },
        drain_within: Duration::from_secs(1),
        observer: Box::new(Nobody),
        reports: Reports::default(),
        closing: Closing::default(),
        log: slog::Logger::root(slog::Discard, slog::o!()),
    };
    let supervision = Supervision::start(children, rules, || 0);
    tokio::time::sleep(2 * LOOK_EVERY).await;
    tokio::time::advance(2 * hang_timeout).await;
    drop(starts);
    supervision.stop().do_send(Stop { by: "the test" });
    assert!(supervision.ended().await.0.is_ok());
}
