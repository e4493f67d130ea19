//! From a change to records: which fields, which schema, keys, tombstones.

pub mod debezium;
