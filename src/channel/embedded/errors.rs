//! What the queue refuses, in the words of the channel's contract and of the listener's: with its cause, and with what an
//! operator does about it.

use std::path::Path;

use crate::{
    channel::ChannelError,
    limits,
    listener::{BackendError, Cause, PushError},
    plural::messages_wait,
    queue::{self, Failure, Problem, StoreError},
};

/// What to do about it.
pub(crate) fn remedy(error: &StoreError) -> String {
    let shown = error.path.display();
    match &error.problem {
        Problem::Failed { failure, .. } => remedy_of_failure(*failure, &error.path),
        Problem::Damaged { .. } | Problem::Unreadable { .. } => format!(
            "stop the agent, move the file out of the way (mv {shown} {shown}.damaged, and mv {shown}-wal {shown}.damaged-wal if \
             there is one), take out what can be read (kadabra queue salvage {shown}.damaged --to {shown}), which leaves it as it \
             is, and start the agent anew"
        ),
        Problem::NoQueue(_) => "set channel.embedded.path to a file of the agent's own; it is made when it is missing".to_owned(),
        Problem::Newer { .. } => "start that Kadabra again, or set channel.embedded.path to another file".to_owned(),
        Problem::InUse => "end that agent, or give each a channel.embedded.path of its own".to_owned(),
        Problem::Exists => "name a file that is not there yet".to_owned(),
        Problem::NoSharedMemory => "set channel.embedded.path to a file on a disk of this machine, not on a network's".to_owned(),
        Problem::Gone => format!(
            "put {shown} back where it was; if it is gone, wait until what is in it is published, then restart the agent, which \
             makes a new one"
        ),
        Problem::NotOpen => "see what the log says of it".to_owned(),
        Problem::Interrupted => "report what the log says before this, as it is a bug".to_owned(),
        Problem::Stalled => {
            format!("see what keeps the disk that {shown} is on from its work; the system's log (dmesg) says more")
        }
        Problem::NeverSynced => "report what the log says before this, as it is a bug; it is tried again by itself".to_owned(),
        Problem::Consumers { .. } => {
            "configure them again, each as [publishers.NAME], until what waits for them is published, or let \
                                      go of it: kadabra queue forget NAME"
                .to_owned()
        }
        Problem::NoConsumer { .. } => {
            "name one of those that messages may wait for; a dead letter of another can be exported and discarded".to_owned()
        }
        Problem::LargeRange { .. } => "ask for fewer at once".to_owned(),
    }
}

fn remedy_of_failure(failure: Failure, path: &Path) -> String {
    let shown = path.display();
    match failure {
        Failure::DiskFull => format!("make room on the disk that {shown} is on"),
        Failure::FileSizeLimit => limits::file_size(),
        Failure::Disk => {
            format!("see whether the disk that {shown} is on is full or failing; the system's log (dmesg) says more")
        }
        Failure::CannotOpen | Failure::NotPermitted => format!(
            "let the agent's user write to {shown} and to its folder, on a disk that is not mounted read-only, or set \
             channel.embedded.path to where it may"
        ),
        Failure::Locked => {
            format!("end the program that has {shown} open besides the agent, such as an sqlite3 in a transaction")
        }
        Failure::Threads => limits::THREADS.to_owned(),
        Failure::Path => "set channel.embedded.path to a file in a folder on a disk of this machine".to_owned(),
        Failure::Other => "see what the words say; a restart of the agent reads the file anew".to_owned(),
    }
}

/// By which cause a push is counted that is refused for this.
fn cause(error: &StoreError) -> Cause {
    match &error.problem {
        Problem::Damaged { .. } | Problem::Unreadable { .. } => Cause::Damaged,
        Problem::Gone => Cause::Gone,
        Problem::Stalled => Cause::Stalled,
        Problem::Interrupted | Problem::NeverSynced => Cause::Fault,
        Problem::Failed { failure: Failure::DiskFull, .. } => Cause::DiskFull,
        Problem::Failed { failure: Failure::FileSizeLimit, .. } => Cause::FileSizeLimit,
        _ => Cause::Unwritable,
    }
}

/// Waiting may mend it, or an operator.
impl From<StoreError> for ChannelError {
    fn from(error: StoreError) -> Self {
        Self::Refused { what: error.to_string(), mend: remedy(&error) }
    }
}

/// What a push was refused for, as the agent itself meets it.
pub(super) fn not_queued(error: &PushError) -> ChannelError {
    let (what, mend) = match error {
        PushError::Full => ("the queue is full", "see why messages are not published, or raise channel.embedded.max_bytes"),
        PushError::Failed { why, .. } => (why.as_str(), "it is tried again by itself"),
    };
    ChannelError::Refused { what: format!("cannot queue messages: {what}"), mend: mend.to_owned() }
}

/// As long as it is so, there is no use in going on.
pub(super) fn unusable(error: &StoreError) -> ChannelError {
    ChannelError::Unusable { what: error.to_string(), mend: remedy(error) }
}

impl From<StoreError> for BackendError {
    fn from(error: StoreError) -> Self {
        Self(sentence(&error))
    }
}

impl From<queue::PushError> for PushError {
    fn from(error: queue::PushError) -> Self {
        match error {
            queue::PushError::Full => Self::Full,
            queue::PushError::Backlog { consumer, most } => Self::Failed {
                cause: Cause::Backlog,
                why: format!(
                    "{} for publisher {consumer}, as many as publishers.{consumer}.max_backlog allows; see why it does not \
                     publish them, raise that, or set publishers.{consumer}.required to false",
                    messages_wait(most)
                ),
            },
            queue::PushError::TooLarge { limit } => Self::Failed {
                cause: Cause::TooLarge,
                why: format!("a message is larger than channel.embedded.max_message_bytes, {limit} bytes"),
            },
            queue::PushError::Unsynced(error) => {
                let cause = cause(&error);
                let cause = if cause == Cause::Unwritable { Cause::Unsynced } else { cause };
                Self::Failed { cause, why: sentence(&error) }
            }
            queue::PushError::Stalled(error) | queue::PushError::Failed(error) => {
                Self::Failed { cause: cause(&error), why: sentence(&error) }
            }
        }
    }
}

fn sentence(error: &StoreError) -> String {
    format!("{error}; {}", remedy(error))
}
