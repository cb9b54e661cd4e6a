//! Why a supervisor gave up.

use std::fmt;

/// Why a supervisor gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
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
    /// Draining took longer than it may.
    Deadline {
        /// The children that had not finished.
        stragglers: Vec<String>,
    },
    /// The supervisor itself failed.
    SupervisorFailed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::SupervisorFailed => f.write_str("the supervisor failed; open leases are given back"),
        }
    }
}
