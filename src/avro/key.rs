//! The record key: its Avro record, whether it changed, and its JSON for Debezium's headers.

use super::encode::write_json_string;
use super::json::JsonForm;
use super::names;
use super::plan::{ColumnPlan, RowError, RowErrorKind};
use super::shape::TableShape;
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, Tuple};

/// Encodes the record key of one [`TableShape`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::fixture::{self, format, row};
    use crate::avro::shape::ColumnShape;
    use crate::avro::types::ColumnType;
    use crate::pgoutput::{Cell, ReplicaIdentity};

    fn shape(types: &[ColumnType], key: &[usize]) -> TableShape {
        let column = |(cell, column_type): (usize, &ColumnType)| ColumnShape {
            nullable: cell == 2,
            identity: key.contains(&cell),
            ..fixture::column(&format!("c{cell}"), cell, column_type.clone())
        };
        TableShape {
            schema: "s".to_owned(),
            name: "t".to_owned(),
            identity: ReplicaIdentity::Default,
            columns: types.iter().enumerate().map(column).collect(),
            key: key.to_vec(),
            cells: types.len(),
        }
    }

    const TYPES: [ColumnType; 3] = [ColumnType::Int32, ColumnType::Text, ColumnType::Float64];

    #[test]
    fn fields_follow_the_order_of_the_key() {
        let plan = KeyPlan::compile(&shape(&TYPES, &[1, 0]), &format()).unwrap();
        let row = row(&[Cell::Text(b"5"), Cell::Text(b"a"), Cell::Null]);
        let mut out = Vec::new();
        plan.encode(&row.tuple(), &mut out).unwrap();
        assert_eq!(out, b"\x02a\x0a");
        assert!(KeyPlan::compile(&shape(&TYPES, &[]), &format()).is_none());
    }

    #[test]
    fn json_is_whole_or_nothing() {
        let plan = KeyPlan::compile(&shape(&TYPES, &[1, 0, 2]), &format()).unwrap();
        let mut out = b"kept".to_vec();
        let good = row(&[Cell::Text(b"5"), Cell::Text(b"a\"\n"), Cell::Null]);
        plan.write_json(&good.tuple(), &mut out).unwrap();
        assert_eq!(out, br#"kept{"c1":"a\"\n","c0":5,"c2":null}"#);
        let bad = row(&[Cell::Text(b"x"), Cell::Text(b"a"), Cell::Null]);
        out.truncate(4);
        let error = plan.write_json(&bad.tuple(), &mut out).unwrap_err();
        assert_eq!((error.column, error.kind), (0, RowErrorKind::Malformed));
        assert_eq!(out, b"kept");
    }

    #[test]
    fn only_key_cells_make_a_key_different() {
        let plan = KeyPlan::compile(&shape(&TYPES, &[0, 1]), &format()).unwrap();
        let cells = [Cell::Text(b"5"), Cell::Text(b"a"), Cell::Null];
        let same = |other: [Cell<'_>; 3]| plan.same(&row(&cells).tuple(), &row(&other).tuple());
        assert!(same([cells[0], cells[1], Cell::Text(b"1")]));
        assert!(same([cells[0], Cell::Unchanged, Cell::Null]));
        assert!(!same([cells[0], Cell::Text(b"b"), Cell::Null]));
        assert!(!same([cells[0], Cell::Null, Cell::Null]));
    }
}
