//! The replication connection: its commands, and the stream of a slot.
//!
//! ```text
//! Client ── identify_system, timeline_history, create_slot_exporting ──► Client
//!    └───── start_replication ──► Stream ── queue_copy_done … ReadyForQuery, terminate
//! ```
//!
//! A [`Client`] is for the start, off the pump: asynchronous, every step cancelled by dropping it
//! (a thread without a runtime drives it with `Handle::block_on`). `start_replication` consumes it;
//! the [`Stream`] that comes back needs no runtime and never blocks.
//!
//! tokio-postgres has no replication mode, so this is a client of its own over postgres-protocol's
//! building blocks, asking for protocol 3.0. Messages are bounded: [`COMMAND_MESSAGE_LIMIT`] until
//! the stream starts, the caller's maximum from there on.

mod authenticate;
pub(crate) mod buffer;
mod client;
mod commands;
mod error;
mod outbox;
mod stream;

pub use client::Client;
pub use commands::{ExportedSnapshot, StartReplication, SystemIdentity, TimelineSwitch};
pub use error::Error;
pub use outbox::Status;
pub use stream::{Fill, Stream};

/// The largest message taken outside the stream. Answers to commands are small; the history of a
/// cluster with thousands of promotions still fits.
pub const COMMAND_MESSAGE_LIMIT: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
