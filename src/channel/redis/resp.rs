//! Answers, made of the bytes that Redis sends, each within a budget: what it takes in memory is charged when it is announced, before any of
//! it has come.
//!
//! RESP2 is all that Redis speaks to a client that has not asked for more, so that anything else is what no Redis sends.

use redis::Value;

/// What a value may take in memory beside its bytes: its place in a list, and what the allocator adds to the memory it points to. The
/// smallest value has 4 bytes, so that bytes alone would say nothing.
const VALUE: usize = 128;

const _: () = assert!(size_of::<Value>() + 64 <= VALUE, "redis::Value has grown");

/// The longest line. Those of Redis, which are numbers, states and errors, are shorter by far.
const LONGEST_LINE: usize = 16 << 10;

/// How deep lists may be nested. Those that are asked for have 3 levels.
const DEEPEST: usize = 16;

/// What any answer may take: the longest, INFO, has 7 KB, and of lease names or numbers there are at most 1000.
const ORDINARY: usize = 1 << 20;

/// Why what comes is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// It would take more than this.
    Large(usize),
    /// It has more levels than this.
    Deep(usize),
    /// There is no question that it could be the answer to.
    Unasked,
    /// It is not the protocol.
    Garbage,
}

/// How much memory the answers to one question may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    all: usize,
    left: usize,
}

impl Budget {
    /// For what has at most a thousand values, none of them a message.
    pub(super) const ORDINARY: Self = Self { all: ORDINARY, left: ORDINARY };

    /// For so many values with so many bytes in all.
    pub(super) fn of(values: usize, bytes: usize) -> Self {
        let all = values.saturating_mul(VALUE).saturating_add(bytes).max(ORDINARY);
        Self { all, left: all }
    }

    /// What was charged so far.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn spent(&self) -> usize {
        self.all - self.left
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Excess> {
        self.left = self.left.checked_sub(bytes).ok_or(Excess::Large(self.all))?;
        Ok(())
    }
}

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The lists that are open, the outermost first, and how many values each will have.
    lists: Vec<(Vec<Value>, usize)>,
    /// A string of which some is still to come, and how long it will be.
    string: Option<(Vec<u8>, usize)>,
}

impl Decoder {
    /// Takes bytes off the front until an answer is whole. `None`: all were taken, or what is left is part of a line, and more must come.
    pub(super) fn decode(&mut self, bytes: &mut &[u8], budget: &mut Budget) -> Result<Option<Value>, Excess> {
        loop {
            let value = match self.string.take() {
                Some((content, length)) => self.string(content, length, bytes)?,
                None => self.line(bytes, budget)?,
            };
            match value {
                Next::Value(value) => match self.place(value) {
                    None => {}
                    whole => return Ok(whole),
                },
                Next::Opened => {}
                Next::Wanting => return Ok(None),
            }
        }
    }

    /// The first line of a value, or its only one.
    fn line(&mut self, bytes: &mut &[u8], budget: &mut Budget) -> Result<Next, Excess> {
        let Some((kind, text)) = bytes.split_first() else { return Ok(Next::Wanting) };
        if !b"+-:$*".contains(kind) {
            return Err(Excess::Garbage);
        }
        let Some(end) = end_of_line(text) else {
            return if text.len() < LONGEST_LINE { Ok(Next::Wanting) } else { Err(Excess::Large(budget.all)) };
        };
        let (whole, rest) = bytes.split_at_checked(end + 3).ok_or(Excess::Garbage)?;
        let text = text.get(..end).unwrap_or_default();
        if self.lists.is_empty() {
            budget.charge(VALUE)?;
        }
        *bytes = rest;
        Ok(Next::Value(match (kind, text) {
            (b'+', b"OK") => Value::Okay,
            (b'+', _) => {
                budget.charge(text.len())?;
                Value::SimpleString(String::from_utf8(text.to_vec()).map_err(|_| Excess::Garbage)?)
            }
            (b'-', _) => {
                budget.charge(text.len())?;
                // The client's, since errors are of its types.
                redis::parse_redis_value(whole).map_err(|_| Excess::Garbage)?
            }
            (b':', _) => Value::Int(number(text)?),
            (b'$' | b'*', b"-1") => Value::Nil,
            (b'$', _) => {
                let length = length(text)?;
                budget.charge(length)?;
                return self.string(Vec::with_capacity(length), length, bytes);
            }
            (b'*', b"0") => Value::Array(Vec::new()),
            (b'*', _) => {
                let count = length(text)?;
                budget.charge(count.saturating_mul(VALUE))?;
                if self.lists.len() == DEEPEST {
                    return Err(Excess::Deep(DEEPEST));
                }
                self.lists.push((Vec::with_capacity(count), count));
                return Ok(Next::Opened);
            }
            _ => return Err(Excess::Garbage),
        }))
    }

    /// More of a string, and the end of its line.
    fn string(&mut self, mut content: Vec<u8>, length: usize, bytes: &mut &[u8]) -> Result<Next, Excess> {
        let (here, rest) = bytes.split_at_checked(length - content.len()).unwrap_or((bytes, &[]));
        content.extend_from_slice(here);
        *bytes = rest;
        if content.len() == length
            && let Some((end, rest)) = rest.split_at_checked(2)
        {
            *bytes = rest;
            return if end == b"\r\n" { Ok(Next::Value(Value::BulkString(content))) } else { Err(Excess::Garbage) };
        }
        self.string = Some((content, length));
        Ok(Next::Wanting)
    }

    /// Puts a value where it belongs. Returns the answer, when that is whole.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        while let Some((values, count)) = self.lists.last_mut() {
            values.push(value);
            if values.len() < *count {
                return None;
            }
            value = Value::Array(std::mem::take(values));
            self.lists.pop();
        }
        Some(value)
    }
}

