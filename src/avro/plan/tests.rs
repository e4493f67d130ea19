//! The plan against apache-avro: whatever it writes must decode against the schema text as the
//! value that the text stands for.

use apache_avro::Schema;
use apache_avro::types::Value;
use num_bigint::BigInt;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::avro::fixture::{self, format};
use crate::avro::schema;
use crate::avro::types::{ColumnType, TimeUnit};
use crate::pgoutput::{ReplicaIdentity, TupleBuilder};

/// A column's type with one value of it: the wire text, and what Avro should hold.
type Model = (ColumnType, String, Value);

fn model() -> BoxedStrategy<Model> {
    prop_oneof![scalar(), array()].boxed()
}

fn scalar() -> BoxedStrategy<Model> {
    prop_oneof![numbers(), decimals(), texts(), times()].boxed()
}

fn numbers() -> BoxedStrategy<Model> {
    let finite = any::<f64>().prop_filter("NaN equals nothing", |value| !value.is_nan());
    let finite32 = any::<f32>().prop_filter("NaN equals nothing", |value| !value.is_nan());
    prop_oneof![
        any::<bool>().prop_map(|value| {
            let text = if value { "t" } else { "f" };
            (ColumnType::Boolean, text.to_owned(), Value::Boolean(value))
        }),
        any::<i16>().prop_map(|v| (ColumnType::Int16, v.to_string(), Value::Int(v.into()))),
        any::<i32>().prop_map(|v| (ColumnType::Int32, v.to_string(), Value::Int(v))),
        any::<i64>().prop_map(|v| (ColumnType::Int64, v.to_string(), Value::Long(v))),
        any::<u32>().prop_map(|v| (ColumnType::Oid, v.to_string(), Value::Long(v.into()))),
        finite.prop_map(|v| (ColumnType::Float64, v.to_string(), Value::Double(v))),
        finite32.prop_map(|v| (ColumnType::Float32, v.to_string(), Value::Float(v))),
        vec(any::<bool>(), 2..40).prop_map(|bits| {
            let text = bits.iter().map(|&bit| if bit { '1' } else { '0' }).collect();
            let number = bits.iter().fold(0u64, |number, &bit| number << 1 | u64::from(bit));
            let length = number.checked_ilog2().map_or(0, |log| log as usize / 8 + 1);
            let bytes = number.to_le_bytes()[..length].to_vec();
            (ColumnType::Bits { length: 40 }, text, Value::Bytes(bytes))
        }),
    ]
    .boxed()
}

fn decimals() -> BoxedStrategy<Model> {
    let unscaled =
        prop_oneof![any::<i64>().prop_map(i128::from), -(10i128.pow(37))..10i128.pow(37)];
    (unscaled, 0..12usize)
        .prop_flat_map(|(unscaled, scale)| {
            let sign = if unscaled < 0 { "-" } else { "" };
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
            let (integer, fraction) = digits.split_at(digits.len() - scale);
            let text = format!("{sign}{integer}{}{fraction}", if scale > 0 { "." } else { "" });
            let decimal = |number: &BigInt| {
                Value::Decimal(apache_avro::Decimal::from(number.to_signed_bytes_be()))
            };
            let fixed = decimal(&BigInt::from(unscaled));
            let (mut stripped, mut least) = (unscaled, scale);
            while least > 0 && stripped % 10 == 0 {
                (stripped, least) = (stripped / 10, least - 1);
            }
            let variable = Value::Record(vec![
                ("scale".to_owned(), Value::Int(least as i32)),
                ("value".to_owned(), Value::Bytes(BigInt::from(stripped).to_signed_bytes_be())),
            ]);
            let precision = 38;
            prop_oneof![
                Just((ColumnType::Decimal { precision, scale: scale as u32 }, text.clone(), fixed)),
                Just((ColumnType::VariableDecimal, text, variable)),
            ]
        })
        .boxed()
}

fn texts() -> BoxedStrategy<Model> {
    prop_oneof![
        any::<String>().prop_map(|text| (ColumnType::Text, text.clone(), Value::String(text))),
        any::<String>().prop_map(|text| (ColumnType::Json, text.clone(), Value::String(text))),
        vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (ColumnType::Bytes, format!("\\x{hex}"), Value::Bytes(bytes))
        }),
    ]
    .boxed()
}

