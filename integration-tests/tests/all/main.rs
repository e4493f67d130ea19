//! All integration tests in one binary: the servers that they share are started once.

mod commands;
mod connections;
mod control;
mod docs;
mod envelope;
mod golden;
mod harness;
mod hostile;
mod kafka;
mod life;
mod load;
mod outages;
mod registry;
mod snapshot;
mod stream;
mod types;
mod workload;
