//! The compiled plan: one encoder a column, from pgoutput text to Avro bytes, no value tree and no
//! allocation per row.
//!
//! A plan walks the cells of a tuple once and writes each column where it stands. It either
//! writes a whole record or takes the output back to where it was.
//!
//! Nothing is invented: a NULL stays NULL, and what has no place is an error. The exceptions are
//! documented stand-ins for what the server did not send: the marker for an unchanged TOAST
//! value, and the absent columns of a [key image](RowPlan::encode_key_image).

use super::encode::Encoder;
use super::shape::{ColumnShape, TableShape};
use super::{defaults, unsent};
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, Tuple};

/// A row that cannot be encoded. It names the column and never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Index into [`TableShape::columns`](super::TableShape::columns); 0 for
    /// [`RowErrorKind::CellCount`].
    pub column: usize,
    pub kind: RowErrorKind,
}

/// Why a row cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// A NULL in a column that the catalog called NOT NULL, or in an array whose elements the
    /// schema declares not null, or an unchanged TOAST value of a NOT NULL column whose type has
    /// no marker: the schema must be [widened](super::TableShape::widen).
    #[error("holds a null that the schema has no place for")]
    UnexpectedNull,
    /// The text is not of the type's form.
    #[error("holds text that is not of its type's form")]
    Malformed,
    /// The type's Avro image has no place for this value (numeric NaN in a decimal, say).
    #[error("holds a value that its Avro type has no place for")]
    Unrepresentable,
    /// Not UTF-8 (a SQL_ASCII database).
    #[error("holds text that is not UTF-8")]
    InvalidUtf8,
    /// The tuple has another number of cells than the relation message.
    #[error("does not match the relation message, which has another number of columns")]
    CellCount,
}

/// Encodes the cells of one column.
#[derive(Debug)]
pub struct ColumnPlan {
    encoder: Encoder,
    union: Union,
    /// The marker for an unchanged TOAST value, with its union branch.
    unavailable: Option<Box<[u8]>>,
}

/// Which branch of a column's union is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Union {
    /// Not a union.
    Required,
    NullFirst,
    NullLast,
}

impl Union {
    #[inline]
    fn write_value_branch(self, out: &mut Vec<u8>) {
        match self {
            Union::Required => {}
            Union::NullFirst => out.push(BRANCH_1),
            Union::NullLast => out.push(BRANCH_0),
        }
    }

    #[inline]
    fn write_null(self, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        match self {
            Union::Required => return Err(RowErrorKind::UnexpectedNull),
            Union::NullFirst => out.push(BRANCH_0),
            Union::NullLast => out.push(BRANCH_1),
        }
        Ok(())
    }
}

/// The zigzag forms of 0 and 1.
const BRANCH_0: u8 = 0;
const BRANCH_1: u8 = 2;

impl ColumnPlan {
    #[must_use]
    pub fn compile(column: &ColumnShape, format: &FormatSettings) -> ColumnPlan {
        let union = match (column.nullable, defaults::of(column)) {
            (false, _) => Union::Required,
            (true, None) => Union::NullFirst,
            (true, Some(_)) => Union::NullLast,
        };
        let marker = unsent::unavailable(&column.column_type, &format.unavailable_value);
        ColumnPlan {
            encoder: Encoder::compile(&column.column_type),
            union,
            unavailable: marker.map(|value| with_branch(union, &value)),
        }
    }

    /// Appends the cell as [`schema::column_type`](super::schema::column_type) describes it. An
    /// unchanged TOAST value becomes the marker, or NULL where the type has no place for one.
    ///
    /// # Errors
    /// [`RowErrorKind`]; `out` may then hold a part of the value, which the caller takes back.
    #[inline]
    pub fn encode(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        match cell {
            Cell::Text(text) => {
                self.union.write_value_branch(out);
                self.encoder.encode(text, out)
            }
            Cell::Null => self.union.write_null(out),
            Cell::Unchanged => match &self.unavailable {
                Some(marker) => {
                    out.extend_from_slice(marker);
                    Ok(())
                }
                None => self.union.write_null(out),
            },
            Cell::Binary(_) => Err(RowErrorKind::Malformed),
        }
    }

