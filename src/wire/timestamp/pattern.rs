//! A format as a list of items, matched against a text in the order in which Python's regular expression tries things.
//! What the fields add up to is `assemble`'s business.

use std::collections::HashSet;

use super::FormatError;

/// A format, taken apart.
#[derive(Debug)]
pub(super) struct Pattern {
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    /// A character as it is, whatever its case.
    Char(char),
    /// One or more white-space characters, whatever they are.
    Space,
    /// A directive that stands for a value.
    Field(Field),
}

/// A value as it was found; the order in which they were found counts where two directives mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) year: Option<i64>,
    pub(super) iso_year: Option<i64>,
    pub(super) month: Option<i64>,
    pub(super) day: Option<i64>,
    pub(super) hour: Option<Hour>,
    pub(super) afternoon: Option<bool>,
    pub(super) minute: Option<i64>,
    pub(super) second: Option<i64>,
    pub(super) micros: Option<i64>,
    /// Monday is 0.
    pub(super) weekday: Option<i64>,
    pub(super) day_of_year: Option<i64>,
    pub(super) week: Option<Week>,
    pub(super) iso_week: Option<i64>,
    /// Microseconds that local time is ahead of UTC, or that the text of the offset makes no sense.
    pub(super) offset: Option<Result<i64, BadOffset>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hour {
    Of24(i64),
    Of12(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Week {
    FromSunday(i64),
    FromMonday(i64),
}

/// An offset with colons in one place and not in the other, or of a day or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadOffset;

/// The directives that stand for a value, by their letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field(char);

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

impl Pattern {
    pub(super) fn compile(format: &str) -> Result<Self, FormatError> {
        let mut pattern = Self { items: Vec::new() };
        pattern.append(format)?;
        Ok(pattern)
    }

    fn append(&mut self, format: &str) -> Result<(), FormatError> {
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            match char {
                '%' => self.append_directive(chars.next().ok_or(FormatError::Stray)?)?,
                _ if is_space(char) => {
                    if !matches!(self.items.last(), Some(Item::Space)) {
                        self.items.push(Item::Space);
                    }
                }
                _ => self.items.push(Item::Char(char)),
            }
        }
        Ok(())
    }

    fn append_directive(&mut self, directive: char) -> Result<(), FormatError> {
        match directive {
            '%' => self.items.push(Item::Char('%')),
            'c' => self.append("%a %b %d %H:%M:%S %Y")?,
            'x' => self.append("%m/%d/%y")?,
            'X' => self.append("%H:%M:%S")?,
            _ if "aAbBdfGHIjmMpSuUVwWyYzZ".contains(directive) => {
                if self.items.iter().any(|item| matches!(item, Item::Field(Field(known)) if *known == directive)) {
                    return Err(FormatError::Repeated(directive));
                }
                self.items.push(Item::Field(Field(directive)));
            }
            _ => return Err(FormatError::Unknown(directive)),
        }
        Ok(())
    }

    /// Whether the whole text matches; fills in what was found.
    pub(super) fn matches(&self, text: &str, values: &mut Values) -> bool {
        let mut failed = HashSet::new();
        // Python matches a prefix first and then complains about what is left; it does not look for a longer match.
        self.match_from(0, text, values, &mut failed) == Some(0)
    }

    /// Matches the items from `index` on; the length of what is left over when they do match.
    ///
    /// `failed` remembers the places from where a field and what follows it cannot match: without it a hostile text
    /// could make the search take exponential time. It allocates nothing as long as nothing failed.
    fn match_from(&self, index: usize, text: &str, values: &mut Values, failed: &mut HashSet<(usize, usize)>) -> Option<usize> {
        let mut rest = text;
        for (index, item) in self.items.iter().enumerate().skip(index) {
            match item {
                Item::Char(wanted) => rest = strip_char(rest, *wanted)?,
                Item::Space => {
                    let after = rest.trim_start_matches(is_space);
                    if after.len() == rest.len() {
                        return None;
                    }
                    // `%d` may begin with a space of its own, which the greedy run then has to give back.
                    let given_back = rest.get(..rest.len() - after.len()).and_then(|run| run.chars().next_back());
                    let run_is_longer = rest.chars().nth(1).is_some_and(is_space);
                    if run_is_longer && given_back == Some(' ') && self.field_at(index + 1) == Some('d') {
                        if let left @ Some(_) = self.match_from(index + 1, after, values, failed) {
                            return left;
                        }
                        return self.match_from(index + 1, rest.get(rest.len() - after.len() - 1..)?, values, failed);
                    }
                    rest = after;
                }
                Item::Field(Field(directive)) => {
                    if !failed.is_empty() && failed.contains(&(index, rest.len())) {
                        return None;
                    }
                    let before = *values;
                    for length in candidates(*directive, rest) {
                        let (Some(found), Some(after)) = (rest.get(..length), rest.get(length..)) else { continue };
                        values.set(*directive, found);
                        if let left @ Some(_) = self.match_from(index + 1, after, values, failed) {
                            return left;
                        }
                        *values = before;
                    }
                    failed.insert((index, rest.len()));
                    return None;
                }
            }
        }
        Some(rest.len())
    }

    fn field_at(&self, index: usize) -> Option<char> {
        match self.items.get(index) {
            Some(Item::Field(Field(directive))) => Some(*directive),
            _ => None,
        }
    }
}

/// Python's `str.isspace`, which is Unicode's white space and four control characters.
fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}

