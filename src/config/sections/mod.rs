//! One reader a section: TOML in, settings out.
//!
//! Each notes what is wrong with its own keys; what concerns several sections is in
//! [`super::agreement`].

mod format;
mod kafka;
mod outbox;
mod postgres;
mod registry;
mod snapshot;
mod tables;
mod topics;

pub(super) use format::{admin, format, http, messages};
pub(super) use kafka::kafka;
pub(super) use outbox::{ReadOutbox, outbox};
pub(super) use postgres::postgres;
pub(super) use registry::registry;
pub(super) use snapshot::snapshot;
pub(super) use tables::{ReadTable, table};
pub(super) use topics::{BROKER_DEFAULTS, topics};
