//! Column defaults in the schema, from the catalog's expression (`pg_get_expr`).
//!
//! Debezium does not evaluate expressions: it takes the first quoted literal, or the whole text,
//! and gives up where that is no value of the type. An expression that begins with a function
//! call becomes the zero of the type. Since the schema's text must be the same, so must these
//! guesses be; a reader sees them only when it resolves against an older schema, never in a row.

use super::encode::{self, interval, temporal};
use super::shape::ColumnShape;
use super::types::{ColumnType, TimeUnit};
use super::value::Constant;

/// The default that the schema states; `None` when Debezium states none.
pub(super) fn of(column: &ColumnShape) -> Option<Constant> {
    column.default.as_deref().and_then(|expression| parse(&column.column_type, expression))
}

/// Whether Avro allows the default and some registries refuse it.
pub(super) fn is_contested(column: &ColumnShape) -> bool {
    match of(column) {
        Some(Constant::Text(text)) => text.trim_start().starts_with(['{', '[']),
        Some(Constant::Float(value)) => !value.is_finite(),
        Some(Constant::Double(value)) => !value.is_finite(),
        _ => false,
    }
}

fn parse(column_type: &ColumnType, expression: &str) -> Option<Constant> {
    if expression.starts_with("NULL::") {
        return None;
    }
    if is_call(expression) {
        return zero(column_type);
    }
    let literal = Literal::of(expression);
    match column_type {
        ColumnType::Boolean => {
            Some(Constant::Boolean(matches!(literal.text.as_str(), "true" | "t")))
        }
        ColumnType::BitFlag => Some(Constant::Boolean(literal.text == "1")),
        ColumnType::Int16 => number::<i16>(&literal.text),
        ColumnType::Int32 => number::<i32>(&literal.text),
        ColumnType::Int64 => number::<i64>(&literal.text),
        ColumnType::Float32 => literal.text.parse().ok().map(Constant::Float),
        ColumnType::Float64 => literal.text.parse().ok().map(Constant::Double),
        ColumnType::Text | ColumnType::Json | ColumnType::Xml | ColumnType::Uuid => {
            Some(Constant::Text(literal.text))
        }
        // Debezium leaves doubled quotes in labels.
        ColumnType::Enum { .. } => Some(Constant::Text(literal.raw)),
        ColumnType::Bits { .. } | ColumnType::Decimal { .. } => {
            encoded_bytes(column_type, &literal)
        }
        _ => temporal_default(column_type, &literal.text),
    }
}

fn number<T: std::str::FromStr + Into<i64>>(text: &str) -> Option<Constant> {
    text.parse::<T>().ok().map(|value| Constant::Number(value.into()))
}

/// The bytes that the encoder of the type makes of the literal, without their length.
fn encoded_bytes(column_type: &ColumnType, literal: &Literal) -> Option<Constant> {
    let mut out = Vec::new();
    let encoder = encode::Encoder::compile(column_type);
    encoder.encode(literal.text.as_bytes(), &mut out).ok()?;
    Some(Constant::Bytes(without_length(&out)))
}

fn without_length(encoded: &[u8]) -> Vec<u8> {
    let length_bytes = encoded.iter().take_while(|&&byte| byte & 0x80 != 0).count() + 1;
    encoded.get(length_bytes..).unwrap_or_default().to_vec()
}

fn temporal_default(column_type: &ColumnType, text: &str) -> Option<Constant> {
    match column_type {
        ColumnType::Date => date(text).map(Constant::Number),
        ColumnType::Time(unit) => time(text, *unit).map(Constant::Number),
        ColumnType::Timestamp(unit) => timestamp(text, *unit).map(Constant::Number),
        ColumnType::ZonedTimestamp { .. } if text.ends_with("infinity") => None,
        ColumnType::ZonedTimestamp { fraction } => {
            let mut out = Vec::new();
            temporal::encode_zoned_timestamp(text.as_bytes(), *fraction, &mut out).ok()?;
            String::from_utf8(without_length(&out)).ok().map(Constant::Text)
        }
        ColumnType::Interval => {
            interval::rounded_micros(text.as_bytes()).ok().map(Constant::Number)
        }
        _ => None,
    }
}

/// Debezium cuts the days of Java's last and first date to 32 bits.
fn date(text: &str) -> Option<i64> {
    match text {
        "infinity" => Some(169_560_311),
        "-infinity" => Some(-170_999_002),
        _ => temporal::date_number(text.as_bytes()).ok(),
    }
}

/// Java's last time of day stands in for 24:00.
fn time(text: &str, unit: TimeUnit) -> Option<i64> {
    let value = temporal::time_number(text.as_bytes(), unit).ok()?;
    Some(match (text, unit) {
        ("24:00:00", TimeUnit::Millis) => 86_399_999,
        ("24:00:00", TimeUnit::Micros) => 86_399_999_999,
        _ => value,
    })
}

