//! What the catalog says about tables and types: plain facts, and the queries that read them.

pub mod facts;

pub use facts::{ColumnFacts, IdentityKind, RelationKind, TableFacts, TypeFacts, TypeKind, Types};
