//! The shape of a relation as the stream announced it, owned.

use crate::postgres::Oid;

/// The replica identity in a relation message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    Default,
    Nothing,
    Full,
    Index,
}

/// One column of a relation message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelationColumn {
    pub name: String,
    /// Part of the replica identity; under `Full` every column is.
    pub key: bool,
    pub type_oid: Oid,
    /// -1 without one.
    pub typmod: i32,
}

/// A relation message, kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    /// In tuple order.
    pub columns: Vec<RelationColumn>,
}
