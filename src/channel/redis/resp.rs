//! Follows Redis's protocol as it streams by, without keeping it: where an answer begins and ends, and how much memory
//! it will take. What is announced is judged when it is announced, before anything of it has come.
//!
//! It does not judge whether the protocol is kept: the parser behind it does, and gives up on the connection.

/// What a value takes in memory beside its bytes: 56, twice that in a list that has just grown, and 240 more for a list
/// of its own. The smallest value has 3 bytes, so that bytes alone would say nothing.
pub(super) const VALUE: usize = 256;

/// A value's bytes that are not its content: its kind, a number, the ends of lines.
const HEAD: usize = 32;

/// How deep arrays may be nested. Those that are asked for have 2 levels, and a greeting of version 3 has 5.
const DEEPEST: usize = 16;

/// The longest number, with some room.
const DIGITS: usize = 32;

/// What an answer of so many values with so many bytes in all costs, at the most.
pub(super) fn cost(values: usize, bytes: usize) -> usize {
    values.saturating_mul(VALUE + HEAD).saturating_add(bytes)
}

/// Why what came is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// It would cost more than this.
    Large(usize),
    /// It has more levels than this.
    Deep(usize),
    /// There is no question that it could be the answer to.
    Unasked,
}

/// Where in a stream of values one is.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    at: Position,
    /// How many values are still to come, for each level that is open.
    levels: Vec<usize>,
    /// What the value on the outermost level costs so far.
    cost: usize,
}

#[derive(Debug, Default)]
enum Position {
    /// Before a value.
    #[default]
    Between,
    /// In the first line of a value, or its only one.
    Line { kind: u8, digits: Digits, after_cr: bool },
    /// In a string, with so many bytes to come.
    String(usize),
    /// In what is not the protocol. It has no end.
    Garbage,
}

#[derive(Debug, Default)]
struct Digits {
    bytes: [u8; DIGITS],
    count: usize,
}

impl Scanner {
    /// Goes on by these bytes. `begins` is asked at the beginning of each value on the outermost level, and says whether
    /// there may be one; none may cost more than `limit`.
    pub(super) fn scan(&mut self, mut bytes: &[u8], limit: usize, mut begins: impl FnMut() -> bool) -> Result<(), Excess> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.at {
                Position::Between => {
                    if self.levels.is_empty() {
                        if !begins() {
                            return Err(Excess::Unasked);
                        }
                        self.cost = 0;
                    }
                    self.charge(VALUE + 1, limit)?;
                    self.at = if b"+-:$*%~>|_,#!=(".contains(&first) {
                        Position::Line { kind: first, digits: Digits::default(), after_cr: false }
                    } else {
                        Position::Garbage
                    };
                    bytes = rest;
                }
                Position::Line { kind, digits, after_cr } => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                    let ended = line.ends_with(b"\r\n") || (*after_cr && line == b"\n");
                    digits.extend(line);
                    *after_cr = line.ends_with(b"\r");
                    let announced = ended.then(|| announced(*kind, digits));
                    self.charge(line.len(), limit)?;
                    bytes = rest;
                    match announced {
                        None => {}
                        Some(Announced::Nothing) => self.ended(),
                        Some(Announced::String(length)) => {
                            let length = length.saturating_add(2);
                            self.charge(length, limit)?;
                            self.at = Position::String(length);
                        }
                        Some(Announced::Values(0)) => self.ended(),
                        Some(Announced::Values(count)) => {
                            if count.saturating_mul(VALUE) > limit.saturating_sub(self.cost) {
                                return Err(Excess::Large(limit));
                            }
                            if self.levels.len() == DEEPEST {
                                return Err(Excess::Deep(DEEPEST));
                            }
                            self.levels.push(count);
                            self.at = Position::Between;
                        }
                        Some(Announced::Garbage) => self.at = Position::Garbage,
                    }
                }
                Position::String(left) => {
                    let here = bytes.len().min(*left);
                    *left -= here;
                    let over = *left == 0;
                    bytes = bytes.get(here..).unwrap_or_default();
                    if over {
                        self.ended();
                    }
                }
                Position::Garbage => return self.charge(bytes.len(), limit),
            }
        }
        Ok(())
    }

    fn charge(&mut self, more: usize, limit: usize) -> Result<(), Excess> {
        self.cost = self.cost.saturating_add(more);
        if self.cost > limit { Err(Excess::Large(limit)) } else { Ok(()) }
    }

    /// A value has ended, and with it perhaps the ones around it.
    fn ended(&mut self) {
        self.at = Position::Between;
        while let Some(left) = self.levels.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.levels.pop();
        }
    }
}

