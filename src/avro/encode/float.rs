//! Floating point. Postgres prints the shortest text that gives the same bits
//! (`extra_float_digits = 3`), and Rust's parser rounds correctly, so the bits survive.

use crate::avro::RowErrorKind;

#[inline]
pub(crate) fn encode_float32(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    out.extend_from_slice(&parse::<f32>(text)?.to_le_bytes());
    Ok(())
}

#[inline]
pub(crate) fn encode_float64(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    out.extend_from_slice(&parse::<f64>(text)?.to_le_bytes());
    Ok(())
}

#[inline]
pub(crate) fn parse<F: std::str::FromStr>(text: &[u8]) -> Result<F, RowErrorKind> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(RowErrorKind::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_special_values() {
        for (text, value) in
            [("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY), ("-0", -0.0)]
        {
            let mut out = Vec::new();
            encode_float64(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, value.to_le_bytes(), "{text}");
        }
        let mut out = Vec::new();
        encode_float32(b"NaN", &mut out).unwrap();
        // Java's canonical NaN.
        assert_eq!(out, 0x7FC0_0000u32.to_le_bytes());
    }

    #[test]
    fn keeps_the_smallest_and_largest() {
        let mut out = Vec::new();
        encode_float32(b"1e-45", &mut out).unwrap();
        encode_float32(b"3.4028235e+38", &mut out).unwrap();
        assert_eq!(out, [&1u32.to_le_bytes()[..], &f32::MAX.to_le_bytes()].concat());
        assert_eq!(encode_float64(b"1.5x", &mut out), Err(RowErrorKind::Malformed));
    }
}
