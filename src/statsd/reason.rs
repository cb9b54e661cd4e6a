//! Why a metric or a datagram was not taken.

use std::fmt;

/// A reason. Each is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// A control character.
    ControlCharacter,
    /// Nothing before the colon, or a `|` there.
    Name,
    /// No colon, or nothing behind it.
    Value,
    /// No type, or one that is not known.
    Type,
    /// A value that is not a finite number.
    Number,
    /// A sampling rate that is not above 0 and at most 1.
    Rate,
    /// A time that is not a count of seconds that a point can have.
    Time,
    /// More tags than `max_tags`.
    Tags,
    /// What the metric would come to is beyond what a number holds.
    Range,
    /// Another series than the `max_series` that there are.
    Series,
    /// No memory is left of `max_bytes`.
    Memory,
    /// A datagram that is longer than `max_datagram_bytes`, with all metrics in it.
    Datagram,
    /// A metric that is by itself longer than a message may be.
    Message,
}

impl Reason {
    /// All of them, in their order.
    pub const ALL: [Self; 14] = [
        Self::NotUtf8,
        Self::ControlCharacter,
        Self::Name,
        Self::Value,
        Self::Type,
        Self::Number,
        Self::Rate,
        Self::Time,
        Self::Tags,
        Self::Range,
        Self::Series,
        Self::Memory,
        Self::Datagram,
        Self::Message,
    ];

    /// The name by which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::ControlCharacter => "control_character",
            Self::Name => "name",
            Self::Value => "value",
            Self::Type => "type",
            Self::Number => "number",
            Self::Rate => "rate",
            Self::Time => "time",
            Self::Tags => "tags",
            Self::Range => "range",
            Self::Series => "series",
            Self::Memory => "memory",
            Self::Datagram => "datagram",
            Self::Message => "message",
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Tags => "have the client send fewer tags, or raise listener.statsd.max_tags",
            Self::Series => "see which name or tag has so many values, such as an id, or raise listener.statsd.max_series",
            Self::Memory => "have clients send fewer series and members of sets, or raise listener.statsd.max_bytes",
            Self::Datagram => "have the client send smaller datagrams, or raise listener.statsd.max_datagram_bytes",
            Self::Message => "shorten the name and the tags, or raise max_message_bytes of the channel",
            _ => "see which client sends that; docs/statsd.md says what is understood",
        }
    }
}

/// A sentence.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "it is not UTF-8",
            Self::ControlCharacter => "it has a control character",
            Self::Name => "it has no name before the first colon",
            Self::Value => "it has no value",
            Self::Type => "its type is none of c, ms, h, d, g and s",
            Self::Number => "its value is not a finite number",
            Self::Rate => "its sampling rate is not above 0 and at most 1",
            Self::Time => "its time is not a count of seconds up to the year 2262",
            Self::Tags => "it has more tags than listener.statsd.max_tags",
            Self::Range => "with it the series would be beyond what a number holds",
            Self::Series => "there are as many series already as listener.statsd.max_series allows",
            Self::Memory => "the series take as much memory already as listener.statsd.max_bytes allows",
            Self::Datagram => "the datagram is longer than listener.statsd.max_datagram_bytes, and the rest of it is gone",
            Self::Message => "by itself it is longer than a message of the channel may be",
        })
    }
}
