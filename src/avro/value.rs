//! A value that is known before any row is: the default of a column, or what stands in for a
//! value that was not sent.

use super::encode::primitive::{write_bytes, write_long};
use super::encode::write_json_string;
use super::java;

/// A constant of an Avro type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Boolean(bool),
    /// An `int` or a `long`.
    Number(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
    Text(String),
}

impl Constant {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Constant::Boolean(value) => out.push(u8::from(*value)),
            Constant::Number(value) => write_long(*value, out),
            Constant::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
            Constant::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Constant::Bytes(value) => write_bytes(value, out),
            Constant::Text(value) => write_bytes(value.as_bytes(), out),
        }
    }

    /// The value of `connect.default`.
    pub(super) fn connect_json(&self) -> String {
        match self {
            Constant::Float(value) => number(java::float(*value), value.is_finite()),
            _ => self.json(),
        }
    }

    /// The value of a field's `default`, where Avro has doubles only.
    pub(super) fn json(&self) -> String {
        match self {
            Constant::Boolean(value) => value.to_string(),
            Constant::Number(value) => value.to_string(),
            Constant::Float(value) => number(java::double(f64::from(*value)), value.is_finite()),
            Constant::Double(value) => number(java::double(*value), value.is_finite()),
            Constant::Bytes(value) => {
                quoted(&value.iter().map(|&byte| char::from(byte)).collect::<String>())
            }
            Constant::Text(value) => quoted(value),
        }
    }
}

fn number(text: String, finite: bool) -> String {
    if finite { text } else { format!("\"{text}\"") }
}

/// `text` as a JSON string with the escapes that Avro's Java library writes.
pub(super) fn quoted(text: &str) -> String {
    let mut json = Vec::with_capacity(text.len() + 2);
    write_json_string(text.bytes(), &mut json);
    String::from_utf8_lossy(&json).into_owned()
}
