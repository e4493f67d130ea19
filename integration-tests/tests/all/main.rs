//! All integration tests in one binary: the servers that they share are started once.

mod commands;
mod control;
mod harness;
mod kafka;
mod registry;
mod stream;
