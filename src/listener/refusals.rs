//! What is refused to clients, and who is turned away or cut off: counted by cause, and in the log at once, at growing
//! intervals, and when it is over; with how many there were and where one of them came from.

use std::{
    convert::Infallible,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use slog::{KV, Logger, Record, Serializer, info, warn};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    backend::PushError,
    cause::{Cause, Limits},
    settings::Settings,
};
use crate::{
    codes::Code,
    config::WhenFull,
    duration::for_people,
    quote::quote,
    rate_limit::{LAST_INTERVAL, RateLimit},
};

const FULL: &str = "the queue's file has no room for it within channel.embedded.max_bytes; see why messages are not published if many \
                    wait, delete dead letters, or raise channel.embedded.max_bytes";

const UNANSWERED: &str = "a write to the queue's file does not end, so that a connection was closed without an answer: what was pushed last is \
                          stored later or never; see what keeps the disk from its work (dmesg says more)";

/// After how long without another one it is over.
const QUIET: Duration = Duration::from_secs(60);

/// A reason for which clients were refused something, turned away or cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name, which never changes.
    pub reason: &'static str,
    /// Its code.
    pub code: Code,
    /// What it means, and mostly what to do about it: a sentence.
    pub what: String,
    /// More about the newest, where more is known.
    pub why: Option<String>,
    /// How often, since the process started.
    pub times: u64,
    /// What is counted: pushes, messages or clients.
    pub unit: &'static str,
    /// For how long already, when it is not over.
    pub lasts: Option<Duration>,
}

/// What was noted of each cause, since the process started.
#[derive(Debug)]
pub(crate) struct Refusals {
    log: Logger,
    places: AtomicUsize,
    timeout: Duration,
    drops: bool,
    noted: Mutex<[Noted; Cause::ALL.len()]>,
    /// Whether the queue took nothing when it was last asked to.
    queue_refuses: AtomicBool,
    /// That something is left to say later.
    later: Notify,
}

/// What was noted of a cause.
#[derive(Debug, Default)]
struct Noted {
    /// Since the start.
    times: u64,
    lasting: Option<Lasting>,
    log_rate: RateLimit,
    /// The address of the newest client.
    example: String,
    /// What the queue's file said of the newest.
    why: Option<String>,
}

/// Since it began.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    since: Instant,
    last: Instant,
    times: u64,
    /// It is in the log, and so its end will be.
    said: bool,
}

impl Noted {
    fn add(&mut self, times: u64, now: Instant) {
        self.times += times;
        let lasting = self.lasting.get_or_insert(Lasting { since: now, last: now, times: 0, said: false });
        lasting.times += times;
        lasting.last = now;
    }

    /// When it is over, if nothing more comes.
    fn over(&self, cause: Cause) -> Option<Instant> {
        // The queue may well refuse what comes next, however late that is.
        let quiet = if cause.is_of_the_queue() { LAST_INTERVAL } else { QUIET };
        self.lasting.map(|lasting| lasting.last + quiet)
    }
}

impl Refusals {
    pub(crate) fn new(settings: &Settings, log: &Logger) -> Self {
        Self {
            log: log.clone(),
            places: AtomicUsize::new(settings.max_connections),
            timeout: settings.timeout,
            drops: settings.when_full != WhenFull::Refuse,
            noted: Mutex::new(std::array::from_fn(|_| Noted::default())),
            queue_refuses: AtomicBool::new(false),
            later: Notify::new(),
        }
    }

    /// So many clients may be connected after all.
    pub(super) fn set_places(&self, places: usize) {
        self.places.store(places, Ordering::Relaxed);
    }

    fn sentence(&self, cause: Cause) -> String {
        cause.sentence(Limits { places: self.places.load(Ordering::Relaxed), timeout: self.timeout, drops: self.drops })
    }

    /// It has happened to a client with this address.
    pub(super) fn note(&self, cause: Cause, example: &str) {
        self.note_all(cause, 1, example, None);
    }

    fn note_all(&self, cause: Cause, times: u64, example: &str, why: Option<String>) {
        let now = Instant::now();
        let mut all = self.lock();
        let Some(noted) = all.get_mut(cause as usize) else { return };
        example.clone_into(&mut noted.example);
        noted.why = why;
        noted.add(times, now);
        let count = noted.log_rate.note(usize::try_from(times).unwrap_or(usize::MAX), now);
        if let Some(count) = count {
            self.say(cause, noted, count);
        }
        self.later.notify_one();
    }

    /// The queue has refused so many pushes of a client.
    pub(super) fn refused(&self, error: &PushError, pushes: u64, example: &str) {
        let why = match error {
            PushError::Full => FULL.to_owned(),
            PushError::Failed { why, .. } => quote(why),
        };
        self.queue_refuses.store(true, Ordering::Relaxed);
        self.note_all(error.cause(), pushes, example, Some(why));
    }

