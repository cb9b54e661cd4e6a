//! Numbers as Python writes them.

use std::fmt::Write;

/// Appends a finite number as Python's `repr` and `json.dumps` write it: the shortest text that reads back the same, with an
/// exponent below 1e-4 and from 1e16 on.
pub(super) fn push_float(out: &mut String, value: f64) {
    let start = out.len();
    // Rust's `1.2345e-7` has the digits and the exponent, only the layout is Python's.
    let _ = write!(out, "{value:e}");
    let shortest = out.split_off(start);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |unsigned| ("-", unsigned));
    let (first, others) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    out.push_str(sign);
    if !(-4..16).contains(&exponent) {
        let (point, sign) = (if others.is_empty() { "" } else { "." }, if exponent < 0 { '-' } else { '+' });
        let _ = write!(out, "{first}{point}{others}e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let Ok(places) = usize::try_from(exponent) else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (exponent.unsigned_abs() as usize).saturating_sub(1)));
        out.push_str(first);
        out.push_str(others);
        return;
    };
    let (whole, fraction) = others.split_at_checked(places).unwrap_or((others, ""));
    out.push_str(first);
    out.push_str(whole);
    out.extend(std::iter::repeat_n('0', places - whole.len()));
    out.push('.');
    out.push_str(if fraction.is_empty() { "0" } else { fraction });
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
