//! The outbox: inserted rows as events of their own, routed as Debezium's Event Router does.
//!
//! [`Router`] turns a row into one record: its topic from the route column ([`TopicRule`]), its key
//! and value from columns with those columns' own schemas, its headers, partition and timestamp
//! from others. Only inserts are events: an application may delete its outbox rows at once.
//!
//! The differences to the Event Router, all where it fails: a timestamp may be a `timestamptz`; the
//! schema of an envelope is that of the row's own route, not of the first one seen; a schema name
//! made of a route value is adjusted like any other.

mod columns;
mod error;
mod header;
mod instant;
mod payload;
mod router;
mod topic;

pub use error::{CompileError, RouteError, RouteErrorKind};
pub use router::{Destination, Routed, Router, RouterInput};
pub use topic::{TopicRule, TopicRuleError};
