//! Names, tags and strings as InfluxDB reads them back; each rule was seen on 1.6.7, 2.9.1 and 3.6.0.
//!
//! What line protocol cannot express is stored in another form:
//! - a newline in a metric's name, a tag or a key as the two characters `\n`, as influxdb-python stores it;
//! - a tag's key or value that ends with a backslash with a space after it, as influxdb-python means to store it;
//! - a metric's name that begins with `#`, a tab or a NUL with a backslash before it, or it would be a comment, or lose it.
//!
//! What has no form that can be queried is not written, see [`is_unreadable`].

/// What a destination stores of a backslash in a metric's name, a tag or a field's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher) enum Backslashes {
    /// It is stored as it stands there, before another one, too: InfluxDB 1.x and 2.
    Kept,
    /// Two are stored as one: InfluxDB 3.
    Doubled,
}

/// Appends a metric's name.
#[inline]
pub(super) fn measurement(line: &mut Vec<u8>, name: &str, backslashes: Backslashes) {
    if name.starts_with(['#', '\t', '\0']) {
        line.push(b'\\');
    }
    match backslashes {
        Backslashes::Kept => escaped(line, name, *b", \n"),
        Backslashes::Doubled => with_backslashes(line, name, *b", \n\\"),
    }
}

/// Appends a tag's key or value. Returns whether [`reads_as_one_line`] must look at the line.
#[inline]
pub(super) fn tag(line: &mut Vec<u8>, text: &str, backslashes: Backslashes) -> bool {
    key(line, text, backslashes);
    if text.ends_with('\\') {
        line.extend_from_slice(b"\\ ");
    }
    backslashes == Backslashes::Kept && has_backslash_before(text, b", =")
}

/// Appends a field's key.
#[inline]
pub(super) fn key(line: &mut Vec<u8>, name: &str, backslashes: Backslashes) {
    match backslashes {
        Backslashes::Kept => escaped(line, name, *b", =\n"),
        Backslashes::Doubled => with_backslashes(line, name, *b", =\n\\"),
    }
}

/// Appends a string field's value with its quotes. Newlines stay as they are.
pub(super) fn string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    escaped(line, text, *b"\"\\");
    line.push(b'"');
}

/// Whether a tag's or a field's key is stored in another form, which may be another key's.
pub(super) fn has_another_form(key: &str) -> bool {
    has_any(key.as_bytes(), *b"\n") || key.ends_with('\\')
}

/// A field's key as it is stored.
pub(in crate::publisher) fn stored_key(key: &str) -> impl Iterator<Item = u8> {
    key.bytes().flat_map(|byte| if byte == b'\n' { [Some(b'\\'), Some(b'n')] } else { [Some(byte), None] }).flatten()
}

/// A tag's key as it is stored.
pub(super) fn stored_tag_key(key: &str) -> impl Iterator<Item = u8> {
    stored_key(key).chain(key.ends_with('\\').then_some(b' '))
}

/// Whether a metric's name or a field's key cannot be written: InfluxDB reads the backslash as an escape, and
/// stores the name so that no query finds it, or refuses the line.
pub(super) fn is_unreadable(name: &str, backslashes: Backslashes) -> bool {
    match backslashes {
        Backslashes::Kept => has_backslash_before(name, b", =\""),
        Backslashes::Doubled => name.ends_with('\\'),
    }
}

/// What the name of a line's metric was.
pub(super) fn read_measurement(line: &[u8], backslashes: Backslashes) -> String {
    let mut name = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    if let [b'\\', b'#' | b'\t' | b'\0', ..] = line {
        bytes.next();
    }
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let is_escaped = |next: &u8| matches!(next, b',' | b' ') || *next == b'\\' && backslashes == Backslashes::Doubled;
                name.push(bytes.next_if(is_escaped).unwrap_or(byte));
            }
            b',' | b' ' => break,
            _ => name.push(byte),
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

/// Whether InfluxDB finds the end of the line where it is.
///
/// It looks for it before it looks at tags, with another idea of what is escaped: a backslash before an escaped
/// character makes it believe that the fields have begun, and then a `"` in a tag hides the end of the line, or shows
/// the newline in a string as one.
pub(super) fn reads_as_one_line(line: &[u8]) -> bool {
    let (mut in_fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0, 0);
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'\n' if !quoted => return false,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

fn has_backslash_before(text: &str, special: &[u8]) -> bool {
    if !has_any(text.as_bytes(), *b"\\") {
        return false;
    }
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.first().is_none_or(|next| special.contains(next)) {
            return true;
        }
    }
    false
}

#[inline]
fn escaped<const N: usize>(line: &mut Vec<u8>, text: &str, special: [u8; N]) {
    if has_any(text.as_bytes(), special) {
        with_backslashes(line, text, special);
    } else {
        line.extend_from_slice(text.as_bytes());
    }
}

/// Appends a text with a backslash before each of these characters. Apart from [`escaped`], so that what most texts take stays small.
#[inline(never)]
fn with_backslashes<const N: usize>(line: &mut Vec<u8>, text: &str, special: [u8; N]) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| special.contains(b)) {
        let (plain, tail) = rest.split_at(at);
        line.extend_from_slice(plain);
        line.push(b'\\');
        let Some((byte, tail)) = tail.split_first() else { break };
        line.push(if *byte == b'\n' { b'n' } else { *byte });
        rest = tail;
    }
    line.extend_from_slice(rest);
}

