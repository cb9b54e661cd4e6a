//! The plain tokens of JSON: what is read here is what serde_json reads, and everything else is `None`.

use crate::wire::decode::raw::{Piece, Raw};

/// What is left of a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// `None` for a text whose pieces have no positions.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        Some(Self { text, rest: text.as_bytes() })
    }

    /// Takes a byte if it is the next.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Some(())
            }
            _ => None,
        }
    }

    /// Takes a comma and the space that `json.dumps` writes behind it.
    pub(super) fn comma(&mut self) -> Option<()> {
        self.take(b',')?;
        self.space();
        Some(())
    }

    /// Takes a key, given with its quotes and its colon, if it is the next.
    pub(super) fn key<const N: usize>(&mut self, key: &[u8; N]) -> bool {
        // An array is compared by a few words, a slice by a call.
        match self.rest.split_first_chunk() {
            Some((first, rest)) if first == key => {
                self.rest = rest;
                self.space();
                true
            }
            _ => false,
        }
    }

    /// Takes whatever key is next. Not for a place where some keys mean something: this knows none.
    pub(super) fn any_key(&mut self) -> Option<Piece> {
        let key = self.string()?;
        self.take(b':')?;
        self.space();
        Some(key)
    }

    /// Takes a key that means nothing, and its value.
    pub(super) fn skip_entry(&mut self) -> Option<()> {
        self.any_key()?;
        self.scalar()?;
        Some(())
    }

    /// Takes a string, a number, a boolean or null.
    pub(super) fn scalar(&mut self) -> Option<Raw> {
        match self.rest.first()? {
            b'"' => self.string().map(Raw::Text),
            b'n' => self.word(b"null", Raw::Null),
            b't' => self.word(b"true", Raw::Bool(true)),
            b'f' => self.word(b"false", Raw::Bool(false)),
            _ => self.number(),
        }
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn space(&mut self) {
        if let Some((b' ', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn word(&mut self, word: &[u8], raw: Raw) -> Option<Raw> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(raw)
    }

    fn string(&mut self) -> Option<Piece> {
        self.take(b'"')?;
        let start = self.text.len() - self.rest.len();
        let len = plain(self.rest);
        self.rest = self.rest.get(len..)?;
        self.take(b'"')?;
        // All of the text fits 32 bits.
        Some(Piece { start: start as u32, len: len as u32, in_scratch: false })
    }

    fn number(&mut self) -> Option<Raw> {
        let begin = self.rest;
        let is_negative = self.take(b'-').is_some();
        let mut digits = Digits::default();
        let starts_with_zero = self.rest.first() == Some(&b'0');
        let whole = self.digits(&mut digits)?;
        if starts_with_zero && whole > 1 {
            return None;
        }
        let decimals = if self.take(b'.').is_some() { Some(self.digits(&mut digits)?) } else { None };
        let has_exponent = self.take(b'e').or_else(|| self.take(b'E')).is_some();
        if has_exponent {
            let _sign = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits(&mut Digits::default())?;
        }
        let Some(decimals) = decimals.or(has_exponent.then_some(0)) else {
            // -0 is the integer 0 to Python and a float to serde_json.
            let value = i64::try_from(digits.value()?).ok()?;
            return if is_negative { (value != 0).then_some(Raw::Int(-value)) } else { Some(Raw::Int(value)) };
        };
        let exactly = if has_exponent { None } else { digits.exactly(decimals) };
        let value = match exactly {
            Some(value) if is_negative => -value,
            Some(value) => value,
            None => {
                let number = begin.get(..begin.len() - self.rest.len())?;
                str::from_utf8(number).ok()?.parse::<f64>().ok()?
            }
        };
        // From 2^63 on, infinity included, it may have been meant as an integer or be none, and so may -0.0.
        let is_plain = value.abs() < 9_223_372_036_854_775_808.0 && !(value == 0.0 && is_negative);
        is_plain.then_some(Raw::Float(value))
    }

    /// Takes one digit or more, and says how many.
    fn digits(&mut self, digits: &mut Digits) -> Option<usize> {
        let (mut number, mut taken) = (digits.number, 0);
        for byte in self.rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            taken += 1;
        }
        self.rest = self.rest.get(taken..)?;
        digits.number = number;
        digits.count += taken;
        (taken > 0).then_some(taken)
    }
}

/// The digits of a number, without its point.
#[derive(Default)]
struct Digits {
    /// Wrapped when there are more than [`MOST_DIGITS`].
    number: u64,
    count: usize,
}

/// So many digits always fit 64 bits.
const MOST_DIGITS: usize = 19;

/// The powers of ten that are exact as a float.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

impl Digits {
    fn value(&self) -> Option<u64> {
        (self.count <= MOST_DIGITS).then_some(self.number)
    }

    /// The float, if one division gives it: of two exact numbers it is rounded once, hence to the nearest float.
    fn exactly(&self, decimals: usize) -> Option<f64> {
        let number = self.value().filter(|number| *number <= 1 << 53)?;
        Some(number as f64 / POWERS.get(decimals)?)
    }
}

/// How many bytes there are before the first that does not stand for itself in a string: a quote, a backslash or a control
/// character.
fn plain(bytes: &[u8]) -> usize {
    // Eight bytes at a time: the strings of a message are too short for anything that has to be called.
    let (words, rest) = bytes.as_chunks();
    let mut before = 0;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return before + special.trailing_zeros() as usize / 8;
        }
        before += word.len();
    }
    let last = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '));
    before + last.unwrap_or(rest.len())
}

/// The highest bit of the lowest of eight bytes that is special; of those above it perhaps too many.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    // A byte below n borrows from its highest bit; one that has that bit before, beyond ASCII, does not count.
    let below = |word: u64, n: u8| word.wrapping_sub(ONES * n as u64);
    let is = |byte: u8| below(word ^ (ONES * byte as u64), 1);
    (below(word, b' ') | is(b'"') | is(b'\\')) & !word & HIGHEST
}
