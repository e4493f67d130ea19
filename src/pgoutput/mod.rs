//! The messages of the `pgoutput` plugin, protocol version 1, as borrowed views of the bytes that
//! came in. Pure: no I/O, no allocation, every length checked, never a panic.

mod message;
pub mod relation;
mod tuple;

pub use message::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, RelationMessage,
    Truncate, TypeMessage, Update,
};
pub use relation::{Relation, RelationColumn, ReplicaIdentity};
pub use tuple::{Cell, Cells, Tuple};
