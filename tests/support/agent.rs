//! The agent under test, as a process.
