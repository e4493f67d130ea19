//! The position record: the durable root of truth.

use crate::postgres::{Lsn, Oid, SystemId, Timeline};

/// What the position topic holds for one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// A first start began and did not finish: publication and slot may be half made.
    Intent(Origin),
    /// Everything up to `done` was delivered.
    At { origin: Origin, timeline: Timeline, done: Lsn, partial: Option<Partial> },
}

/// Which stream of which database a position belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub system: SystemId,
    pub database: Oid,
    pub slot: String,
}

/// How far into one source transaction a Kafka transaction reached (exactly-once only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    pub commit_lsn: Lsn,
    /// Counts every insert, update, delete, truncate and message as received, before any filter.
    pub ordinal: u64,
}
