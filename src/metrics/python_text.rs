//! Numbers as Python writes them.

use std::fmt::Write;

/// Appends a finite number as Python's `repr` and `json.dumps` write it: the shortest text that reads back the same, with an
/// exponent below 1e-4 and from 1e16 on.
pub(super) fn push_float(out: &mut String, value: f64) {
    if value.is_sign_negative() {
        out.push('-');
    }
    // Not Rust's own formatting: of two shortest texts that are equally near, Ryu takes the even one as Python does.
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    // Where the decimal point stands in the significant digits: 2 for 12.5, 0 for 0.125, -1 for 0.0125.
    let point = exponent.parse().unwrap_or(0) + length(whole) - (length(&all) - length(significant));
    let digits = significant.trim_end_matches('0');
    let (first, others) = digits.split_at_checked(1).unwrap_or(("0", ""));
    if first == "0" {
        out.push_str("0.0");
    } else if !(-3..=16).contains(&point) {
        let dot = if others.is_empty() { "" } else { "." };
        let sign = if point < 1 { '-' } else { '+' };
        let _ = write!(out, "{first}{dot}{others}e{sign}{:02}", (point - 1).unsigned_abs());
    } else if point <= 0 {
        out.push_str("0.");
        out.extend((point..0).map(|_| '0'));
        out.push_str(digits);
    } else {
        let (whole, fraction) = digits.split_at_checked(usize::try_from(point).unwrap_or(0)).unwrap_or((digits, ""));
        out.push_str(whole);
        out.extend((length(whole)..point).map(|_| '0'));
        out.push('.');
        out.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
}

/// Of a few digits.
fn length(digits: &str) -> i32 {
    i32::try_from(digits.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_as_in_python() {
        // repr(float(text)) of CPython 3.11.
        let cases = [
            "0.0",
            "-0.0",
            "1.0",
            "0.1",
            "-12.5",
            "123456789.125",
            "1e+16",
            "9999999999999998.0",
            "1e+22",
            "1.5e+16",
            "0.0001",
            "1e-05",
            "1.665e-05",
            "5e-324",
            "1.7976931348623157e+308",
            "895.5753946414917",
            "0.016666666666666666",
            "-1.2345e-07",
            "1000.0",
            "100000000000000.5",
            "1e+100",
            "0.00012345",
        ];
        for text in cases {
            let mut out = "x".to_owned();
            push_float(&mut out, text.parse().unwrap());
            assert_eq!(out, format!("x{text}"));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_float_reads_back_bit_for_bit(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let mut out = String::new();
            push_float(&mut out, value);
            proptest::prop_assert_eq!(out.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