/// Whether one of these ASCII characters is in a text: in most there is none, which eight bytes at a time tell.
fn has_any<const N: usize>(text: &[u8], special: [u8; N]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let is_in = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        // What is the same becomes 0 and borrows from its highest bit; what has that bit before is beyond ASCII.
        let same = special.iter().fold(0, |same, byte| same | (word ^ (ONES * u64::from(*byte))).wrapping_sub(ONES));
        same & !word & HIGHEST != 0
    };
    let (words, rest) = text.as_chunks();
    if words.iter().any(is_in) {
        return true;
    }
    match text.last_chunk() {
        // Some of its bytes for the second time.
        Some(last) => !rest.is_empty() && is_in(last),
        None => rest.iter().any(|byte| special.contains(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_found_wherever_it_is_and_no_other_is_taken_for_it() {
        for length in 0..40 {
            for other in ['a', '!', '-', '#', '\u{1}', '\u{7f}', 'é', '\u{c0}', '東', '🎉'] {
                let plain = String::from_iter(std::iter::repeat_n(other, length));
                assert!(!has_any(plain.as_bytes(), *b", =\n"), "{plain:?}");
                for (at, _) in plain.char_indices() {
                    for special in [',', ' ', '=', '\n'] {
                        let mut text = plain.clone();
                        text.insert(at, special);
                        assert!(has_any(text.as_bytes(), *b", =\n"), "{text:?}");
                    }
                }
            }
        }
    }

    fn with(append: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        append(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn each_place_has_its_own_escapes() {
        for (text, as_measurement, as_tag, as_key, as_string) in [
            ("plain", "plain", "plain", "plain", r#""plain""#),
            ("a,b c=d", r"a\,b\ c=d", r"a\,b\ c\=d", r"a\,b\ c\=d", r#""a,b c=d""#),
            ("a\"b", "a\"b", "a\"b", "a\"b", r#""a\"b""#),
            (r"C:\x", r"C:\x", r"C:\x", r"C:\x", r#""C:\\x""#),
            ("a\nb", r"a\nb", r"a\nb", r"a\nb", "\"a\nb\""),
            ("a\rb", "a\rb", "a\rb", "a\rb", "\"a\rb\""),
            ("#1", r"\#1", "#1", "#1", r##""#1""##),
            ("\tx", "\\\tx", "\tx", "\tx", "\"\tx\""),
            ("", "", "", "", r#""""#),
            ("東京 🎉", r"東京\ 🎉", r"東京\ 🎉", r"東京\ 🎉", r#""東京 🎉""#),
        ] {
            assert_eq!(with(|line| measurement(line, text, Backslashes::Kept)), as_measurement);
            assert_eq!(with(|line| _ = tag(line, text, Backslashes::Kept)), as_tag);
            assert_eq!(with(|line| key(line, text, Backslashes::Kept)), as_key);
            assert_eq!(with(|line| string(line, text)), as_string);
        }
    }

    #[test]
    fn a_tag_that_ends_with_a_backslash_gets_a_space() {
        assert_eq!(with(|line| _ = tag(line, r"C:\", Backslashes::Kept)), r"C:\\ ");
        assert_eq!(with(|line| _ = tag(line, r"C:\", Backslashes::Doubled)), r"C:\\\ ");
    }

    #[test]
    fn backslashes_are_doubled_in_names_where_two_are_stored_as_one_and_in_strings_everywhere() {
        let name = r"a\b\c d";
        assert_eq!(with(|line| measurement(line, name, Backslashes::Doubled)), r"a\\b\\c\ d");
        assert_eq!(with(|line| assert!(!tag(line, r"a\ b", Backslashes::Doubled))), r"a\\\ b");
        assert_eq!(with(|line| key(line, "k\\=\n", Backslashes::Doubled)), r"k\\\=\n");
        assert_eq!(with(|line| string(line, name)), r#""a\\b\\c d""#);
        assert!(is_unreadable(r"a\", Backslashes::Doubled) && !is_unreadable(r"a\ b", Backslashes::Doubled));
    }

    #[test]
    fn names_that_no_query_would_find_are_known() {
        for name in [r"a\", r"a\ b", r"a\,b", r"a\=b", "a\\\"b", r"a\\ b", r"\"] {
            assert!(is_unreadable(name, Backslashes::Kept), "{name}");
        }
        for name in ["a", "", r"a\b", r"\\a", "a b", "a\\\nb", "a\\#"] {
            assert!(!is_unreadable(name, Backslashes::Kept), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_line_that_a_quote_would_hide_is_known() {
        assert!(reads_as_one_line(b"m,a=b value=1 1"));
        assert!(reads_as_one_line(b"m,a=\"b value=1,s=\"x\ny\" 1"));
        assert!(reads_as_one_line(br"m,a\\ b=c value=1 1"));
        assert!(reads_as_one_line(br#"m,a=C:\\ ,b="c value=1,unit="s" 1"#));
        assert!(!reads_as_one_line(br#"m,a\\ b=c"d value=1 1"#));
        assert!(!reads_as_one_line(b"m,a\\\\ b=c\" value=1,unit=\"x\nrogue v=2 2\" 1"));
    }

    #[test]
    fn a_metric_is_known_by_its_line() {
        for name in ["a", "a b,c", "#hash", r"a\b", "a=b", "\tx", "東京"] {
            for backslashes in [Backslashes::Kept, Backslashes::Doubled] {
                let line = with(|line| {
                    measurement(line, name, backslashes);
                    line.extend_from_slice(b",d=e\\ f value=1 1");
                });
                assert_eq!(read_measurement(line.as_bytes(), backslashes), name);
            }
        }
    }
}
