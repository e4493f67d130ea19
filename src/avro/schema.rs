//! Schema text, attribute for attribute as the Confluent converter registers it for Debezium.
//!
//! The text is what is registered, hashed and cached, so its bytes matter: names first, then
//! `type`, the decimal's `scale` and `precision`, then the `connect.*` attributes in the
//! converter's order, `logicalType` last. A union puts the branch of its default first: null, or
//! the type when the column has a default. A named record is defined where it is first used and
//! referred to by its full name after that.

use std::fmt::Write as _;

use super::shape::{ColumnShape, TableShape};
use super::types::{ColumnType, TimeUnit};
use super::value::{Constant, quoted};
use super::{defaults, names};
use crate::config::settings::FormatSettings;

/// The record `Value`, as it stands nested in the envelope (whose namespace it inherits).
#[must_use]
pub fn value_record(shape: &TableShape, format: &FormatSettings, namespace: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Value","fields":[{}],"connect.name":{}}}"#,
        fields(shape.columns.iter(), format),
        quoted(&format!("{namespace}.Value")),
    )
}

/// The record `Key`; `None` for a table without a key.
#[must_use]
pub fn key(shape: &TableShape, format: &FormatSettings, namespace: &str) -> Option<String> {
    if shape.key.is_empty() {
        return None;
    }
    let columns = shape.key.iter().filter_map(|&index| shape.columns.get(index));
    Some(format!(
        r#"{{"type":"record","name":"Key","namespace":{},"fields":[{}],"connect.name":{}}}"#,
        quoted(namespace),
        fields(columns, format),
        quoted(&format!("{namespace}.Key")),
    ))
}

/// The type of a single column, a union if it is nullable.
#[must_use]
pub fn column_type(column: &ColumnShape, _format: &FormatSettings) -> String {
    union_text(column, defaults::of(column).as_ref(), &mut Defined::default())
}

/// Records that this schema text has defined already.
#[derive(Debug, Default)]
struct Defined {
    variable_decimal: bool,
    point: bool,
}

