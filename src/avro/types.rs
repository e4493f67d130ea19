//! Which Connect type a Postgres type becomes.

/// The resolved type of a column: everything that its schema and its encoder need.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ColumnType {
    Boolean,
}
