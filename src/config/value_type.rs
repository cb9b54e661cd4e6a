//! The type and range of a key's value: read from text, named in sentences, shown without secrets. Knows no key.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::{Secret, nearest, path, proxy, url};

/// The type and range of a key's value.
#[derive(Clone, Copy, Debug)]
pub enum ValueType {
    /// Any text that `fits`; `expected` completes the sentence "expected …".
    Text {
        /// What fits, in words.
        expected: &'static str,
        /// Whether a text fits.
        fits: fn(&str) -> bool,
    },
    /// The path of a file.
    Path,
    /// The path of a file that holds a password and nothing else.
    PasswordFile,
    /// The path of a file that holds a token and nothing else.
    TokenFile,
    /// The path of a file that holds certificates or a key, in PEM.
    PemFile,
    /// Who may use a file: octal digits, as chmod takes them.
    Permissions,
    /// Addresses with ports, as a list or as one text with commas; none is right too.
    Addresses,
    /// Texts, as a list or as one text with commas.
    List {
        /// What fits, in words.
        expected: &'static str,
        /// Whether one of the texts fits.
        fits: fn(&str) -> bool,
    },
    /// A secret; never shown.
    Password,
    /// A secret that goes into a header of HTTP as it is; never shown.
    Token,
    /// Where Redis is; shown without its password.
    RedisUrl,
    /// Where a server of HTTP is.
    HttpUrl {
        /// What one might look like.
        example: &'static str,
    },
    /// Where a proxy over HTTP is, or nothing; shown without its password.
    Proxy,
    /// A time with its unit, both ends included.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A number of bytes with its unit, both ends included.
    Size {
        /// The smallest, in bytes.
        min: u64,
        /// The largest, in bytes.
        max: u64,
    },
    /// A whole number, both ends included.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// True or false.
    Flag,
    /// One of some words.
    Choice {
        /// The words.
        words: &'static [&'static str],
        /// Other spellings, with the word that each stands for.
        aliases: &'static [(&'static str, &'static str)],
    },
}

/// A value that its [`ValueType`] has accepted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Checked {
    Text(String),
    Secret(Secret),
    Addresses(Vec<SocketAddr>),
    Texts(Vec<String>),
    Duration(Duration),
    Number(u64),
    Flag(bool),
}

impl ValueType {
    /// The text of a value from a file, where numbers and flags are written without quotes; the error is a sentence.
    pub(super) fn text(&self, value: &DeValue<'_>) -> Result<String, String> {
        match (self, value) {
            // One that does not fit into 64 bits is left as it is written, and refused by its range.
            (Self::Number { .. }, DeValue::Integer(number)) => Ok(i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())),
            (Self::Number { .. }, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
            (Self::Flag, DeValue::Boolean(flag)) => Ok(flag.to_string()),
            (Self::Number { .. } | Self::Flag, DeValue::String(text)) if self.check(text).is_ok() => {
                Err(format!("{}, without quotes", self.expected()))
            }
            (Self::Number { .. } | Self::Flag, _) => Err(self.expected()),
            (_, DeValue::String(text)) => Ok(text.as_ref().to_owned()),
            (Self::Addresses | Self::List { .. }, DeValue::Array(_)) => list(value).ok_or_else(|| self.expected()),
            (
                Self::Text { .. }
                | Self::Path
                | Self::PasswordFile
                | Self::TokenFile
                | Self::PemFile
                | Self::Permissions
                | Self::Password
                | Self::Token,
                _,
            ) => Err(format!("{}, in quotes", self.expected())),
            _ => Err(self.expected()),
        }
    }

