//! A line of words, as a person types it: Redis's rules of quoting.

/// The words of a line; `None` when a quote has no end, or does not end a word. A NUL ends the line.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bytes = line.iter().copied().take_while(|byte| *byte != 0).peekable();
    let mut words = Vec::new();
    loop {
        while bytes.next_if(|byte| is_space(*byte)).is_some() {}
        if bytes.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next() {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => break,
                b'"' | b'\'' => {
                    quoted(byte, &mut bytes, &mut word)?;
                    // Nothing may follow the end of a quote but a space.
                    if bytes.peek().is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                    break;
                }
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
}

/// Reads to the end of a quote.
fn quoted(quote: u8, bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>, word: &mut Vec<u8>) -> Option<()> {
    loop {
        match bytes.next()? {
            byte if byte == quote => return Some(()),
            b'\\' if quote == b'\'' => word.push(bytes.next_if_eq(&b'\'').unwrap_or(b'\\')),
            b'\\' => match bytes.next()? {
                b'x' => hex(bytes, word)?,
                b'n' => word.push(b'\n'),
                b'r' => word.push(b'\r'),
                b't' => word.push(b'\t'),
                b'b' => word.push(8),
                b'a' => word.push(7),
                byte => word.push(byte),
            },
            byte => word.push(byte),
        }
    }
}

/// What follows `\x`: two hexadecimal digits are a byte, anything else is itself.
fn hex(bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>, word: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let Some(high) = bytes.next_if(u8::is_ascii_hexdigit) else {
        word.push(b'x');
        return Some(());
    };
    match bytes.next_if(u8::is_ascii_hexdigit) {
        Some(low) => word.push(digit(high)? << 4 | digit(low)?),
        None => word.extend([b'x', high]),
    }
    Some(())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes())?;
        Some(words.into_iter().map(|word| word.iter().map(|byte| char::from(*byte)).collect()).collect())
    }

    #[test]
    fn words_are_split_and_quoted_as_in_redis() {
        for (line, expected) in [
            ("", Some(vec![])),
            ("  \t ", Some(vec![])),
            (" a  bc ", Some(vec!["a", "bc"])),
            (r#"a "b c" 'd e'"#, Some(vec!["a", "b c", "d e"])),
            (r#""\x41\x4\xg\n\r\t\b\a\"\\\q""#, Some(vec!["Ax4xg\n\r\t\u{8}\u{7}\"\\q"])),
            (r"'it\'s \n'", Some(vec![r"it's \n"])),
            (r#"a"b""#, Some(vec!["ab"])),
            (r#""""#, Some(vec![""])),
            (r#""a"b"#, None),
            (r#""a"#, None),
            (r#""a\"#, None),
            ("'a", None),
            ("a\0b \"", Some(vec!["a"])),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(words(line), expected, "{line}");
        }
    }
}
