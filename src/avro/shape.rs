//! What a table looks like at one place of the stream: the relation message, completed by the
//! catalog's hints.

use super::types::ColumnType;
use crate::pgoutput::ReplicaIdentity;

/// A table as its records will show it: excluded columns are gone, types are resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape {
    pub schema: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    /// The columns that go into records, in relation order.
    pub columns: Vec<ColumnShape>,
    /// Indices into `columns`, in key order; empty for a table without a key.
    pub key: Vec<usize>,
}

/// One column that goes into records.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnShape {
    pub name: String,
    /// Which cell of a tuple holds it.
    pub cell: usize,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// The catalog's default expression (`pg_get_expr`), if there is one.
    pub default: Option<String>,
    /// `serial` or identity: Debezium gives such a column the default 0.
    pub auto_increment: bool,
    /// Part of the replica identity (flag of the relation message).
    pub identity: bool,
}