fn fields<'a>(columns: impl Iterator<Item = &'a ColumnShape>, format: &FormatSettings) -> String {
    let mut defined = Defined::default();
    let mut text = String::new();
    for (index, column) in columns.enumerate() {
        let default = defaults::of(column);
        let separator = if index == 0 { "" } else { "," };
        let name = quoted(&names::field(&column.name, format.name_adjustment));
        let union = union_text(column, default.as_ref(), &mut defined);
        // Writing to a string cannot fail.
        let _ = write!(text, r#"{separator}{{"name":{name},"type":{union}"#);
        match default {
            Some(default) => {
                let _ = write!(text, r#","default":{}"#, default.json());
            }
            None if column.nullable => text.push_str(r#","default":null"#),
            None => {}
        }
        text.push('}');
    }
    text
}

fn union_text(column: &ColumnShape, default: Option<&Constant>, defined: &mut Defined) -> String {
    let single = type_text(&column.column_type, default, defined);
    match (column.nullable, default) {
        (false, _) => single,
        (true, None) => format!(r#"["null",{single}]"#),
        (true, Some(_)) => format!(r#"[{single},"null"]"#),
    }
}

fn type_text(
    column_type: &ColumnType,
    default: Option<&Constant>,
    defined: &mut Defined,
) -> String {
    match column_type {
        ColumnType::VariableDecimal => defined_once(
            &mut defined.variable_decimal,
            VARIABLE_DECIMAL,
            r#""io.debezium.data.VariableScaleDecimal""#,
        ),
        ColumnType::Point => {
            defined_once(&mut defined.point, POINT, r#""io.debezium.data.geometry.Point""#)
        }
        ColumnType::Array { element, nullable_elements } => {
            let items = type_text(element, None, defined);
            if *nullable_elements {
                format!(r#"{{"type":"array","items":["null",{items}]}}"#)
            } else {
                format!(r#"{{"type":"array","items":{items}}}"#)
            }
        }
        ColumnType::Vector { element } => {
            format!(r#"{{"type":"array","items":{}}}"#, type_text(element, None, defined))
        }
        _ => Attributes::of(column_type).text(default),
    }
}

fn defined_once(defined: &mut bool, definition: &str, reference: &str) -> String {
    let text = if *defined { reference } else { definition };
    *defined = true;
    text.to_owned()
}

/// What is said about a type beyond its Avro primitive.
#[derive(Debug, Default)]
struct Attributes {
    primitive: &'static str,
    /// Scale and precision.
    decimal: Option<(u32, u32)>,
    parameters: Option<String>,
    /// The Connect name; with it goes version 1.
    name: Option<&'static str>,
    int16: bool,
}

impl Attributes {
    fn of(column_type: &ColumnType) -> Attributes {
        let plain = |primitive| Attributes { primitive, ..Attributes::default() };
        let named = |primitive, name| Attributes { name: Some(name), ..plain(primitive) };
        match column_type {
            ColumnType::Boolean | ColumnType::BitFlag => plain("boolean"),
            ColumnType::Int16 => Attributes { int16: true, ..plain("int") },
            ColumnType::Int32 => plain("int"),
            ColumnType::Int64 | ColumnType::Oid => plain("long"),
            ColumnType::Float32 => plain("float"),
            ColumnType::Float64 => plain("double"),
            ColumnType::Bytes => plain("bytes"),
            ColumnType::Bits { length } => Attributes {
                parameters: Some(format!(r#"{{"length":"{length}"}}"#)),
                ..named("bytes", "io.debezium.data.Bits")
            },
            ColumnType::Decimal { precision, scale } => Attributes {
                decimal: Some((*scale, *precision)),
                parameters: Some(format!(
                    r#"{{"scale":"{scale}","connect.decimal.precision":"{precision}"}}"#
                )),
                ..named("bytes", DECIMAL)
            },
            ColumnType::Money => Attributes {
                decimal: Some((2, 64)),
                parameters: Some(r#"{"scale":"2"}"#.to_owned()),
                ..named("bytes", DECIMAL)
            },
            ColumnType::Enum { labels } => Attributes {
                parameters: Some(format!(r#"{{"allowed":{}}}"#, quoted(&labels.join(",")))),
                ..named("string", "io.debezium.data.Enum")
            },
            ColumnType::Json | ColumnType::Hstore => named("string", "io.debezium.data.Json"),
            ColumnType::Xml => named("string", "io.debezium.data.Xml"),
            ColumnType::Uuid => named("string", "io.debezium.data.Uuid"),
            ColumnType::Ltree => named("string", "io.debezium.data.Ltree"),
            ColumnType::TextSearchVector => named("string", "io.debezium.data.Tsvector"),
            ColumnType::Date => named("int", "io.debezium.time.Date"),
            ColumnType::Time(TimeUnit::Millis) => named("int", "io.debezium.time.Time"),
            ColumnType::Time(TimeUnit::Micros) => named("long", "io.debezium.time.MicroTime"),
            ColumnType::ZonedTime => named("string", "io.debezium.time.ZonedTime"),
            ColumnType::Timestamp(TimeUnit::Millis) => named("long", "io.debezium.time.Timestamp"),
            ColumnType::Timestamp(TimeUnit::Micros) => {
                named("long", "io.debezium.time.MicroTimestamp")
            }
            ColumnType::ZonedTimestamp { .. } => named("string", "io.debezium.time.ZonedTimestamp"),
            ColumnType::Interval => named("long", "io.debezium.time.MicroDuration"),
            // The last four are written elsewhere.
            ColumnType::Text
            | ColumnType::VariableDecimal
            | ColumnType::Point
            | ColumnType::Array { .. }
            | ColumnType::Vector { .. } => plain("string"),
        }
    }

    /// The converter's order of attributes.
    fn text(&self, default: Option<&Constant>) -> String {
        let bare = self.name.is_none() && !self.int16 && default.is_none();
        if bare {
            return format!(r#""{}""#, self.primitive);
        }
        let mut text = format!(r#"{{"type":"{}""#, self.primitive);
        if let Some((scale, precision)) = self.decimal {
            let _ = write!(text, r#","scale":{scale},"precision":{precision}"#);
        }
        if self.name.is_some() {
            text.push_str(r#","connect.version":1"#);
        }
        if let Some(parameters) = &self.parameters {
            let _ = write!(text, r#","connect.parameters":{parameters}"#);
        }
        if let Some(default) = default {
            let _ = write!(text, r#","connect.default":{}"#, default.connect_json());
        }
        if let Some(name) = self.name {
            let _ = write!(text, r#","connect.name":"{name}""#);
        }
        if self.int16 {
            text.push_str(r#","connect.type":"int16""#);
        }
        if self.decimal.is_some() {
            text.push_str(r#","logicalType":"decimal""#);
        }
        text.push('}');
        text
    }
}

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

const VARIABLE_DECIMAL: &str = concat!(
    r#"{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","#,
    r#""fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"#,
    r#""connect.doc":"Variable scaled decimal","connect.version":1,"#,
    r#""connect.name":"io.debezium.data.VariableScaleDecimal"}"#,
);

const POINT: &str = concat!(
    r#"{"type":"record","name":"Point","namespace":"io.debezium.data.geometry","fields":["#,
    r#"{"name":"x","type":"double"},{"name":"y","type":"double"},"#,
    r#"{"name":"wkb","type":["null","bytes"],"default":null},"#,
    r#"{"name":"srid","type":["null","int"],"default":null}],"#,
    r#""connect.doc":"Geometry (POINT)","connect.version":1,"#,
    r#""connect.name":"io.debezium.data.geometry.Point"}"#,
);

#[cfg(test)]
mod tests;
