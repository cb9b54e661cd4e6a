//! Who was cut off, turned away or refused: a line of the log for each cause, at once and then at growing intervals, with how
//! many there were and where one of them came from.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slog::{Logger, info, warn};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::settings::Settings;
use crate::{duration::for_people, sparingly::Sparingly};

/// Why a client is not served any more, or not as it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The system does not hand over who has connected.
    NotAccepted,
    /// All places are taken.
    NoPlace,
    WrongPassword,
    /// It has not said the password in time.
    NoPassword,
    /// It had not said the password, and others wanted its place.
    Crowded,
    Http,
    Garbage,
    /// Others have the memory that its command or its answer takes.
    NoMemory,
    SlowCommand,
    OpenTransaction,
    SlowReader,
    Idle,
}

/// What was noted of each cause.
pub(super) struct CutOffs {
    log: Logger,
    places: usize,
    timeout: Duration,
    sayings: Mutex<BTreeMap<Cause, Saying>>,
    /// That something is left to say later.
    later: Notify,
}

#[derive(Debug, Default)]
struct Saying {
    sparingly: Sparingly,
    /// Of the newest.
    example: String,
}

impl CutOffs {
    pub(super) fn new(settings: &Settings, log: Logger) -> Self {
        Self { log, places: settings.max_connections, timeout: settings.timeout, sayings: Mutex::default(), later: Notify::new() }
    }

    /// It has happened to a client with this address.
    pub(super) fn note(&self, cause: Cause, example: &str) {
        let mut sayings = self.lock();
        let saying = sayings.entry(cause).or_default();
        example.clone_into(&mut saying.example);
        match saying.sparingly.note(1, Instant::now()) {
            Some(count) => self.say(cause, count, &saying.example),
            None => self.later.notify_one(),
        }
    }

    /// Says what is left to say when it is time, also when nothing more happens.
    pub(super) async fn say_the_rest_in_time(&self) -> Infallible {
        loop {
            let due = self.lock().values().filter_map(|saying| saying.sparingly.due()).min();
            match due {
                None => self.later.notified().await,
                Some(due) => tokio::select! {
                    () = sleep_until(due) => self.say_each(|sparingly| sparingly.note(0, Instant::now())),
                    // Which may be due earlier.
                    () = self.later.notified() => {}
                },
            }
        }
    }

    /// Says what is left to say at the end.
    pub(super) fn say_the_rest(&self) {
        self.say_each(Sparingly::rest);
    }

    fn say_each(&self, count: impl Fn(&mut Sparingly) -> Option<usize>) {
        for (cause, saying) in self.lock().iter_mut() {
            if let Some(count) = count(&mut saying.sparingly) {
                self.say(*cause, count, &saying.example);
            }
        }
    }

    fn say(&self, cause: Cause, count: usize, example: &str) {
        let timeout = for_people(self.timeout);
        let sentence = match cause {
            Cause::NotAccepted => "clients cannot be accepted".to_owned(),
            Cause::NoPlace => format!(
                "clients are turned away, since {} are connected, as many as may be; see max_connections in [channel.embedded]",
                self.places
            ),
            Cause::WrongPassword => "clients gave a wrong password or another user than default".to_owned(),
            Cause::NoPassword => format!("clients were cut off, since they had not said the password after {timeout}"),
            Cause::Crowded => "clients were cut off, since they had not said the password, and others came".to_owned(),
            Cause::Http => {
                "possible attack: clients spoke HTTP to the channel, as when a web page makes its reader's browser do \
                            so; they were cut off"
                    .to_owned()
            }
            Cause::Garbage => "clients were cut off, since they sent what a Redis does not understand either".to_owned(),
            Cause::NoMemory => {
                "clients were refused a command or its answer, since there is no memory left for it; send less at \
                                once, or see max_waiting_bytes in [channel.embedded]"
                    .to_owned()
            }
            Cause::SlowCommand => {
                format!("clients were cut off, since a command of theirs had not arrived whole after {timeout}")
            }
            Cause::OpenTransaction => {
                format!("clients were cut off, since the EXEC of a transaction had not come {timeout} after its first command")
            }
            Cause::SlowReader => format!("clients were cut off, since they did not read their answers within {timeout}"),
            Cause::Idle => "clients were closed, since they were silent for idle_timeout in [channel.embedded]".to_owned(),
        };
        if cause == Cause::Idle {
            // Which somebody wanted.
            info!(self.log, "{}", sentence; "clients" => count, "for_example" => example);
        } else {
            warn!(self.log, "{}", sentence; "clients" => count, "for_example" => example);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cause, Saying>> {
        // Nothing that holds it can panic half-way.
        self.sayings.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test(start_paused = true)]
    async fn what_came_after_the_first_is_said_in_time_although_nothing_more_comes() {
        let lines = Lines::default();
        let cut_offs = CutOffs::new(&Settings::default(), Logger::root(lines.clone(), o!()));
        let said = || lines.0.lock().unwrap().len();
        let test = async {
            cut_offs.note(Cause::Http, "a");
            cut_offs.note(Cause::Http, "b");
            cut_offs.note(Cause::Garbage, "c");
            assert_eq!(said(), 2);
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert_eq!(said(), 2);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(said(), 3);
            tokio::time::sleep(Duration::from_secs(1000)).await;
            assert_eq!(said(), 3);
        };
        tokio::select! {
            never = cut_offs.say_the_rest_in_time() => match never {},
            () = test => {}
        }
    }
}
