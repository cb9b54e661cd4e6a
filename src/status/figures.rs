//! Numbers as people read them: right-sized, with their unit, and of a width that changes little from one second to the next.

use std::time::Duration;

use crate::duration;

/// Between a number and its unit: a space at which no line breaks.
const SPACE: char = '\u{a0}';

/// A whole number with its thousands apart: `1,240`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Any number with three digits that matter, and beyond a million with a letter for its size: `0.3`, `12.5`, `1,240`, `3.1 M`.
pub(crate) fn number(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() {
        return "–".to_owned();
    }
    let sign = if number < 0.0 { "−" } else { "" };
    let shown = match size {
        0.0 => "0".to_owned(),
        ..0.001 => format!("{size:.1e}"),
        ..1.0 => trimmed(format!("{size:.3}")),
        ..10.0 => trimmed(format!("{size:.2}")),
        ..100.0 => trimmed(format!("{size:.1}")),
        ..999_999.5 => count(size.round() as u64),
        ..999.5e6 => format!("{:.1}{SPACE}M", size / 1e6),
        ..999.5e9 => format!("{:.1}{SPACE}G", size / 1e9),
        _ => format!("{size:.2e}"),
    };
    format!("{sign}{shown}")
}

/// So many a second: `1,240/s`, `0.3/s`.
pub(crate) fn rate(per_second: f64) -> String {
    let rounded = if per_second < 10.0 { (per_second * 10.0).round() / 10.0 } else { per_second.round() };
    format!("{}/s", number(rounded))
}

/// A time in seconds: `640 µs`, `12 ms`, `1.2 s`, `2m 3s`, `4days 2h`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if !s.is_finite() => "–".to_owned(),
        0.0 => format!("0{SPACE}s"),
        s @ ..0.000_999_5 => format!("{:.0}{SPACE}µs", s * 1e6),
        s @ ..0.009_95 => format!("{:.1}{SPACE}ms", s * 1e3),
        s @ ..0.999_5 => format!("{:.0}{SPACE}ms", s * 1e3),
        s @ ..9.95 => format!("{s:.1}{SPACE}s"),
        s => {
            let whole = Duration::try_from_secs_f64(s.round()).unwrap_or(Duration::MAX);
            let said = duration::for_people(whole);
            said.split(' ').take(2).collect::<Vec<_>>().join(&SPACE.to_string())
        }
    }
}

/// A size: `1.2 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string().replace(' ', &SPACE.to_string())
}

/// A part of a whole in percent; what is there is not 0 %, and what is not all is not 100 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let exact = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    match exact {
        0.0 => format!("0{SPACE}%"),
        ..1.0 => format!("<{SPACE}1{SPACE}%"),
        e if e < 100.0 => format!("{}{SPACE}%", e.floor()),
        e => format!("{e:.0}{SPACE}%"),
    }
}

fn trimmed(digits: String) -> String {
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace(SPACE, " ")
    }

    #[test]
    fn a_number_has_as_many_digits_as_matter() {
        assert_eq!([0, 7, 999, 1_240, 1_234_567].map(count), ["0", "7", "999", "1,240", "1,234,567"]);
        let numbers = [0.0, 0.25, 1.5, 12.34, 99.96, 1_240.4, 3_141_592.0, 2e12, -1.5].map(|n| plain(number(n)));
        assert_eq!(numbers, ["0", "0.25", "1.5", "12.3", "100", "1,240", "3.1 M", "2.00e12", "−1.5"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(number), ["–", "–"]);
        assert_eq!([0.0, 0.04, 0.3, 9.96, 1_240.4].map(rate), ["0/s", "0/s", "0.3/s", "10/s", "1,240/s"]);
    }

    #[test]
    fn a_time_and_a_size_have_their_unit() {
        let times = [0.0, 0.00064, 0.0012, 0.0123, 0.9999, 1.23, 9.99, 123.4, 360_000.0 + 59.0];
        let said = ["0 s", "640 µs", "1.2 ms", "12 ms", "1.0 s", "1.2 s", "10s", "2m 3s", "4days 4h"];
        assert_eq!(times.map(|time| plain(seconds(time))), said);
        assert_eq!([-1.0, f64::MAX, f64::NAN].map(|time| seconds(time).is_empty()), [false; 3]);
        assert_eq!([0, 1_536, 5 << 30].map(|size| plain(bytes(size))), ["0 B", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn a_part_is_neither_nothing_nor_all_unless_it_is() {
        let parts = [(0, 0), (0, 9), (1, 1000), (999, 1000), (10, 10)].map(|(part, whole)| plain(percent(part, whole)));
        assert_eq!(parts, ["0 %", "0 %", "< 1 %", "99 %", "100 %"]);
    }
}