fn strip_char(text: &str, wanted: char) -> Option<&str> {
    let mut chars = text.chars();
    let found = chars.next()?;
    (found == wanted || same_but_for_case(found, wanted)).then_some(chars.as_str())
}

fn same_but_for_case(one: char, other: char) -> bool {
    // Python's regular expressions also hold the dotless i and the long s for cases of i and s.
    let fold = |char: char| match char {
        'ı' => 'i',
        'ſ' => 's',
        _ => char.to_lowercase().next().unwrap_or(char),
    };
    fold(one) == fold(other)
}

/// Lengths of text, each of ASCII characters only; no directive takes nothing, so 0 stands for none.
type Lengths = [usize; 8];

const NONE: Lengths = [0; 8];

fn some(lengths: &[usize]) -> Lengths {
    let mut all = NONE;
    for (slot, length) in all.iter_mut().zip(lengths) {
        *slot = *length;
    }
    all
}

/// The lengths of text that a directive could take, in the order in which Python tries them.
fn candidates(directive: char, text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let digits = bytes.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let two = if digits >= 2 { number(text.get(..2).unwrap_or_default()) } else { -1 };
    let one = if digits >= 1 { number(text.get(..1).unwrap_or_default()) } else { -1 };
    // Two digits first, then one.
    let up_to = |low: i64, high: i64| {
        some(&[if two >= low && two <= high { 2 } else { 0 }, if one >= low && one <= high { 1 } else { 0 }])
    };
    let lengths: Lengths = match directive {
        'd' => match up_to(1, 31) {
            [0, 0, ..] if byte(0) == b' ' && (b'1'..=b'9').contains(&byte(1)) => some(&[2]),
            lengths => lengths,
        },
        'm' | 'I' => up_to(1, 12),
        'H' => up_to(0, 23),
        'M' => up_to(0, 59),
        'S' => up_to(0, 61),
        'U' | 'W' => up_to(0, 53),
        'V' => match up_to(0, 53) {
            // `00` is not a week, but `0` is one to Python.
            [2, one, ..] if two == 0 => some(&[one]),
            lengths => lengths,
        },
        'w' => some(&[usize::from((0..=6).contains(&one))]),
        'u' => some(&[usize::from((1..=7).contains(&one))]),
        'y' => some(&[if digits >= 2 { 2 } else { 0 }]),
        'Y' | 'G' => some(&[if digits >= 4 { 4 } else { 0 }]),
        'j' => {
            let three = if digits >= 3 { number(text.get(..3).unwrap_or_default()) } else { -1 };
            let [two, one, ..] = up_to(1, 99);
            some(&[if (1..=366).contains(&three) { 3 } else { 0 }, two, one])
        }
        'f' => some(&[0, 1, 2, 3, 4, 5].map(|less| digits.saturating_sub(less))),
        'a' => some(&[longest_name(text, WEEKDAYS.iter().filter_map(|name| name.get(..3)))]),
        'A' => some(&[longest_name(text, WEEKDAYS.iter().copied())]),
        'b' => some(&[longest_name(text, MONTHS.iter().filter_map(|name| name.get(..3)))]),
        'B' => some(&[longest_name(text, MONTHS.iter().copied())]),
        'p' => some(&[longest_name(text, ["am", "pm"].into_iter())]),
        'Z' => some(&[longest_name(text, ["utc", "gmt"].into_iter())]),
        'z' => offset_lengths(bytes),
        _ => NONE,
    };
    let mut previous = 0;
    lengths.into_iter().filter(move |&length| {
        let fresh = length != 0 && length != previous;
        previous = length;
        fresh
    })
}

