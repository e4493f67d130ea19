//! walferry follows a Postgres logical replication slot and delivers the changes to Kafka in Avro.
//!
//! The code map and the invariants are in `docs/architecture.md`. In one line: [`postgres`] reads
//! the wire, [`pgoutput`] decodes it, [`envelope`] and [`outbox`] turn changes into records with
//! the column encoders of [`avro`], [`kafka`] produces them, [`delivery`] decides what may be
//! confirmed, [`snapshot`] is what reading whole tables is made of, and [`pump`] is the one thread
//! that moves all of it. [`admin`] is how an operator speaks to it.

pub mod admin;
pub mod avro;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod envelope;
pub mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod kafka;
pub mod outbox;
pub mod pgoutput;
pub mod postgres;
pub mod pump;
pub mod registry;
pub mod snapshot;
pub mod telemetry;
