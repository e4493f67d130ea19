//! A column as a header: the text that Connect's `SimpleHeaderConverter` writes for its value.
//!
//! A string is its text, anything else its JSON: `true`, `1732470185123456`, `[1,2]`, bytes as
//! base64. SQL NULL is the null header.

use std::sync::Arc;

use crate::avro::{ColumnShape, KeyPlan, RowError, RowErrorKind, TableShape};
use crate::config::settings::FormatSettings;
use crate::kafka::batch::RecordWriter;
use crate::pgoutput::{Cell, ReplicaIdentity, Tuple};

/// Writes one column as a header.
#[derive(Debug)]
pub(super) struct HeaderPlan {
    name: Arc<str>,
    /// Index into the table's shape.
    column: usize,
    cell: usize,
    /// Of a record whose one field is the column, called [`FIELD`]: a key's JSON is a header's.
    json: Option<KeyPlan>,
}

const FIELD: &str = "v";

/// What the JSON of that record begins with.
const OPENING: &str = "{\"v\":";

impl HeaderPlan {
    pub(super) fn compile(
        name: &str,
        column: usize,
        table: &TableShape,
        shape: &ColumnShape,
        format: &FormatSettings,
    ) -> HeaderPlan {
        let alone = TableShape {
            schema: String::new(),
            name: String::new(),
            identity: ReplicaIdentity::Nothing,
            columns: vec![ColumnShape { name: FIELD.to_owned(), ..shape.clone() }],
            key: vec![0],
            cells: table.cells,
        };
        let json = KeyPlan::compile(&alone, format);
        HeaderPlan { name: Arc::from(name), column, cell: shape.cell, json }
    }

    pub(super) fn write(
        &self,
        row: &Tuple<'_>,
        record: &mut RecordWriter<'_>,
    ) -> Result<(), RowError> {
        let text = match row.get(self.cell) {
            Some(Cell::Text(text)) => text,
            Some(Cell::Null) => {
                record.null_header(&self.name);
                return Ok(());
            }
            _ => return Err(RowError { column: self.column, kind: RowErrorKind::CellCount }),
        };
        let Some(json) = &self.json else {
            return Err(RowError { column: self.column, kind: RowErrorKind::CellCount });
        };
        record.header(&self.name, |out| {
            let start = out.len();
            json.write_json(row, out).map_err(|e| RowError { column: self.column, ..e })?;
            unwrap_json(start, text, out);
            Ok(())
        })
    }
}

/// Leaves of the JSON from `start` the bare value. Only strings have escapes, and of the types
/// that become strings only those have them whose value is `text` itself.
fn unwrap_json(start: usize, text: &[u8], out: &mut Vec<u8>) {
    let opening = out.get(start..start + OPENING.len()) == Some(OPENING.as_bytes());
    debug_assert!(opening && out.ends_with(b"}"), "the JSON of a key is an object");
    out.pop();
    let value = start + OPENING.len();
    match out.get(value..) {
        Some([b'"', inner @ .., b'"']) if inner.contains(&b'\\') => {
            out.truncate(start);
            out.extend_from_slice(text);
        }
        Some([b'"', .., b'"']) => {
            out.pop();
            out.drain(start..=value);
        }
        _ => drop(out.drain(start..value)),
    }
}
