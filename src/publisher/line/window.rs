//! From decoded messages to lines, in one buffer that is kept from batch to batch.
//!
//! A line repeats the dimensions of its message, so a message of 100 kB may become 50 MB of lines. Therefore a batch is
//! encoded a [`WINDOW`] at a time, and memory does not depend on what a client puts into a message.

use bytes::Bytes;

use super::lines::{ENCODING, Line, Lines, Place, WINDOW};
use crate::{
    panics,
    publisher::{Refused, isolate::MAX_LINES},
    quote::cut_name,
    wire::{MOST_REFUSALS, Message, MessageSet, Point},
};

/// How a destination writes a point as a line.
pub(in crate::publisher) trait Form {
    /// The points that follow are of this message.
    fn begin(&mut self, set: &MessageSet, message: &Message<'_>);

    /// Appends one line without its newline. Returns what had to be left out of it, or why it cannot be one.
    fn line(&mut self, set: &MessageSet, place: Place, point: &Point, body: &mut Vec<u8>) -> Result<Option<String>, String>;
}

/// Encodes batches a window at a time.
pub(in crate::publisher) trait Encode {
    /// Encodes the points of a set from `from` on into `lines`, in its order, and forgets what was there. Returns the
    /// point that the next window begins with, if not all are encoded.
    fn encode(&mut self, set: &MessageSet, from: Place, lines: &mut Lines) -> Option<Place>;
}

impl<F: Form> Encode for F {
    fn encode(&mut self, set: &MessageSet, from: Place, lines: &mut Lines) -> Option<Place> {
        let mut body = lines.recycle();
        let mut next = None;
        'window: for (index, message) in set.messages().enumerate().skip(from.message) {
            if let Err(reason) = panics::catch(ENCODING, || self.begin(set, &message)) {
                let refused = Refused { message: index, metric: None, reason };
                lines.refused.push((Place { message: index, point: 0 }, refused));
                continue;
            }
            let first = if index == from.message { from.point } else { 0 };
            for (point_index, point) in message.points().iter().enumerate().skip(first) {
                let place = Place { message: index, point: point_index };
                if body.len() >= WINDOW || lines.len() >= MAX_LINES {
                    next = Some(place);
                    break 'window;
                }
                encode_point(self, set, place, point, &mut body, lines);
            }
        }
        lines.body = Bytes::from(body);
        next
    }
}

/// Encodes one point as a line, or says why it is none.
#[inline]
fn encode_point(form: &mut impl Form, set: &MessageSet, place: Place, point: &Point, body: &mut Vec<u8>, lines: &mut Lines) {
    let begin = body.len();
    let line = panics::catch(ENCODING, || form.line(set, place, point, body));
    let refusal = match line.flatten() {
        Ok(note) => {
            body.push(b'\n');
            lines.lines.push(Line { end: body.len(), place });
            note
        }
        Err(reason) => {
            body.truncate(begin);
            Some(reason)
        }
    };
    if let Some(reason) = refusal
        && may_be_told(&lines.refused, place.message)
    {
        let metric = Some(cut_name(set.text(point.name)));
        lines.refused.push((place, Refused { message: place.message, metric, reason }));
    }
}

/// Whether one more point of a message that is no line is told of. Told of all, a large message would take many times its bytes.
fn may_be_told(told: &[(Place, Refused)], message: usize) -> bool {
    told.iter().rev().take_while(|(place, _)| place.message == message).take(MOST_REFUSALS + 1).count() <= MOST_REFUSALS
}
