//! Whole numbers and booleans, parsed by hand.

use super::primitive::write_long;
use crate::avro::RowErrorKind;

/// Writes the decimal text of a whole number within `min..=max` as an `int` or `long`.
#[inline]
pub(crate) fn encode(
    text: &[u8],
    min: i64,
    max: i64,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    let value = parse(text).ok_or(RowErrorKind::Malformed)?;
    if value < min || value > max {
        return Err(RowErrorKind::Malformed);
    }
    write_long(value, out);
    Ok(())
}

/// Writes `t` or `f`.
#[inline]
pub(crate) fn encode_boolean(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    match text {
        b"t" => out.push(1),
        b"f" => out.push(0),
        _ => return Err(RowErrorKind::Malformed),
    }
    Ok(())
}

/// The number of an optionally negative run of digits; `None` for anything else and on overflow.
#[inline]
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    if digits.len() <= 18 {
        // Eighteen digits cannot overflow.
        for &byte in digits {
            value = value * 10 + i64::from(digit(byte)?);
        }
        return Some(if negative { -value } else { value });
    }
    for &byte in digits {
        // Downwards, since i64::MIN has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit(byte)?))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[inline]
pub(crate) fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_number_is_malformed() {
        for text in ["", "-", "+1", "1 ", " 1", "1.0", "0x1", "9223372036854775808", "--1"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        let mut out = Vec::new();
        assert_eq!(encode(b"32768", -32768, 32767, &mut out), Err(RowErrorKind::Malformed));
        assert_eq!(encode_boolean(b"true", &mut out), Err(RowErrorKind::Malformed));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn parses_what_rust_prints(value: i64) {
            prop_assert_eq!(parse(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn agrees_with_rust_on_digits(text in "-?[0-9]{0,25}") {
            prop_assert_eq!(parse(text.as_bytes()), text.parse().ok());
        }
    }
}
