//! From the bytes of a record to JSON, through the registry.

use crate::{Record, Registry};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Reads Confluent-framed Avro: a zero byte, the schema's id, the datum.
#[derive(Debug)]
pub struct Decoder<'a> {
    registry: &'a Registry,
    schemas: Mutex<HashMap<i32, Arc<Schema>>>,
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub key: Json,
    /// `None` is a tombstone.
    pub value: Option<Json>,
}

impl<'a> Decoder<'a> {
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, schemas: Mutex::default() }
    }

    /// Key and value of a record; a record without a key has the key `null`.
    pub async fn event(&self, record: &Record) -> Event {
        let key = match &record.key {
            Some(bytes) => self.json(bytes).await,
            None => Json::Null,
        };
        let value = match &record.value {
            Some(bytes) => Some(self.json(bytes).await),
            None => None,
        };
        Event { key, value }
    }

    pub async fn events(&self, records: &[Record]) -> Vec<Event> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            events.push(self.event(record).await);
        }
        events
    }

    pub async fn json(&self, bytes: &[u8]) -> Json {
        to_json(&self.value(bytes).await)
    }

    /// The Avro value as it was written, union branches and all.
    pub async fn value(&self, bytes: &[u8]) -> Value {
        let (id, datum) = unframe(bytes);
        let schema = self.schema(id).await;
        let mut rest = datum;
        let reader =
            GenericDatumReader::builder(&schema).build().expect("a reader of a registered schema");
        let value =
            reader.read_value(&mut rest).unwrap_or_else(|error| panic!("schema {id}: {error}"));
        assert!(rest.is_empty(), "schema {id}: {} bytes after the datum", rest.len());
        value
    }

    /// The parsed schema with this id.
    pub async fn schema(&self, id: i32) -> Arc<Schema> {
        let known = self.schemas.lock().expect("schemas").get(&id).cloned();
        if let Some(schema) = known {
            return schema;
        }
        let text = self.registry.schema(id).await.unwrap_or_else(|| panic!("no schema {id}"));
        let schema =
            Schema::parse_str(&text).unwrap_or_else(|error| panic!("schema {id}: {error}\n{text}"));
        let schema = Arc::new(schema);
        self.schemas.lock().expect("schemas").insert(id, schema.clone());
        schema
    }
}

/// The schema's id and the datum of a framed record.
pub fn unframe(bytes: &[u8]) -> (i32, &[u8]) {
    let (head, datum) = bytes.split_first_chunk::<5>().expect("five bytes of framing");
    assert_eq!(head[0], 0, "the magic byte");
    (i32::from_be_bytes([head[1], head[2], head[3], head[4]]), datum)
}

/// JSON of an Avro value: unions by their content alone, bytes as `{"bytes": "<hex>"}` (a decimal's are
/// its unscaled number), floats that JSON lacks as `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Int(value) | Value::Date(value) | Value::TimeMillis(value) => json!(value),
        Value::Long(value)
        | Value::TimeMicros(value)
        | Value::TimestampMillis(value)
        | Value::TimestampMicros(value)
        | Value::TimestampNanos(value)
        | Value::LocalTimestampMillis(value)
        | Value::LocalTimestampMicros(value)
        | Value::LocalTimestampNanos(value) => json!(value),
        Value::Float(value) => float(f64::from(*value), json!(value)),
        Value::Double(value) => float(*value, json!(value)),
        Value::String(value) | Value::Enum(_, value) => json!(value),
        Value::Bytes(value) | Value::Fixed(_, value) => bytes(value),
        Value::Decimal(value) => {
            bytes(&Vec::<u8>::try_from(value).expect("the bytes of a decimal"))
        }
        Value::BigDecimal(value) => json!(value.to_string()),
        Value::Uuid(value) => json!(value.to_string()),
        Value::Duration(value) => bytes(&<[u8; 12]>::from(*value)),
        Value::Union(_, value) => to_json(value),
        Value::Array(values) => values.iter().map(to_json).collect(),
        Value::Map(values) => values
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Record(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn float(value: f64, finite: Json) -> Json {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => finite,
    }
}

fn bytes(value: &[u8]) -> Json {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "bytes": hex })
}
