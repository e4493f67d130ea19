//! From a change to records: which fields, which schema, keys, tombstones, headers.
//!
//! [`debezium`] writes the change events of tables and [`message`] those of logical messages, as
//! Debezium 3.6 writes them: same schema text, same bytes, same headers, so that neither a registry
//! nor a consumer can tell the difference. [`source`] is the block that both carry, [`names`] the
//! rule for names that Avro does not allow. Everything here is pure: tuples in, records of a
//! [`Batch`](crate::kafka::Batch) out.

pub mod context;
pub mod debezium;
#[cfg(test)]
pub(crate) mod fixture;
pub mod message;
pub mod names;
mod record;
pub mod source;

pub use context::ContextHeaders;
pub use debezium::{PlanError, PlanInput, Schemas, TablePlan, schemas};
pub use message::{MessageInput, MessagePlan};
pub use source::{EventContext, Marker, Origin, SnapshotContext, SnapshotSource};
