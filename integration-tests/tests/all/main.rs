//! All integration tests in one binary: the servers that they share are started once.

mod control;
mod envelope;
mod golden;
mod harness;
mod kafka;
mod registry;
mod stream;
mod types;
