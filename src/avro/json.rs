//! Avro values as the JSON of Debezium's headers, which Connect's header converter writes without
//! a schema. Rare (a changed key), so it reads back what a column encoder wrote.

use super::encode::decimal::MONEY_SCALE;
use super::encode::write_json_string;
use super::java;
use super::plan::ColumnPlan;
use super::types::ColumnType;

/// How the Avro bytes of a value are read and printed.
#[derive(Debug)]
pub(super) enum JsonForm {
    Boolean,
    Number,
    Float,
    Double,
    Text,
    /// In base64.
    Bytes,
    Decimal {
        scale: usize,
    },
    /// Fields in order.
    Record(Vec<(&'static str, JsonForm)>),
    Array(Box<JsonForm>),
    /// Null in that branch, the form in the other.
    Union {
        null: i64,
        form: Box<JsonForm>,
    },
}

impl JsonForm {
    pub(super) fn of_column(column_type: &ColumnType, plan: &ColumnPlan) -> JsonForm {
        let form = JsonForm::of(column_type);
        match plan.null_branch() {
            Some(null) => JsonForm::Union { null, form: Box::new(form) },
            None => form,
        }
    }

    fn of(column_type: &ColumnType) -> JsonForm {
        let nullable = |form| JsonForm::Union { null: 0, form: Box::new(form) };
        match column_type {
            ColumnType::Boolean | ColumnType::BitFlag => JsonForm::Boolean,
            ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::Oid
            | ColumnType::Date
            | ColumnType::Time(_)
            | ColumnType::Timestamp(_)
            | ColumnType::Interval => JsonForm::Number,
            ColumnType::Float32 => JsonForm::Float,
            ColumnType::Float64 => JsonForm::Double,
            ColumnType::Decimal { scale, .. } => JsonForm::Decimal { scale: *scale as usize },
            ColumnType::Money => JsonForm::Decimal { scale: MONEY_SCALE as usize },
            ColumnType::VariableDecimal => {
                JsonForm::Record(vec![("scale", JsonForm::Number), ("value", JsonForm::Bytes)])
            }
            ColumnType::Bits { .. } | ColumnType::Bytes => JsonForm::Bytes,
            ColumnType::Point => JsonForm::Record(vec![
                ("x", JsonForm::Double),
                ("y", JsonForm::Double),
                ("wkb", nullable(JsonForm::Bytes)),
                ("srid", nullable(JsonForm::Number)),
            ]),
            ColumnType::Array { element, nullable_elements: true } => {
                JsonForm::Array(Box::new(nullable(JsonForm::of(element))))
            }
            ColumnType::Array { element, .. } | ColumnType::Vector { element } => {
                JsonForm::Array(Box::new(JsonForm::of(element)))
            }
            ColumnType::Text
            | ColumnType::Json
            | ColumnType::Xml
            | ColumnType::Uuid
            | ColumnType::Ltree
            | ColumnType::TextSearchVector
            | ColumnType::Enum { .. }
            | ColumnType::ZonedTime
            | ColumnType::ZonedTimestamp { .. }
            | ColumnType::Hstore => JsonForm::Text,
        }
    }

    /// Takes a value off the front of `avro` and appends its JSON; `None` when `avro` does not
    /// hold one.
    pub(super) fn write(&self, avro: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            JsonForm::Boolean => {
                let [flag] = take::<1>(avro)?;
                out.extend_from_slice(if flag == 0 { b"false" } else { b"true" });
            }
            JsonForm::Number => push(out, &read_long(avro)?.to_string()),
            JsonForm::Float => push(out, &java::float(f32::from_le_bytes(take(avro)?))),
            JsonForm::Double => push(out, &java::double(f64::from_le_bytes(take(avro)?))),
            JsonForm::Text => write_json_string(read_bytes(avro)?.iter().copied(), out),
            JsonForm::Bytes => {
                out.push(b'"');
                write_base64(read_bytes(avro)?, out);
                out.push(b'"');
            }
            JsonForm::Decimal { scale } => push(out, &java::decimal(read_bytes(avro)?, *scale)),
            JsonForm::Record(fields) => {
                for (index, (name, form)) in fields.iter().enumerate() {
                    out.push(if index == 0 { b'{' } else { b',' });
                    write_json_string(name.bytes(), out);
                    out.push(b':');
                    form.write(avro, out)?;
                }
                out.push(b'}');
            }
            JsonForm::Array(element) => write_array(element, avro, out)?,
            JsonForm::Union { null, form } => {
                if read_long(avro)? == *null {
                    push(out, "null");
                } else {
                    form.write(avro, out)?;
                }
            }
        }
        Some(())
    }
}

fn write_array(element: &JsonForm, avro: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    let mut first = true;
    loop {
        let count = read_long(avro)?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            element.write(avro, out)?;
        }
    }
    out.push(b']');
    Some(())
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(avro: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = avro.split_first_chunk::<N>()?;
    *avro = rest;
    Some(*taken)
}

fn read_long(avro: &mut &[u8]) -> Option<i64> {
    let (mut zigzag, mut shift) = (0u64, 0);
    loop {
        let [byte] = take(avro)?;
        zigzag |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
        shift += 7;
    }
}

fn read_bytes<'a>(avro: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_long(avro)?).ok()?;
    let (taken, rest) = avro.split_at_checked(length)?;
    *avro = rest;
    Some(taken)
}

/// RFC 4648 with padding.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4usize {
            let sextet = (bits >> (18 - 6 * index)) as usize & 0x3F;
            let known = index <= group.len();
            out.push(if known { ALPHABET.get(sextet).copied().unwrap_or(b'=') } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            write_base64(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn truncated_bytes_are_no_value() {
        for form in [JsonForm::Boolean, JsonForm::Number, JsonForm::Double, JsonForm::Text] {
            assert_eq!(form.write(&mut &b""[..], &mut Vec::new()), None, "{form:?}");
        }
        assert_eq!(JsonForm::Text.write(&mut &b"\x08abc"[..], &mut Vec::new()), None);
        assert_eq!(JsonForm::Number.write(&mut &[0xFF; 12][..], &mut Vec::new()), None);
    }
}
