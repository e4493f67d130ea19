//! The record key: its Avro record, whether it changed, and its JSON for Debezium's headers.

use super::encode::write_json_string;
use super::json::JsonForm;
use super::names;
use super::plan::{ColumnPlan, RowError, RowErrorKind};
use super::shape::TableShape;
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, Tuple};

/// Encodes the record key of one [`TableShape`](super::TableShape).
#[derive(Debug)]
pub struct KeyPlan {
    columns: Box<[KeyColumn]>,
    cells: usize,
}

#[derive(Debug)]
struct KeyColumn {
    /// Index into the shape's columns.
    index: usize,
    cell: usize,
    plan: ColumnPlan,
    /// `"name":` as it stands in JSON.
    json_name: Box<[u8]>,
    json: JsonForm,
}

impl KeyPlan {
    /// `None` for a table without a key.
    #[must_use]
    pub fn compile(shape: &TableShape, format: &FormatSettings) -> Option<KeyPlan> {
        let columns: Box<[KeyColumn]> = shape
            .key
            .iter()
            .filter_map(|&index| shape.columns.get(index).map(|column| (index, column)))
            .map(|(index, column)| {
                let name = names::field(&column.name, format.name_adjustment);
                let mut json_name = Vec::new();
                write_json_string(name.bytes(), &mut json_name);
                json_name.push(b':');
                let plan = ColumnPlan::compile(column, format);
                KeyColumn {
                    index,
                    cell: column.cell,
                    json_name: json_name.into_boxed_slice(),
                    json: JsonForm::of_column(&column.column_type, &plan),
                    plan,
                }
            })
            .collect();
        (!columns.is_empty()).then_some(KeyPlan { columns, cells: shape.cells })
    }

    /// Appends the `Key` record of a row.
    ///
    /// # Errors
    /// [`RowError`]; `out` is then as it was.
    pub fn encode(&self, tuple: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        self.each(tuple, out, |column, cell, out| column.plan.encode(cell, out))
    }

    /// Whether both rows have the same key, byte for byte. A cell that is unchanged in either
    /// counts as equal.
    #[must_use]
    pub fn same(&self, a: &Tuple<'_>, b: &Tuple<'_>) -> bool {
        self.columns.iter().all(|column| match (a.get(column.cell), b.get(column.cell)) {
            (Some(Cell::Unchanged), Some(_)) | (Some(_), Some(Cell::Unchanged)) => true,
            (a, b) => a == b,
        })
    }

    /// Appends the key as the JSON object of Debezium's headers `__debezium.newkey` and
    /// `__debezium.oldkey`: numbers as Java prints them, bytes in base64.
    ///
    /// # Errors
    /// [`RowError`]; `out` is then as it was.
    pub fn write_json(&self, tuple: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        let start = out.len();
        out.push(b'{');
        let (mut first, mut avro) = (true, Vec::new());
        let result = self.each(tuple, out, |column, cell, out| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(&column.json_name);
            avro.clear();
            column.plan.encode(cell, &mut avro)?;
            column.json.write(&mut &avro[..], out).ok_or(RowErrorKind::Malformed)
        });
        match result {
            Ok(()) => out.push(b'}'),
            Err(_) => out.truncate(start),
        }
        result
    }

    #[inline]
    fn each(
        &self,
        tuple: &Tuple<'_>,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&KeyColumn, Cell<'_>, &mut Vec<u8>) -> Result<(), RowErrorKind>,
    ) -> Result<(), RowError> {
        if tuple.len() != self.cells {
            return Err(RowError { column: 0, kind: RowErrorKind::CellCount });
        }
        let start = out.len();
        for column in &self.columns {
            let result = match tuple.get(column.cell) {
                Some(cell) => write(column, cell, out),
                None => Err(RowErrorKind::CellCount),
            };
            if let Err(kind) = result {
                out.truncate(start);
                return Err(RowError { column: column.index, kind });
            }
        }
        Ok(())
    }
}