/// Infinity overflows in microseconds and is refused in milliseconds; finite values saturate.
fn timestamp(text: &str, unit: TimeUnit) -> Option<i64> {
    match (text, unit) {
        ("infinity", TimeUnit::Micros) => Some(-9_223_372_036_853_775_810),
        ("-infinity", TimeUnit::Micros) => Some(i64::MIN),
        ("infinity" | "-infinity", TimeUnit::Millis) => None,
        _ => {
            let midnight = format!("{text} 00:00:00");
            let text = if text.contains(':') { text } else { &midnight };
            match temporal::timestamp_number(text.as_bytes(), unit) {
                Ok(value) => Some(value),
                Err(super::RowErrorKind::Unrepresentable) => Some(i64::MAX),
                Err(_) => None,
            }
        }
    }
}

/// What a function default becomes.
fn zero(column_type: &ColumnType) -> Option<Constant> {
    Some(match column_type {
        ColumnType::Json => Constant::Text("{}".to_owned()),
        ColumnType::Uuid => Constant::Text("00000000-0000-0000-0000-000000000000".to_owned()),
        ColumnType::ZonedTimestamp { fraction } => {
            let mut out = Vec::new();
            temporal::encode_zoned_timestamp(b"1970-01-01 00:00:00+00", *fraction, &mut out)
                .ok()?;
            Constant::Text(String::from_utf8(without_length(&out)).ok()?)
        }
        _ => return absent(column_type),
    })
}

/// Debezium's value of a NOT NULL column that was not sent and has no default; `None` for types
/// whose value is no [`Constant`].
pub(super) fn absent(column_type: &ColumnType) -> Option<Constant> {
    Some(match column_type {
        ColumnType::Boolean | ColumnType::BitFlag => Constant::Boolean(false),
        ColumnType::Int16
        | ColumnType::Int32
        | ColumnType::Int64
        | ColumnType::Oid
        | ColumnType::Date
        | ColumnType::Time(_)
        | ColumnType::Timestamp(_)
        | ColumnType::Interval => Constant::Number(0),
        ColumnType::Float32 => Constant::Float(0.0),
        ColumnType::Float64 => Constant::Double(0.0),
        ColumnType::Decimal { .. } | ColumnType::Money => Constant::Bytes(vec![0]),
        ColumnType::Bits { .. } | ColumnType::Bytes => Constant::Bytes(Vec::new()),
        ColumnType::Text
        | ColumnType::Json
        | ColumnType::Xml
        | ColumnType::Uuid
        | ColumnType::Ltree
        | ColumnType::TextSearchVector
        | ColumnType::Enum { .. } => Constant::Text(String::new()),
        ColumnType::Hstore => Constant::Text("{}".to_owned()),
        ColumnType::ZonedTime => Constant::Text("00:00:00Z".to_owned()),
        ColumnType::ZonedTimestamp { .. } => Constant::Text("1970-01-01T00:00:00Z".to_owned()),
        ColumnType::VariableDecimal
        | ColumnType::Point
        | ColumnType::Array { .. }
        | ColumnType::Vector { .. } => return None,
    })
}

/// Whether the expression begins with a function call, perhaps behind one parenthesis.
fn is_call(expression: &str) -> bool {
    if CLOCKS.contains(&expression) {
        return true;
    }
    let inner = expression.strip_prefix('(').unwrap_or(expression);
    let name = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    match name.and_then(|end| inner.get(end..)) {
        Some(rest) => name != Some(0) && rest.starts_with('(') && rest.contains(')'),
        None => false,
    }
}

/// Functions that are called without parentheses.
const CLOCKS: [&str; 5] =
    ["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"];

/// The first quoted literal of an expression, or the whole expression without one.
struct Literal {
    /// Doubled quotes still doubled.
    raw: String,
    text: String,
}

impl Literal {
    fn of(expression: &str) -> Literal {
        let quoted = expression.split_once('\'').map(|(_, rest)| rest);
        let raw = quoted.and_then(|rest| rest.get(..closing_quote(rest)?)).unwrap_or(expression);
        Literal { raw: raw.to_owned(), text: raw.replace("''", "'") }
    }
}

/// Where the literal that `rest` is in ends.
fn closing_quote(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut index = 0;
    loop {
        index += bytes.get(index..)?.iter().position(|&byte| byte == b'\'')?;
        if bytes.get(index + 1) != Some(&b'\'') {
            return Some(index);
        }
        index += 2;
    }
}

#[cfg(test)]
mod tests;
