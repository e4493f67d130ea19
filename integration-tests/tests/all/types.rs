//! Every type, with Postgres as the oracle.
//!
//! A family of columns is written to a table whose database prints as differently as it can
//! (`ALTER DATABASE … SET DateStyle` and the like); walferry delivers the rows; each decoded value
//! must equal what SQL computes from the same row on a connection with plain settings. NULL stays
//! NULL, in columns and in arrays, and what has no image stops the stream.

mod family;
mod numbers;
mod other;
mod refused;
mod temporal;
mod text;
mod view;
