//! What `kadabra status` and `kadabra top` show of a snapshot, as rows of text that drive no terminal: the same bands as the page. Knows
//! neither a terminal nor colours, only what a part of a row is to stand out as.

mod bands;
mod row;

pub(super) use self::{
    bands::{agent, dead_letters, flow, seen, tally, troubles, verdict},
    row::{Part, Row, Tone, clipped, part, plain},
};
