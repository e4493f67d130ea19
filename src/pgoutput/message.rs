//! One type a message, and the parser that tells them apart.

use super::relation::ReplicaIdentity;
use super::tuple::Tuple;
use crate::postgres::{Lsn, Oid, PgTime, Xid};

/// Any message of protocol version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(RelationMessage<'a>),
    Type(TypeMessage<'a>),
    Insert(Insert<'a>),
    Update(Update<'a>),
    Delete(Delete<'a>),
    Truncate(Truncate<'a>),
    Logical(LogicalMessage<'a>),
}

/// The start of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record starts.
    pub commit_lsn: Lsn,
    pub commit_time: PgTime,
    pub xid: Xid,
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub commit_lsn: Lsn,
    /// Just past the commit record.
    pub end_lsn: Lsn,
    pub commit_time: PgTime,
}

/// Where a replicated transaction was first committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    pub lsn: Lsn,
    pub name: &'a str,
}

/// The shape of a relation, repeated whenever the server thinks it may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationMessage<'a> {
    pub oid: Oid,
    pub schema: &'a str,
    pub name: &'a str,
    pub identity: ReplicaIdentity,
    pub(super) column_count: u16,
    /// The column descriptions, exactly; checked.
    pub(super) columns: &'a [u8],
}

/// Names a type that is not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeMessage<'a> {
    pub oid: Oid,
    pub schema: &'a str,
    pub name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    pub relation: Oid,
    pub new: Tuple<'a>,
}

/// What the server sent of the row before the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// Nothing: the identity columns did not change.
    None,
    /// Only the identity columns; the others come as NULL cells that mean "not sent".
    Key(Tuple<'a>),
    /// The whole row (replica identity full).
    Full(Tuple<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    pub relation: Oid,
    pub old: OldTuple<'a>,
    pub new: Tuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    pub relation: Oid,
    /// Never [`OldTuple::None`].
    pub old: OldTuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    pub cascade: bool,
    pub restart_identity: bool,
    /// The oids, four bytes each; checked.
    pub(super) relations: &'a [u8],
}

/// A message of `pg_logical_emit_message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    pub transactional: bool,
    pub lsn: Lsn,
    pub prefix: &'a str,
    pub content: &'a [u8],
}