    /// Reads a value from text, as the environment gives it; the error is a sentence.
    pub(super) fn check(&self, text: &str) -> Result<Checked, String> {
        let unexpected = || self.expected();
        match *self {
            Self::Text { fits, .. } => fits(text).then(|| Checked::Text(text.to_owned())).ok_or_else(unexpected),
            Self::Path | Self::PasswordFile | Self::TokenFile | Self::PemFile => path::absolute(text, None).map(Checked::Text),
            Self::Permissions => permissions(text).map(Checked::Number).ok_or_else(unexpected),
            Self::Addresses => addresses(text).map(Checked::Addresses).ok_or_else(unexpected),
            Self::List { fits, .. } => {
                let texts: Vec<_> = text.split(',').map(|text| text.trim().to_owned()).collect();
                texts.iter().all(|text| fits(text)).then_some(Checked::Texts(texts)).ok_or_else(unexpected)
            }
            Self::Password => (!text.is_empty()).then(|| Checked::Secret(Secret::new(text))).ok_or_else(unexpected),
            Self::Token => check_token(text).map(|()| Checked::Secret(Secret::new(text))).map_err(str::to_owned),
            Self::RedisUrl => url::redis(text).map(|()| Checked::Secret(Secret::new(text))),
            Self::HttpUrl { example } => url::http(text, example).map(Checked::Text),
            Self::Proxy if text.is_empty() => Ok(Checked::Text(String::new())),
            Self::Proxy => proxy::parse(text).map(|_| Checked::Secret(Secret::new(text))),
            Self::Duration { min, max } => {
                let beyond = || format!("expected a duration from {}", self.range());
                let duration = match humantime::parse_duration(text) {
                    // A bare 0 is the one number that humantime takes without a unit.
                    Ok(duration) if has_unit(text) => duration,
                    Err(humantime::DurationError::NumberOverflow) => return Err(beyond()),
                    _ => return Err(unexpected()),
                };
                (min..=max).contains(&duration).then_some(Checked::Duration(duration)).ok_or_else(beyond)
            }
            Self::Size { min, max } => {
                let ByteSize(bytes) = text.parse().ok().filter(|_| has_unit(text)).ok_or_else(unexpected)?;
                let fits = (min..=max).contains(&bytes);
                fits.then_some(Checked::Number(bytes)).ok_or_else(|| format!("expected a size from {}", self.range()))
            }
            Self::Number { min, max } => {
                let number = text.parse().ok().filter(|number| (min..=max).contains(number)).map(Checked::Number);
                let is_float = || text.contains('.') && text.parse::<f64>().is_ok();
                number.ok_or_else(|| format!("{}{}", self.expected(), if is_float() { ", without a decimal point" } else { "" }))
            }
            Self::Flag => text.parse().map(Checked::Flag).map_err(|_| unexpected()),
            Self::Choice { words, aliases } => {
                let meant = aliases.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, word)| *word);
                if words.contains(&meant) {
                    return Ok(Checked::Text(meant.to_owned()));
                }
                let hint = nearest::word(text, words).filter(|_| words.len() > 1);
                Err(hint.map_or_else(unexpected, |word| format!("{}; did you mean {word}?", self.expected())))
            }
        }
    }

    /// "expected …", for a value of which nothing can be made.
    fn expected(&self) -> String {
        match self {
            Self::Text { expected, .. } | Self::List { expected, .. } => format!("expected {expected}"),
            Self::Path | Self::PasswordFile | Self::TokenFile | Self::PemFile => format!("expected {}", path::EXPECTED),
            Self::Permissions => format!("expected {PERMISSIONS}"),
            Self::Addresses => "expected an IP address with a port such as \"127.0.0.1:6379\", or a list of them".to_owned(),
            Self::Password => "expected a password that is not empty".to_owned(),
            Self::Token => TOKEN.to_owned(),
            Self::RedisUrl => "expected a URL such as redis://localhost:6379/0".to_owned(),
            Self::HttpUrl { example } => format!("expected a URL such as {example}"),
            Self::Proxy => "expected a URL such as http://proxy.example.com:3128".to_owned(),
            Self::Duration { .. } => "expected a duration with a unit such as \"10s\"".to_owned(),
            Self::Size { .. } => "expected a size with a unit such as \"4MiB\"".to_owned(),
            Self::Number { .. } => format!("expected a whole number from {}", self.range()),
            Self::Flag => "expected true or false".to_owned(),
            Self::Choice { words: [only], .. } => format!("expected {only}, the only one supported"),
            Self::Choice { words, .. } => format!("expected one of {}", words.join(", ")),
        }
    }

    /// The values it takes, in words, for the documented configuration.
    #[must_use]
    pub fn takes(&self) -> String {
        match self {
            Self::Text { expected, .. } => (*expected).to_owned(),
            Self::List { expected, .. } => format!("{expected}; several as a list"),
            Self::Path => path::EXPECTED.to_owned(),
            Self::PasswordFile | Self::TokenFile | Self::PemFile => path::EXPECTED_OF_A_SECRET.to_owned(),
            Self::Permissions => PERMISSIONS.to_owned(),
            Self::Addresses => "an IP address with a port, or a list of them".to_owned(),
            Self::Password => "a password".to_owned(),
            Self::Token => "a token".to_owned(),
            Self::RedisUrl => "redis://, rediss:// (TLS) or unix://".to_owned(),
            Self::HttpUrl { .. } => "http:// or https://".to_owned(),
            Self::Proxy => "http:// or https://, or \"\" for none".to_owned(),
            Self::Duration { .. } => format!("a duration, {}", self.range()),
            Self::Size { .. } => format!("a size, {}", self.range()),
            Self::Number { .. } => format!("a number, {}", self.range()),
            Self::Flag => "true or false".to_owned(),
            Self::Choice { words, .. } => words.join(", "),
        }
    }

    fn range(&self) -> String {
        match *self {
            Self::Duration { min, max } => {
                format!("{} to {}", humantime::format_duration(min), humantime::format_duration(max))
            }
            Self::Size { min, max } => format!("{} to {}", size(min), size(max)),
            Self::Number { min, max } => format!("{min} to {max}"),
            _ => String::new(),
        }
    }

    /// A value from text as TOML, fit to be seen.
    pub(super) fn shown(&self, text: &str) -> String {
        match self {
            Self::Password | Self::Token => quoted("***"),
            Self::RedisUrl | Self::HttpUrl { .. } => quoted(&url::shown(text)),
            Self::Proxy => quoted(&proxy::shown(text)),
            Self::Number { .. } if text.parse::<f64>().is_ok() => text.to_owned(),
            Self::Flag if text.parse::<bool>().is_ok() => text.to_owned(),
            _ => quoted(text),
        }
    }

    /// A value as it came from a file, of whatever type, fit to be seen.
    pub(super) fn shown_value(&self, value: &DeValue<'_>) -> String {
        match (self, value) {
            (Self::Password | Self::Token | Self::RedisUrl | Self::HttpUrl { .. } | Self::Proxy, value) if !value.is_str() => {
                quoted("***")
            }
            (Self::Number { .. } | Self::Flag, DeValue::String(text)) => quoted(text),
            (_, DeValue::String(text)) => self.shown(text),
            (Self::Addresses | Self::List { .. }, DeValue::Array(_)) => {
                list(value).map_or_else(|| "[…]".to_owned(), |text| quoted(&text))
            }
            (_, DeValue::Integer(number)) => number.to_string(),
            (_, DeValue::Float(number)) => number.as_str().to_owned(),
            (_, DeValue::Boolean(flag)) => flag.to_string(),
            (_, DeValue::Datetime(time)) => time.to_string(),
            (_, DeValue::Array(_)) => "[…]".to_owned(),
            (_, DeValue::Table(_)) => "{…}".to_owned(),
        }
    }
}

/// A list of texts as one.
fn list(value: &DeValue<'_>) -> Option<String> {
    let items = value.as_array()?.iter().map(|item| item.get_ref().as_str());
    Some(items.collect::<Option<Vec<_>>>()?.join(", "))
}

fn addresses(text: &str) -> Option<Vec<SocketAddr>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|address| address.trim().parse().ok()).collect()
}

const TOKEN: &str = "expected a token, of ASCII characters without spaces";

/// Whether a text can stand in a header of HTTP as a token does. The error is a sentence.
pub(super) fn check_token(text: &str) -> Result<(), &'static str> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(TOKEN) }
}

const PERMISSIONS: &str = "permissions as three or four octal digits such as \"0660\", at most 0777";

fn permissions(digits: &str) -> Option<u64> {
    let are_octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    u64::from_str_radix(digits, 8).ok().filter(|bits| are_octal && *bits <= 0o777)
}

fn has_unit(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_alphabetic())
}

/// In the largest binary unit that leaves it whole, as a configuration would say it.
fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number == 0 || number % 1024 != 0 {
            break;
        }
        (number, unit) = (number / 1024, larger);
    }
    format!("{number}{unit}")
}

/// A TOML basic string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
