//! The command line: check, send, help, exit codes.