    /// A client got no answer, since the queue can neither take nor refuse what it pushed.
    pub(super) fn unanswered(&self, example: &str) {
        self.queue_refuses.store(true, Ordering::Relaxed);
        self.note_all(Cause::Stalled, 1, example, Some(UNANSWERED.to_owned()));
    }

    /// The queue has dropped so many messages, to make room for a push of this client.
    pub(super) fn dropped_oldest(&self, messages: u64, example: &str) {
        if messages > 0 {
            self.note_all(Cause::DroppedOldest, messages, example, None);
        }
    }

    /// So many messages were answered before they were stored, the newest of them this client's.
    pub(super) fn answered_early(&self, messages: u64, example: &str) {
        if messages > 0 {
            self.note_all(Cause::AnsweredEarly, messages, example, None);
        }
    }

    /// The queue has taken a push.
    pub(super) fn taken(&self) {
        if !self.queue_refuses.load(Ordering::Relaxed) {
            return;
        }
        self.queue_refuses.store(false, Ordering::Relaxed);
        let now = Instant::now();
        for (cause, noted) in Cause::ALL.iter().zip(self.lock().iter_mut()) {
            if cause.is_of_the_queue() {
                self.end(*cause, noted, now);
            }
        }
    }

    /// Why the queue takes nothing, if that is so.
    pub(super) fn why(&self) -> Option<String> {
        let all = self.lock();
        let of_the_queue = Cause::ALL.iter().zip(all.iter()).filter(|(cause, _)| cause.is_of_the_queue());
        let lasting = of_the_queue.filter_map(|(_, noted)| Some((noted.lasting?.last, noted.why.clone()?)));
        lasting.max_by_key(|(last, _)| *last).map(|(_, why)| why)
    }

    /// All of it as numbers.
    pub(crate) fn all(&self) -> Vec<Refused> {
        let now = Instant::now();
        let all = self.lock();
        let refused = |(cause, noted): (&Cause, &Noted)| Refused {
            reason: cause.name(),
            code: cause.code(),
            what: self.sentence(*cause),
            why: noted.why.clone(),
            times: noted.times,
            unit: cause.unit(),
            lasts: noted.lasting.filter(|_| !cause.is_wanted()).map(|lasting| now.saturating_duration_since(lasting.since)),
        };
        Cause::ALL.iter().zip(all.iter()).map(refused).collect()
    }

    /// Says what is left to say when it is time, also when nothing more happens.
    pub(super) async fn say_the_rest_in_time(&self) -> Infallible {
        loop {
            let due = {
                let all = self.lock();
                let dues = Cause::ALL.iter().zip(all.iter());
                dues.flat_map(|(cause, noted)| [noted.log_rate.due(), noted.over(*cause)]).flatten().min()
            };
            match due {
                None => self.later.notified().await,
                Some(due) => tokio::select! {
                    () = sleep_until(due) => self.say_what_is_due(Instant::now()),
                    // Which may be due earlier.
                    () = self.later.notified() => {}
                },
            }
        }
    }

    fn say_what_is_due(&self, now: Instant) {
        for (cause, noted) in Cause::ALL.iter().zip(self.lock().iter_mut()) {
            if let Some(count) = noted.log_rate.note(0, now) {
                self.say(*cause, noted, count);
            }
            if noted.over(*cause).is_some_and(|over| over <= now) {
                self.end(*cause, noted, now);
            }
        }
    }

    /// Says what is left to say at the end.
    pub(super) fn say_the_rest(&self) {
        for (cause, noted) in Cause::ALL.iter().zip(self.lock().iter_mut()) {
            if let Some(count) = noted.log_rate.rest() {
                self.say(*cause, noted, count);
            }
        }
    }

    fn say(&self, cause: Cause, noted: &mut Noted, count: usize) {
        if let Some(lasting) = &mut noted.lasting {
            lasting.said = true;
        }
        let sentence = self.sentence(cause);
        let values = Values { cause, count: count as u64, example: &noted.example, lasts: Some(noted.lasting.is_some()) };
        match &noted.why {
            // Wanted by a client.
            _ if cause.is_wanted() => info!(self.log, "{}", sentence; values),
            Some(why) => warn!(self.log, "{}", sentence; "why" => why, values),
            None => warn!(self.log, "{}", sentence; values),
        }
    }