impl Digits {
    fn extend(&mut self, line: &[u8]) {
        let room = self.bytes.get_mut(self.count..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(line) {
            *place = *byte;
        }
        self.count = self.count.saturating_add(line.len());
    }

    fn number(&self) -> Option<i64> {
        std::str::from_utf8(self.bytes.get(..self.count)?).ok()?.trim().parse().ok()
    }
}

/// What follows a line.
enum Announced {
    Nothing,
    String(usize),
    Values(usize),
    Garbage,
}

fn announced(kind: u8, digits: &Digits) -> Announced {
    if !b"$!=*~>%|".contains(&kind) {
        return Announced::Nothing;
    }
    let Some(number) = digits.number() else { return Announced::Garbage };
    match (kind, usize::try_from(number)) {
        (b'$' | b'!' | b'=', Ok(length)) => Announced::String(length),
        (b'*' | b'~' | b'>', Ok(count)) => Announced::Values(count),
        (b'%', Ok(pairs)) => Announced::Values(pairs.saturating_mul(2)),
        // And then the value that they are attributes of.
        (b'|', Ok(pairs)) => Announced::Values(pairs.saturating_mul(2).saturating_add(1)),
        // No string, no list.
        (b'$' | b'*' | b'~' | b'>', Err(_)) => Announced::Nothing,
        _ => Announced::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const LIMIT: usize = 100_000;

    /// How many values begin on the outermost level of all this, which comes in pieces of that size.
    fn values(bytes: &[u8], piece: usize) -> Result<usize, Excess> {
        let (mut scanner, mut begun) = (Scanner::default(), 0);
        for piece in bytes.chunks(piece) {
            scanner.scan(piece, LIMIT, || {
                begun += 1;
                true
            })?;
        }
        assert!(matches!(scanner.at, Position::Between) && scanner.levels.is_empty(), "{scanner:?}");
        Ok(begun)
    }

    #[test]
    fn each_kind_of_value_ends_where_the_parser_says() {
        for value in [
            "+OK\r\n",
            "-ERR a\rb\nc\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\n\r\n$9\n\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*2\r\n*1\r\n+x\r\n$1\r\n*\r\n",
            "%1\r\n+a\r\n*0\r\n",
            "~2\r\n:1\r\n:2\r\n",
            "_\r\n",
            ",1.5\r\n",
            "#t\r\n",
            "!5\r\nERR a\r\n",
            "=5\r\ntxt:a\r\n",
            "(123\r\n",
            ">2\r\n+a\r\n+b\r\n",
            "|1\r\n+a\r\n+b\r\n:1\r\n",
            "* 1 \r\n:1\r\n",
        ] {
            let parsed = redis::parse_redis_value(value.as_bytes());
            assert!(parsed.is_ok(), "{value:?}: {parsed:?}");
            let short = value.len() - 1;
            assert!(redis::parse_redis_value(&value.as_bytes()[..short]).is_err(), "{value:?}");
            let thrice = value.repeat(3);
            for piece in [1, 2, 3, 7, thrice.len()] {
                assert_eq!(values(thrice.as_bytes(), piece), Ok(3), "{value:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_answer_costs_no_more_than_is_reckoned_for_it() {
        let message = "x".repeat(900);
        let answer = format!("*102\r\n:0\r\n:0\r\n{}", format!("$900\r\n{message}\r\n").repeat(100));
        let mut scanner = Scanner::default();
        scanner.scan(answer.as_bytes(), cost(103, 90_000), || true).unwrap();
        assert!(scanner.cost > 90_000 + 103 * VALUE);
    }

    #[test]
    fn what_is_announced_is_judged_before_it_comes() {
        let deepest = "*1\r\n".repeat(DEEPEST);
        for (announcement, excess) in [
            ("$2000000000\r\n", Excess::Large(LIMIT)),
            ("$9223372036854775807\r\n", Excess::Large(LIMIT)),
            ("!2000000000\r\n", Excess::Large(LIMIT)),
            ("*1000000000\r\n", Excess::Large(LIMIT)),
            ("*9223372036854775807\r\n", Excess::Large(LIMIT)),
            ("%9223372036854775807\r\n", Excess::Large(LIMIT)),
            ("|9223372036854775807\r\n", Excess::Large(LIMIT)),
            ("*3\r\n$60000\r\n", Excess::Large(LIMIT)),
            (&format!("{deepest}*1\r\n"), Excess::Deep(DEEPEST)),
        ] {
            let padded = format!("{announcement}{}", "x".repeat(60_002) + "$60000\r\n");
            let mut scanner = Scanner::default();
            assert_eq!(scanner.scan(padded.as_bytes(), LIMIT, || true), Err(excess), "{announcement}");
        }
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(deepest.as_bytes(), LIMIT, || true), Ok(()));
    }

    #[test]
    fn what_has_no_end_is_cut_at_the_limit() {
        for (head, endless) in [
            ("+", "x"),
            (":", "0"),
            ("$", "0"),
            ("HTTP/1.1 200 OK\r\n", "<p>\r\n"),
            ("*300\r\n", "*1\r\n_\r\n"),
            ("*300\r\n", "$1000\r\n{1000}\r\n"),
            ("*300\r\n", "%1\r\n+\r\n_\r\n"),
        ] {
            let endless = endless.replace("{1000}", &"x".repeat(1000));
            let (mut scanner, mut sent) = (Scanner::default(), head.len());
            scanner.scan(head.as_bytes(), LIMIT, || true).unwrap();
            let excess = loop {
                if let Err(excess) = scanner.scan(endless.as_bytes(), LIMIT, || true) {
                    break excess;
                }
                sent += endless.len();
                assert!(sent <= LIMIT, "{head:?}");
            };
            assert_eq!(excess, Excess::Large(LIMIT), "{head:?}");
        }
    }

    #[test]
    fn what_may_not_begin_is_cut_at_its_first_byte() {
        let mut scanner = Scanner::default();
        let mut asked = 2;
        let mut begins = || {
            asked -= 1;
            asked >= 0
        };
        scanner.scan(b"+OK\r\n*1\r\n:1\r\n", LIMIT, &mut begins).unwrap();
        assert_eq!(scanner.scan(b"+", LIMIT, &mut begins), Err(Excess::Unasked));
    }

    /// Of these everything can be made: values, values in values, and what is nearly one.
    const PIECES: &[&str] = &[
        "*",
        "$",
        "%",
        "|",
        "~",
        ">",
        "!",
        "=",
        "+",
        "-",
        ":",
        "_",
        ",",
        "#",
        "(",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "t",
        "x",
        " ",
        "\r",
        "\n",
        "\r\n",
        "*1\r\n",
        "*2\r\n",
        "%1\r\n",
        "|0\r\n",
        "|1\r\n",
        "~1\r\n",
        ">1\r\n",
        "$1\r\nx\r\n",
        "=5\r\ntxt:x\r\n",
        "!1\r\nx\r\n",
        ":1\r\n",
        "+\r\n",
        "_\r\n",
        "#f\r\n",
        ",1\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "*0\r\n",
        "é",
    ];

    proptest! {
        #[test]
        fn an_answer_ends_where_the_parser_says(pieces in vec(select(PIECES), 0..16)) {
            super::super::fuzzing::redis(pieces.concat().as_bytes());
        }
    }
}
