//! The messages of the `pgoutput` plugin, protocol version 1, as borrowed views of the bytes that
//! came in. Pure: no I/O, no allocation, every length checked, never a panic.
//!
//! Formats: PostgreSQL documentation, "Logical Replication Message Formats".

mod message;
mod reader;
pub mod relation;
#[cfg(test)]
mod tests;
mod tuple;

pub use message::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, RelationMessage,
    Truncate, TypeMessage, Update,
};
pub use relation::{Relation, RelationColumn, ReplicaIdentity};
pub use tuple::{Cell, Cells, Tuple, TupleBuilder};

/// Bytes that are no pgoutput message of protocol version 1. The stream cannot go on past them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the message ends before its last field")]
    Truncated,
    #[error("the message goes on for {0} bytes after its last field")]
    TrailingBytes(usize),
    #[error("a length in the message is negative")]
    NegativeLength,
    #[error("a name in the message is not UTF-8")]
    InvalidUtf8,
    #[error("unknown message tag 0x{0:02x}")]
    UnknownMessage(u8),
    #[error("unknown tuple tag 0x{0:02x}")]
    UnknownTuple(u8),
    #[error("unknown cell tag 0x{0:02x}")]
    UnknownCell(u8),
    #[error("unknown replica identity 0x{0:02x}")]
    UnknownIdentity(u8),
}
