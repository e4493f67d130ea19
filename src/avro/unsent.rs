//! What stands in for a value that the server did not send.
//!
//! An unchanged TOAST value that no old tuple holds becomes Debezium's marker, for types that have
//! a place for it. Under replica identity default or index, a delete's `before` carries Debezium's
//! value of an absent NOT NULL column: the schema's default or the zero of the type. Both are
//! encoded once, when a plan is compiled.

use md5::{Digest as _, Md5};

use super::defaults;
use super::encode::primitive::{write_bytes, write_length, write_long};
use super::encode::{point, write_json_string};
use super::types::ColumnType;
use super::value::Constant;

/// The encoded marker for an unchanged TOAST value of the type; `None` for types without a place
/// for one. `marker` is the setting `unavailable_value`.
pub(super) fn unavailable(column_type: &ColumnType, marker: &str) -> Option<Vec<u8>> {
    let marker = marker_bytes(marker);
    let mut out = Vec::new();
    match column_type {
        ColumnType::Array { element, nullable_elements } => {
            unavailable_array(element, *nullable_elements, &marker, &mut out)?;
        }
        _ => unavailable_scalar(column_type, &marker, &mut out)?,
    }
    Some(out)
}

/// The setting's bytes, given as text or as `hex:…`.
fn marker_bytes(marker: &str) -> Vec<u8> {
    let hex = marker.strip_prefix("hex:").filter(|digits| digits.is_ascii());
    let decoded = hex.and_then(|digits| {
        let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
        pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect::<Option<Vec<u8>>>()
    });
    decoded.unwrap_or_else(|| marker.as_bytes().to_vec())
}

fn unavailable_scalar(column_type: &ColumnType, marker: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match column_type {
        ColumnType::Bytes => write_bytes(marker, out),
        ColumnType::Text
        | ColumnType::Json
        | ColumnType::Xml
        | ColumnType::Ltree
        | ColumnType::TextSearchVector => {
            write_bytes(String::from_utf8_lossy(marker).as_bytes(), out);
        }
        ColumnType::Uuid => write_bytes(name_uuid(marker).as_bytes(), out),
        ColumnType::Hstore => {
            let text = String::from_utf8_lossy(marker);
            let mut json = b"{".to_vec();
            write_json_string(text.bytes(), &mut json);
            json.push(b':');
            write_json_string(text.bytes(), &mut json);
            json.push(b'}');
            write_bytes(&json, out);
        }
        _ => return None,
    }
    Some(())
}

/// One element with the marker; numbers get its bytes, one an element.
fn unavailable_array(
    element: &ColumnType,
    nullable: bool,
    marker: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let branch = |out: &mut Vec<u8>| {
        if nullable {
            write_long(1, out);
        }
    };
    match element {
        ColumnType::Int32 | ColumnType::Int64 | ColumnType::Date => {
            write_length(marker.len(), out);
            for &byte in marker {
                branch(out);
                // Java's bytes are signed.
                write_long(byte.cast_signed().into(), out);
            }
        }
        _ => {
            write_length(1, out);
            branch(out);
            unavailable_scalar(element, marker, out)?;
        }
    }
    write_long(0, out);
    Some(())
}

/// Java's `UUID.nameUUIDFromBytes`: version 3 without a namespace.
fn name_uuid(name: &[u8]) -> String {
    let mut hash: [u8; 16] = Md5::digest(name).into();
    hash[6] = hash[6] & 0x0F | 0x30;
    hash[8] = hash[8] & 0x3F | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in hash.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The encoded value of an absent NOT NULL column.
pub(super) fn absent(column_type: &ColumnType, default: Option<&Constant>) -> Vec<u8> {
    let mut out = Vec::new();
    match (default, defaults::absent(column_type), column_type) {
        (Some(constant), ..) => constant.encode(&mut out),
        (None, Some(constant), _) => constant.encode(&mut out),
        (None, None, ColumnType::VariableDecimal) => {
            write_long(0, &mut out);
            write_bytes(&[0], &mut out);
        }
        (None, None, ColumnType::Point) => point::write(0.0, 0.0, &mut out),
        // An array without elements.
        (None, None, _) => write_long(0, &mut out),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &str = "__debezium_unavailable_value";

    #[test]
    fn the_uuid_is_debeziums() {
        assert_eq!(name_uuid(MARKER.as_bytes()), "b68a35a7-17ad-35b3-af2a-ae46edb4545a");
    }

    #[test]
    fn markers_equal_what_debezium_emits() {
        let text = [&[56][..], MARKER.as_bytes()].concat();
        assert_eq!(unavailable(&ColumnType::Text, MARKER), Some(text.clone()));
        assert_eq!(unavailable(&ColumnType::Bytes, MARKER), Some(text.clone()));
        let array =
            |element| ColumnType::Array { element: Box::new(element), nullable_elements: true };
        let one = [&[2, 2][..], &text, &[0]].concat();
        assert_eq!(unavailable(&array(ColumnType::Json), MARKER), Some(one));
        let numbers = unavailable(&array(ColumnType::Int64), "__d").unwrap();
        assert_eq!(numbers, [6, 2, 0xBE, 1, 2, 0xBE, 1, 2, 0xC8, 1, 0]);
        let hstore = unavailable(&ColumnType::Hstore, "m").unwrap();
        assert_eq!(hstore, b"\x12{\"m\":\"m\"}");
        for none in
            [ColumnType::VariableDecimal, array(ColumnType::Float64), array(ColumnType::Int16)]
        {
            assert_eq!(unavailable(&none, MARKER), None, "{none:?}");
        }
    }

    #[test]
    fn a_marker_may_be_hexadecimal() {
        assert_eq!(unavailable(&ColumnType::Bytes, "hex:00ff"), Some(vec![4, 0, 0xFF]));
        assert_eq!(unavailable(&ColumnType::Bytes, "hex:0"), Some(vec![2, 0]));
        assert_eq!(unavailable(&ColumnType::Text, "hex:zz"), Some(b"\x0Chex:zz".to_vec()));
    }
}
