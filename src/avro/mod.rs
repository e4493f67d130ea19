//! From a table's shape to Avro: the schema's text, and a compiled plan that writes pgoutput text
//! straight into Avro bytes.
//!
//! [`shape`] merges a relation message with the catalog's hints; [`types`] says which Connect type
//! a Postgres type becomes; [`schema`] writes schema text; [`plan`] compiles column encoders.

pub mod names;
pub mod plan;
pub mod schema;
pub mod shape;
pub mod types;

pub use plan::{KeyPlan, RowError, RowErrorKind, RowPlan};
pub use shape::{ColumnShape, TableShape};
