//! Numbers as Python writes them.

use std::borrow::Cow;

/// A finite number as Python's `repr` and `json.dumps` write it: the shortest text that reads back the same, with an
/// exponent below 1e-4 and from 1e16 on.
pub(super) fn float(buffer: &mut ryu::Buffer, value: f64) -> Cow<'_, str> {
    // Not Rust's own formatting: of two shortest texts that are equally near, Ryu takes the even one as Python does.
    let shortest = buffer.format_finite(value);
    if let Some((mantissa, exponent)) = shortest.split_once('e') {
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}").into();
    }
    // Ryu has one zero more before there is an exponent.
    let (sign, unsigned) = shortest.strip_prefix('-').map_or(("", shortest), |unsigned| ("-", unsigned));
    match unsigned.strip_prefix("0.0000").and_then(|digits| digits.split_at_checked(1)) {
        Some((first, "")) => format!("{sign}{first}e-05").into(),
        Some((first, others)) => format!("{sign}{first}.{others}e-05").into(),
        None => shortest.into(),
    }
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
            "9.999999999999999e-05",
            "-1.5e-05",
            "9.5e-06",
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
            assert_eq!(float(&mut ryu::Buffer::new(), text.parse().unwrap()), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_float_reads_back_bit_for_bit(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let mut buffer = ryu::Buffer::new();
            proptest::prop_assert_eq!(float(&mut buffer, value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
