//! What the tests of records share: a table of strings, the context of its events, and records
//! decoded by apache-avro.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value as Json, json};

use super::{EventContext, Schemas};
pub(crate) use crate::avro::fixture::{column, format, row, texts};
use crate::avro::types::ColumnType;
use crate::avro::{ColumnShape, TableShape};
use crate::kafka::{Batch, RecordView};
use crate::pgoutput::ReplicaIdentity;
use crate::postgres::{Lsn, PgTime, Xid};
use crate::registry::SchemaId;

pub(crate) const KEY_ID: SchemaId = SchemaId(7);
pub(crate) const VALUE_ID: SchemaId = SchemaId(0x0102_0304);

/// `public.t(id text primary key, name text, note text not null)`.
pub(crate) fn table(identity: ReplicaIdentity) -> TableShape {
    let flagged = identity != ReplicaIdentity::Nothing;
    let full = identity == ReplicaIdentity::Full;
    let text = |name, cell, nullable, identity| ColumnShape {
        nullable,
        identity,
        ..column(name, cell, ColumnType::Text)
    };
    TableShape {
        schema: "public".to_owned(),
        name: "t".to_owned(),
        identity,
        columns: vec![
            text("id", 0, false, flagged),
            text("name", 1, true, full),
            text("note", 2, false, full),
        ],
        key: vec![0],
        cells: 3,
    }
}

pub(crate) fn context() -> EventContext<'static> {
    EventContext {
        commit_lsn: Lsn(200),
        xid: Some(Xid(u32::MAX)),
        commit_time: PgTime::from_unix_micros(1_795_453_768_313_042),
        lsn: Lsn(100),
        last_commit_lsn: Some(Lsn(50)),
        origin: None,
        now_nanos: 1_795_453_768_400_000_001,
    }
}

/// The records of a batch: `{topic, key, value, headers}`, headers as `[name, text]` pairs. The
/// wire prefixes must be those of [`KEY_ID`] and [`VALUE_ID`], and no byte may be left over.
pub(crate) fn records(batch: &Batch, schemas: &Schemas) -> Vec<Json> {
    let key = schemas.key.as_deref().map(|text| Schema::parse_str(text).unwrap());
    let value = Schema::parse_str(&schemas.value).unwrap();
    batch
        .records()
        .map(|record| {
            json!({
                "topic": &**record.topic(),
                "key": record.key().map(|bytes| decode(key.as_ref().unwrap(), KEY_ID, bytes)),
                "value": record.value().map(|bytes| decode(&value, VALUE_ID, bytes)),
                "headers": headers(&record),
            })
        })
        .collect()
}

pub(crate) fn headers(record: &RecordView<'_>) -> Json {
    let text = |value: &[u8]| std::str::from_utf8(value).unwrap().to_owned();
    record.headers().map(|(name, value)| json!([name, value.map(text)])).collect()
}

pub(crate) fn decode(schema: &Schema, id: SchemaId, bytes: &[u8]) -> Json {
    let mut datum = bytes.strip_prefix(&id.prefix()).expect("the wire prefix of the schema");
    let reader = GenericDatumReader::builder(schema).build().unwrap();
    let value = reader.read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "bytes after the value");
    Json::try_from(value).unwrap()
}
