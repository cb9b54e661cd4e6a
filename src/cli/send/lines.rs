//! Messages from standard input, one a line. Each is read as the agent would read it before it is queued, and none is queued twice: where
//! the channel fails it is said from which line on nothing is queued, and of which lines that is not known.

use std::{
    io::{self, BufRead},
    thread,
};

use tokio::sync::mpsc;

use super::super::complain;
use crate::{
    agent::code,
    channel::{ChannelError, pusher::Pusher},
    config,
    limits::THREADS,
    quote::{cut, printable},
    wire::{Decoder, MessageSet},
};

/// So many lines are read ahead and queued with one command, if they are there.
const MOST: usize = 64;
/// So many bytes are queued with one command, unless one message has more.
const MOST_BYTES: usize = 1 << 20;
/// So many characters of why a line is no message.
const LONGEST: usize = 300;

/// A line, counted from 1, or why there is no message in it.
struct Line(u64, Result<Vec<u8>, String>);

/// Queues what comes on standard input, to its end.
pub(super) fn send(channel: &config::Channel) -> u8 {
    let largest = match channel {
        config::Channel::Redis(redis) => redis.max_message_bytes,
        config::Channel::Embedded(embedded) => embedded.max_message_bytes,
    };
    let (read, lines) = mpsc::channel(MOST);
    let reader = thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // What is not taken any more need not be read.
        drop(each_line(io::stdin().lock(), largest, |line| read.blocking_send(line).is_ok()));
    });
    if let Err(error) = reader {
        complain(format_args!("cannot start the thread that reads standard input: {error}; {THREADS}"));
        return code::FAILED;
    }
    let sent = actix_rt::System::new().block_on(async { queue_all(&Pusher::new(channel)?, lines).await });
    match sent {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("nothing was queued: {error}"));
            code::UNAVAILABLE
        }
    }
}

async fn queue_all(pusher: &Pusher, mut lines: mpsc::Receiver<Line>) -> Result<u8, ChannelError> {
    let mut code = 0;
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    let mut read = Vec::new();
    while lines.recv_many(&mut read, MOST).await > 0 {
        let mut sound = Vec::new();
        for Line(number, text) in read.drain(..) {
            match text.and_then(|text| checked(&mut decoder, &mut set, text)) {
                Ok(text) => sound.push((number, text)),
                Err(why) => {
                    complain(format_args!("line {number} was not queued: {}", printable(&cut(&why, LONGEST))));
                    code = code::DATA;
                }
            }
        }
        for chunk in chunks(&sound) {
            let (Some((first, _)), Some((last, _))) = (chunk.first(), chunk.last()) else { continue };
            if let Err(error) = pusher.channel.connect().await {
                complain(format_args!("line {first} was not queued, nor was any behind it: {error}"));
                return Ok(code::UNAVAILABLE);
            }
            let texts: Vec<&[u8]> = chunk.iter().map(|(_, text)| text.as_slice()).collect();
            match pusher.channel.push_all(&texts).await {
                Ok(()) => {}
                // The connection broke, or the answer did not come.
                Err(error @ ChannelError::Unreachable { .. }) => {
                    let which = if first == last { format!("line {first} was") } else { format!("lines {first} to {last} were") };
                    complain(format_args!("it is not known whether {which} queued, and no line behind was: {error}"));
                    return Ok(code::UNAVAILABLE);
                }
                Err(error) => {
                    complain(format_args!("line {first} was not queued, nor was any behind it: {error}"));
                    return Ok(code::UNAVAILABLE);
                }
            }
        }
    }
    Ok(code)
}

/// The message, if every metric in it can be read.
fn checked(decoder: &mut Decoder, set: &mut MessageSet, text: Vec<u8>) -> Result<Vec<u8>, String> {
    set.clear();
    match decoder.decode(&text, set).into_iter().next() {
        None => Ok(text),
        Some(refusal) => Err(match refusal.metric {
            Some(metric) => format!("metric {metric:?}: {}", refusal.reason),
            None => refusal.reason,
        }),
    }
}

/// In their order, as many together as may be queued with one command.
fn chunks(lines: &[(u64, Vec<u8>)]) -> impl Iterator<Item = &[(u64, Vec<u8>)]> {
    let mut bytes = 0;
    lines.chunk_by(move |(_, before), (_, next)| {
        bytes += before.len();
        let fits = bytes + next.len() <= MOST_BYTES;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

/// Hands over each line that is not blank, until `take` wants no more.
fn each_line(mut input: impl BufRead, largest: usize, mut take: impl FnMut(Line) -> bool) -> io::Result<()> {
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    for number in 1.. {
        let mut text = Vec::new();
        let read = match io::Read::take(&mut input, limit.saturating_add(1)).read_until(b'\n', &mut text) {
            Ok(read) => read,
            Err(error) => {
                take(Line(number, Err(format!("standard input cannot be read: {error}"))));
                return Err(error);
            }
        };
        if read == 0 {
            break;
        }
        // A line of that size and both characters that end one is not cut.
        let is_cut = text.last() != Some(&b'\n') && read > largest.saturating_add(1);
        if is_cut {
            input.skip_until(b'\n')?;
        }
        text.truncate(text.trim_ascii_end().len());
        let line = if is_cut || text.len() > largest {
            Err(format!("it is larger than the {largest} bytes that max_message_bytes allows"))
        } else {
            Ok(text)
        };
        let blank = line.as_ref().is_ok_and(Vec::is_empty);
        if !blank && !take(Line(number, line)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<(u64, Result<String, ()>)> {
        let mut found = Vec::new();
        let take = |Line(number, text): Line| {
            found.push((number, text.map(|text| String::from_utf8(text).unwrap()).map_err(drop)));
            true
        };
        each_line(input, 4, take).unwrap();
        found
    }

    #[test]
    fn lines_are_counted_and_those_that_are_too_long_or_blank_left_out() {
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            lines(b"ab\n\n \nabcd\r\nabcde\nabcdefghij\na        \nx"),
            [(1, ok("ab")), (4, ok("abcd")), (5, Err(())), (6, Err(())), (7, Err(())), (8, ok("x"))]
        );
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn no_command_has_too_many_bytes_and_no_message_is_left_out() {
        let lines: Vec<(u64, Vec<u8>)> = [400_000, 400_000, 400_000, 2_000_000, 10, 10]
            .into_iter()
            .enumerate()
            .map(|(number, bytes)| (number as u64, vec![0; bytes]))
            .collect();
        let sizes: Vec<usize> = chunks(&lines).map(<[_]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
    }
}