    /// Which union branch is null; `None` for a type that is no union.
    pub(super) fn null_branch(&self) -> Option<i64> {
        match self.union {
            Union::Required => None,
            Union::NullFirst => Some(0),
            Union::NullLast => Some(1),
        }
    }
}

fn with_branch(union: Union, value: &[u8]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(value.len() + 1);
    union.write_value_branch(&mut bytes);
    bytes.extend_from_slice(value);
    bytes.into_boxed_slice()
}

/// Encodes rows of one [`TableShape`] as its `Value` record.
#[derive(Debug)]
pub struct RowPlan {
    columns: Box<[RowColumn]>,
    /// Cells of a tuple of the relation.
    cells: usize,
}

#[derive(Debug)]
struct RowColumn {
    plan: ColumnPlan,
    /// Cells of excluded columns before this one.
    skip: usize,
    cell: usize,
    /// What a key image holds in place of this column; `None` for identity columns, which are
    /// sent.
    absent: Option<Box<[u8]>>,
}

impl RowPlan {
    #[must_use]
    pub fn compile(shape: &TableShape, format: &FormatSettings) -> RowPlan {
        let mut next = 0;
        let columns = shape.columns.iter().map(|column| {
            let skip = column.cell.saturating_sub(next);
            next = column.cell + 1;
            RowColumn::compile(column, skip, format)
        });
        RowPlan { columns: columns.collect(), cells: shape.cells }
    }

    /// Appends the `Value` record of a row. An unchanged TOAST value is copied from `old`, the
    /// row before the change as replica identity full sends it; without it, it becomes Debezium's
    /// marker, or NULL where the type has no place for one.
    ///
    /// # Errors
    /// [`RowError`]; `out` is then as it was.
    pub fn encode(
        &self,
        new: &Tuple<'_>,
        old: Option<&Tuple<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        self.write(new, out, |column, cell, out| {
            let cell = match (cell, old) {
                (Cell::Unchanged, Some(old)) => old.get(column.cell).unwrap_or(cell),
                _ => cell,
            };
            column.plan.encode(cell, out)
        })
    }

    /// Appends the `Value` record of the key image that a delete (or an update of the key) sends
    /// under replica identity default or index: identity columns as sent, of the others NULL where
    /// they are nullable and Debezium's value where they are not.
    ///
    /// # Errors
    /// [`RowError`]; `out` is then as it was.
    pub fn encode_key_image(&self, key: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        self.write(key, out, |column, cell, out| match &column.absent {
            Some(absent) => {
                out.extend_from_slice(absent);
                Ok(())
            }
            None => column.plan.encode(cell, out),
        })
    }

    #[inline]
    fn write(
        &self,
        tuple: &Tuple<'_>,
        out: &mut Vec<u8>,
        encode: impl Fn(&RowColumn, Cell<'_>, &mut Vec<u8>) -> Result<(), RowErrorKind>,
    ) -> Result<(), RowError> {
        if tuple.len() != self.cells {
            return Err(RowError { column: 0, kind: RowErrorKind::CellCount });
        }
        let start = out.len();
        // Few values are longer in Avro than in text: most rows fit without growing twice.
        out.reserve(tuple.wire_len() + self.columns.len());
        let mut cells = tuple.iter();
        for (index, column) in self.columns.iter().enumerate() {
            for _ in 0..column.skip {
                cells.next();
            }
            let result = match cells.next() {
                Some(cell) => encode(column, cell, out),
                None => Err(RowErrorKind::CellCount),
            };
            if let Err(kind) = result {
                out.truncate(start);
                return Err(RowError { column: index, kind });
            }
        }
        Ok(())
    }
}

impl RowColumn {
    fn compile(column: &ColumnShape, skip: usize, format: &FormatSettings) -> RowColumn {
        let plan = ColumnPlan::compile(column, format);
        let absent = (!column.identity).then(|| {
            let mut null = Vec::new();
            match plan.union.write_null(&mut null) {
                Ok(()) => null.into_boxed_slice(),
                Err(_) => {
                    let default = defaults::of(column);
                    unsent::absent(&column.column_type, default.as_ref()).into_boxed_slice()
                }
            }
        });
        RowColumn { plan, skip, cell: column.cell, absent }
    }
}

#[cfg(test)]
mod tests;
