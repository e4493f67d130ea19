//! Everything that speaks to Postgres: connections, the replication stream, the catalog, slots and
//! publications.

pub mod catalog;
pub mod connect;
pub mod control;
pub mod ids;
pub mod replication;
pub mod tls;
pub mod wire;

pub use ids::{Lsn, Oid, PgTime, SystemId, Timeline, Xid};

#[cfg(test)]
mod scripted_server;
