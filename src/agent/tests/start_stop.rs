//! Every actor started, failed and stopped hundreds of times, at every moment of its life: each ends, and nothing is left of it.

use std::{collections::BTreeSet, future::Future, pin::Pin};

use tokio::task::yield_now;

use super::{
    super::{Wired, ending, wire},
    *,
};
use crate::{
    channel::{Intake, Refused},
    status::{Latest, Snapshot},
    supervision::{Children, Closing, Nobody, Reports, Rules, Stop, Supervision},
};

const ACTORS: [&str; 5] = ["receiver", "batcher", "publisher 1", "nanny", "listener"];

/// Whether an actor fails besides: at the moment of the stop, or so many moments after it, while the tree drains.
const FAILURES: [Option<usize>; 4] = [None, Some(0), Some(3), Some(9)];

/// Moments that the scheduler makes, and then some between the timers of a tree at work.
const STEPS: usize = 30;
const MOMENTS: usize = STEPS + 10;

const MESSAGES: usize = 30;

/// Lets a tree live until a moment.
async fn until(moment: usize) {
    for _ in 0..moment.min(STEPS) {
        yield_now().await;
    }
    if let Some(late @ 1..) = moment.checked_sub(STEPS) {
        tokio::time::sleep(Duration::from_millis(7) * u32::try_from(late).unwrap()).await;
    }
}

/// Clients that never come.
struct NoClients;

#[async_trait(?Send)]
impl Intake for NoClients {
    fn bind(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn refused(&self) -> Vec<Refused> {
        Vec::new()
    }

    async fn serve(&self, closing: Pin<Box<dyn Future<Output = ()>>>) -> Result<(), ChannelError> {
        closing.await;
        Ok(())
    }
}

/// A destination that takes a while.
struct Slow;

#[async_trait(?Send)]
impl Publisher for Slow {
    fn destination(&self) -> String {
        "a slow one".to_owned()
    }

    fn load(&mut self, _: Arc<MessageSet>) {}

    async fn write(&mut self) -> Outcome {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Outcome::Written { refused: Vec::new() }
    }

    async fn probe(&mut self) -> Outcome {
        self.write().await
    }
}

/// A tree of every actor, over a channel with messages in it.
fn tree(memory: &Arc<Memory>, arrange: impl FnOnce(&mut Children)) -> Supervision {
    let mut settings = config::load_or(Path::new("/nonexistent"), None, super::QUIET).unwrap().settings;
    settings.publisher.workers = 2;
    settings.batch.max_messages = 5;
    settings.supervisor.backoff_min = Duration::from_millis(2);
    settings.supervisor.backoff_max = Duration::from_millis(20);
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let (channel, closing) = (Arc::clone(memory) as Arc<dyn Channel>, Closing::default());
    let pipeline = Pipeline { channel, publishers: Publishers::new(|| Box::new(Slow)) };
    let wired = settings
        .pipelines()
        .into_iter()
        .map(|of| {
            Wired::new(
                Pipeline { channel: Arc::clone(&pipeline.channel), publishers: pipeline.publishers.clone() },
                of,
                &settings,
                &closing,
                &log,
            )
        })
        .collect::<Vec<_>>();
    let mut children = wire(&settings, &wired, None, &crate::status::tap::Tap::default(), &closing);
    arrange(&mut children);
    let rules = Rules {
        restarts: settings.supervisor,
        drain_within: settings.agent.shutdown_timeout,
        observer: Box::new(Nobody),
        reports: Reports::default(),
        closing,
        log,
    };
    Supervision::start(children, rules, || 71)
}

/// A channel in memory that clients could push to.
fn channel() -> Arc<Memory> {
    let memory = Arc::new(Memory { intake: Some(Arc::new(NoClients)), ..Memory::default() });
    (0..MESSAGES).for_each(|number| memory.push(&format!("m{number}")));
    memory
}

/// Waits for the end, and looks for what is left. Returns how many messages were published.
async fn ends(supervision: Supervision, memory: Arc<Memory>, told: &str) -> usize {
    let (end, joined) = supervision.ended().await;
    assert_eq!((end, joined), (Ok(()), true), "{told}");
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let (of, latest) = ([(Arc::clone(&memory) as _, log.clone())], Latest::of(Snapshot::example()));
    assert_eq!(ending::give_back(&of, &latest, Exit::Clean, joined, &log).await, Exit::Clean);
    drop(of);
    let tally = memory.registry.tally();
    assert!(tally.balances() && tally.in_flight == 0, "{told}: {tally:?}");
    assert_eq!((memory.leased(), memory.done() + memory.waiting()), (0, MESSAGES), "{told}: {tally:?}");
    let done = memory.done();
    // Every actor holds the channel, but for the Batcher, whose Publishers do.
    let (channel, intake) = (Arc::downgrade(&memory), memory.intake.as_ref().map(Arc::downgrade).unwrap());
    drop(memory);
    for _ in 0..100 {
        if channel.strong_count() == 0 {
            break;
        }
        yield_now().await;
    }
    assert_eq!((channel.strong_count(), intake.strong_count()), (0, 0), "{told}: an actor is still there");
    done
}

#[test]
fn every_actor_can_fail_and_be_stopped_at_every_moment_and_nothing_is_left() {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(async {
        let mut published = BTreeSet::new();
        for actor in ACTORS {
            for failure in FAILURES {
                for moment in 0..MOMENTS {
                    let memory = channel();
                    let supervision = tree(&memory, Children::on_one_thread);
                    until(moment).await;
                    if failure == Some(0) {
                        supervision.fail(actor);
                    }
                    let stop = supervision.stop();
                    stop.do_send(Stop { by: "SIGTERM" });
                    if let Some(after @ 1..) = failure {
                        until(after).await;
                        supervision.fail(actor);
                        stop.do_send(Stop { by: "a second SIGTERM" });
                    }
                    let told = format!("{actor} that fails after {failure:?}, stopped at {moment}");
                    let begun = tokio::time::Instant::now();
                    published.insert(ends(supervision, memory, &told).await);
                    assert!(begun.elapsed() < Duration::from_secs(1), "{told}: it took {:?}", begun.elapsed());
                }
            }
        }
        assert!(published.len() > 2 && published.contains(&0) && published.contains(&MESSAGES), "at every moment: {published:?}");
    });
}

#[test]
fn threads_and_descriptors_end_with_the_actors_whose_they_are() {
    let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    // The first runtime of a process opens what all of them use, and it stays open.
    drop(actix_rt::System::new());
    let before = (count("task"), count("fd"));
    for moment in 0..60 {
        let system = actix_rt::System::new();
        system.block_on(async {
            let memory = channel();
            let supervision = tree(&memory, |_| ());
            until(moment % STEPS).await;
            if moment % 3 == 0 {
                supervision.fail(ACTORS[moment % ACTORS.len()]);
            }
            supervision.stop().do_send(Stop { by: "SIGTERM" });
            ends(supervision, memory, &format!("stopped at {moment}")).await;
        });
        drop(system);
        // The thread that watches the supervisor's ends by itself.
        let end = Instant::now() + SOON;
        while count("task") > before.0 || count("fd") > before.1 {
            let left = (count("task"), count("fd"));
            assert!(Instant::now() < end, "stopped at {moment}: {left:?} threads and descriptors, {before:?} before");
            thread::yield_now();
        }
    }
}