/// Days since 1970-01-01, counted year by year.
fn slow_days(year: i32, month: i32, day: i32) -> i32 {
    let leap = |year: i32| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths =
        |year| [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = |year| if leap(year) { 366 } else { 365 };
    let years: i32 = if year >= 1970 {
        (1970..year).map(length).sum()
    } else {
        -(year..1970).map(length).sum::<i32>()
    };
    years + lengths(year)[..month as usize - 1].iter().sum::<i32>() + day - 1
}

fn times() -> BoxedStrategy<Model> {
    let date = (1..3000i32, 1..=12i32, 1..=28i32);
    let time = (0..24i64, 0..60i64, 0..60i64, 0..1_000_000i64);
    (date, time)
        .prop_flat_map(|((year, month, day), (hour, minute, second, micro))| {
            let date = format!("{year:04}-{month:02}-{day:02}");
            let time = format!("{hour:02}:{minute:02}:{second:02}");
            let fraction =
                format!(".{micro:06}").trim_end_matches(['0']).trim_end_matches('.').to_owned();
            let days = slow_days(year, month, day);
            let of_day = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro;
            let instant = i64::from(days) * 86_400_000_000 + of_day;
            let iso = format!("{date}T{time}.{micro:06}Z");
            let micros = TimeUnit::Micros;
            prop_oneof![
                Just((ColumnType::Date, date.clone(), Value::Int(days))),
                Just((ColumnType::Time(micros), format!("{time}{fraction}"), Value::Long(of_day))),
                Just((
                    ColumnType::Time(TimeUnit::Millis),
                    time.clone(),
                    Value::Int(((of_day - micro) / 1000) as i32)
                )),
                Just((
                    ColumnType::Timestamp(micros),
                    format!("{date} {time}{fraction}"),
                    Value::Long(instant)
                )),
                Just((
                    ColumnType::Timestamp(TimeUnit::Millis),
                    format!("{date} {time}"),
                    Value::Long((instant - micro) / 1000)
                )),
                Just((
                    ColumnType::ZonedTimestamp { fraction: 6 },
                    format!("{date} {time}{fraction}+00"),
                    Value::String(iso)
                )),
                Just((
                    ColumnType::Interval,
                    format!("{day} days {time}{fraction}"),
                    Value::Long(i64::from(day) * 86_400_000_000 + of_day)
                )),
            ]
        })
        .boxed()
}

/// Elements of one type: the first model's, with its value repeated and mixed with NULLs.
fn array() -> BoxedStrategy<Model> {
    (scalar(), vec(any::<bool>(), 0..5))
        .prop_map(|((element, text, value), nulls)| {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let cells: Vec<&str> =
                nulls.iter().map(|&null| if null { "NULL" } else { &quoted }).collect();
            let items = nulls.iter().map(|&null| union(null, 0, &value)).collect();
            let column_type =
                ColumnType::Array { element: Box::new(element), nullable_elements: true };
            (column_type, format!("{{{}}}", cells.join(",")), Value::Array(items))
        })
        .boxed()
}

fn union(null: bool, null_branch: u32, value: &Value) -> Value {
    if null {
        Value::Union(null_branch, Box::new(Value::Null))
    } else {
        Value::Union(1 - null_branch, Box::new(value.clone()))
    }
}

fn column(index: usize, column_type: ColumnType, nullable: bool) -> ColumnShape {
    let any = fixture::column(&format!("c{index}"), index, column_type);
    ColumnShape { nullable, identity: index == 0, ..any }
}

fn shape(columns: Vec<ColumnShape>) -> TableShape {
    TableShape {
        schema: "s".to_owned(),
        name: "t".to_owned(),
        identity: ReplicaIdentity::Default,
        cells: columns.len(),
        key: vec![0],
        columns,
    }
}

fn decode(schema: &Schema, mut bytes: &[u8]) -> Value {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().unwrap();
    let value = reader.read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{} bytes left over", bytes.len());
    value
}

proptest! {
    #[test]
    fn rows_decode_as_their_values(
        columns in vec((model(), option::of(any::<bool>())), 1..8)
    ) {
        // `None` is a required column, `Some(null)` a nullable one.
        let shape = shape(columns.iter().enumerate().map(|(index, ((column_type, ..), nullable))| {
            column(index, column_type.clone(), nullable.is_some())
        }).collect());
        let text = schema::value_record(&shape, &format(), "s.t");
        let schema = Schema::parse_str(&text).unwrap();
        let row = TupleBuilder::from_iter(columns.iter().map(|((_, text, _), nullable)| match nullable {
            Some(true) => Cell::Null,
            _ => Cell::Text(text.as_bytes()),
        }));
        let mut out = b"before".to_vec();
        RowPlan::compile(&shape, &format()).encode(&row.tuple(), None, &mut out).unwrap();
        let expected = columns.iter().enumerate().map(|(index, ((_, _, value), nullable))| {
            let value = match nullable {
                Some(null) => union(*null, 0, value),
                None => value.clone(),
            };
            (format!("c{index}"), value)
        }).collect();
        prop_assert_eq!(decode(&schema, out.strip_prefix(b"before").unwrap()), Value::Record(expected));
    }

    #[test]
    fn any_bytes_give_a_row_or_nothing(
        (column_type, ..) in model(),
        bytes in vec(any::<u8>(), 0..60),
        nullable: bool,
    ) {
        let shape = shape(vec![column(0, ColumnType::Int32, false), column(1, column_type, nullable)]);
        let schema = Schema::parse_str(&schema::value_record(&shape, &format(), "s.t")).unwrap();
        let plan = RowPlan::compile(&shape, &format());
        let row = TupleBuilder::from_iter([Cell::Text(b"7"), Cell::Text(&bytes)]);
        let mut out = Vec::new();
        match plan.encode(&row.tuple(), None, &mut out) {
            Ok(()) => drop(decode(&schema, &out)),
            Err(error) => {
                prop_assert_eq!(error.column, 1);
                prop_assert!(out.is_empty());
            }
        }
    }

    /// Close to the real forms, where a parser is likeliest to trip.
    #[test]
    fn texts_with_a_mistake_are_harmless(
        (column_type, text, _) in model(),
        cut in any::<prop::sample::Index>(),
        byte: u8,
        remove: bool,
    ) {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = cut.index(bytes.len());
            if remove { bytes.remove(at); } else { bytes[at] = byte; }
        }
        let shape = shape(vec![column(0, column_type, true)]);
        let schema = Schema::parse_str(&schema::value_record(&shape, &format(), "s.t")).unwrap();
        let mut out = Vec::new();
        let row = TupleBuilder::from_iter([Cell::Text(&bytes)]);
        if RowPlan::compile(&shape, &format()).encode(&row.tuple(), None, &mut out).is_ok() {
            decode(&schema, &out);
        }
    }

    #[test]
    fn markers_and_absent_values_decode(
        columns in vec((model(), any::<bool>()), 1..6)
    ) {
        let shape = shape(columns.into_iter().enumerate().map(|(index, ((column_type, ..), nullable))| {
            ColumnShape { identity: false, ..column(index, column_type, nullable) }
        }).collect());
        let schema = Schema::parse_str(&schema::value_record(&shape, &format(), "s.t")).unwrap();
        let plan = RowPlan::compile(&shape, &format());
        let mut out = Vec::new();
        plan.encode_key_image(&TupleBuilder::from_iter(shape.columns.iter().map(|_| Cell::Null)).tuple(), &mut out).unwrap();
        decode(&schema, &out);
        out.clear();
        let unchanged = TupleBuilder::from_iter(shape.columns.iter().map(|_| Cell::Unchanged));
        match plan.encode(&unchanged.tuple(), None, &mut out) {
            Ok(()) => drop(decode(&schema, &out)),
            Err(error) => prop_assert_eq!(error.kind, RowErrorKind::UnexpectedNull),
        }
    }
}

