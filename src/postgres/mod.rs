//! Everything that speaks to Postgres: connections, the replication stream, the catalog, slots and
//! publications.

pub mod catalog;
pub mod ids;
pub mod preflight;
pub mod publication;
pub mod query;
pub mod slot;
pub mod whitelist;

pub use ids::{Lsn, Oid, PgTime, SystemId, Timeline, Xid};
