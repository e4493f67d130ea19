//! The shape of a relation as the stream announced it, owned.

use super::Error;
use super::message::RelationMessage;
use super::reader::Reader;
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

impl Relation {
    /// `schema.name`, for people.
    #[must_use]
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl ReplicaIdentity {
    pub(super) fn from_wire(tag: u8) -> Result<ReplicaIdentity, Error> {
        match tag {
            b'd' => Ok(ReplicaIdentity::Default),
            b'n' => Ok(ReplicaIdentity::Nothing),
            b'f' => Ok(ReplicaIdentity::Full),
            b'i' => Ok(ReplicaIdentity::Index),
            tag => Err(Error::UnknownIdentity(tag)),
        }
    }
}

impl RelationMessage<'_> {
    /// Copies the message into an owned [`Relation`].
    ///
    /// # Errors
    /// [`Error`] when a column description is malformed.
    pub fn to_relation(&self) -> Result<Relation, Error> {
        let mut reader = Reader::new(self.columns);
        let mut columns = Vec::with_capacity(usize::from(self.column_count));
        for _ in 0..self.column_count {
            columns.push(read_column(&mut reader)?);
        }
        Ok(Relation {
            oid: self.oid,
            schema: self.schema.to_owned(),
            name: self.name.to_owned(),
            identity: self.identity,
            columns,
        })
    }
}

fn read_column(reader: &mut Reader<'_>) -> Result<RelationColumn, Error> {
    let flags = reader.u8()?;
    let name = reader.text()?.to_owned();
    let type_oid = reader.oid()?;
    let typmod = reader.i32()?;
    Ok(RelationColumn { name, key: flags & 1 != 0, type_oid, typmod })
}

/// Walks over the column descriptions, checking each.
pub(super) fn check_columns(reader: &mut Reader<'_>, count: u16) -> Result<(), Error> {
    for _ in 0..count {
        reader.u8()?;
        reader.text()?;
        reader.oid()?;
        reader.i32()?;
    }
    Ok(())
}
