//! For which causes pushes are refused, and clients turned away or cut off.

use std::{fmt, time::Duration};

use super::Settings;
use crate::{codes::Code, config::WhenFull, duration::for_people};

/// One such cause. Each has a counter, from the start on at zero, and lines in the log when it begins and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// `OOM`: the queue's file has reached `channel.embedded.max_bytes`.
    Full,
    /// `MISCONF`: as many messages wait for a publisher as `publishers.NAME.max_backlog` allows.
    Backlog,
    /// `MISCONF`: the disk is full.
    DiskFull,
    /// `MISCONF`: a file is as large as this process may make one (`ulimit -f`, `LimitFSIZE`).
    FileSizeLimit,
    /// `MISCONF`: the file is damaged.
    Damaged,
    /// `MISCONF`: the file was deleted, moved or replaced.
    Gone,
    /// `MISCONF`: what was queued cannot be synced to the disk.
    Unsynced,
    /// `MISCONF`: the file cannot be written for another reason, such as a program that has locked it.
    Unwritable,
    /// `MISCONF`, or no answer: the disk stalls, and nothing more may wait for it.
    Stalled,
    /// `MISCONF`: a fault in the agent.
    Fault,
    /// `NOAUTH`: a push before the password was said.
    NoAuth,
    /// A push to another list.
    WrongQueue,
    /// A message or a command larger than is allowed.
    TooLarge,
    /// A command that would push or take messages, which the agent does not know.
    UnknownCommand,
    /// A push without a message.
    NoMessage,
    /// A transaction whose pushes were discarded since one of its commands was refused.
    Aborted,
    /// The oldest messages were dropped, to make room for others.
    DroppedOldest,
    /// Messages were answered before they were stored, since the disk kept them waiting.
    AnsweredEarly,
    /// Another database than 0 was chosen, so that the client does not come to push.
    WrongDatabase,
    /// Others have the memory that a command or its answer takes.
    NoMemory,
    /// A wrong password or user.
    WrongPassword,
    /// The system does not hand over who has connected.
    NotAccepted,
    /// All places are taken.
    NoPlace,
    /// The password was not said in time.
    NoPassword,
    /// The password was not said, and others wanted the place.
    Crowded,
    /// HTTP was spoken.
    Http,
    /// What arrived is not the protocol.
    Garbage,
    /// A large command hardly went on, for whose memory others waited.
    TooSlow,
    /// A command did not arrive whole in time.
    SlowCommand,
    /// The EXEC of a transaction did not come in time.
    OpenTransaction,
    /// Answers were not read in time.
    SlowReader,
    /// A client was silent for longer than `channel.embedded.idle_timeout`.
    Idle,
}

