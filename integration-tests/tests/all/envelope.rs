//! The records of changes as consumers see them: one theme a file, on real services.

mod columns;
mod identity;
mod messages;
mod outbox;
mod partitions;
mod scene;
mod toast;
mod truncate;
