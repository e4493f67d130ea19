//! The compiled plan: one encoder a column, from pgoutput text to Avro bytes, no value tree and no
//! allocation per row.

/// A row that cannot be encoded. It names the column and never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Index into [`TableShape::columns`](super::TableShape::columns).
    pub column: usize,
    pub kind: RowErrorKind,
}

/// Why a row cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// A NULL in a column that the catalog called NOT NULL: the schema must be widened.
    UnexpectedNull,
    /// The text is not of the type's form.
    Malformed,
    /// The type's Avro image has no place for this value (numeric NaN in a decimal, say).
    Unrepresentable,
    /// Not UTF-8 (a SQL_ASCII database).
    InvalidUtf8,
    /// The tuple has another number of cells than the relation message.
    CellCount,
}

/// Encodes rows of one [`TableShape`](super::TableShape) as its `Value` record.
#[derive(Debug)]
pub struct RowPlan {}

/// Encodes the record key of one [`TableShape`](super::TableShape).
#[derive(Debug)]
pub struct KeyPlan {}
