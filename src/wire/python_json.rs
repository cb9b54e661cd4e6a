//! Python's JSON is not quite JSON: `json.dumps` writes `NaN`, `Infinity` and `-Infinity` bare and halves of surrogate pairs
//! as escapes, and `json.loads` knows integers of any length. This makes such a text one that a strict parser takes, and
//! remembers where, so that only what is wrong is refused and not all that is beside it.
//!
//! Every replacement is as long as what it replaces: positions stay, in the text and in the parser's complaints. A replaced
//! value is a JSON string without escapes, which a parser therefore borrows, and is told from a genuine string by its position.

use super::memory_budget::{Exceeded, MemoryBudget};

/// What was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `NaN`, `Infinity`, `-Infinity` or a number that is infinite as an `f64`, such as `1e999`.
    NotFinite,
    /// An integer beyond 64 bits with a sign.
    BigInt,
    /// A string with half of a surrogate pair, which is no character.
    Surrogate,
}

/// A replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    /// What was replaced.
    pub(super) what: What,
    /// Where what was replaced begins: the number, or the string behind its quote.
    pub(super) start: u32,
    /// Its length in bytes.
    pub(super) len: u32,
}

impl Repair {
    /// `None` beyond 4 GiB, where nothing is read.
    fn new(what: What, start: usize, len: usize) -> Option<Self> {
        Some(Self { what, start: u32::try_from(start).ok()?, len: u32::try_from(len).ok()? })
    }

    /// Where the string that stands in its place begins, behind the quote.
    pub(super) fn content(&self) -> usize {
        // The quote took the place of a number's first character.
        self.start as usize + usize::from(self.what != What::Surrogate)
    }
}

/// A text and its replacements in the order of their positions.
pub(super) type Repaired = (String, Vec<Repair>);

/// The text with its replacements; `None` when there is nothing to replace.
pub(super) fn repair(text: &str, budget: &mut MemoryBudget) -> Result<Option<Repaired>, Exceeded> {
    let bytes = text.as_bytes();
    let mut repaired = String::with_capacity(text.len());
    let mut repairs = Vec::new();
    // Up to here the text has been copied.
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (end, replacement) = match byte {
            b'"' => string(text, at),
            b'-' | b'+' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => word(text, at),
            _ => (at + 1, None),
        };
        if let Some(Replacement { repair, filler }) = replacement {
            repaired.push_str(text.get(copied..at).unwrap_or_default());
            match filler {
                Filler::String => {
                    repaired.push('"');
                    repaired.extend(std::iter::repeat_n('?', (end - at).saturating_sub(2)));
                    repaired.push('"');
                }
                Filler::Zero => repaired.push_str(" 0"),
            }
            if let Some(repair) = repair {
                budget.push(&mut repairs, repair)?;
            }
            copied = end;
        }
        at = end;
    }
    if copied == 0 {
        return Ok(None);
    }
    repaired.push_str(text.get(copied..).unwrap_or_default());
    Ok(Some((repaired, repairs)))
}

struct Replacement {
    repair: Option<Repair>,
    filler: Filler,
}

enum Filler {
    /// A string of question marks, which is the name of no key that means something.
    String,
    /// For `-0`, which is the integer 0 to Python.
    Zero,
}

