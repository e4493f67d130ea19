//! Everything that speaks to Postgres: connections, the replication stream, the catalog, slots and
//! publications.

pub mod catalog;
pub mod claim;
pub mod connect;
pub mod control;
pub mod ids;
pub mod preflight;
pub mod publication;
pub mod query;
pub mod replication;
pub mod slot;
pub mod snapshot;
pub mod tls;
pub mod whitelist;
pub mod wire;

pub use ids::{Lsn, Oid, PgTime, SystemId, Timeline, Xid};

#[cfg(test)]
mod scripted_server;
