//! Why the agent ended, and the exit code that says so.

use std::fmt;

/// Why the agent ended. Each cause has an exit code of its own, so that a service manager can tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Asked to stop, and everything was flushed or given back in time.
    Clean,
    /// The channel can never work with this agent.
    ChannelUnusable {
        /// What is wrong and what to do.
        why: String,
    },
    /// A child failed more often than its budget allows.
    OutOfBudget {
        /// The child.
        child: String,
        /// How it failed the last time.
        cause: String,
    },
    /// A thread stopped answering, so the child on it could not be restarted.
    ThreadHung {
        /// The child.
        child: String,
    },
    /// Asked to stop, and the shutdown time-out passed first. Open leases were given back.
    Deadline {
        /// The children that had not finished.
        stragglers: Vec<String>,
    },
    /// Asked to stop, and what was left could not be given back; it waits until its leases expire.
    NotGivenBack,
    /// The supervisor itself failed.
    SupervisorFailed,
}

impl Exit {
    /// The process's exit code, after `sysexits.h` where that has a fitting one.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::ChannelUnusable { .. } => code::UNAVAILABLE,
            Self::OutOfBudget { .. } | Self::SupervisorFailed => code::FAILED,
            Self::ThreadHung { .. } => code::HUNG,
            Self::Deadline { .. } | Self::NotGivenBack => code::DEADLINE,
        }
    }
}

/// The exit codes, in one place.
pub mod code {
    /// A command such as `check --online` or `send` found a server that it cannot use.
    pub const UNAVAILABLE: u8 = 69;
    /// A child failed more often than its budget allows, or the supervisor itself failed.
    pub const FAILED: u8 = 70;
    /// A thread hung.
    pub const HUNG: u8 = 71;
    /// All else is well, but what was to be said could not be written: the log, or what a command such as `check` answers.
    pub const OUTPUT: u8 = 74;
    /// The shutdown time-out passed, or what was left could not be given back: it waits until its leases expire.
    pub const DEADLINE: u8 = 75;
    /// The configuration is wrong: do not start again until it was mended.
    pub const CONFIGURATION: u8 = 78;
    /// A second signal ended the process at once.
    pub const SECOND_SIGNAL: u8 = 130;
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("stopped cleanly"),
            Self::ChannelUnusable { why } => f.write_str(why),
            Self::OutOfBudget { child, cause } => {
                write!(f, "the {child} failed more often than supervisor.max_restarts allows, the last time because it {cause}")
            }
            Self::ThreadHung { child } => {
                write!(f, "the {child} made no progress for supervisor.hang_timeout and its thread does not answer")
            }
            Self::Deadline { stragglers } => {
                let names = stragglers.join(", ");
                write!(f, "agent.shutdown_timeout passed before these had finished: {names}; their messages are given back")
            }
            Self::NotGivenBack => {
                f.write_str("what was left could not be given back to the channel; it waits until its leases expire")
            }
            Self::SupervisorFailed => f.write_str("the supervisor failed; open leases are given back"),
        }
    }
}