/// The end of the string whose quote is at `start`, and a replacement when it holds half of a surrogate pair.
fn string(text: &str, start: usize) -> (usize, Option<Replacement>) {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    let mut broken = false;
    let mut high = false;
    // What no JSON allows, not even Python's, has to stay, so that it is refused.
    let mut sound = true;
    loop {
        let next_high = match bytes.get(at) {
            // The text ends in the middle of a string: no replacement can mend that.
            None => return (bytes.len(), None),
            Some(b'"') => break,
            Some(b'\\') => {
                let unit = escaped_unit(text, at);
                sound &= unit.is_some() || bytes.get(at + 1).is_some_and(|escaped| br#""\/bfnrt"#.contains(escaped));
                at += if unit.is_some() { 6 } else { 2 };
                match unit {
                    Some(0xdc00..=0xdfff) if high => {
                        high = false;
                        continue;
                    }
                    Some(0xdc00..=0xdfff) => {
                        broken = true;
                        false
                    }
                    Some(0xd800..=0xdbff) => true,
                    _ => false,
                }
            }
            Some(byte) => {
                sound &= *byte >= b' ';
                at += 1;
                false
            }
        };
        // The half before had no other half behind it.
        broken |= high;
        high = next_high;
    }
    broken |= high;
    let repair = if broken && sound { Repair::new(What::Surrogate, start + 1, at - start - 1) } else { None };
    (at + 1, repair.map(|repair| Replacement { repair: Some(repair), filler: Filler::String }))
}

/// The code unit of a `\uXXXX` escape at this place.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// The end of the number or name that begins at `start`, and a replacement when only Python understands it.
fn word(text: &str, start: usize) -> (usize, Option<Replacement>) {
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')).count();
    let end = start + length;
    let word = rest.get(..length).unwrap_or_default();
    let what = match word {
        "-0" => None,
        "NaN" | "Infinity" | "-Infinity" => Some(What::NotFinite),
        _ if !is_number(word) => return (end, None),
        _ if !word.contains(['.', 'e', 'E']) && word.parse::<i64>().is_err() => Some(What::BigInt),
        _ if word.parse::<f64>().is_ok_and(f64::is_infinite) => Some(What::NotFinite),
        _ => return (end, None),
    };
    // As the key of an object it is not even Python's JSON, and must not become a string, which would be one.
    let behind = rest.get(length..).unwrap_or_default().trim_start_matches([' ', '\t', '\n', '\r']);
    if behind.starts_with(':') {
        return (end, None);
    }
    let replacement = match what {
        None => Some(Replacement { repair: None, filler: Filler::Zero }),
        Some(what) => Repair::new(what, start, length).map(|repair| Replacement { repair: Some(repair), filler: Filler::String }),
    };
    (end, replacement)
}

/// Whether this is a number by JSON's grammar.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> Option<(String, Vec<(What, &str)>)> {
        repair(text, &mut MemoryBudget::of(text.len())).unwrap().map(|(repaired, repairs)| {
            assert_eq!(repaired.len(), text.len());
            for repair in &repairs {
                assert_eq!(repaired.as_bytes()[repair.content() - 1], b'"', "{text}");
            }
            (
                repaired,
                repairs.iter().map(|repair| (repair.what, &text[repair.start as usize..][..repair.len as usize])).collect(),
            )
        })
    }

    #[test]
    fn nothing_is_replaced_that_json_knows() {
        for text in [
            "",
            "[1, -1.5e300, true, null]",
            r#"{"NaN": "Infinity", "a": "\ud83c\udf89 \\ud800 \\\" 1e999"}"#,
            "[9223372036854775807]",
        ] {
            assert_eq!(repaired(text), None, "{text}");
        }
    }

    #[test]
    fn pythons_numbers_become_strings_of_their_length() {
        use What::{BigInt, NotFinite};
        assert_eq!(
            repaired("[NaN,Infinity , -Infinity, 1e999, -1E+400]"),
            Some((
                r#"["?","??????" , "???????", "???", "?????"]"#.to_owned(),
                ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400"].map(|word| (NotFinite, word)).to_vec()
            ))
        );
        assert_eq!(
            repaired("[9223372036854775808, -0, -0.0]"),
            Some((r#"["?????????????????",  0, -0.0]"#.to_owned(), vec![(BigInt, "9223372036854775808")]))
        );
    }

    #[test]
    fn halves_of_surrogate_pairs_take_their_string_with_them_only() {
        let count = |text: &str| repaired(text).map(|(_, repairs)| repairs.len());
        for string in
            [r"a\ud800", r"\udc00", r"\ud800\ud83c\udf89", r"\ud83c\udf89\udf89", r"\ud800x\udc00", r"\ud800\n", r"\uD800\\udc00"]
        {
            assert_eq!(count(&format!(r#"["é", "{string}", "b"]"#)), Some(1), "{string}");
        }
    }

    #[test]
    fn what_is_not_even_pythons_json_stays_broken() {
        for text in [
            "{NaN: 1}",
            "{Infinity\n: 1}",
            "1NaN",
            "[nan]",
            "[+Infinity]",
            "[01e999]",
            "[1e999.]",
            "[.1e999]",
            r#"["\ud800"#,
            r#"["\ud8"]"#,
            r#"["\ud800\q"]"#,
            r#"["\ud800\ud8"]"#,
            "[\"\\ud800\n\"]",
            "[\"\0\\udc00\"]",
            "[--Infinity]",
        ] {
            assert_eq!(repaired(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_length(text in r#"([-"\\{}\[\]:, 0-9eE.]|NaN|Infinity|\\ud800|\\udc00|\PC){0,30}"#) {
            let _ = repaired(&text);
        }
    }
}
