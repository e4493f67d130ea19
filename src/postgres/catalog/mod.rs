//! What the catalog says about tables and types: plain facts, and the queries that read them.

pub mod announced;
pub mod facts;
pub mod query;
pub mod server;

pub use crate::postgres::query::Error;
pub use facts::{ColumnFacts, IdentityKind, RelationKind, TableFacts, TypeFacts, TypeKind, Types};
pub use query::{tables, types};
pub use server::{ServerInfo, server_info};