    /// It is over. Said once, and only of what was said when it began: however often it comes and goes, that is seldom.
    fn end(&self, cause: Cause, noted: &mut Noted, now: Instant) {
        let Some(lasting) = noted.lasting.take().filter(|lasting| lasting.said && !cause.is_wanted()) else { return };
        // They are in the number that is said now.
        noted.log_rate.rest();
        let lasted = for_people(now.saturating_duration_since(lasting.since));
        let values = Values { cause, count: lasting.times, example: &noted.example, lasts: None };
        if !cause.is_of_the_queue() {
            let quiet = for_people(QUIET);
            info!(self.log, "over, since nothing more of it came for {}: {}", quiet, self.sentence(cause); "for" => lasted, values);
        } else if now.saturating_duration_since(lasting.last) < LAST_INTERVAL {
            info!(self.log, "what clients push is taken again, after {}", lasted; values);
        } else {
            let refused = if self.drops { "dropped" } else { "refused" };
            info!(self.log, "nothing that clients push was {} any more, for {}", refused, for_people(LAST_INTERVAL); values);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Noted; Cause::ALL.len()]> {
        // Nothing that holds it can panic half-way.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of a line.
struct Values<'a> {
    cause: Cause,
    count: u64,
    example: &'a str,
    /// Whether it is so still: what is said later may be over.
    lasts: Option<bool>,
}

impl KV for Values<'_> {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        serializer.emit_str("code", self.cause.code().name())?;
        serializer.emit_str("reason", self.cause.name())?;
        serializer.emit_u64(self.cause.unit(), self.count)?;
        serializer.emit_str("for_example", self.example)?;
        self.lasts.map_or(Ok(()), |lasts| serializer.emit_bool("lasts", lasts))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slog::{Drain, Never, OwnedKVList, Record, o};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Drain for Lines {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.0.lock().unwrap().push(record.msg().to_string());
            Ok(())
        }
    }

    fn full() -> PushError {
        PushError::Failed { cause: Cause::DiskFull, why: "no space".to_owned() }
    }

    #[test]
    fn every_cause_is_a_number_from_the_start_on() {
        let refusals = Refusals::new(&Settings::default(), &Logger::root(slog::Discard, o!()));
        assert_eq!(refusals.all().len(), Cause::ALL.len());
        assert!(refusals.all().iter().all(|refused| refused.times == 0 && refused.lasts.is_none()));
        refusals.refused(&full(), 3, "a");
        refusals.note(Cause::NoAuth, "b");
        refusals.note(Cause::Idle, "c");
        let times: Vec<_> = refusals.all().into_iter().filter(|refused| refused.times > 0).collect();
        let told = |refused: &Refused| (refused.reason, refused.times, refused.unit, refused.lasts.is_some());
        let expected = [("disk_full", 3, "pushes", true), ("no_password", 1, "pushes", true), ("idle", 1, "clients", false)];
        assert_eq!(times.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(refusals.why().as_deref(), Some("no space"));
        refusals.taken();
        assert_eq!((refusals.why(), refusals.all()[Cause::DiskFull as usize].times), (None, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_queue_refuses_is_over_with_the_next_push_it_takes_and_said_seldom_however_often_that_is() {
        let lines = Lines::default();
        let refusals = Refusals::new(&Settings::default(), &Logger::root(lines.clone(), o!()));
        let test = async {
            for _ in 0..1000 {
                refusals.refused(&full(), 1, "a");
                refusals.taken();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            never = refusals.say_the_rest_in_time() => match never {},
            () = test => {}
        }
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines[0], "what clients push is refused");
        assert_eq!(lines[1], "what clients push is taken again, after 0s");
        assert!(lines.len() < 12, "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_any_more_is_over_after_a_while_and_that_is_said() {
        let lines = Lines::default();
        let refusals = Refusals::new(&Settings::default(), &Logger::root(lines.clone(), o!()));
        let test = async {
            refusals.note(Cause::NoAuth, "a");
            refusals.note(Cause::Idle, "b");
            tokio::time::sleep(QUIET / 2).await;
            refusals.note(Cause::NoAuth, "c");
            tokio::time::sleep(QUIET - Duration::from_secs(1)).await;
            assert_eq!(lines.0.lock().unwrap().len(), 3);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(refusals.all().iter().all(|refused| refused.lasts.is_none()));
            let lines = lines.0.lock().unwrap();
            assert_eq!(lines.len(), 4, "{lines:?}");
            assert!(
                lines[3].starts_with("over, since nothing more of it came for 1m: pushes are refused, since their"),
                "{lines:?}"
            );
        };
        tokio::select! {
            never = refusals.say_the_rest_in_time() => match never {},
            () = test => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_after_the_first_is_said_in_time_although_nothing_more_comes() {
        let lines = Lines::default();
        let refusals = Refusals::new(&Settings::default(), &Logger::root(lines.clone(), o!()));
        let said = || lines.0.lock().unwrap().len();
        let test = async {
            refusals.note(Cause::Http, "a");
            refusals.note(Cause::Http, "b");
            refusals.note(Cause::Garbage, "c");
            assert_eq!(said(), 2);
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert_eq!(said(), 2);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(said(), 3);
            tokio::time::sleep(Duration::from_secs(1000)).await;
            // That both are over, and no more.
            assert_eq!(said(), 5);
        };
        tokio::select! {
            never = refusals.say_the_rest_in_time() => match never {},
            () = test => {}
        }
    }
}
