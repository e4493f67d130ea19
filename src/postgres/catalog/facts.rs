//! The facts of the catalog as plain values: input of the pure schema functions.
//!
//! The stream is the truth and the catalog a hint: these facts describe the catalog *now*, while a
//! relation message describes the table at its place in the WAL. Whatever uses them must survive
//! a contradiction.

use std::collections::HashMap;

use crate::postgres::Oid;

/// A table, partitioned table or partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// The topmost partitioned table that this one is a leaf of.
    pub root: Option<Oid>,
    pub identity: IdentityKind,
    /// Live columns in `attnum` order, generated ones included.
    pub columns: Vec<ColumnFacts>,
    /// Names of the primary key's columns in key order; empty without one.
    pub primary_key: Vec<String>,
    /// Names of the columns of the first unique, non-partial index without expressions (by index
    /// name), in index order: Debezium's fallback key. Empty without one.
    pub unique_key: Vec<String>,
}

/// What a whitelisted relation is (`pg_class.relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    Other,
}

/// The replica identity (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// The primary key, if there is one.
    Default,
    Nothing,
    Full,
    Index,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFacts {
    pub name: String,
    pub type_oid: Oid,
    /// `atttypmod`; -1 without one.
    pub typmod: i32,
    pub not_null: bool,
    /// `pg_get_expr` of the default; `None` for generated columns and without one.
    pub default: Option<String>,
    pub generated: bool,
    /// `GENERATED … AS IDENTITY`.
    pub identity: bool,
}

/// One row of `pg_type` with what resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    pub oid: Oid,
    pub schema: String,
    /// `typname`; extension types are recognised by it.
    pub name: String,
    pub kind: TypeKind,
}

/// How a type is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    Base,
    Array {
        element: Oid,
    },
    /// Labels in `enumsortorder`.
    Enum {
        labels: Vec<String>,
    },
    Domain {
        base: Oid,
        typmod: i32,
        not_null: bool,
    },
    Composite,
    Range,
    Multirange,
    Pseudo,
}

/// The types known so far, by oid. Built-in types need not be in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types(pub HashMap<Oid, TypeFacts>);
