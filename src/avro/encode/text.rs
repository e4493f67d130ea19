//! Strings, and bytes in their hexadecimal form.

use super::primitive::{write_bytes, write_length};
use crate::avro::RowErrorKind;

/// Writes a string as it stands, once it is known to be UTF-8.
#[inline]
pub(crate) fn encode_string(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    // ASCII first: it nearly always is, and that is cheaper to see.
    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
        return Err(RowErrorKind::InvalidUtf8);
    }
    write_bytes(text, out);
    Ok(())
}

/// Writes a `bytea` in its hexadecimal form, `\xdeadbeef`.
pub(crate) fn encode_bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let digits = text.strip_prefix(b"\\x").ok_or(RowErrorKind::Malformed)?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(RowErrorKind::Malformed);
    }
    write_length(pairs.len(), out);
    out.reserve(pairs.len());
    // Wrong digits set the high bits of `wrong`, so that the loop has no branch.
    let mut wrong = 0;
    out.extend(pairs.iter().map(|&[high, low]| {
        let (high, low) = (nibble(high), nibble(low));
        wrong |= high | low;
        high << 4 | (low & 0xF)
    }));
    if wrong & 0xF0 == 0 { Ok(()) } else { Err(RowErrorKind::Malformed) }
}

#[inline]
fn nibble(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0xF0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_utf8_is_a_string() {
        let mut out = Vec::new();
        assert_eq!(encode_string(b"\xE9", &mut out), Err(RowErrorKind::InvalidUtf8));
        encode_string("é".as_bytes(), &mut out).unwrap();
        assert_eq!(out, b"\x04\xC3\xA9");
    }

    #[test]
    fn only_whole_hexadecimal_is_bytea() {
        for text in ["", "x00", "\\x0", "\\x0g", "\\xg0", "\\000", "\\x 0"] {
            let result = encode_bytea(text.as_bytes(), &mut Vec::new());
            assert_eq!(result, Err(RowErrorKind::Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            encode_bytea(format!("\\x{hex}").as_bytes(), &mut out).unwrap();
            write_bytes(&bytes, &mut expected);
            prop_assert_eq!(out, expected);
        }
    }
}
