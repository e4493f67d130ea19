//! From a table's shape to Avro: the schema's text, and a compiled plan that writes pgoutput text
//! straight into Avro bytes.
//!
//! [`shape`] merges a relation message with the catalog's hints; [`types`] says which Connect type
//! a Postgres type becomes; [`schema`] writes schema text; [`plan`] compiles column encoders.

mod defaults;
mod encode;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod golden;
mod java;
mod json;
mod key;
mod names;
pub mod plan;
pub mod schema;
pub mod shape;
pub mod types;
mod unsent;
mod value;

pub(crate) use encode::primitive;
pub use key::KeyPlan;
pub use plan::{ColumnPlan, RowError, RowErrorKind, RowPlan};
pub use shape::{ColumnShape, ShapeError, ShapeRules, TableShape};
