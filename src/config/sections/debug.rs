//! `[publisher.debug]`

use crate::config::schema::Fallback::Is;

section! {
    /// The log as a destination, used when publisher.type is "debug".
    "publisher.debug" pub struct Debug derives Copy, Eq {
        /// text shows each message as a short block: its dimensions, then a line a metric with name, value, unit and
        /// metadata. json shows a batch as one list, as Kadabra's Python agent does. auto is text where the log is
        /// written for people, see log.format, and json otherwise.
        format: DebugFormat = Is("auto"), DebugFormat::WORDS;
    }
    on reload Rebuilds;
}

choice! {
    /// `publisher.debug.format`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DebugFormat {
        /// Text where the log is written for people, JSON otherwise.
        Auto = "auto",
        /// A short block a message.
        Text = "text",
        /// A JSON list a batch.
        Json = "json",
    }
}
