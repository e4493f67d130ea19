//! Bit strings: Debezium reads them as a binary number and stores it little-endian, without the
//! zero bytes at its high end (so `00` is empty, and leading zeros of a `varbit` are lost).

use super::primitive::write_length;
use crate::avro::RowErrorKind;

/// Writes `10110` as bytes.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let significant = text.iter().position(|&bit| bit != b'0').unwrap_or(text.len());
    let (zeros, bits) = text.split_at(significant);
    debug_assert!(zeros.iter().all(|&bit| bit == b'0'));
    write_length(bits.len().div_ceil(8), out);
    for group in bits.rchunks(8) {
        let mut byte = 0;
        for &bit in group {
            byte = byte << 1 | flag(bit)?;
        }
        out.push(byte);
    }
    Ok(())
}

/// Writes a single bit as a boolean. An empty `varbit(1)` is neither true nor false.
pub(crate) fn encode_flag(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    match text {
        [] => Err(RowErrorKind::Unrepresentable),
        [bit] => {
            out.push(flag(*bit)?);
            Ok(())
        }
        _ => Err(RowErrorKind::Malformed),
    }
}

fn flag(bit: u8) -> Result<u8, RowErrorKind> {
    match bit {
        b'0' => Ok(0),
        b'1' => Ok(1),
        _ => Err(RowErrorKind::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_what_debezium_emits() {
        for (bits, bytes) in [
            ("10110", &[0x16][..]),
            ("100000000001", &[0x01, 0x08]),
            ("1011001", &[0x59]),
            ("000000000", &[]),
            ("", &[]),
            ("100000001", &[0x01, 0x01]),
            ("00000000000000000001", &[0x01]),
            ("10000000", &[0x80]),
            ("1000000000000000", &[0x00, 0x80]),
        ] {
            let mut out = Vec::new();
            encode(bits.as_bytes(), &mut out).unwrap();
            let mut expected = Vec::new();
            super::super::primitive::write_bytes(bytes, &mut expected);
            assert_eq!(out, expected, "{bits}");
        }
        assert_eq!(encode(b"12", &mut Vec::new()), Err(RowErrorKind::Malformed));
    }

    #[test]
    fn a_flag_is_one_bit() {
        let mut out = Vec::new();
        encode_flag(b"1", &mut out).unwrap();
        encode_flag(b"0", &mut out).unwrap();
        assert_eq!(out, [1, 0]);
        assert_eq!(encode_flag(b"", &mut out), Err(RowErrorKind::Unrepresentable));
        assert_eq!(encode_flag(b"10", &mut out), Err(RowErrorKind::Malformed));
    }
}
