//! Where the agent says something: its log, and systemd. Knows nothing of messages.
//!
//! | promise | kept by |
//! |---|---|
//! | a log that is slow, full or not read holds up nothing, and lines that are dropped are counted | `log/buffer` |
//! | a line is written whole or not at all | `log/lines`, and `log/standard_error` for a disk that is full |
//! | one that must not be dropped, as those of the debug publisher, can be waited for | `log/kept` |
//! | what libraries and panics say is a line as any other | `log/libraries`, `log/panics` |
//! | why the log cannot be written is said elsewhere | `log/refusal`, and the status of the agent |
//! | nothing that systemd does fails the agent | `systemd` |

pub mod log;
pub mod systemd;
