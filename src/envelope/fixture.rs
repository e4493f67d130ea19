//! What the tests of records share: settings, tables of strings, rows, and records decoded by
//! apache-avro.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value as Json, json};

use super::{EventContext, Schemas};
use crate::avro::types::ColumnType;
use crate::avro::{ColumnShape, TableShape};
use crate::config::settings::{BeforeDelete, FormatSettings, NameAdjustment};
use crate::kafka::{Batch, RecordView};
use crate::pgoutput::{Cell, ReplicaIdentity, TupleBuilder};
use crate::postgres::{Lsn, PgTime, Xid};
use crate::registry::SchemaId;

pub(crate) const KEY_ID: SchemaId = SchemaId(7);
pub(crate) const VALUE_ID: SchemaId = SchemaId(0x0102_0304);

pub(crate) fn format() -> FormatSettings {
    FormatSettings {
        name_adjustment: NameAdjustment::None,
        truncate: false,
        skip: Vec::new(),
        tombstones: true,
        unavailable_value: "__debezium_unavailable_value".to_owned(),
        before_delete: BeforeDelete::Key,
        column_defaults: true,
        context_headers: false,
    }
}

/// A nullable column.
pub(crate) fn column(name: &str, cell: usize, column_type: ColumnType) -> ColumnShape {
    ColumnShape {
        name: name.to_owned(),
        cell,
        column_type,
        nullable: true,
        default: None,
        auto_increment: false,
        identity: false,
    }
}

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

pub(crate) fn row(cells: &[Cell<'_>]) -> TupleBuilder {
    let mut row = TupleBuilder::default();
    for &cell in cells {
        row.push(cell);
    }
    row
}

/// A row of text cells; `None` is NULL.
pub(crate) fn texts(cells: &[Option<&str>]) -> TupleBuilder {
    let cells: Vec<Cell<'_>> = cells
        .iter()
        .map(|cell| cell.map_or(Cell::Null, |text| Cell::Text(text.as_bytes())))
        .collect();
    row(&cells)
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