#[test]
fn null_stays_null_in_a_column_with_a_default() {
    let with_default =
        ColumnShape { default: Some("42".to_owned()), ..column(0, ColumnType::Int32, true) };
    let shape = shape(vec![with_default]);
    let text = schema::value_record(&shape, &format(), "s.t");
    assert!(
        text.contains(r#"[{"type":"int","connect.default":42},"null"],"default":42"#),
        "{text}"
    );
    let schema = Schema::parse_str(&text).unwrap();
    let plan = RowPlan::compile(&shape, &format());
    for (cell, value) in [
        (Cell::Null, union(true, 1, &Value::Null)),
        (Cell::Text(b"7"), union(false, 1, &Value::Int(7))),
    ] {
        let mut out = Vec::new();
        plan.encode(&TupleBuilder::from_iter([cell]).tuple(), None, &mut out).unwrap();
        assert_eq!(decode(&schema, &out), Value::Record(vec![("c0".to_owned(), value)]));
    }
}

#[test]
fn errors_name_the_column_and_leave_nothing() {
    let shape = shape(vec![
        column(0, ColumnType::Int32, false),
        column(1, ColumnType::Text, false),
        column(2, ColumnType::Decimal { precision: 5, scale: 2 }, true),
    ]);
    let plan = RowPlan::compile(&shape, &format());
    let bad = |cells: Vec<Cell<'_>>| {
        let mut out = b"kept".to_vec();
        let error =
            plan.encode(&TupleBuilder::from_iter(cells).tuple(), None, &mut out).unwrap_err();
        assert_eq!(out, b"kept");
        (error.column, error.kind)
    };
    let (one, a) = (Cell::Text(b"1"), Cell::Text(b"a"));
    assert_eq!(bad(vec![Cell::Null, a, one]), (0, RowErrorKind::UnexpectedNull));
    assert_eq!(bad(vec![one, Cell::Text(b"\xFF"), one]), (1, RowErrorKind::InvalidUtf8));
    assert_eq!(bad(vec![one, a, Cell::Text(b"NaN")]), (2, RowErrorKind::Unrepresentable));
    assert_eq!(bad(vec![one, a, Cell::Text(b"x")]), (2, RowErrorKind::Malformed));
    assert_eq!(bad(vec![one, a, Cell::Binary(b"x")]), (2, RowErrorKind::Malformed));
    assert_eq!(bad(vec![one, a]), (0, RowErrorKind::CellCount));
    assert_eq!(bad(vec![one, a, one, one]), (0, RowErrorKind::CellCount));
}