/// The limits that are part of the sentences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) places: usize,
    pub(crate) timeout: Duration,
    /// Whether what the queue cannot take is dropped.
    pub(crate) drops: bool,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self { places: settings.max_connections, timeout: settings.timeout, drops: settings.when_full != WhenFull::Refuse }
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Full,
        Self::Backlog,
        Self::DiskFull,
        Self::FileSizeLimit,
        Self::Damaged,
        Self::Gone,
        Self::Unsynced,
        Self::Unwritable,
        Self::Stalled,
        Self::Fault,
        Self::NoAuth,
        Self::WrongQueue,
        Self::TooLarge,
        Self::UnknownCommand,
        Self::NoMessage,
        Self::Aborted,
        Self::DroppedOldest,
        Self::AnsweredEarly,
        Self::WrongDatabase,
        Self::NoMemory,
        Self::WrongPassword,
        Self::NotAccepted,
        Self::NoPlace,
        Self::NoPassword,
        Self::Crowded,
        Self::Http,
        Self::Garbage,
        Self::TooSlow,
        Self::SlowCommand,
        Self::OpenTransaction,
        Self::SlowReader,
        Self::Idle,
    ];

    /// The name in log values, in `INFO` and for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Backlog => "backlog_full",
            Self::DiskFull => "disk_full",
            Self::FileSizeLimit => "file_size_limit",
            Self::Damaged => "file_damaged",
            Self::Gone => "file_gone",
            Self::Unsynced => "sync_failed",
            Self::Unwritable => "write_failed",
            Self::Stalled => "disk_stalled",
            Self::Fault => "agent_fault",
            Self::NoAuth => "no_password",
            Self::WrongQueue => "wrong_queue",
            Self::TooLarge => "too_large",
            Self::UnknownCommand => "unknown_command",
            Self::NoMessage => "no_message",
            Self::Aborted => "transaction_aborted",
            Self::DroppedOldest => "dropped_oldest",
            Self::AnsweredEarly => "answered_early",
            Self::WrongDatabase => "wrong_database",
            Self::NoMemory => "no_memory",
            Self::WrongPassword => "wrong_password",
            Self::NotAccepted => "not_accepted",
            Self::NoPlace => "too_many_clients",
            Self::NoPassword => "password_timeout",
            Self::Crowded => "crowded_out",
            Self::Http => "http",
            Self::Garbage => "protocol_error",
            Self::TooSlow => "kept_others_waiting",
            Self::SlowCommand => "slow_command",
            Self::OpenTransaction => "open_transaction",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Full => Code::QueueFull,
            Self::Backlog => Code::BacklogFull,
            Self::DiskFull => Code::DiskFull,
            Self::FileSizeLimit => Code::FileSizeLimit,
            Self::Damaged => Code::FileDamaged,
            Self::Gone => Code::FileGone,
            Self::Unsynced => Code::SyncFailed,
            Self::Unwritable => Code::WriteFailed,
            Self::Stalled => Code::DiskStalled,
            Self::Fault => Code::AgentFault,
            Self::NoAuth => Code::ClientNoPassword,
            Self::WrongQueue => Code::WrongQueue,
            Self::TooLarge => Code::TooLarge,
            Self::UnknownCommand => Code::UnknownCommand,
            Self::NoMessage => Code::NoMessage,
            Self::Aborted => Code::Aborted,
            Self::DroppedOldest => Code::DroppedOldest,
            Self::AnsweredEarly => Code::AnsweredEarly,
            Self::WrongDatabase => Code::WrongDatabase,
            Self::NoMemory => Code::NoMemory,
            Self::WrongPassword => Code::WrongPassword,
            Self::NotAccepted => Code::NotAccepted,
            Self::NoPlace => Code::TooManyClients,
            Self::NoPassword => Code::PasswordTimeout,
            Self::Crowded => Code::CrowdedOut,
            Self::Http => Code::Http,
            Self::Garbage => Code::Garbage,
            Self::TooSlow => Code::TooSlow,
            Self::SlowCommand => Code::SlowCommand,
            Self::OpenTransaction => Code::OpenTransaction,
            Self::SlowReader => Code::SlowReader,
            Self::Idle => Code::IdleClient,
        }
    }

    /// Whether the queue cannot take what anybody pushes: over as soon as it takes a push again.
    #[must_use]
    pub fn is_of_the_queue(self) -> bool {
        self <= Self::Fault
    }

    /// By what it is counted.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::DroppedOldest | Self::AnsweredEarly => "messages",
            pushes if pushes <= Self::Aborted => "pushes",
            _ => "clients",
        }
    }

    /// Whether an operator has asked for it.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        self == Self::Idle
    }

    /// What happens, and mostly what to do about it; what the queue cannot do its file's error says.
    pub(crate) fn sentence(self, limits: Limits) -> String {
        let timeout = for_people(limits.timeout);
        match self {
            Self::Full
            | Self::Backlog
            | Self::DiskFull
            | Self::FileSizeLimit
            | Self::Damaged
            | Self::Gone
            | Self::Unsynced
            | Self::Unwritable
            | Self::Stalled
            | Self::Fault => if limits.drops {
                "what clients push is dropped, though they are told that it was queued, as channel.embedded.when_full says"
            } else {
                "what clients push is refused"
            }
            .to_owned(),
            Self::DroppedOldest => {
                "the oldest messages are dropped to make room for what clients push, as channel.embedded.when_full \
                                    says; see why they are not published"
                    .to_owned()
            }
            Self::AnsweredEarly => {
                "what clients push is answered before it is stored, since the disk keeps it waiting; it is stored when \
                                    the disk goes on, and lost if the agent is killed before"
                    .to_owned()
            }
            Self::NoAuth => "pushes are refused, since their clients have not said the password; give them the one in \
                             password_file in [channel.embedded]"
                .to_owned(),
            Self::WrongQueue => "pushes are refused, since they are to another list than queue_key in [channel.embedded]; let \
                                 clients and agent say the same"
                .to_owned(),
            Self::TooLarge => "commands are refused, since they or a message in them are larger than allowed; see \
                               max_message_bytes and max_waiting_bytes in [channel.embedded]"
                .to_owned(),
            Self::NoMemory => "clients were refused a command or its answer, since there is no memory left for it; send less at \
                               once, or see max_waiting_bytes in [channel.embedded]"
                .to_owned(),
            Self::UnknownCommand => "commands are refused that would put messages into a Redis or take them out of it; clients \
                                     push with LPUSH or RPUSH, and no other agent can work on this queue"
                .to_owned(),
            Self::NoMessage => "pushes are refused, since there is no message in them".to_owned(),
            Self::Aborted => {
                "transactions are discarded, since a command in them was refused; their clients were told which".to_owned()
            }
            Self::WrongDatabase => "clients are refused another database than 0; set their db to 0".to_owned(),
            Self::WrongPassword => "clients gave a wrong password or another user than default".to_owned(),
            Self::NotAccepted => "clients cannot be accepted".to_owned(),
            Self::NoPlace => format!(
                "clients are turned away, since {} are connected, as many as may be; see max_connections in [channel.embedded]",
                limits.places
            ),
            Self::NoPassword => format!("clients were cut off, since they had not said the password after {timeout}"),
            Self::Crowded => "clients were cut off, since they had not said the password, and others came".to_owned(),
            Self::Http => {
                "clients spoke HTTP to the channel and were cut off: a health check or a browser that takes it for a web \
                           server, or a web page that has its reader's browser push here"
                    .to_owned()
            }
            Self::Garbage => "clients were cut off, since they sent what a Redis does not understand either".to_owned(),
            Self::TooSlow => {
                "clients were cut off, since they went on too slowly with large commands for whose memory others waited"
                    .to_owned()
            }
            Self::SlowCommand => {
                format!("clients were cut off, since a command of theirs had not arrived whole after {timeout}")
            }
            Self::OpenTransaction => {
                format!("clients were cut off, since the EXEC of a transaction had not come {timeout} after its first command")
            }
            Self::SlowReader => format!("clients were cut off, since they did not read their answers within {timeout}"),
            Self::Idle => "clients were closed, since they were silent for idle_timeout in [channel.embedded]".to_owned(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_place_and_a_name_of_its_own() {
        assert!(Cause::ALL.iter().enumerate().all(|(place, cause)| *cause as usize == place));
        let names: std::collections::BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::Idle as usize + 1);
    }
}
