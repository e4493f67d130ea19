//! Avro's binary primitives: zigzag numbers, length-prefixed bytes.

/// Writes an `int` or a `long`: both are the same zigzag variable-length number.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if rest < 0x80 {
        out.push(low_byte(rest));
        return;
    }
    // On the stack first: one growth check for the whole number.
    let mut bytes = [0; 10];
    let mut length = 0;
    for place in &mut bytes {
        length += 1;
        if rest < 0x80 {
            *place = low_byte(rest);
            break;
        }
        *place = low_byte(rest) | 0x80;
        rest >>= 7;
    }
    out.extend_from_slice(bytes.get(..length).unwrap_or(&bytes));
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Writes a length. A slice is never longer than `isize::MAX`.
#[inline]
pub(crate) fn write_length(length: usize, out: &mut Vec<u8>) {
    write_long(i64::try_from(length).unwrap_or(i64::MAX), out);
}

/// Writes `bytes`, or a `string` that is known to be UTF-8.
#[inline]
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Writes the branch of a union; those needed are below 64, a byte each.
#[inline]
pub(crate) fn write_branch(index: u8, out: &mut Vec<u8>) {
    debug_assert!(index < 64, "a branch index of more than one byte");
    out.push(index << 1);
}

#[cfg(test)]
mod tests {
    use apache_avro::Schema;
    use apache_avro::types::Value;
    use apache_avro::writer::datum::GenericDatumWriter;
    use proptest::prelude::*;

    use super::*;

    fn oracle(schema: &Schema, value: Value) -> Vec<u8> {
        GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
    }

    fn long(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write_long(value, &mut out);
        out
    }

    proptest! {
        #[test]
        fn longs_are_avro_longs(value: i64) {
            prop_assert_eq!(long(value), oracle(&Schema::Long, Value::Long(value)));
        }

        #[test]
        fn bytes_are_avro_bytes(value: Vec<u8>) {
            let mut out = Vec::new();
            write_bytes(&value, &mut out);
            prop_assert_eq!(out, oracle(&Schema::Bytes, Value::Bytes(value)));
        }
    }

    #[test]
    fn numbers_are_zigzag() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 1]),
            (i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(long(value), bytes, "{value}");
        }
    }
}