#[test]
fn unchanged_values_come_from_the_old_row() {
    let shape = shape(vec![column(0, ColumnType::Int32, false), column(1, ColumnType::Text, true)]);
    let plan = RowPlan::compile(&shape, &format());
    let new = TupleBuilder::from_iter([Cell::Text(b"1"), Cell::Unchanged]);
    let old = TupleBuilder::from_iter([Cell::Text(b"1"), Cell::Text(b"old")]);
    let mut out = Vec::new();
    plan.encode(&new.tuple(), Some(&old.tuple()), &mut out).unwrap();
    assert_eq!(out, b"\x02\x02\x06old");
    out.clear();
    plan.encode(&new.tuple(), None, &mut out).unwrap();
    assert_eq!(out, b"\x02\x02\x38__debezium_unavailable_value");
}

#[test]
fn unchanged_values_without_a_marker_ask_for_a_wider_schema() {
    let mut shape = shape(vec![column(0, ColumnType::VariableDecimal, false)]);
    let row = TupleBuilder::from_iter([Cell::Unchanged]);
    let mut out = Vec::new();
    let error =
        RowPlan::compile(&shape, &format()).encode(&row.tuple(), None, &mut out).unwrap_err();
    assert_eq!(error.kind, RowErrorKind::UnexpectedNull);
    shape.widen(error.column);
    RowPlan::compile(&shape, &format()).encode(&row.tuple(), None, &mut out).unwrap();
    assert_eq!(out, [0]);
}

#[test]
fn excluded_columns_are_skipped() {
    let mut shape =
        shape(vec![column(1, ColumnType::Int32, false), column(3, ColumnType::Text, false)]);
    shape.cells = 5;
    let plan = RowPlan::compile(&shape, &format());
    let secret = Cell::Text(b"secret");
    let row = TupleBuilder::from_iter([secret, Cell::Text(b"1"), secret, Cell::Text(b"a"), secret]);
    let mut out = Vec::new();
    plan.encode(&row.tuple(), None, &mut out).unwrap();
    assert_eq!(out, b"\x02\x02a");
}

#[test]
fn a_key_image_holds_the_identity_and_stand_ins() {
    let shape = shape(vec![
        column(0, ColumnType::Int32, false),
        column(1, ColumnType::Text, true),
        column(2, ColumnType::Text, false),
        ColumnShape { default: Some("4".to_owned()), ..column(3, ColumnType::Int32, false) },
        ColumnShape { default: Some("4".to_owned()), ..column(4, ColumnType::Int32, true) },
    ]);
    let row =
        TupleBuilder::from_iter([Cell::Text(b"7"), Cell::Null, Cell::Null, Cell::Null, Cell::Null]);
    let mut out = Vec::new();
    RowPlan::compile(&shape, &format()).encode_key_image(&row.tuple(), &mut out).unwrap();
    // NULL is the second branch of the last column.
    assert_eq!(out, [14, 0, 0, 8, 2]);
}
