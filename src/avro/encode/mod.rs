//! Column encoders: from the text form of a Postgres type straight to Avro bytes, one small file a
//! family of types.
//!
//! An encoder takes any bytes and answers with an error rather than a panic or a guess. It writes
//! the value alone (the union branch of a nullable column is the plan's) and may leave a part of
//! it behind when it fails: whoever calls it takes the output back.

mod array;
mod bits;
mod calendar;
pub(super) mod decimal;
mod float;
mod hstore;
mod integer;
pub(super) mod interval;
pub(super) mod point;
pub(crate) mod primitive;
pub(super) mod temporal;
mod text;

pub(super) use hstore::write_json_string;

use super::RowErrorKind;
use super::types::{ColumnType, TimeUnit};
use array::Elements;

/// How the text of a column is turned into Avro.
#[derive(Debug)]
pub(super) enum Encoder {
    Boolean,
    BitFlag,
    Bits,
    Integer { min: i64, max: i64 },
    Float32,
    Float64,
    Decimal { scale: u32 },
    VariableDecimal,
    Money,
    String,
    Date,
    Time(TimeUnit),
    ZonedTime,
    Timestamp(TimeUnit),
    ZonedTimestamp { fraction: u8 },
    Interval,
    Bytea,
    Hstore,
    Point,
    Array(Box<Elements>),
    Vector { min: i64, max: i64 },
}

impl Encoder {
    pub(super) fn compile(column_type: &ColumnType) -> Encoder {
        match column_type {
            ColumnType::Boolean => Encoder::Boolean,
            ColumnType::BitFlag => Encoder::BitFlag,
            ColumnType::Bits { .. } => Encoder::Bits,
            ColumnType::Int16 => Encoder::Integer { min: i16::MIN.into(), max: i16::MAX.into() },
            ColumnType::Int32 => Encoder::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
            ColumnType::Int64 => Encoder::Integer { min: i64::MIN, max: i64::MAX },
            ColumnType::Oid => Encoder::Integer { min: 0, max: u32::MAX.into() },
            ColumnType::Float32 => Encoder::Float32,
            ColumnType::Float64 => Encoder::Float64,
            ColumnType::Decimal { scale, .. } => Encoder::Decimal { scale: *scale },
            ColumnType::VariableDecimal => Encoder::VariableDecimal,
            ColumnType::Money => Encoder::Money,
            ColumnType::Text
            | ColumnType::Json
            | ColumnType::Xml
            | ColumnType::Uuid
            | ColumnType::Ltree
            | ColumnType::TextSearchVector
            | ColumnType::Enum { .. } => Encoder::String,
            ColumnType::Date => Encoder::Date,
            ColumnType::Time(unit) => Encoder::Time(*unit),
            ColumnType::ZonedTime => Encoder::ZonedTime,
            ColumnType::Timestamp(unit) => Encoder::Timestamp(*unit),
            ColumnType::ZonedTimestamp { fraction } => {
                Encoder::ZonedTimestamp { fraction: *fraction }
            }
            ColumnType::Interval => Encoder::Interval,
            ColumnType::Bytes => Encoder::Bytea,
            ColumnType::Hstore => Encoder::Hstore,
            ColumnType::Point => Encoder::Point,
            ColumnType::Array { element, nullable_elements } => {
                Encoder::Array(Box::new(Elements {
                    encoder: Encoder::compile(element),
                    nullable: *nullable_elements,
                }))
            }
            ColumnType::Vector { element } => match **element {
                ColumnType::Int16 => Encoder::Vector { min: i16::MIN.into(), max: i16::MAX.into() },
                _ => Encoder::Vector { min: 0, max: u32::MAX.into() },
            },
        }
    }

    #[inline]
    pub(super) fn encode(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        match self {
            Encoder::Boolean => integer::encode_boolean(text, out),
            Encoder::BitFlag => bits::encode_flag(text, out),
            Encoder::Bits => bits::encode(text, out),
            Encoder::Integer { min, max } => integer::encode(text, *min, *max, out),
            Encoder::Float32 => float::encode_float32(text, out),
            Encoder::Float64 => float::encode_float64(text, out),
            Encoder::Decimal { scale } => decimal::encode(text, *scale, out),
            Encoder::VariableDecimal => decimal::encode_variable(text, out),
            Encoder::Money => decimal::encode_money(text, out),
            Encoder::String => text::encode_string(text, out),
            Encoder::Date => temporal::encode_date(text, out),
            Encoder::Time(unit) => temporal::encode_time(text, *unit, out),
            Encoder::ZonedTime => temporal::encode_zoned_time(text, out),
            Encoder::Timestamp(unit) => temporal::encode_timestamp(text, *unit, out),
            Encoder::ZonedTimestamp { fraction } => {
                temporal::encode_zoned_timestamp(text, *fraction, out)
            }
            Encoder::Interval => interval::encode(text, out),
            Encoder::Bytea => text::encode_bytea(text, out),
            Encoder::Hstore => hstore::encode(text, out),
            Encoder::Point => point::encode(text, out),
            Encoder::Array(elements) => array::encode(text, elements, out),
            Encoder::Vector { min, max } => array::encode_vector(text, *min, *max, out),
        }
    }
}
