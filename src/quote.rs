//! What others say, fit to be shown: a server's words, and what stands in a message or a configuration.

use std::borrow::Cow;

/// How much is quoted, in characters.
pub(crate) const MAX_QUOTE: usize = 400;

/// The text on one printable line; of a long one the beginning and the end, since a reason often comes last.
pub(crate) fn quote(text: &str) -> String {
    let printable: Vec<char> = text
        .split_whitespace()
        .flat_map(|word| [' '].into_iter().chain(word.chars()))
        .skip(1)
        .map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c })
        .collect();
    if printable.len() <= MAX_QUOTE {
        return printable.into_iter().collect();
    }
    let (head, tail) = (MAX_QUOTE / 2, MAX_QUOTE / 2 - 1);
    printable.iter().take(head).chain(&['…']).chain(printable.iter().skip(printable.len() - tail)).collect()
}

/// A text as one word of a shell.
pub(crate) fn in_a_shell(text: &str) -> String {
    ["'", &text.replace('\'', r"'\''"), "'"].concat()
}

/// The first `longest` characters of a text; a text that goes on ends with `…`.
pub(crate) fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}

/// As much of a metric's name, or of a reason that quotes others, as somebody reads. Either can be as large as a message.
pub(crate) fn cut_name(text: &str) -> String {
    const LONGEST: usize = 500;
    cut(text, LONGEST).into_owned()
}

/// The whole text on one line that drives no terminal: what must not be shown as it is, is shown as its escape.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_treacherous(c) {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// JSON that drives no terminal: what must not be shown as it is, which stands in strings alone, is shown as JSON's own escape.
pub(crate) fn printable_json(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    // None of them is beyond what has four digits.
    for c in json.chars() {
        if is_treacherous(c) {
            printable += &format!("\\u{:04x}", u32::from(c));
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Characters that would start a line, drive the terminal, or turn the reading direction round.
pub(crate) fn is_treacherous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that turn the direction of text or hide in it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü!", 3), "äöü…");
        assert_eq!(cut("äöü", 0), "…");
        assert_eq!(cut_name("short"), "short");
        assert_eq!(cut_name(&"ä".repeat(70_000)).chars().count(), 501);
        assert_eq!(cut_name(&cut_name(&"ä".repeat(70_000))), cut_name(&"ä".repeat(70_000)));
    }

    #[test]
    fn json_stays_json_and_drives_no_terminal() {
        let json = serde_json::Value::from("a\u{1b}[2J\u{9b}\u{202e}\u{7f}\"").to_string();
        let printable = printable_json(&json);
        assert!(!printable.contains(is_treacherous), "{printable:?}");
        assert_eq!(serde_json::from_str::<String>(&printable).unwrap(), serde_json::from_str::<String>(&json).unwrap());
    }

    #[test]
    fn a_quote_is_one_printable_bounded_line() {
        assert_eq!(quote("a\n\u{1b}[31m\tb\u{202e}c"), "a \u{fffd}[31m b\u{fffd}c");
        let long = quote(&format!("unable to parse '{}': max key length exceeded", "x".repeat(70_000)));
        assert_eq!(long.chars().count(), MAX_QUOTE);
        assert!(long.starts_with("unable to parse 'xxx") && long.ends_with("xxx': max key length exceeded"), "{long}");
    }
}
