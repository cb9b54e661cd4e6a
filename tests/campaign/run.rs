//! A run from its seed to its verdict. Nothing in it waits without a deadline.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use super::{
    arguments::{Campaign, Options, Settled},
    check,
    destination::Destination,
    schedule::{self, Schedule},
    world::{FailPoints, World},
};
use crate::support::process::wait_for;

/// What the whole run may take beyond its faults, and as long again as those were made for what they have left behind.
const REST: Duration = Duration::from_secs(130);

/// How long the backlog may stand still while it is drained at the end.
const DRAIN: Duration = Duration::from_secs(60);

/// How long several servers may take until nothing is left of a fault.
const READY: Duration = Duration::from_secs(60);

/// The most memory that an agent may have, in KiB: a few batches of 10,000 messages, not optimised, and far less than
/// what answers without end would fill.
const MOST_MEMORY: u64 = 200 << 10;

/// Whether there is nothing yet where the logs are to stay: those of an earlier run would be taken for this one's.
pub(crate) fn can_keep(options: &Options) -> bool {
    let Some(folder) = &options.keep else { return true };
    let is_empty = fs::read_dir(folder).map_or(!folder.exists(), |mut files| files.next().is_none());
    if !is_empty {
        eprintln!("--keep {} is not an empty folder; name one that is, or that is not there yet", folder.display());
    }
    is_empty
}

/// Says whether nothing was wrong.
pub(crate) fn run(name: &str, campaign: Campaign, options: &Options) -> bool {
    let (keep, settled) = (&options.keep, campaign.settle(options));
    let length = Duration::from_secs(settled.seconds);
    let arguments = settled.arguments();
    eprintln!("campaign: {arguments}");
    settled.publishers.iter().for_each(|publisher| eprintln!("{publisher:?}"));
    eprintln!("when_full: {}", settled.when_full);
    if !cfg!(feature = "failpoints") {
        eprintln!("built without the feature failpoints: no handler fails in this run");
    }
    if !cfg!(debug_assertions) {
        eprintln!("built without debug assertions: the ledgers are looked at in the end rather than at every change");
    }
    let mut temporary = tempfile::tempdir().unwrap();
    let folder = &keep.as_deref().unwrap_or(temporary.path()).join(name);
    fs::create_dir_all(folder).unwrap();
    let again = format!("again: cargo test --features failpoints --test campaign -- {arguments}");
    let hung = again.clone();
    thread::spawn(move || {
        thread::sleep(2 * length + REST);
        // Servers and agents end with the thread that started them.
        eprintln!("the campaign hangs; {hung}");
        process::exit(super::FAILED.into());
    });

    let schedule = schedule::draw(&settled, length);
    let mut world = World::start(&settled, schedule.agents, folder);
    let aid = if schedule.unaided { "by themselves" } else { "with fail points" };
    eprintln!("agents, {aid}: {}", schedule.agents);
    let begin = Instant::now();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| live(&mut world, &schedule, &settled, folder)));
    if ended.is_err() {
        let lives: Vec<String> = world.agents.iter().filter_map(|slot| slot.life()).map(|life| life.tail()).collect();
        world.violations.push(format!("the campaign could not go on; see above\n{}", lives.join("\n")));
    }
    eprintln!("an agent's most memory: {} MiB; all took {:.0} s", world.peak_memory >> 10, begin.elapsed().as_secs_f64());
    let well = world.violations.is_empty();
    if keep.is_some() || !well {
        world.queue.keep(folder);
    }
    if well {
        eprintln!("nothing lost, nothing doubled");
        return true;
    }
    temporary.disable_cleanup(true);
    eprintln!("what is needed to understand it is in {}", folder.display());
    for violation in &world.violations {
        eprintln!("violation: {violation}");
    }
    eprintln!("{again}");
    false
}

/// All of it: faults, the end of the faults, the drain, the checks.
fn live(world: &mut World, schedule: &Schedule, settled: &Settled, folder: &Path) {
    let producers = world.producers(settled.seed, folder);
    make_faults(world, schedule, Duration::from_secs(settled.seconds));
    let sent = producers.stop();
    eprintln!("no more faults; {} messages were sent", sent.len());
    if !schedule.unaided {
        world.end_agents();
        world.calm();
    }
    world.drain(DRAIN);
    world.calm();
    world.end_agents();
    check::check(world, &sent);
    if world.peak_memory > MOST_MEMORY {
        world.violations.push(format!("an agent took {} MiB of memory", world.peak_memory >> 10));
    }
}

/// One step of the schedule.
enum Step<'a> {
    Begin(&'a schedule::Event),
    End(&'a schedule::Event),
    CreateDatabase,
}

fn make_faults(world: &mut World, schedule: &Schedule, length: Duration) {
    let mut steps = vec![(schedule.database_at, Step::CreateDatabase)];
    for event in &schedule.events {
        steps.push((event.at, Step::Begin(event)));
        steps.push((event.at + event.lasts, Step::End(event)));
    }
    steps.sort_by_key(|(at, _)| *at);
    let mut steps = steps.into_iter().peekable();
    let new_lives = if schedule.unaided { FailPoints::None } else { FailPoints::Drawn };
    let mut begin = Instant::now();
    while begin.elapsed() < length || steps.peek().is_some() {
        while let Some((_, step)) = steps.next_if(|(at, _)| begin.elapsed() >= *at) {
            match step {
                Step::Begin(event) => {
                    // Meanwhile the schedule's time stands still.
                    let waits = Instant::now();
                    let what = format!("the Redis to be ready for another fault: {event}");
                    wait_for(&what, READY, || {
                        world.attend(Some(new_lives));
                        world.is_ready_for(event).then_some(())
                    });
                    begin += waits.elapsed();
                    eprintln!("{event}");
                    world.begin(event);
                }
                Step::End(event) => world.end(event),
                Step::CreateDatabase => {
                    eprintln!("{:7.3} s  the database is created", schedule.database_at.as_secs_f64());
                    world.destinations.iter().for_each(Destination::create_database);
                }
            }
        }
        world.attend(Some(new_lives));
        thread::sleep(Duration::from_millis(10));
    }
}
