//! The three forms of Avro's binary encoding that the envelope itself needs.

/// Appends an Avro `int` or `long`: zig-zag, then seven bits a byte, lowest first.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        // Truncation is meant: the low seven bits, with the mark that more follow.
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends Avro `bytes` or a `string`: the length and then the bytes.
#[inline]
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // A slice is never longer than `isize::MAX`.
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends the index of a union's branch; the only ones needed are below 64, a byte each.
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
    fn the_ends_of_a_long_fit() {
        for value in [i64::MIN, -64, -1, 0, 63, 64, i64::MAX] {
            assert_eq!(long(value), oracle(&Schema::Long, Value::Long(value)));
        }
    }
}
