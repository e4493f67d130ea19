//! JSON whose members keep the order of the schema.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A decoded value. Serialises as JSON; numbers that JSON does not have become strings.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f32),
    Double(f64),
    Text(String),
    Array(Vec<Json>),
    /// In schema order; the names of a map's entries may repeat.
    Object(Vec<(Arc<str>, Json)>),
}

impl Json {
    /// The member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                members.iter().find(|(other, _)| **other == *name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Integer(value) => serializer.serialize_i64(*value),
            Json::Float(value) if value.is_finite() => serializer.serialize_f32(*value),
            Json::Double(value) if value.is_finite() => serializer.serialize_f64(*value),
            Json::Float(value) => serializer.serialize_str(not_finite((*value).into())),
            Json::Double(value) => serializer.serialize_str(not_finite(*value)),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items),
            Json::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(&**name, value)?;
                }
                map.end()
            }
        }
    }
}

/// As Postgres writes them.
fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
