//! Why the agent ended, and the exit code that says so.

use std::fmt;

use crate::supervision::{self, Error};

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
    /// The supervisor gave up; open leases were given back.
    GivenUp(supervision::Error),
    /// Asked to stop, and what was left could not be given back; it waits until its leases expire.
    NotGivenBack,
}

impl Exit {
    /// The process's exit code, after `sysexits.h` where that has a fitting one.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::ChannelUnusable { .. } => code::UNAVAILABLE,
            Self::GivenUp(Error::OutOfBudget { .. } | Error::SupervisorFailed) => code::FAILED,
            Self::GivenUp(Error::ThreadHung { .. }) => code::HUNG,
            Self::GivenUp(Error::Deadline { .. }) | Self::NotGivenBack => code::DEADLINE,
        }
    }
}

/// The exit codes, in one place.
pub mod code {
    /// `status`: it works, and an operator should look. `trace`: the metric stops somewhere.
    pub const ATTENTION: u8 = 1;
    /// The command line is wrong.
    pub const COMMAND_LINE: u8 = 2;
    /// `status`: nothing is published until something is mended.
    pub const HELD: u8 = 3;
    /// `status`: it is starting or stopping.
    pub const NOT_YET: u8 = 4;
    /// Something in what a command such as `send` was given to read is of no use.
    pub const DATA: u8 = 65;
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
            Self::GivenUp(error) => error.fmt(f),
            Self::NotGivenBack => {
                f.write_str("what was left could not be given back to the channel; it waits until its leases expire")
            }
        }
    }
}