fn longest_name<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> usize {
    names
        .filter(|name| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// `[+-]\d\d:?[0-5]\d(:?[0-5]\d(\.\d{1,6})?)?|Z`
fn offset_lengths(bytes: &[u8]) -> Lengths {
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    if byte(0) == b'Z' {
        return some(&[1]);
    }
    let sixty = |at: usize| (b'0'..=b'5').contains(&byte(at)) && byte(at + 1).is_ascii_digit();
    if !matches!(byte(0), b'+' | b'-') || !byte(1).is_ascii_digit() || !byte(2).is_ascii_digit() {
        return NONE;
    }
    let minutes = 3 + usize::from(byte(3) == b':');
    if !sixty(minutes) {
        return NONE;
    }
    let to_minutes = minutes + 2;
    let seconds = to_minutes + usize::from(byte(to_minutes) == b':');
    if !sixty(seconds) {
        return some(&[to_minutes]);
    }
    let to_seconds = seconds + 2;
    if byte(to_seconds) != b'.' {
        return some(&[to_seconds, to_minutes]);
    }
    let digits = bytes.iter().skip(to_seconds + 1).take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let with = |fewer: usize| if digits > fewer { to_seconds + 1 + digits - fewer } else { 0 };
    [with(0), with(1), with(2), with(3), with(4), with(5), to_seconds, to_minutes]
}

/// The digits of a text as a number; what is no digit is passed over.
fn number(text: &str) -> i64 {
    text.bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

impl Values {
    fn set(&mut self, directive: char, text: &str) {
        let named = |names: &[&str]| names.iter().zip(0..).find(|(name, _)| starts_alike(name, text)).map(|(_, index)| index);
        match directive {
            'Y' => self.year = Some(number(text)),
            // POSIX: 69 to 99 are of the last century.
            'y' => self.year = Some(if number(text) <= 68 { 2000 } else { 1900 } + number(text)),
            'G' => self.iso_year = Some(number(text)),
            'm' => self.month = Some(number(text)),
            'b' | 'B' => self.month = named(&MONTHS).map(|index: i64| index + 1),
            'd' => self.day = Some(number(text)),
            'H' => self.hour = Some(Hour::Of24(number(text))),
            'I' => self.hour = Some(Hour::Of12(number(text))),
            'p' => self.afternoon = Some(text.eq_ignore_ascii_case("pm")),
            'M' => self.minute = Some(number(text)),
            'S' => self.second = Some(number(text)),
            'f' => self.micros = Some(fraction(text)),
            'a' | 'A' => self.weekday = named(&WEEKDAYS),
            'w' => self.weekday = Some((number(text) + 6) % 7),
            'u' => self.weekday = Some(number(text) - 1),
            'j' => self.day_of_year = Some(number(text)),
            'U' => self.week = Some(Week::FromSunday(number(text))),
            'W' => self.week = Some(Week::FromMonday(number(text))),
            'V' => self.iso_week = Some(number(text)),
            'z' => self.offset = Some(offset(text)),
            // The name of a zone says nothing: it can only be UTC.
            _ => {}
        }
    }
}

fn starts_alike(name: &str, text: &str) -> bool {
    name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
}

/// One to six digits behind a decimal point, in millionths.
fn fraction(digits: &str) -> i64 {
    (digits.len()..6).fold(number(digits), |sum, _| sum * 10)
}

fn offset(text: &str) -> Result<i64, BadOffset> {
    if text == "Z" {
        return Ok(0);
    }
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    // +hh:mmss and +hhmm:ss; the other shapes are 5, 6, 7 and 9 long.
    if whole.len() == 8 {
        return Err(BadOffset);
    }
    let all = number(whole);
    let (hours, minutes, seconds) =
        if whole.len() > 6 { (all / 10_000, all / 100 % 100, all % 100) } else { (all / 100, all % 100, 0) };
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction(digits);
    if micros >= 86_400_000_000 {
        return Err(BadOffset);
    }
    Ok(if whole.starts_with('-') { -micros } else { micros })
}