enum Next {
    Value(Value),
    /// A list has begun.
    Opened,
    /// There must be more bytes first.
    Wanting,
}

/// Where the text of a line ends.
fn end_of_line(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| *byte == b'\r')?;
    if text.get(end + 1) == Some(&b'\n') { Some(end) } else { text.windows(2).position(|pair| pair == b"\r\n") }
}

fn number(text: &[u8]) -> Result<i64, Excess> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Excess::Garbage)
}

fn length(text: &[u8]) -> Result<usize, Excess> {
    let digit = |digit: &u8| digit.checked_sub(b'0').filter(|digit| *digit < 10);
    let more = |length: usize, next| Some(length.saturating_mul(10).saturating_add(digit(next)?.into()));
    text.iter().try_fold(0, more).filter(|_| !text.is_empty()).ok_or(Excess::Garbage)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What comes first of all this, which comes in pieces of that size, and how much is left of it.
    fn first(bytes: &[u8], piece: usize, mut budget: Budget) -> Result<Option<Value>, Excess> {
        let (mut decoder, mut left) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            left.extend_from_slice(piece);
            let mut came = left.as_slice();
            if let Some(value) = decoder.decode(&mut came, &mut budget)? {
                return Ok(Some(value));
            }
            left = came.to_vec();
        }
        Ok(None)
    }

    #[test]
    fn each_kind_of_answer_is_what_it_is_to_the_client() {
        for value in [
            "+OK\r\n",
            "+a\rb\r\n",
            "-ERR a\rb\nc\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\n\r\n$9\n\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*2\r\n*1\r\n+x\r\n$1\r\n*\r\n",
            "*3\r\n-NO\r\n*0\r\n*2\r\n:1\r\n$-1\r\n",
        ] {
            let parsed = redis::parse_redis_value(value.as_bytes()).unwrap();
            for piece in [1, 2, 3, 7, value.len()] {
                assert_eq!(first(value.as_bytes(), piece, Budget::ORDINARY), Ok(Some(parsed.clone())), "{value:?} by {piece}");
                let short = &value.as_bytes()[..value.len() - 1];
                assert_eq!(first(short, piece, Budget::ORDINARY), Ok(None), "{value:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_no_redis_sends_is_garbage_at_its_first_byte() {
        for garbage in ["HTTP/1.1 200 OK", "\x15\x03", "_", "%1", "~1", ">2", "|1", "$x\r\n", "$-2\r\n", ":\r\n", "$1\r\nxyz"] {
            assert_eq!(first(garbage.as_bytes(), garbage.len(), Budget::ORDINARY), Err(Excess::Garbage), "{garbage:?}");
        }
    }

    #[test]
    fn what_is_announced_is_judged_before_it_comes() {
        let deepest = "*1\r\n".repeat(DEEPEST);
        for (announcement, excess) in [
            ("$2000000000\r\n", Excess::Large(ORDINARY)),
            ("$9223372036854775807\r\n", Excess::Large(ORDINARY)),
            ("*1000000000\r\n", Excess::Large(ORDINARY)),
            ("*9223372036854775807\r\n", Excess::Large(ORDINARY)),
            ("*3\r\n$1048576\r\n", Excess::Large(ORDINARY)),
            (&format!("{deepest}*1\r\n"), Excess::Deep(DEEPEST)),
        ] {
            assert_eq!(first(announcement.as_bytes(), 1, Budget::ORDINARY), Err(excess), "{announcement}");
        }
        assert_eq!(first(deepest.as_bytes(), 1, Budget::ORDINARY), Ok(None));
    }

    #[test]
    fn what_was_asked_for_is_within_its_budget() {
        let answer = format!("*102\r\n:0\r\n:0\r\n{}", format!("$20000\r\n{}\r\n", "x".repeat(20_000)).repeat(100));
        assert!(matches!(first(answer.as_bytes(), 1000, Budget::of(103, 2_000_000)), Ok(Some(_))));
        let excess = first(answer.as_bytes(), 1000, Budget::of(103, 1_999_999));
        assert!(matches!(excess, Err(Excess::Large(_))), "{excess:?}");
    }

    #[test]
    fn what_has_no_end_is_cut_at_the_budget() {
        for (head, endless) in [
            ("+", "x"),
            (":", "0"),
            ("$", "0"),
            ("-", "0"),
            ("*3000\r\n", "*2\r\n$-1\r\n$-1\r\n"),
            ("*300\r\n", "$10000\r\n{10000}\r\n"),
        ] {
            let endless = endless.replace("{10000}", &"x".repeat(10_000));
            let all = head.to_owned() + &endless.repeat((1 << 20) / endless.len());
            assert_eq!(first(all.as_bytes(), 10_000, Budget::ORDINARY), Err(Excess::Large(ORDINARY)), "{head:?}");
        }
    }

    /// Of these everything can be made: values, values in values, and what is nearly one.
    const PIECES: &[&str] = &[
        "*",
        "$",
        "%",
        ">",
        "+",
        "-",
        ":",
        "_",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "x",
        " ",
        "\r",
        "\n",
        "\r\n",
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "$1\r\nx\r\n",
        "$3\r\n",
        ":1\r\n",
        "+\r\n",
        "-ERR\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "*0\r\n",
        "$0\r\n\r\n",
        "é",
    ];

    proptest! {
        #[test]
        fn an_answer_is_what_it_is_to_the_client(pieces in vec(select(PIECES), 0..16)) {
            super::super::fuzzing::redis(pieces.concat().as_bytes());
        }
    }
}
