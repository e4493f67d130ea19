//! `point` as Debezium's record of coordinates and well-known binary.

use super::float;
use super::primitive::write_long;
use crate::avro::RowErrorKind;

/// Writes `(1.5,2)`.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let (x, y) = text
        .strip_prefix(b"(")
        .and_then(|text| text.strip_suffix(b")"))
        .and_then(|text| {
            let comma = text.iter().position(|&byte| byte == b',')?;
            Some((text.get(..comma)?, text.get(comma + 1..)?))
        })
        .ok_or(RowErrorKind::Malformed)?;
    write(float::parse(x)?, float::parse(y)?, out);
    Ok(())
}

pub(crate) fn write(x: f64, y: f64, out: &mut Vec<u8>) {
    let mut coordinates = [0; 16];
    let (first, second) = coordinates.split_at_mut(8);
    first.copy_from_slice(&x.to_le_bytes());
    second.copy_from_slice(&y.to_le_bytes());
    out.extend_from_slice(&coordinates);
    write_long(1, out);
    write_long(WKB_LENGTH, out);
    out.extend_from_slice(&WKB_POINT);
    out.extend_from_slice(&coordinates);
    // No reference system.
    write_long(0, out);
}

/// Little-endian, a two-dimensional point.
const WKB_POINT: [u8; 5] = [1, 1, 0, 0, 0];
const WKB_LENGTH: i64 = 5 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_what_debezium_emits() {
        let mut out = Vec::new();
        encode(b"(1.5,2)", &mut out).unwrap();
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "000000000000f83f0000000000000040\
             022a0101000000000000000000f83f000000000000004000"
        );
        for wrong in ["", "()", "(1)", "1,2", "(1,2,3)", "(a,b)"] {
            assert_eq!(encode(wrong.as_bytes(), &mut out), Err(RowErrorKind::Malformed), "{wrong}");
        }
    }
}
