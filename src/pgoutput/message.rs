//! One type a message, and the parser that tells them apart.

use super::Error;
use super::reader::Reader;
use super::relation::{ReplicaIdentity, check_columns};
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

impl<'a> Message<'a> {
    /// Parses one message; it must end where `bytes` ends.
    ///
    /// # Errors
    /// [`Error`] names what is wrong with the bytes. An unknown tag is an error: skipping a message
    /// that is not understood could lose a change.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Error> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            b'B' => Message::Begin(Begin {
                commit_lsn: reader.lsn()?,
                commit_time: reader.time()?,
                xid: reader.xid()?,
            }),
            b'C' => Message::Commit(read_commit(&mut reader)?),
            b'O' => Message::Origin(Origin { lsn: reader.lsn()?, name: reader.text()? }),
            b'R' => Message::Relation(read_relation(&mut reader)?),
            b'Y' => Message::Type(TypeMessage {
                oid: reader.oid()?,
                schema: reader.text()?,
                name: reader.text()?,
            }),
            b'I' => Message::Insert(read_insert(&mut reader)?),
            b'U' => Message::Update(read_update(&mut reader)?),
            b'D' => Message::Delete(read_delete(&mut reader)?),
            b'T' => Message::Truncate(read_truncate(&mut reader)?),
            b'M' => Message::Logical(read_logical(&mut reader)?),
            tag => return Err(Error::UnknownMessage(tag)),
        };
        reader.end()?;
        Ok(message)
    }
}

impl<'a> Truncate<'a> {
    /// The truncated relations.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = Oid> + use<'a> {
        let (oids, _) = self.relations.as_chunks::<4>();
        oids.iter().map(|oid| Oid(u32::from_be_bytes(*oid)))
    }
}

fn read_commit(reader: &mut Reader<'_>) -> Result<Commit, Error> {
    // No flag is defined in protocol version 1.
    reader.u8()?;
    Ok(Commit { commit_lsn: reader.lsn()?, end_lsn: reader.lsn()?, commit_time: reader.time()? })
}

fn read_relation<'a>(reader: &mut Reader<'a>) -> Result<RelationMessage<'a>, Error> {
    let oid = reader.oid()?;
    let schema = reader.text()?;
    // The server sends an empty namespace for pg_catalog.
    let schema = if schema.is_empty() { "pg_catalog" } else { schema };
    let name = reader.text()?;
    let identity = ReplicaIdentity::from_wire(reader.u8()?)?;
    let column_count = reader.u16()?;
    let columns = reader.rest();
    check_columns(reader, column_count)?;
    Ok(RelationMessage { oid, schema, name, identity, column_count, columns })
}

fn read_insert<'a>(reader: &mut Reader<'a>) -> Result<Insert<'a>, Error> {
    let relation = reader.oid()?;
    expect(reader, b'N')?;
    Ok(Insert { relation, new: Tuple::read(reader)? })
}

fn read_update<'a>(reader: &mut Reader<'a>) -> Result<Update<'a>, Error> {
    let relation = reader.oid()?;
    let old = match reader.u8()? {
        b'N' => return Ok(Update { relation, old: OldTuple::None, new: Tuple::read(reader)? }),
        tag => read_old(reader, tag)?,
    };
    expect(reader, b'N')?;
    Ok(Update { relation, old, new: Tuple::read(reader)? })
}

fn read_delete<'a>(reader: &mut Reader<'a>) -> Result<Delete<'a>, Error> {
    let relation = reader.oid()?;
    let tag = reader.u8()?;
    Ok(Delete { relation, old: read_old(reader, tag)? })
}

fn read_old<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<OldTuple<'a>, Error> {
    match tag {
        b'K' => Tuple::read(reader).map(OldTuple::Key),
        b'O' => Tuple::read(reader).map(OldTuple::Full),
        tag => Err(Error::UnknownTuple(tag)),
    }
}

fn read_truncate<'a>(reader: &mut Reader<'a>) -> Result<Truncate<'a>, Error> {
    let count = reader.length()?;
    let options = reader.u8()?;
    let relations = reader.bytes(count.checked_mul(4).ok_or(Error::Truncated)?)?;
    Ok(Truncate { cascade: options & 1 != 0, restart_identity: options & 2 != 0, relations })
}

fn read_logical<'a>(reader: &mut Reader<'a>) -> Result<LogicalMessage<'a>, Error> {
    let flags = reader.u8()?;
    let lsn = reader.lsn()?;
    let prefix = reader.text()?;
    let length = reader.length()?;
    Ok(LogicalMessage {
        transactional: flags & 1 != 0,
        lsn,
        prefix,
        content: reader.bytes(length)?,
    })
}

fn expect(reader: &mut Reader<'_>, tag: u8) -> Result<(), Error> {
    match reader.u8()? {
        found if found == tag => Ok(()),
        found => Err(Error::UnknownTuple(found)),
    }
}
