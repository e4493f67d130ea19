//! A value as text, the same from Avro as from Postgres.

use super::Column;
use serde_json::Value;
use std::collections::BTreeMap;

const UNSENT: &str = "__debezium_unavailable_value";

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    Null,
    Text(String),
    /// A large value that the change left as it was, and that Postgres therefore did not send.
    Unsent,
}

impl Cell {
    pub(super) fn from_json(column: &Column, value: &Value) -> Self {
        match text(column, value) {
            None => Self::Null,
            Some(text) if text == UNSENT || text == hex(UNSENT.as_bytes()) => Self::Unsent,
            Some(text) => Self::Text(text),
        }
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// The values of a row by column.
pub type Row = BTreeMap<String, Cell>;

/// The text of a decoded value; bytes are hexadecimal unless the column holds numbers.
pub(super) fn text(column: &Column, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Object(fields) => match (fields.get("bytes"), column.scale) {
            (Some(Value::String(bytes)), Some(scale)) => decimal(bytes, scale),
            (Some(Value::String(bytes)), None) => bytes.clone(),
            // A decimal that brings its scale along.
            _ => {
                let bytes = value["value"]["bytes"].as_str().unwrap_or_default();
                decimal(bytes, value["scale"].as_u64().unwrap_or_default() as usize)
            }
        },
        // Without the fraction that JSON gives to a whole floating-point number, as Postgres prints it.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    })
}

/// The decimal number whose unscaled two's-complement bytes are given in hexadecimal.
fn decimal(bytes: &str, scale: usize) -> String {
    let number = bytes.as_bytes().chunks(2).enumerate().fold(0_i128, |number, (at, digits)| {
        let digits = std::str::from_utf8(digits).expect("hexadecimal");
        let byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
        match at {
            0 => i128::from(byte.cast_signed()),
            _ => number << 8 | i128::from(byte),
        }
    });
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_the_text_that_postgres_has() {
        let column = |scale| Column { name: "c".into(), expression: "c".into(), scale };
        let text = |scale, value| text(&column(scale), &value);
        assert_eq!(text(None, json!(null)), None);
        assert_eq!(text(None, json!(-7)).unwrap(), "-7");
        assert_eq!(text(None, json!(1.0)).unwrap(), "1");
        assert_eq!(text(None, json!(0.25)).unwrap(), "0.25");
        assert_eq!(text(None, json!(true)).unwrap(), "true");
        assert_eq!(text(None, json!({"bytes": "00ff"})).unwrap(), "00ff");
        assert_eq!(text(Some(2), json!({"bytes": "04d2"})).unwrap(), "12.34");
        assert_eq!(text(Some(2), json!({"bytes": "ff"})).unwrap(), "-0.01");
        assert_eq!(text(Some(0), json!({"bytes": "00"})).unwrap(), "0");
        let variable = json!({"scale": 1, "value": {"bytes": "0f"}});
        assert_eq!(text(None, variable).unwrap(), "1.5");
        assert_eq!(text(None, json!(["a", null])).unwrap(), r#"["a",null]"#);
    }

    #[test]
    fn the_placeholder_is_known_as_text_and_as_bytes() {
        let column = Column { name: "c".into(), expression: "c".into(), scale: None };
        for value in [json!(UNSENT), json!({"bytes": hex(UNSENT.as_bytes())})] {
            assert_eq!(Cell::from_json(&column, &value), Cell::Unsent);
        }
        assert_eq!(Cell::from_json(&column, &json!("")), Cell::Text(String::new()));
    }
}
